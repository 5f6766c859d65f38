"""What was asked of Snakemake, whose own words for it name no remedy."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from fusionchat.checks.common import suggestion


def faults(words: Sequence[str], rules: Collection[str], results: str) -> Iterator[str]:
    """Faults of a command line of snakemake: names that no rule has, files of other runs, no cores.

    `words` are those behind the program's name, `results` is the folder of the run's results.
    """
    from snakemake.cli import get_argument_parser

    args, _ = get_argument_parser().parse_known_args(list(words))
    if isinstance(args.cores, int) and args.cores < 1:
        yield f"--cores: {args.cores} is neither a number of at least 1 nor all"
    for option in ("targets", "forcerun", "until", "omit_from"):
        for name in getattr(args, option) or ():
            path = Path(name)
            if name in rules or path.exists():
                continue
            if len(path.parts) == 1:
                known = f"; `snakemake --list` shows them{suggestion(name, rules)}"
                yield f"{name}: there is no rule or file of this name{known}"
            elif path.parts[0] == "results" and not path.is_relative_to(results):
                yield f"{name}: is no file of {results}; name its configuration behind --configfile"
