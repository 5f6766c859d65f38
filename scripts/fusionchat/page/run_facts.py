"""The page's facts about the run: config, versions, hardware, checksums, cost, files."""

import datetime
import html
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

from fusionchat.errors import UserError
from fusionchat.figures.alignment import kind_label
from fusionchat.figures.costs import duration
from fusionchat.files import read_json_object, sha256
from fusionchat.readers.csv import read_csv
from fusionchat.schema import Config
from fusionchat.scores.teachers import idle_note, read_shares
from fusionchat.tables.table import Table, fixed, html_table

DIGITS = 12
UNKNOWN = "–"
ALIGNMENT_FACTS = ("source", "listed_mass", "kept", "dialogues", "excluded")
PACKAGES = ("numpy", "scipy", "matplotlib", "pyarrow")


def relative(path: Path, root: Path) -> str:
    """A path as seen from the page's folder."""
    return os.path.relpath(path, root)


def numbers_note(paths: Sequence[Path], root: Path) -> str:
    """The files behind the numbers above; empty where there are none."""
    if not paths:
        return ""
    names = ", ".join(f"<code>{html.escape(relative(path, root))}</code>" for path in paths)
    return f'<p class="note">Numbers: {names}</p>'


def run_section(config: Config, text: str, manifests: Sequence[Path], root: Path) -> str:
    """Config (`text`: as YAML), versions of the training packages, hardware, and checksums."""
    parts = [origin_table(config), _software_table(manifests), _model_table(manifests, root)]
    parts += [_rounding_table(manifests), _installed()]
    pre = f'<pre tabindex="0">{html.escape(text)}</pre>'
    parts.append(f"<details><summary>config</summary>{pre}</details>")
    return "".join(part for part in parts if part)


def origin_table(config: Config) -> str:
    """Commit of the package, date of the page, and the seeds of the run's config, as HTML."""
    lines = [["package", f"fusionchat {version('fusionchat')}"]]
    lines += [["commit", commit()], ["date of this page", datetime.date.today().isoformat()]]
    lines += [[name, str(value)] for name, value in seeds(config)]
    return html_table(Table("Origin", ["what", "value"], {"": lines}, left=2))


def made_by(page: Path) -> tuple[str, str]:
    """The commit and the date that a page names, or a `UserError`."""
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    cells = dict(re.findall(r"(commit|date of this page)</th><td[^>]*>([^<]+)</td>", text))
    if len(cells) < 2:
        raise UserError(f"{page} names no commit and date; make it with `snakemake report`")
    return cells["commit"], cells["date of this page"]


def commit() -> str:
    """The commit of the clone that made the page, `+` where files differ from it."""
    folder = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--abbrev=12", "--dirty=+"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown: not a git clone"
    return described.stdout.strip()


def seeds(settings: Any, place: str = "") -> list[tuple[str, object]]:
    """Every `seed` and `seeds` of a config with its place."""
    if not isinstance(settings, dict):
        return []
    listed: list[tuple[str, object]] = []
    for key, value in settings.items():
        where = f"{place}.{key}" if place else str(key)
        if key in ("seed", "seeds"):
            listed.append((where, value))
        else:
            listed += seeds(value, where)
    return listed


def _installed() -> str:
    """All installed packages with their versions, to unfold."""
    known = {d.metadata["Name"]: d.version for d in distributions() if d.metadata["Name"]}
    names = ", ".join(f"{name} {known[name]}" for name in sorted(known, key=str.lower))
    title = f"all {len(known)} installed packages"
    return f"<details><summary>{title}</summary><p>{html.escape(names)}</p></details>"


def teacher_section(winners: Path | None, root: Path) -> str:
    """How many dialogues each model teaches each target, from the csv of the winners figure."""
    if winners is None:
        return ""
    shares = read_shares(winners)
    lines = [[s.target, s.teacher, str(s.dialogues), fixed(100 * s.share, 1) + "%"] for s in shares]
    notes = ["The model with the lowest cross-entropy teaches the dialogue (MinCE)."]
    if note := idle_note(shares):
        notes.append(note)
    columns = ["target", "teacher", "dialogues", "share"]
    table = html_table(Table("Teachers of each target", columns, {"": lines}, notes, left=2))
    return table + numbers_note([winners], root)


def _software_table(manifests: Sequence[Path]) -> str:
    """Versions that the manifests name, all different ones, then those of this program."""
    by_package: dict[str, set[str]] = {}
    for path in manifests:
        for name, number in (read_json_object(path).get("versions") or {}).items():
            by_package.setdefault(name, set()).add(str(number))
    for name in PACKAGES:
        by_package.setdefault(name, {version(name)})
    lines = [[name, ", ".join(sorted(numbers))] for name, numbers in sorted(by_package.items())]
    machine = f"{platform.machine()}, {os.cpu_count()} CPU cores, {platform.system()}"
    lines += [["Python", platform.python_version()], ["machine of this page", machine]]
    return html_table(Table("Software and hardware", ["what", "version"], {"": lines}, left=2))


