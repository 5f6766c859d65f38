"""Write report.html: one page with the claims, the run, tables, figures and dialogues."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.figures.arguments import add_scores_arguments, chosen
from fusionchat.scores.claims import add_claims
from fusionchat.scores.rows import add_rows
from fusionchat.tables.arguments import add_judge_model, checked_baseline

GENERATED = "Generated questions, scored like MT-Bench"
FILES = {
    "tables": ".html tables, in order; .csv lies beside each",
    "figures": ".svg figures, in order",
    "sweeps": ".html tables and .svg figures of sweeps, in order",
    "answers": "answer records of the models",
    "judgments": "judgment records of the models",
    "nll": "files of measure_nll",
    "manifests": "manifest.json of models, targets, merges",
}
SINGLE = {
    "picture": ".svg figure of the first screen",
    "config": "the run's config",
    "alignment": "csv of the alignment figure",
    "winners": "csv of the winners figure",
    "costs": "csv of the costs",
}


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    parser.add_argument("--name", required=True, help="the run's name, for the title")
    add_scores_arguments(parser)
    add_judge_model(parser)
    add_rows(parser)
    add_claims(parser)
    parser.add_argument("--baseline", required=True, help="the row of the differences (CLM)")
    parser.add_argument("--main", required=True, help="the merge that the page is about (VaRM)")
    for name, text in FILES.items():
        parser.add_argument(f"--{name}", type=cli.existing_path, nargs="*", default=[], help=text)
    for name, text in SINGLE.items():
        parser.add_argument(f"--{name}", type=cli.existing_path, default=None, help=text)
    parser.add_argument("--captions", type=cli.existing_path, required=True, help="folder of .rst")
    parser.add_argument("--questions", type=cli.existing_path, required=True, help="questions file")
    parser.add_argument(
        "--generated", action="store_true", help="the questions are those of a generated world"
    )
    parser.add_argument("--show", nargs="+", required=True, help="models of the example dialogues")
    parser.add_argument(
        "--examples", type=cli.positive_int, default=3, help="example questions a category"
    )
    parser.add_argument("--output", type=Path, required=True, help="report.html")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Gather the parts and write the page."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.files import atomic_file
    from fusionchat.mt_bench.questions import read_questions
    from fusionchat.page import page, run_facts
    from fusionchat.page.dialogue_section import dialogue_section
    from fusionchat.scores.benchmark import read_benchmark
    from fusionchat.scores.claims import check_claims
    from fusionchat.scores.likelihood import read_likelihoods
    from fusionchat.tables import summary, views
    from fusionchat.tables.examples import Examples

    baseline = checked_baseline(args.rows, args.baseline)
    check_claims(args.claims, args.rows)
    (subject,) = chosen(args.rows, [args.main], "--main")
    found = views.find(
        read_benchmark(args.scores, args.judge), args.rows, baseline, args.judge_model
    )
    likelihoods = read_likelihoods(args.nll)
    examples = Examples(args.answers, args.judgments, found.benchmark.judge)
    shown = chosen(args.rows, args.show, "--show")
    root = args.output.parent
    numbers = [path.with_suffix(".csv") for path in args.tables]
    answer = summary.question(subject, baseline)
    lines = summary.claims(args.claims, found, likelihoods)
    if args.picture:
        text = page.caption(args.picture.stem, args.captions)
        lines = page.picture(lines, args.picture, text, root)
    answer += lines + summary.summary(found, subject, likelihoods)
    answer += run_facts.numbers_note(numbers[:1], root)
    dialogues = dialogue_section(read_questions(args.questions), shown, examples, args.examples)
    dialogues += run_facts.numbers_note([*args.answers, *args.judgments], root)
    singles = [getattr(args, name) for name in SINGLE]
    files = [args.scores, args.questions, *args.answers, *args.judgments, *args.nll, *numbers]
    files += [*args.tables, *args.figures, *args.sweeps, *args.manifests, *filter(None, singles)]
    sections = [
        page.Section("question", "What was asked, and the answer", answer),
        page.Section("tables", "Tables", page.tables(args.tables, args.captions, root)),
        page.Section("figures", "Figures", page.figures(args.figures, args.captions, root)),
        page.Section("sweeps", "Ablations", page.sweeps(args.sweeps, args.captions, root)),
        page.Section("dialogues", "Example dialogues", dialogues),
        page.Section("teachers", "Teachers", run_facts.teacher_section(args.winners, root)),
        page.Section("alignment", "Alignment", run_facts.alignment_section(args.alignment, root)),
        page.Section("run", "The run", run_facts.run_section(args.config, args.manifests, root)),
        page.Section("costs", "Time and memory", run_facts.cost_section(args.costs, root)),
        page.Section("files", "The file behind each number", run_facts.file_section(files, root)),
    ]
    asked = GENERATED if args.generated else "MT-Bench"
    heading = f"{asked}; judge: {views.judge_name(found)}."
    with atomic_file(args.output) as partial:
        partial.write_text(page.document(args.name, heading, sections), encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)
