"""Tables of text cells, written as Markdown, LaTeX (booktabs) and HTML, and raw values as csv."""

import csv
import html
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fusionchat.files import atomic_file

LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "_": r"\_",
    "#": r"\#",
    "$": r"\$",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "−": "$-$",
    "±": "$\\pm$",
    "–": "--",
    "—": "---",
    "×": "$\\times$",
    "≤": "$\\leq$",
    "≥": "$\\geq$",
}

NUMBERED = re.compile(r"^Table \d+: ")  # LaTeX numbers its tables itself


@dataclass(frozen=True)
class Table:
    """A titled table: column titles, then rows of text cells gathered in named groups.

    The first `left` columns are aligned left, the others right. `notes` follow below.
    """

    title: str
    columns: Sequence[str]
    groups: Mapping[str, Sequence[Sequence[str]]]
    notes: Sequence[str] = ()
    left: int = 1

    def rows(self) -> list[Sequence[str]]:
        """All rows in order, without their groups."""
        return [row for rows in self.groups.values() for row in rows]


def fixed(value: float, digits: int = 2, signed: bool = False) -> str:
    """A number with a fixed number of decimals, halves away from zero as the paper prints them."""
    if value is None or not math.isfinite(value):
        return "–"
    scaled = math.floor(abs(value) * 10**digits + 0.5 + 1e-9) / 10**digits
    sign = "−" if value < 0 and scaled else "+" if signed and scaled else ""
    return f"{sign}{scaled:.{digits}f}"


def span(low: float, high: float, digits: int = 2, signed: bool = False) -> str:
    """An interval as text; where there is none, "no interval"."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "no interval"
    return f"{fixed(low, digits, signed)} to {fixed(high, digits, signed)}"


def first_section(text: str) -> str:
    """The first table of a Markdown file that `write_tables` made, with its notes."""
    return text.split("\n### ")[0].strip()


def markdown(table: Table) -> str:
    """GitHub's table syntax with aligned columns, so that it also reads well in a terminal."""
    lines = [_cells(table.columns)]
    for group, rows in table.groups.items():
        if group:
            lines.append([f"*{group}*"] + [""] * (len(table.columns) - 1))
        lines += [_cells(row) for row in rows]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(table.columns))]
    rule = [
        "-" * width if i < table.left else "-" * (width - 1) + ":" for i, width in enumerate(widths)
    ]
    padded = [
        [cell.ljust(w) if i < table.left else cell.rjust(w) for i, (cell, w) in enumerate(zipped)]
        for zipped in (list(zip(line, widths, strict=True)) for line in lines)
    ]
    text = ["| " + " | ".join(line) + " |" for line in (padded[0], rule, *padded[1:])]
    notes = "".join(f"\n{note}\n" for note in table.notes)
    return f"### {table.title}\n\n" + "\n".join(text) + "\n" + notes


def _cells(row: Sequence[str]) -> list[str]:
    return [cell.replace("|", "\\|") for cell in row]


def latex(table: Table, label: str) -> str:
    """A floating `table*`; the document needs the package booktabs."""
    spec = "l" * table.left + "r" * (len(table.columns) - table.left)
    lines = [_latex_line(table.columns), r"\midrule"]
    for number, (group, rows) in enumerate(table.groups.items()):
        if number:
            lines.append(r"\midrule")
        if group:
            lines.append(rf"\multicolumn{{{len(spec)}}}{{l}}{{\textit{{{escape(group)}}}}} \\")
        lines += [_latex_line(row) for row in rows]
    notes = " ".join(escape(note) for note in table.notes)
    return "\n".join(
        [
            r"\begin{table*}[t]",
            rf"\centering\{_size(len(spec))}\setlength{{\tabcolsep}}{{3.5pt}}",
            rf"\caption{{{escape(NUMBERED.sub('', table.title))}. {notes}}}",
            rf"\label{{{label}}}\par\smallskip",
            rf"\begin{{tabular}}{{{spec}}}",
            r"\toprule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table*}",
            "",
        ]
    )


def _size(columns: int) -> str:
    """A type size at which so many columns fit a page."""
    return "small" if columns <= 7 else "footnotesize" if columns <= 12 else "scriptsize"


def _latex_line(row: Sequence[str]) -> str:
    return " & ".join(escape(cell) for cell in row) + r" \\"


def escape(text: str) -> str:
    """Text that LaTeX sets as it stands."""
    return "".join(LATEX_SPECIAL.get(letter, letter) for letter in str(text))


def html_table(table: Table) -> str:
    """A `<table>` with caption, row headers and group rows; no style of its own."""
    head = "".join(
        f'<th scope="col"{_text_class(table, i)}>{html.escape(title)}</th>'
        for i, title in enumerate(table.columns)
    )
    body = []
    for group, rows in table.groups.items():
        if group:
            body.append(
                f'<tr class="group"><th scope="rowgroup" colspan="{len(table.columns)}">'
                f"{html.escape(group)}</th></tr>"
            )
        body += [_html_row(table, row) for row in rows]
    notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in table.notes)
    title = html.escape(table.title)
    return (
        f'<div class="table" tabindex="0" role="region" aria-label="{title}">'
        f"<table><caption><span>{title}</span></caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>{notes}\n"
    )


def _text_class(table: Table, column: int) -> str:
    return ' class="text"' if column < table.left else ""


def _html_row(table: Table, row: Sequence[str]) -> str:
    cells = []
    for i, cell in enumerate(row):
        text = html.escape(cell)
        kind = _text_class(table, i)
        cells.append(f"<td{kind}>{text}</td>" if i else f'<th scope="row">{text}</th>')
    return "<tr>" + "".join(cells) + "</tr>"


def write_tables(
    prefix: Path, tables: Sequence[Table], records: Sequence[Mapping[str, object]]
) -> None:
    """Write PREFIX.md, .tex and .html of the tables and PREFIX.csv of the raw records."""
    label = prefix.name
    texts = {
        ".md": "\n".join(markdown(table) for table in tables),
        ".tex": "% \\usepackage{booktabs}\n"
        + "\n".join(latex(t, f"tab:{label}-{i}") for i, t in enumerate(tables, 1)),
        ".html": "".join(html_table(table) for table in tables),
    }
    for suffix, text in texts.items():
        with atomic_file(f"{prefix}{suffix}") as partial:
            partial.write_text(text, encoding="utf-8")
    write_csv(Path(f"{prefix}.csv"), records)


def write_csv(
    path: Path, records: Sequence[Mapping[str, object]], columns: Sequence[str] = ()
) -> None:
    """Records as csv with full precision; without `columns`, all keys in order of appearance."""
    columns = columns or list(dict.fromkeys(key for record in records for key in record))
    with atomic_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        for record in records:
            writer.writerow({key: _raw(value) for key, value in record.items()})


def _raw(value: object) -> object:
    """Floats as their shortest exact text, NaN as an empty cell."""
    if isinstance(value, float):
        return repr(float(value)) if math.isfinite(value) else ""
    return value