def _model_table(manifests: Sequence[Path], root: Path) -> str:
    if not manifests:
        return ""
    lines = []
    for path in manifests:
        facts = read_json_object(path)
        weights = _weights(facts)
        lines.append(
            [path.parent.name, relative(path, root), weights, facts.get("hardware", UNKNOWN)]
        )
    notes = [f"Checksums: first {DIGITS} digits of the sha256 of the weights file(s)."]
    columns = ["model", "manifest", "weights", "made on"]
    return html_table(Table("Checkpoints", columns, {"": lines}, notes, left=4))


def _rounding_table(manifests: Sequence[Path]) -> str:
    """What rounding took of each merge's change against the pivot."""
    facts = {path.parent.name: read_json_object(path).get("rounding") for path in manifests}
    lines = [
        [
            name,
            rounding["dtype"],
            *(fixed(100 * rounding["lost"][key], 1) + "%" for key in ("norm", "elements")),
        ]
        for name, rounding in facts.items()
        if rounding
    ]
    if not lines:
        return ""
    notes = [
        "Norm of the rounding error over that of the change against the pivot, and the share of "
        "the changed elements that are the pivot's again. Above 5% a merge is another model than "
        "its method says."
    ]
    columns = ["merge", "type", "change lost", "elements lost"]
    return html_table(Table("Rounding of the merged weights", columns, {"": lines}, notes, left=2))


def _weights(facts: dict[str, Any]) -> str:
    files = facts.get("files") or {}
    sums = [value for name, value in sorted(files.items()) if name.endswith(".safetensors")]
    return ", ".join(str(value)[:DIGITS] for value in sums) or UNKNOWN


def _quality(record: dict[str, str]) -> tuple[list[str], list[str]]:
    """The kinds of alignment, and a line of the table."""
    kinds = [name for name in record if name not in ALIGNMENT_FACTS]
    line = [
        record["source"],
        *(fixed(100 * float(record[kind]), 1) + "%" for kind in kinds),
        fixed(float(record["listed_mass"]), 3),
        fixed(100 * float(record["kept"]), 1) + "%",
        record["dialogues"],
        record["excluded"],
    ]
    return kinds, line


def alignment_section(quality: Path | None, root: Path) -> str:
    """Shares of the kinds of alignment and the mass kept, from the csv of the alignment figure."""
    if quality is None:
        return ""
    records = read_csv(quality, _quality, "the csv of the alignment figure")
    kinds, lines = records[0][0], [line for _, line in records]
    notes = [
        "Kinds: the pivot's response tokens, source tokens to pivot tokens. Top-k mass: mean "
        "probability that the source's stored entries hold. Kept: the share of it that reached the "
        "pivot's vocabulary. Excluded: dialogues that the source could not score."
    ]
    columns = ["source", *map(kind_label, kinds), "top-k mass", "kept", "dialogues", "excluded"]
    table = html_table(Table("Alignment with the pivot", columns, {"": lines}, notes))
    return table + numbers_note([quality], root)


def cost_section(costs: Path | None, root: Path) -> str:
    """Time and memory of each rule, from the csv of the costs figure."""
    if costs is None:
        return ""
    records = read_csv(costs, _cost, "the csv of the costs figure")
    lines, total = [line for _, line in records], sum(seconds for seconds, _ in records)
    notes = [
        f"All jobs one after another: {duration(total)}. CPU time and memory are sampled, twice a "
        "second at first and every 30 s later: a job's last seconds are not in its CPU time, and "
        "both are too low for jobs of about a second."
    ]
    columns = ["rule", "jobs", "wall time", "CPU time", "largest memory"]
    table = html_table(Table("Cost of each rule", columns, {"": lines}, notes))
    return table + numbers_note([costs], root)


def _cost(record: dict[str, str]) -> tuple[float, list[str]]:
    """Seconds, and a line of the table."""
    seconds, cpu = float(record["seconds"]), float(record["cpu_seconds"])
    memory = fixed(float(record["peak_mb"]) / 1024) + " GiB"
    return seconds, [record["rule"], record["jobs"], duration(seconds), duration(cpu), memory]


def file_section(paths: Sequence[Path], root: Path) -> str:
    """Each file that the page was made from, with size and checksum."""
    lines = [
        [relative(path, root), f"{path.stat().st_size:,}", sha256(path)[:DIGITS]]
        for path in dict.fromkeys(paths)
    ]
    columns = ["file", "bytes", "sha256"]
    table = Table("Files, from the folder of this page", columns, {"": lines})
    return f"<details><summary>{len(lines)} files</summary>{html_table(table)}</details>"
