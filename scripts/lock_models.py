"""Resolve names of models and data sets on the hub to commits and checksums, once."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--model",
        type=reference,
        action="append",
        default=[],
        metavar="NAME=REPO[@REVISION]",
        help="a model; the newest revision where none is named",
    )
    parser.add_argument(
        "--data",
        type=reference,
        action="append",
        default=[],
        metavar="NAME=REPO[@REVISION]:FILE",
        help="one file of a data set",
    )
    parser.add_argument(
        "--dataset",
        type=reference,
        action="append",
        default=[],
        metavar="NAME=REPO[@REVISION]",
        help="a whole data set: its card and its files of data",
    )
    parser.add_argument(
        "--space",
        type=reference,
        action="append",
        default=[],
        metavar="NAME=REPO[@REVISION]:FILE",
        help="one file of a space",
    )
    parser.add_argument(
        "--remote-code",
        action="store_true",
        help="take the models' own code too, which is then run; needs the commit that you read",
    )
    parser.add_argument("--output", type=Path, required=True, help="JSON file: the lock")
    return parser


def reference(text: str) -> tuple[str, str, str | None, str | None]:
    """An argparse type: NAME=REPO[@REVISION][:FILE] in its four parts."""
    name, equals, rest = text.partition("=")
    rest, _, file = rest.partition(":")
    repo, _, revision = rest.partition("@")
    if not (name and equals and repo.count("/") == 1):
        raise argparse.ArgumentTypeError(f"{text} is not NAME=OWNER/REPO[@REVISION][:FILE]")
    return name, repo, revision or None, file or None


def commit(revision: str | None) -> bool:
    """Whether a revision is a full commit."""
    return re.fullmatch("[0-9a-f]{40}", revision or "") is not None


def main(argv: Sequence[str] | None = None) -> None:
    """Ask the hub, write the lock."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if not (args.model or args.data or args.dataset or args.space):
        parser.error("nothing to lock: name a --model, --data, --dataset or --space")
    if any(file is None for *_, file in args.data + args.space):
        parser.error("--data and --space need the name of a file")
    if args.remote_code and not all(commit(revision) for _, _, revision, _ in args.model):
        parser.error("--remote-code needs a commit of 40 hexadecimal digits for each model")
    cli.limit_threads(args.threads)
    from fusionchat.files import write_json
    from fusionchat.models import hub

    listed = (("model", args.model), ("dataset", args.data + args.dataset), ("space", args.space))
    entries = {
        name: hub.lock(repo, revision, kind, file, args.remote_code and kind == "model")
        for kind, references in listed
        for name, repo, revision, file in references
    }
    write_json(args.output, entries)


if __name__ == "__main__":
    cli.run(main)
