"""Write report.html: one page with the claims, the run, tables, figures and dialogues."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.scores.rows import add_metrics

GENERATED = "Generated questions, scored like MT-Bench"
FILES = {
    "tables": ".html tables, in order; .csv lies beside each",
    "figures": ".svg figures, in order",
    "sweeps": ".html tables and .svg figures of sweeps, in order",
    "answers": "answer records of the models",
    "judgments": "judgment records of the models",
    "manifests": "manifest.json of models, targets, merges",
}
SINGLE = {
    "picture": ".svg figure of the first screen",
    "alignment": "csv of the alignment figure",
    "winners": "csv of the winners figure",
    "costs": "csv of the costs",
}


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    cli.add_config_options(parser)
    parser.add_argument("--scores", type=cli.existing_path, required=True, help="scores.parquet")
    add_metrics(parser)
    for name, text in FILES.items():
        parser.add_argument(f"--{name}", type=cli.existing_path, nargs="*", default=[], help=text)
    for name, text in SINGLE.items():
        parser.add_argument(f"--{name}", type=cli.existing_path, default=None, help=text)
    parser.add_argument("--captions", type=cli.existing_path, required=True, help="folder of .rst")
    parser.add_argument("--questions", type=cli.existing_path, required=True, help="questions file")
    parser.add_argument(
        "--examples", type=cli.positive_int, default=3, help="example questions a category"
    )
    parser.add_argument("--output", type=Path, required=True, help="report.html")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Gather the parts and write the page."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.command_words import claims, rows
    from fusionchat.config import config_text, read_config
    from fusionchat.experiment import Experiment
    from fusionchat.files import atomic_file
    from fusionchat.mt_bench.questions import read_questions
    from fusionchat.page import page, run_facts
    from fusionchat.page.dialogue_section import dialogue_section
    from fusionchat.scores.benchmark import read_benchmark
    from fusionchat.scores.claims import claim_argument
    from fusionchat.scores.metric_files import read_metrics
    from fusionchat.scores.rows import find_row, row_argument
    from fusionchat.tables import summary, views
    from fusionchat.tables.examples import Examples

    config = read_config(args.configfile, args.config)
    experiment = Experiment(config)
    models = [row_argument(text) for text in rows(experiment, experiment.rows)]
    claimed = [claim_argument(text) for text in claims(experiment)]
    baseline, subject, *shown = (
        find_row(models, name, "config")
        for name in (experiment.baseline, experiment.subject, *experiment.shown)
    )
    benchmark = read_benchmark(args.scores, experiment.judge)
    findings = views.find(benchmark, models, baseline, experiment.judge_model)
    columns = [one for one in read_metrics(args.nll, args.metrics) if one.metric.unit]
    questions = read_questions(args.questions)
    examples = Examples(questions, args.answers, args.judgments, benchmark.judge)
    root = args.output.parent
    numbers = [path.with_suffix(".csv") for path in args.tables]
    answer = summary.question(subject, baseline)
    lines = summary.claims(claimed, findings, columns)
    if args.picture:
        text = page.caption(args.picture.stem, args.captions)
        lines = page.picture(lines, args.picture, text, root)
    answer += lines + summary.summary(findings, subject, columns)
    answer += run_facts.numbers_note(numbers[:1], root)
    dialogues = dialogue_section(questions, shown, examples, args.examples)
    dialogues += run_facts.numbers_note([*args.answers, *args.judgments], root)
    singles = [getattr(args, name) for name in SINGLE]
    files = [
        *args.configfile,
        args.scores,
        args.questions,
        *args.answers,
        *args.judgments,
        *args.nll,
        *args.metrics,
        *numbers,
    ]
    files += [*args.tables, *args.figures, *args.sweeps, *args.manifests, *filter(None, singles)]
    run_section = run_facts.run_section(config, config_text(config), args.manifests, root)
    sections = [
        page.Section("question", "What was asked, and the answer", answer),
        page.Section("tables", "Tables", page.tables(args.tables, args.captions, root)),
        page.Section("figures", "Figures", page.figures(args.figures, args.captions, root)),
        page.Section("sweeps", "Ablations", page.sweeps(args.sweeps, args.captions, root)),
        page.Section("dialogues", "Example dialogues", dialogues),
        page.Section("teachers", "Teachers", run_facts.teacher_section(args.winners, root)),
        page.Section("alignment", "Alignment", run_facts.alignment_section(args.alignment, root)),
        page.Section("run", "The run", run_section),
        page.Section("costs", "Time and memory", run_facts.cost_section(args.costs, root)),
        page.Section("files", "The file behind each number", run_facts.file_section(files, root)),
    ]
    asked = GENERATED if experiment.generated else "MT-Bench"
    heading = f"{asked}; judge: {views.judge_name(findings)}."
    with atomic_file(args.output) as partial:
        partial.write_text(page.document(config["name"], heading, sections), encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)
