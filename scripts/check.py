"""Whether the files of a run's finished models are still those that their manifests list.

Reads 64 pieces of each file, so that it takes seconds whatever the models weigh.
"""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.errors import UserError
from fusionchat.files import MANIFEST
from fusionchat.models.finished import changes

KINDS = ("models", "targets", "merged")


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    parser.add_argument("--results", type=cli.existing_path, required=True, help="the run's folder")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Look at each model folder; one line a damaged file, and an error if there are any."""
    args = build_parser().parse_args(argv)
    manifests = [
        path for kind in KINDS for path in sorted(args.results.glob(f"{kind}/*/{MANIFEST}"))
    ]
    faults = [fault for path in manifests for fault in changes(path.parent, endings=("",))]
    for fault in faults[:-1]:
        print(fault)
    if faults:
        raise UserError(faults[-1])
    print(f"{len(manifests)} finished models below {args.results}: every file is as it was written")


if __name__ == "__main__":
    cli.run(main)
