"""The tables of scores: Table 1 and Table 2 with their intervals, comparisons and verdicts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from fusionchat.scores import verdicts
from fusionchat.scores.benchmark import Benchmark, short_name
from fusionchat.scores.comparisons import (
    Comparison,
    Score,
    best,
    compare,
    score,
    score_models,
)
from fusionchat.scores.metrics import Column, Metric
from fusionchat.scores.paper import PaperTable
from fusionchat.scores.rows import Row, find_row
from fusionchat.tables.table import Table, fixed, span

AVERAGE = "average"
FEWEST = 2  # seeds; their variance has a single degree of freedom


@dataclass(frozen=True)
class Findings:
    """Everything that a table of scores shows, computed once.

    `judge_model` is the model behind the judge, by which the paper's judge is recognised.
    """

    benchmark: Benchmark
    judge_model: str
    rows: Sequence[Row]
    baseline: Row
    scores: dict[str, dict[str, Score]]
    against_baseline: dict[str, Comparison]
    best_target: Row | None = None
    against_best: dict[str, Comparison] = field(default_factory=dict)

    def label(self, name: str) -> str:
        """The label of a row by its name."""
        return find_row(self.rows, name, "--null").label


def find(
    benchmark: Benchmark, rows: Sequence[Row], baseline: Row, judge_model: str | None = None
) -> Findings:
    """Scores of all rows, each trained or merged row against the baseline, merges against the best.

    The families of Holm's correction: all Target and Fused rows against the baseline; all Fused
    rows against the best Target.
    """
    groups = ("Target", "Fused")
    tuned = [row.name for row in rows if row.group in groups and row.name != baseline.name]
    targets = [row for row in rows if row.group == "Target" and row.name != baseline.name]
    merged = [row.name for row in rows if row.group == "Fused"]
    findings = Findings(
        benchmark,
        judge_model or benchmark.judge,
        rows,
        baseline,
        score_models(benchmark, [row.name for row in rows]),
        compare(benchmark.column, tuned, baseline.name),
    )
    if not targets:
        return findings
    top = best(benchmark, [row.name for row in targets])
    return Findings(
        **{
            **vars(findings),
            "best_target": next(row for row in targets if row.name == top),
            "against_best": compare(benchmark.column, merged, top),
        }
    )


def grouped(rows: Sequence[Row], cells: dict[str, list[str]]) -> dict[str, list[list[str]]]:
    """Rows of cells under their groups, in row order; rows without cells are left out."""
    groups: dict[str, list[list[str]]] = {}
    for row in rows:
        if row.name in cells:
            groups.setdefault(row.group, []).append([row.label, *cells[row.name]])
    return groups


def percent(score: float, reference: float) -> float:
    """Relative change in percent, as under each cell of the paper's Table 1."""
    return 100 * (score - reference) / reference if reference else float("nan")


def score_table(
    findings: Findings, title: str, columns: Sequence[Column], notes: Sequence[str] = ()
) -> Table:
    """Category scores, Average with interval, percent against the baseline, other metrics.

    `notes` stand behind those on the scores themselves.
    """
    categories = findings.benchmark.categories
    cells = {}
    for row in findings.rows:
        ratings = findings.scores[row.name]
        total = ratings[AVERAGE]
        change = percent(total.mean, findings.scores[findings.baseline.name][AVERAGE].mean)
        cells[row.name] = [
            *(fixed(ratings[category].mean) for category in categories),
            fixed(total.mean),
            span(total.low, total.high),
            "–" if row in (findings.baseline,) else fixed(change, signed=True) + "%",
            *(metric_cell(column, row.name) for column in columns),
        ]
    heads = [
        "Model",
        *(short_name(category) for category in categories),
        "Avg",
        "95% interval",
        "vs " + short_label(findings.baseline.label),
        *(column.metric.label for column in columns),
    ]
    return Table(title, heads, grouped(findings.rows, cells), [*score_notes(findings), *notes])


def shown(metric: Metric, value: float, *, signed: bool = False) -> str:
    """A metric's value on the scale and with the decimals of its tables."""
    return fixed(metric.scale * value, metric.digits, signed)


def shown_span(metric: Metric, low: float, high: float, *, signed: bool = False) -> str:
    """An interval likewise."""
    return span(metric.scale * low, metric.scale * high, metric.digits, signed)


