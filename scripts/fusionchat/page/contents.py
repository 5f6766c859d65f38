"""What the page of a run shows: the files that it is made of, and their sections."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fusionchat.mt_bench.questions import Question, read_questions
from fusionchat.page import page, run_facts
from fusionchat.page.dialogue_section import dialogue_section
from fusionchat.page.page import Section
from fusionchat.schema import Config
from fusionchat.scores.benchmark import read_benchmark
from fusionchat.scores.claims import Claim
from fusionchat.scores.metric_files import read_metrics
from fusionchat.scores.metrics import Column
from fusionchat.scores.rows import Row, find_row
from fusionchat.tables import summary, views
from fusionchat.tables.examples import Examples


@dataclass(frozen=True)
class PageFiles:
    """The files of a run that its page shows; beside each of `tables` (.html) lies its .csv.

    `captions` is a folder of .rst; `picture` is the figure of the first screen; `alignment`,
    `winners` and `costs` are the csv files of those figures.
    """

    output: Path
    configfile: Sequence[Path]
    scores: Path
    questions: Path
    captions: Path
    answers: Sequence[Path] = ()
    judgments: Sequence[Path] = ()
    nll: Sequence[Path] = ()
    metrics: Sequence[Path] = ()
    tables: Sequence[Path] = ()
    figures: Sequence[Path] = ()
    sweeps: Sequence[Path] = ()
    manifests: Sequence[Path] = ()
    picture: Path | None = None
    alignment: Path | None = None
    winners: Path | None = None
    costs: Path | None = None

    @property
    def root(self) -> Path:
        """The page's folder, from which it names files."""
        return self.output.parent

    @property
    def numbers(self) -> list[Path]:
        """The csv of each table."""
        return [path.with_suffix(".csv") for path in self.tables]

    def behind_the_numbers(self) -> list[Path]:
        """Every file that the page shows something of."""
        measured = [*self.answers, *self.judgments, *self.nll, *self.metrics, *self.numbers]
        drawn = [*self.tables, *self.figures, *self.sweeps, *self.manifests]
        singles = filter(None, (self.picture, self.alignment, self.winners, self.costs))
        return [*self.configfile, self.scores, self.questions, *measured, *drawn, *singles]


@dataclass(frozen=True)
class Compared:
    """What a run compares, as its config says.

    `rows` are the models of its tables; `baseline`, `subject` (what the page is about) and `shown`
    (in the example dialogues) are names of theirs. `asked` says where the questions are from.
    """

    rows: Sequence[Row]
    baseline: str
    subject: str
    shown: Sequence[str]
    claims: Sequence[Claim]
    asked: str
    judge: str
    judge_model: str | None

    def row(self, name: str) -> Row:
        """The row of a model."""
        return find_row(self.rows, name, "config")


@dataclass(frozen=True)
class Results:
    """What was measured, and what it says."""

    findings: views.Findings
    columns: Sequence[Column]
    questions: Sequence[Question]
    examples: Examples


def read_results(compared: Compared, files: PageFiles) -> Results:
    """Read a run's results, and compute what its tables compare."""
    benchmark = read_benchmark(files.scores, compared.judge)
    baseline = compared.row(compared.baseline)
    questions = read_questions(files.questions)
    return Results(
        findings=views.find(benchmark, compared.rows, baseline, compared.judge_model),
        columns=[one for one in read_metrics(files.nll, files.metrics) if one.metric.unit],
        questions=questions,
        examples=Examples(questions, files.answers, files.judgments, benchmark.judge),
    )


def page_text(config: Config, text: str, compared: Compared, files: PageFiles, count: int) -> str:
    """The whole page of a run; `text` is its config as YAML, `count` the examples a category."""
    results = read_results(compared, files)
    captions, root, behind = files.captions, files.root, files.behind_the_numbers()
    sections = [
        Section("question", "What was asked, and the answer", _answer(compared, files, results)),
        Section("tables", "Tables", page.tables(files.tables, captions, root)),
        Section("figures", "Figures", page.figures(files.figures, captions, root)),
        Section("sweeps", "Ablations", page.sweeps(files.sweeps, captions, root)),
        Section("dialogues", "Example dialogues", _dialogues(compared, files, results, count)),
        Section("teachers", "Teachers", run_facts.teacher_section(files.winners, root)),
        Section("alignment", "Alignment", run_facts.alignment_section(files.alignment, root)),
        Section("run", "The run", run_facts.run_section(config, text, files.manifests, root)),
        Section("costs", "Time and memory", run_facts.cost_section(files.costs, root)),
        Section("files", "The file behind each number", run_facts.file_section(behind, root)),
    ]
    heading = f"{compared.asked}; judge: {views.judge_name(results.findings)}."
    return page.document(config["name"], heading, sections)


def _answer(compared: Compared, files: PageFiles, results: Results) -> str:
    """The question, its answer by claim beside the picture, and a summary in sentences."""
    findings, columns, subject = results.findings, results.columns, compared.row(compared.subject)
    lines = summary.claims(compared.claims, findings, columns)
    if files.picture:
        text = page.caption(files.picture.stem, files.captions)
        lines = page.picture(lines, files.picture, text, files.root)
    asked = summary.question(subject, findings.baseline)
    said = summary.summary(findings, subject, columns)
    return asked + lines + said + run_facts.numbers_note(files.numbers[:1], files.root)


def _dialogues(compared: Compared, files: PageFiles, results: Results, count: int) -> str:
    shown = [compared.row(name) for name in compared.shown]
    said = dialogue_section(results.questions, shown, results.examples, count)
    return said + run_facts.numbers_note([*files.answers, *files.judgments], files.root)
