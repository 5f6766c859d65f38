"""Merged models and weights equal the golden vectors: VaRM's formula, the baselines of mergekit."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import merge_linear
import merge_mergekit
import merge_varm
from fusionchat.merging.inputs import InputOptions, Inputs
from fusionchat.merging.methods.varm import module_of
from fusionchat.merging.tensor_blocks import kernel_values, narrow, widen
from fusionchat.merging.variation import measure
from fusionchat.models.checkpoint import open_checkpoint
from fusionchat.readers.safetensors import TensorReader

GRANULARITIES = ("model", "layer", "module", "matrix")


@pytest.fixture(scope="module")
def folder(golden: Path) -> Path:
    return golden / "merge"


@pytest.fixture(scope="module")
def options(folder: Path) -> list[str]:
    models = folder / "models"
    result = ["--pivot", str(models / "pivot")]
    for name in ("target_1", "target_2"):
        result += ["--target", f"{name}={models / name}"]
    return result


def tensors(model: Path) -> dict[str, np.ndarray]:
    """All tensors as float32."""
    reader, result = TensorReader(), {}
    for name, info in open_checkpoint(model).tensors.items():
        values = np.empty(info.elements, np.float32)
        widen(kernel_values(reader.map(info), info.dtype), values)
        result[name] = values.reshape(info.shape)
    return result


def largest_difference(model: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    assert model.keys() == expected.keys()
    return max(float(np.abs(model[name] - expected[name]).max()) for name in expected)


def bits(values: np.ndarray) -> np.ndarray:
    return narrow(values.astype(np.float64).ravel(), "BF16")[0].view(np.uint16)


def unit_weights(model: Path) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    with (model / "weights.csv").open() as stream:
        for row in csv.DictReader(stream):
            found.setdefault(row["unit"], []).append(float(row["weight"]))
    return found


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_varm_weights_and_tensors(granularity, folder, options, tmp_path):
    output = tmp_path / "merged"
    command = [*options, "--granularity", granularity, "--dtype", "float32"]
    merge_varm.main([*command, "--output", str(output)])
    truth = json.loads((folder / "varm" / "weights_f64.json").read_text())
    expected = truth["weights"][f"{granularity}/pooled_mean"]
    found = unit_weights(output)
    if granularity == "layer":
        found = {unit.replace("model.layers.", "layers."): own for unit, own in found.items()}
    assert found.keys() == expected.keys()
    for unit, own in expected.items():
        assert found[unit] == pytest.approx(own, rel=1e-9, abs=1e-15)

    checks = json.loads((folder / "varm" / "merged_checks_f64.json").read_text())["checks"]
    merged = tensors(output)
    for name, (total, squares, first, last) in checks[f"{granularity}/pooled_mean"].items():
        values = merged[name].astype(np.float64).ravel()
        assert values.sum() == pytest.approx(total, abs=1e-6 * values.size)
        assert (values**2).sum() == pytest.approx(squares, rel=1e-5)
        assert [values[0], values[-1]] == pytest.approx([first, last], abs=1e-6)


@pytest.mark.parametrize(("granularity", "name"), [("matrix", "matrix"), ("parameter", "element")])
def test_varm_elements_in_both_types(granularity, name, folder, options, tmp_path):
    truth = load_file(folder / "varm" / f"merged_{name}_f32.safetensors")
    command = [*options, "--granularity", granularity]
    merge_varm.main([*command, "--dtype", "float32", "--output", str(tmp_path / "f32")])
    assert largest_difference(tensors(tmp_path / "f32"), truth) <= 1e-6
    merge_varm.main([*command, "--output", str(tmp_path / "bf16")])
    merged = tensors(tmp_path / "bf16")
    differing = sum((bits(merged[key]) != bits(values)).sum() for key, values in truth.items())
    assert differing <= 0.001 * sum(values.size for values in truth.values())


def test_variation_equals_truth_and_published_analysis(folder):
    models = folder / "models"
    targets = {name: models / name for name in ("target_1", "target_2")}
    measured = measure(Inputs.open(InputOptions(models / "pivot", targets)))
    truth = json.loads((folder / "varm" / "weights_f64.json").read_text())
    published = json.loads((folder / "varm" / "reference_analysis.json").read_text())
    for target, table in measured.items():
        rows = table.rows.values()
        for row in rows:
            expected = truth["info"]["mean_square_delta"][target][row.tensor]
            assert row.mean_square == pytest.approx(expected, rel=1e-12, abs=1e-30)
        for change, column in (("square", "mean_square"), ("abs", "mean_abs")):
            analysis = published[f"pivot__{target}__{change}"]
            means = {row.tensor: getattr(row, column) for row in rows}
            assert means == pytest.approx(analysis["key_to_params"], rel=1e-6)
            modules: dict[str, float] = {}
            for name, mean in means.items():
                modules[module_of(name)] = modules.get(module_of(name), 0.0) + mean
            assert modules == pytest.approx(analysis["module_to_params"], rel=1e-6)
            changed = sum(round(row.share_changed * row.elements) for row in rows)
            assert changed == analysis["total_diff_num"]


@pytest.fixture(scope="module")
def mergekit(folder: Path) -> dict:
    return json.loads((folder / "mergekit" / "mergekit.json").read_text())


def settings(entry: dict) -> tuple[list[str], float]:
    """--weight options and the density of a golden configuration."""
    weights, density = [], 1.0
    for model in entry["config"].get("models", []):
        parameters = model.get("parameters", {})
        if "weight" in parameters:
            weights += ["--weight", f"{model['model']}={parameters['weight']}"]
        density = parameters.get("density", density)
    return weights, density


def test_linear(folder, options, mergekit, tmp_path):
    weights, _ = settings(mergekit["linear/float32"])
    command = [*options, *weights]
    merge_linear.main([*command, "--dtype", "float32", "--output", str(tmp_path / "f32")])
    expected = load_file(folder / "mergekit" / "linear_f32.safetensors")
    assert largest_difference(tensors(tmp_path / "f32"), expected) <= 5e-8
    merge_linear.main([*command, "--output", str(tmp_path / "bf16")])
    assert open_checkpoint(tmp_path / "bf16").tensors["lm_head.weight"].dtype == "BF16"
    merged = tensors(tmp_path / "bf16")
    differing = sum((bits(merged[name]) != bits(expected[name])).sum() for name in expected)
    assert differing <= 0.001 * sum(values.size for values in expected.values())


def run_mergekit(method: str, options: list[str], entry: dict, output: Path) -> None:
    weights, density = settings(entry)
    command = ["--method", method, *options, *weights, "--density", str(density)]
    if method == "slerp":
        command += ["--base", entry["config"]["base_model"]]
    merge_mergekit.main([*command, "--dtype", "float32", "--output", str(output)])


@pytest.mark.parametrize("method", ["slerp", "task_arithmetic", "ties"])
def test_mergekit_methods(method, folder, options, mergekit, tmp_path):
    run_mergekit(method, options, mergekit[f"{method}/float32"], tmp_path / "merged")
    merged = tensors(tmp_path / "merged")
    expected = load_file(folder / "mergekit" / f"{method}_f32.safetensors")
    if method == "ties":  # equal changes make the threshold ambiguous
        ambiguous = np.load(folder / "mergekit" / "ties_ambiguous.npz")
        for name in ambiguous.files:
            merged[name] = np.where(ambiguous[name], expected[name], merged[name])
    assert largest_difference(merged, expected) <= 5e-8


def test_dare(folder, options, mergekit, tmp_path):
    pivot = tensors(folder / "models" / "pivot")
    run_mergekit("dare_linear", options, mergekit["dare_linear/float32"], tmp_path / "dropped")
    dropped = tensors(tmp_path / "dropped")
    for name, expected in mergekit["dare_linear_100_seeds_float32"].items():
        change = np.abs(dropped[name].astype(np.float64) - pivot[name])
        spread = 6 * expected["std_l1_of_merged_delta"]
        assert change.sum() == pytest.approx(expected["mean_l1_of_merged_delta"], abs=spread)
        equal = expected["fraction_of_elements_equal_to_base"]
        tolerance = 6 * (equal * (1 - equal) / change.size) ** 0.5
        assert np.mean(change == 0) == pytest.approx(equal, abs=tolerance)
    run_mergekit("dare_linear", options, mergekit["dare_linear_density1/float32"], tmp_path / "all")
    task_arithmetic = load_file(folder / "mergekit" / "task_arithmetic_f32.safetensors")
    assert largest_difference(tensors(tmp_path / "all"), task_arithmetic) <= 5e-8
