"""Draw the package's layers and what imports what, from the code itself."""

import argparse
from collections.abc import Mapping, Sequence
from html import escape
from itertools import count
from pathlib import Path

from fusionchat import cli

WIDTH, HEIGHT = 118, 30  # of a box
ACROSS, DOWN = 138, 92  # from box to box
LEFT, TOP = 190, 20
EVERYWHERE = ("basics", "files and options")  # imported by all, so without arrows
COLUMNS = {  # where arrows cross no box
    **{"cluster": 2, "command_words": 0, "experiment": 1, "origins": 2, "checks": 5, "config": 6},
    **{"tables": 2, "figures": 3, "page": 4, "scores": 4, "mt_bench": 5, "training": 1},
    **{"merging": 4, "fusion": 0, "logits": 1, "alignment": 2, "models": 3, "dialogues": 4},
    "world": 5,
}
STYLE = (
    "text{font:13px sans-serif;fill:#222}.layer{font-weight:600;fill:#555}"
    ".box{fill:#f3f6fa;stroke:#5b7da3}.common{fill:#f5f5f5;stroke:#999}"
    "path{fill:none;stroke:#7a8ca0;stroke-width:1.2}"
)


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    default = cli.ROOT / "docs" / "images" / "architecture.svg"
    parser.add_argument("--output", type=Path, default=default, help="the picture (.svg)")
    return parser


def reduced(imports: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The imports without those that follow from others, so that the picture can be read."""

    def reached(part: str) -> set[str]:
        return imports[part].union(*map(reached, imports[part]))

    return {
        part: {o for o in others if not any(o in reached(p) for p in others - {o})}
        for part, others in imports.items()
    }


def places(layers: Mapping[str, Sequence[str]]) -> dict[str, tuple[float, float]]:
    """The upper left corner of each box, the highest layer on top."""
    result = {}
    for row, parts in enumerate(reversed(layers.values())):
        taken = {COLUMNS[part] for part in parts if part in COLUMNS}
        free = (column for column in count() if column not in taken)
        for part in parts:
            column = COLUMNS[part] if part in COLUMNS else next(free)
            result[part] = (LEFT + ACROSS * column, TOP + DOWN * row)
    return result


def arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    """A curve from the lower edge of a box to the upper edge of one below, or to its neighbour."""
    (x, y), (u, v) = start, end
    if y == v:
        left, right = (x, u + WIDTH) if u < x else (x + WIDTH, u)
        middle, bend = y + HEIGHT / 2, y + (-18 if abs(u - x) > ACROSS else HEIGHT / 2)
        bend = middle if abs(u - x) <= ACROSS else bend
        return f"M{left},{middle}Q{(left + right) / 2},{bend} {right},{middle}"
    x, u, y = x + WIDTH / 2, u + WIDTH / 2, y + HEIGHT
    return f"M{x},{y}C{x},{y + 40} {u},{v - 40} {u},{v - 2}"


def picture(layers: Mapping[str, Sequence[str]], imports: Mapping[str, set[str]]) -> str:
    """The SVG."""
    place = places(layers)
    common = {part for name in EVERYWHERE for part in layers[name]}
    shown = {part: imports[part] - common for part in place}
    width = max(x for x, _ in place.values()) + ACROSS
    height = TOP + DOWN * len(layers)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">',
        f"<title>Layers of the package fusionchat</title><style>{STYLE}</style>",
        '<defs><marker id="tip" markerWidth="7" markerHeight="6" refX="6" refY="3" orient="auto">'
        '<path d="M0,0L6,3L0,6" /></marker></defs>',
    ]
    for part, others in sorted(reduced(shown).items()):
        for other in sorted(others):
            lines.append(f'<path d="{arrow(place[part], place[other])}" marker-end="url(#tip)"/>')
    for row, name in enumerate(reversed(layers)):
        y = TOP + DOWN * row + HEIGHT / 2 + 5
        note = ", for all" if name in EVERYWHERE else ""
        lines.append(f'<text class="layer" x="8" y="{y}">{escape(name)}{note}</text>')
    for part, (x, y) in place.items():
        kind = "common" if part in common else "box"
        lines.append(
            f'<rect class="{kind}" x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5"/>'
            f'<text x="{x + WIDTH / 2}" y="{y + HEIGHT / 2 + 5}" text-anchor="middle">{part}</text>'
        )
    return "\n".join([*lines, "</svg>"]) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the package that this program belongs to."""
    args = build_parser().parse_args(argv)
    from fusionchat.code_files import LAYERS, PACKAGE, part_imports
    from fusionchat.files import atomic_file

    text = picture(LAYERS, part_imports(Path(__file__).resolve().parent / PACKAGE))
    with atomic_file(args.output) as partial:
        partial.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)
