"""The self-contained page: sections, embedded figures, and the frame around them."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from fusionchat.files import read_text
from fusionchat.page.assets import SCRIPT, STYLE
from fusionchat.page.run_facts import numbers_note, relative

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
PLAIN = " =:/'),;!*@$+-._~?"  # what an address inside a quoted attribute holds as it is; no url(
WIDE = 400  # points; figures wider than this scroll on a phone instead of shrinking
TITLES = {"nll": "held-out likelihood", "figure1": "granularities by turn"}  # where a name is none


@dataclass(frozen=True)
class Section:
    """A part of the page: its anchor, its heading and its HTML."""

    anchor: str
    title: str
    body: str


def caption(name: str, folder: Path) -> str:
    """The caption of a table or figure as one line of text; empty where there is none."""
    path = folder / f"{name}.rst"
    return " ".join(read_text(path).split()) if path.exists() else ""


def tables(paths: Sequence[Path], captions: Path, root: Path) -> str:
    """The tables with their captions and the csv file of their numbers."""
    parts = []
    for path in paths:
        parts.append(
            f'<section id="{html.escape(path.stem)}"><p>{html.escape(caption(path.stem, captions))}'
            f"</p>{read_text(path)}"
            f"{numbers_note([path.with_suffix('.csv')], root)}</section>"
        )
    return "".join(parts)


def figures(paths: Sequence[Path], captions: Path, root: Path) -> str:
    """The figures as embedded SVG; wide ones can be scrolled on a narrow screen."""
    parts = []
    for path in paths:
        text = caption(path.stem, captions)
        parts.append(figure(path, text, root, heading=True))
    return "".join(parts)


def sweeps(paths: Sequence[Path], captions: Path, root: Path) -> str:
    """Tables and figures of sweeps, each figure behind the table of its name."""
    parts = []
    for path in paths:
        if path.suffix == ".svg":
            parts.append(figure(path, caption("sweep", captions), root))
        else:
            note = numbers_note([path.with_suffix(".csv")], root)
            parts.append(read_text(path) + note)
    return "".join(parts)


def figure(path: Path, text: str, root: Path, *, heading: bool = False) -> str:
    """One figure; its alternative text is what the figure itself says is seen."""
    name = TITLES.get(path.stem, path.stem.replace("_", " "))
    seen = html.escape(description(path) or text or name, quote=True)
    data = quote(compact(read_text(path)), safe=PLAIN)  # shorter than base64
    width = figure_width(path)
    kind = "wide" if width > WIDE else "narrow"
    title = f"<h3>{html.escape(name[:1].upper() + name[1:])}</h3>" if heading else ""
    return (
        f'{title}<figure id="figure-{html.escape(path.stem)}" class="{kind}">'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(name)}">'
        f'<img alt="{seen}" width="{width:.0f}" height="{figure_height(path):.0f}" '
        f'src="data:image/svg+xml,{data}"></div><figcaption>{html.escape(text)} '
        f"<code>{html.escape(relative(path, root))}</code></figcaption></figure>"
    )


def picture(lines: str, path: Path, text: str, root: Path) -> str:
    """The first screen: lines of text beside one figure."""
    return f'<div class="first">{lines}{figure(path, text, root)}</div>'


def compact(svg: str) -> str:
    """An SVG without comments, metadata and space between tags, which the page has no use for."""
    bare = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    return re.sub(r"\s+", " ", bare).replace("> <", "><")


def description(path: Path) -> str:
    """What an SVG file says that it shows; empty where it says nothing."""
    with path.open(encoding="utf-8") as stream:
        match = re.search(r"<dc:description>(.*?)</dc:description>", stream.read(20_000), re.DOTALL)
    return html.unescape(match.group(1)).strip() if match else ""


def figure_width(path: Path) -> float:
    """Width of an SVG file in points."""
    return _size(path, "width")


def figure_height(path: Path) -> float:
    """Height of an SVG file in points."""
    return _size(path, "height")


def _size(path: Path, side: str) -> float:
    with path.open(encoding="utf-8") as stream:
        match = re.search(rf'<svg[^>]*\b{side}="([\d.]+)pt"', stream.read(4000))
    return float(match.group(1)) if match else 0.0


def document(name: str, benchmark: str, sections: Sequence[Section]) -> str:
    """The whole page; it loads nothing and needs no script to be read.

    `benchmark` says what was asked and who judged, for the heading.
    """
    shown = [section for section in sections if section.body]
    links = "".join(f'<a href="#{s.anchor}">{html.escape(s.title)}</a>' for s in shown)
    body = "".join(
        f'<section id="{s.anchor}"><h2>{html.escape(s.title)}</h2>{s.body}</section>' for s in shown
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>FusionChat: {html.escape(name)}</title><style>{STYLE}</style></head>"
        f"<body><header><h1>FusionChat: {html.escape(name)}</h1>"
        "<p>Knowledge Fusion of Chat LLMs (arXiv 2402.16107), reproduced with intervals. "
        f"{html.escape(benchmark)}</p>"
        f'<nav aria-label="Parts of this page">{links}</nav></header><main>{body}</main>'
        f"<script>{SCRIPT}</script></body></html>\n"
    )