def short_label(label: str) -> str:
    """A label's last word, "CLM" of "OpenChat-3.5-7B CLM"; "SOLAR, default" stays as it is."""
    return label if "," in label else label.split()[-1]


def metric_cell(column: Column, name: str) -> str:
    """A model's score by a metric; a dash without values."""
    return shown(column.metric, score(column, name).mean)


def score_notes(findings: Findings) -> list[str]:
    """What the reader must know about the scores: judge, questions, repeats, missing ones."""
    benchmark = findings.benchmark
    shape = benchmark.all_scores(findings.baseline.name).shape
    missing = {row.label: benchmark.missing(row.name) for row in findings.rows}
    lacking = [f"{label} {count}" for label, count in missing.items() if count]
    return [
        f"Judge: {judge_name(findings)}. {_questions_of_turns(benchmark)}; answers to each: "
        f"{shape[3]}; judgments of each: {shape[4]}. "
        f"Missing scores: {', '.join(lacking) or 'none'}.",
        "Intervals: 95%, studentised bootstrap over questions within their category. "
        + seed_statement(findings),
    ]


def _questions_of_turns(benchmark: Benchmark) -> str:
    """How many questions there are of each length: `70 questions of 2 turns and 10 of 1 turn`."""
    counts = Counter(benchmark.asked.sum(axis=1).tolist())
    parts = [f"{counts[n]} of {n} turn{'s' * (n > 1)}" for n in sorted(counts, reverse=True)]
    return " and ".join(parts).replace(" of", " questions of", 1)


def seed_statement(findings: Findings) -> str:
    """For what the intervals hold: for training with other seeds, or for these checkpoints."""
    seeds = {row.label: len(findings.benchmark.seeds[row.name]) for row in findings.rows}
    several = {label: count for label, count in seeds.items() if count > 1}
    if not several:
        return "They hold for these checkpoints only; the variation of training is not in them."
    counts = sorted(set(several.values()))
    rows = "all rows" if len(several) == len(seeds) else ", ".join(several)
    text = f"Mean over {' or '.join(map(str, counts))} training seeds, whose variation is in the "
    text += f"intervals: {rows}."
    if len(several) < len(seeds):
        text += " Other intervals hold for the one checkpoint of their row."
    if counts[0] == FEWEST:
        text += " With two seeds, intervals cover 86% to 97%."
    return text


def judge_name(findings: Findings) -> str:
    """The judge's name in the run, and the model behind it where that is called otherwise."""
    name, model = findings.benchmark.judge, findings.judge_model
    return name if name == model else f"{name} ({model})"


def percent_table(findings: Findings) -> Table | None:
    """The second line of the cells of the paper's Table 1: change against the baseline."""
    if not findings.against_baseline:
        return None
    reference = findings.scores[findings.baseline.name]
    columns = (*findings.benchmark.categories, AVERAGE)
    cells = {
        name: [
            fixed(percent(findings.scores[name][c].mean, reference[c].mean), signed=True)
            for c in columns
        ]
        for name in findings.against_baseline
    }
    titles = ["Model", *(short_name(c) for c in findings.benchmark.categories), "Avg"]
    title = f"Relative change against {findings.baseline.label}, percent"
    return Table(title, titles, grouped(findings.rows, cells))


def comparison_table(findings: Findings) -> Table | None:
    """Paired differences from the baseline and from the best single target."""
    if not findings.against_baseline:
        return None
    cells = {}
    for name, comparison in findings.against_baseline.items():
        cells[name] = comparison_cells(comparison)
        if findings.best_target is not None:
            other = findings.against_best.get(name)
            cells[name] += comparison_cells(other) if other else ["–"] * 3
    columns = ["Model", f"− {short_label(findings.baseline.label)}", "95% interval", "p"]
    notes = [
        f"Paired by question{_and_seed(findings)}, Average column; intervals: 95%, t over "
        f"questions within their category{_and_seed(findings)}. p: Holm-corrected over the "
        f"{len(findings.against_baseline)} rows compared with {findings.baseline.label}"
    ]
    if findings.best_target is not None:
        columns += ["− best target", "95% interval", "p"]
        notes[0] += (
            f", and over the {len(findings.against_best)} merges compared with "
            f"{findings.best_target.label}, the best target on these very questions (which "
            "favours it)"
        )
    notes[0] += "."
    return Table("Paired comparisons", columns, grouped(findings.rows, cells), notes)


