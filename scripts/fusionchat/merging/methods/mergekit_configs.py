"""mergekit configurations with the settings of the paper's baselines, generated from ours."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fusionchat.errors import UserError

METHODS = ("slerp", "task_arithmetic", "ties", "dare_linear", "sce_mergekit")
# The released SLERP file: interpolation weights along the depth, by kind of module.
SLERP_CURVES = (
    {"filter": "self_attn", "value": [0, 0.5, 0.3, 0.7, 1]},
    {"filter": "mlp", "value": [1, 0.5, 0.7, 0.3, 0]},
    {"value": 0.5},
)


def mergekit_config(
    method: str,
    pivot: Path,
    targets: Mapping[str, Path],
    *,
    layers: int,
    dtype: str,
    weights: Mapping[str, float],
    density: float = 1.0,
    select_topk: float = 1.0,
    base: str | None = None,
    normalise: bool = True,
) -> dict[str, Any]:
    """The configuration of one merge: arithmetic in float32, result in `dtype` ("bfloat16").

    SLERP lies between its two inputs and takes no pivot; `base` names the target at t = 0 (the
    first one by default), because mergekit refuses a base that is not one of the inputs.
    Task arithmetic ignores the density; it is kept out of its file. `sce_mergekit` is mergekit's
    "sce", as distinct from ours.
    """
    sce = method == "sce_mergekit"
    common: dict[str, Any] = {
        "merge_method": "sce" if sce else method,
        "dtype": "float32",
        "out_dtype": dtype,
    }
    folders = {name: _path(folder) for name, folder in targets.items()}
    if method == "slerp":
        return {**common, **_slerp(folders, layers, base)}
    parameters: dict[str, dict[str, float]] = {name: {} for name in folders}
    if not sce:
        for name in folders:
            parameters[name]["weight"] = weights[name]
    if method in ("ties", "dare_linear"):
        for name in folders:
            parameters[name]["density"] = density
    shared = {"select_topk": select_topk} if sce else {"normalize": normalise}
    models: list[dict[str, Any]] = [{"model": _path(pivot)}]
    models += [
        {"model": folder, **({"parameters": parameters[name]} if parameters[name] else {})}
        for name, folder in folders.items()
    ]
    return {**common, "models": models, "base_model": _path(pivot), "parameters": shared}


def _slerp(folders: Mapping[str, str], layers: int, base: str | None) -> dict[str, Any]:
    if len(folders) != 2:
        raise UserError(f"slerp merges exactly two targets, not {len(folders)}")
    base = base or next(iter(folders))
    if base not in folders:
        raise UserError(f"--base {base}: SLERP's base must be one of {', '.join(folders)}")
    sources = [{"model": folder, "layer_range": [0, layers]} for folder in folders.values()]
    return {
        "slices": [{"sources": sources}],
        "base_model": folders[base],
        "parameters": {"t": [dict(curve) for curve in SLERP_CURVES]},
    }


def _path(folder: Path) -> str:
    text = str(folder)
    if set(text) & set("+@"):
        raise UserError(f"{text}: mergekit gives + and @ a meaning; rename the folder")
    return text
