"""The model card of a merge, as the hub wants it: what was merged, how, and with which weights."""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from fusionchat.errors import UserError
from fusionchat.files import MANIFEST, read_json
from fusionchat.merging.inputs import Inputs
from fusionchat.merging.rounding import ROUNDING, Rounding
from fusionchat.models.checkpoint import Checkpoint
from fusionchat.readers.yaml import parse_yaml

CARD = "README.md"
WEIGHTS = "weights.csv"
FIGURE = "weights.svg"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_CACHED = re.compile(r"models--([\w.-]+?)--([\w.-]+)/snapshots")  # the hub's cache
_HEADER = re.compile(r"\A---\r?\n(.*?)\r?\n---\s*$", re.DOTALL | re.MULTILINE)
_COLOURS = ("#4477aa", "#cc6677", "#228833", "#aa3377", "#ccbb44", "#66ccee")
Row = tuple[str, str, float, int]  # unit, target, weight, elements


def hub_name(checkpoint: Checkpoint) -> str | None:
    """The repository that a folder came from, where its manifest, place or config tells it."""
    place = checkpoint.folder.resolve().parent
    cached = _CACHED.fullmatch(f"{place.parent.name}/{place.name}")
    name = "/".join(cached.groups()) if cached else checkpoint.config.get("_name_or_path")
    with suppress(UserError):  # other tools write files of this name, too
        manifest = read_json(checkpoint.folder / MANIFEST)
        name = (isinstance(manifest, dict) and manifest.get("repo")) or name
    if isinstance(name, str) and _HUB_NAME.fullmatch(name) and not Path(name).exists():
        return name
    return None


def label(checkpoint: Checkpoint) -> str:
    """A name that holds no path of this machine."""
    return hub_name(checkpoint) or checkpoint.folder.resolve().name


def card_header(checkpoint: Checkpoint) -> dict[str, Any]:
    """The YAML header of a folder's own card; empty if there is none that can be read."""
    card = checkpoint.folder / CARD
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    match = _HEADER.search(text)
    with suppress(UserError):
        return parse_yaml(match[1], card) if match else {}
    return {}


def metadata(inputs: Inputs, method: str) -> dict[str, Any]:
    """The card's header. Licenses are named where all inputs that name one agree."""
    sources = inputs.sources(True).values()
    facts: dict[str, Any] = {"library_name": "transformers"}
    if any("CausalLM" in name for name in inputs.pivot.config.get("architectures") or ()):
        facts["pipeline_tag"] = "text-generation"
    if names := list(dict.fromkeys(name for source in sources if (name := hub_name(source)))):
        facts |= {"base_model": names, "base_model_relation": "merge"}
    headers = [header for source in sources if "license" in (header := card_header(source))]
    keys = ("license", "license_name", "license_link")
    licenses = [{key: header[key] for key in keys if key in header} for header in headers]
    if licenses and all(one == licenses[0] for one in licenses):
        facts |= licenses[0]
    return {**facts, "tags": ["merge", "fusionchat", method.replace("_", "-")]}


def command(program: str, inputs: Inputs, settings: Mapping[str, Any]) -> str:
    """The command that makes this model, with names in place of paths."""
    words = [f"{program}.py", "--pivot", label(inputs.pivot)]
    for name, target in inputs.targets.items():
        words += ["--target", f"{name}={label(target)}"]
    for key, value in settings.items():
        option = f"--{key.replace('_', '-')}"
        if isinstance(value, Mapping):
            words += [w for n, number in value.items() for w in (option, f"{n}={number:g}")]
        elif value is True:
            words.append(option)
        elif value not in (False, None):
            words += [option, str(value)]
    return shlex.join([*words, "--output", "merged-model"])


def write_card(
    folder: Path,
    inputs: Inputs,
    method: str,
    made_by: str,
    rows: Sequence[Row],
    rounding: Rounding,
) -> None:
    """README.md, and weights.svg where there are weights."""
    import yaml

    header = yaml.safe_dump(metadata(inputs, method), sort_keys=False, allow_unicode=True)
    lines = ["---", header.rstrip(), "---", "", f"# Merge by {method}", ""]
    lines += [f"- pivot: {_shown(inputs.pivot)}"]
    lines += [f"- target {n}: {_shown(target)}" for n, target in inputs.targets.items()]
    lines += ["", "```", made_by, "```", "", _rounding_text(rounding), *_licenses(inputs)]
    if rows:
        lines += ["", "## Weights", "", *_table(inputs, rows), "", f"All units are in {WEIGHTS}."]
        units = list(dict.fromkeys(row[0] for row in rows))
        if len(units) > 1:
            lines += ["", f"![Weight of each target, unit by unit]({FIGURE})"]
            (folder / FIGURE).write_text(figure(list(inputs.targets), rows), encoding="utf-8")
    (folder / CARD).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _shown(checkpoint: Checkpoint) -> str:
    name = hub_name(checkpoint)
    return f"[{name}](https://huggingface.co/{name})" if name else f"`{label(checkpoint)}`"


def _rounding_text(rounding: Rounding) -> str:
    first, *others = rounding.lines()
    text = f"{first[0].upper()}{first[1:]}; {ROUNDING} has each tensor."
    return " ".join([text, *(f"{other[0].upper()}{other[1:]}." for other in others)])


def _licenses(inputs: Inputs) -> list[str]:
    """A line on licenses where the inputs name different ones."""
    named = {
        name: header["license"]
        for name, source in inputs.sources(True).items()
        if "license" in (header := card_header(source))
    }
    if len(set(map(str, named.values()))) < 2:
        return []
    return ["", "Licenses differ: " + ", ".join(f"{n}: {one}" for n, one in named.items()) + "."]


def _table(inputs: Inputs, rows: Iterable[Row]) -> list[str]:
    """Mean (by elements), least and greatest weight of each target."""
    lines = ["| target | mean | least | greatest |", "|---|---:|---:|---:|"]
    for target in inputs.targets:
        units = [(weight, elements) for _, name, weight, elements in rows if name == target]
        values, sizes = (np.array(column, float) for column in zip(*units, strict=True))
        mean = np.average(values, weights=sizes) if sizes.sum() else values.mean()
        lines.append(f"| {target} | {mean:.4f} | {values.min():.4f} | {values.max():.4f} |")
    return lines


def figure(targets: Sequence[str], rows: Sequence[Row]) -> str:
    """An SVG: the weight of each target along the units, in the order of the files."""
    width, height, left, top = 640, 200, 40, 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + left + 10}" '
        f'height="{height + top + 30}" font-family="sans-serif" font-size="12">',
        f'<rect width="100%" height="100%" fill="white"/><g fill="none" stroke="#999">'
        f'<path d="M{left} {top}v{height}h{width}"/></g>',
    ]
    weights = [[row[2] for row in rows if row[1] == target] for target in targets]
    low, high = min(0.0, *map(min, weights)), max(1.0, *map(max, weights))
    step = width / max(len(weights[0]) - 1, 1)

    def y(value: float) -> float:
        return top + height * (high - value) / (high - low)

    for value in (low, high):
        parts.append(f'<text x="4" y="{y(value) + 4:.1f}">{value:.2g}</text>')
    for number, (target, values) in enumerate(zip(targets, weights, strict=True)):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(f"{left + i * step:.1f},{y(v):.1f}" for i, v in enumerate(values))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
        name = target.replace("&", "&amp;").replace("<", "&lt;")
        parts.append(f'<text x="{left + 130 * number}" y="16" fill="{colour}">{name}</text>')
    parts.append(f'<text x="{left}" y="{height + top + 18}">units in the order of the files</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