def _and_seed(findings: Findings) -> str:
    several = any(len(seeds) > 1 for seeds in findings.benchmark.seeds.values())
    return " and training seed" if several else ""


def comparison_cells(comparison: Comparison) -> list[str]:
    """Difference, interval and Holm-corrected p-value."""
    return [
        fixed(comparison.difference, signed=True),
        span(comparison.low, comparison.high, signed=True),
        p_value(comparison.p_holm),
    ]


def p_value(p: float) -> str:
    """Three decimals."""
    return "<0.001" if p < 0.001 else fixed(p, 3)


def paper_table(findings: Findings, paper: PaperTable, *, verdict: bool) -> Table | None:
    """Our differences from the baseline beside the paper's: verdicts, or only the signs.

    Verdicts are for runs of the paper's own models. The scale model is another experiment with
    another judge, so only the sign of each difference is put beside the paper's.
    """
    reference = paper.average(findings.baseline)
    cells = {}
    for row in findings.rows:
        expected = paper.average(row) - reference
        if paper.has(row) and verdict:
            cells[row.name] = _verdict_cells(findings, paper, row, expected)
        elif paper.has(row) and row.name in findings.against_baseline:
            cells[row.name] = _sign_cells(findings, row, expected)
    if not cells:
        return None
    base = short_label(findings.baseline.label)
    if verdict:
        columns = ["Model", "paper", "ours", "95% interval"]
        columns += [f"paper − {base}", f"ours − {base}", "95% interval", "verdict"]
        note = (
            f"agrees: our interval of the difference lies within ±{verdicts.TOLERANCE} of the "
            "paper's; differs: it lies outside; not resolvable: neither."
        )
        if findings.judge_model != paper.judge:
            note += f" Our judge is {findings.judge_model}."
    else:
        columns = ["Model", f"paper − {base}", "sign", f"ours − {base}", "95% interval", "sign"]
        note = (
            "Only signs are compared: other models, questions and judge. ? means not settled: the "
            f"Holm-corrected p is not below {verdicts.SIGNIFICANT}."
        )
    title = "Beside the paper" if verdict else "Signs beside the paper"
    notes = [f"{note} Paper: {paper.source}, judge {paper.judge}."]
    return Table(title, columns, grouped(findings.rows, cells), notes)


def _verdict_cells(findings: Findings, paper: PaperTable, row: Row, expected: float) -> list[str]:
    total = findings.scores[row.name][AVERAGE]
    start = [fixed(paper.average(row)), fixed(total.mean), span(total.low, total.high)]
    ours = findings.against_baseline.get(row.name)
    if ours is None:
        return [*start, "–", "–", "–", "–"]
    same = findings.judge_model == paper.judge
    word = verdicts.against_paper(ours.low, ours.high, expected, same_judge=same)
    return [*start, fixed(expected, signed=True), *comparison_cells(ours)[:2], word]


def _sign_cells(findings: Findings, row: Row, expected: float) -> list[str]:
    ours = findings.against_baseline[row.name]
    return [
        fixed(expected, signed=True),
        verdicts.plain_sign(expected),
        *comparison_cells(ours)[:2],
        verdicts.sign(ours.difference, ours.p_holm),
    ]


def score_records(findings: Findings, paper: PaperTable | None) -> list[dict[str, object]]:
    """One record a row with every number at full precision, for the csv file."""
    records = []
    for row in findings.rows:
        record: dict[str, object] = {"group": row.group, "model": row.name, "label": row.label}
        reference = findings.scores[findings.baseline.name]
        for name, one in findings.scores[row.name].items():
            record |= {name: one.mean, f"{name}_low": one.low, f"{name}_high": one.high}
            record[f"{name}_percent"] = percent(one.mean, reference[name].mean)
        record["seeds"] = len(findings.benchmark.seeds[row.name])
        record["missing_scores"] = findings.benchmark.missing(row.name)
        record |= comparison_record("difference", findings.against_baseline.get(row.name))
        record |= comparison_record("from_best_target", findings.against_best.get(row.name))
        if paper is not None:
            record["paper_average"] = paper.average(row)
        record["judge"] = findings.benchmark.judge
        records.append(record)
    return records


def comparison_record(prefix: str, comparison: Comparison | None) -> dict[str, object]:
    """A comparison's columns of the csv file."""
    if comparison is None:
        return {}
    values = vars(comparison)
    return {prefix if k == "difference" else f"{prefix}_{k}": v for k, v in values.items()}
