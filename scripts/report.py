"""Write report.html: one page with the question, the run, tables, figures and dialogues."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.figures.arguments import add_scores_arguments, chosen
from fusionchat.scores.rows import add_rows
from fusionchat.tables.arguments import add_judge_model, checked_baseline


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    parser.add_argument("--name", required=True, help="the run's name, for the title")
    add_scores_arguments(parser)
    add_judge_model(parser)
    add_rows(parser)
    parser.add_argument("--baseline", required=True, help="the row of the differences (CLM)")
    parser.add_argument("--main", required=True, help="the merge that the page is about (VaRM)")
    files = {"type": cli.existing_path, "nargs": "+", "default": []}
    parser.add_argument("--tables", **files, help=".html tables, in order; .csv lies beside each")
    parser.add_argument("--figures", **files, help=".svg figures, in order")
    parser.add_argument("--captions", type=cli.existing_path, required=True, help="folder of .rst")
    parser.add_argument("--questions", type=cli.existing_path, required=True, help="questions file")
    parser.add_argument("--answers", **files, help="answer records of the models")
    parser.add_argument("--judgments", **files, help="judgment records of the models")
    parser.add_argument("--nll", **files, help="files of measure_nll")
    parser.add_argument("--show", nargs="+", required=True, help="models of the example dialogues")
    parser.add_argument(
        "--examples", type=cli.positive_int, default=3, help="example questions a category"
    )
    parser.add_argument("--manifests", **files, help="manifest.json of models, targets, merges")
    parser.add_argument("--config", type=cli.existing_path, default=None, help="the run's config")
    parser.add_argument(
        "--alignment", type=cli.existing_path, default=None, help="csv of the alignment figure"
    )
    parser.add_argument("--costs", type=cli.existing_path, default=None, help="csv of the costs")
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
    from fusionchat.scores.likelihood import read_likelihoods
    from fusionchat.tables import summary, views
    from fusionchat.tables.examples import Examples

    baseline = checked_baseline(args.rows, args.baseline)
    (subject,) = chosen(args.rows, [args.main], "--main")
    benchmark = read_benchmark(args.scores, args.judge)
    found = views.find(benchmark, args.rows, baseline, args.judge_model)
    examples = Examples(args.answers, args.judgments, found.benchmark.judge)
    shown = chosen(args.rows, args.show, "--show")
    root = args.output.parent
    numbers = [path.with_suffix(".csv") for path in args.tables]
    answer = summary.summary(found, subject, read_likelihoods(args.nll))
    answer += run_facts.numbers_note(numbers[:1], root)
    files = [args.scores, args.questions, *args.answers, *args.judgments, *args.nll, *numbers]
    files += [*args.tables, *args.figures, *args.manifests]
    files += [path for path in (args.alignment, args.costs, args.config) if path]
    sections = [
        page.Section("question", "What was asked, and the answer", answer),
        page.Section("tables", "Tables", page.tables(args.tables, args.captions, root)),
        page.Section("figures", "Figures", page.figures(args.figures, args.captions, root)),
        page.Section(
            "dialogues",
            "Example dialogues",
            dialogue_section(read_questions(args.questions), shown, examples, args.examples)
            + run_facts.numbers_note([*args.answers, *args.judgments], root),
        ),
        page.Section("alignment", "Alignment", run_facts.alignment_section(args.alignment, root)),
        page.Section("run", "The run", run_facts.run_section(args.config, args.manifests, root)),
        page.Section("costs", "Time and memory", run_facts.cost_section(args.costs, root)),
        page.Section(
            "files",
            "The file behind each number",
            run_facts.file_section(files, root),
        ),
    ]
    with atomic_file(args.output) as partial:
        partial.write_text(page.document(args.name, sections), encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)
