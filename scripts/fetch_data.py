"""Download one locked file of a data set or space; what was cut off goes on where it stopped."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--lock", type=cli.existing_path, required=True, help="JSON of lock_models")
    parser.add_argument("--name", required=True, help="entry of the lock")
    parser.add_argument("--output", type=Path, required=True, help="the file")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Download beside the output, compare the checksum, move into place."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    import shutil

    from fusionchat.errors import UserError
    from fusionchat.models import hub
    from fusionchat.output_folder import claim, hidden

    entry = hub.read_lock(args.lock, args.name)
    if len(entry["files"]) != 1:
        raise UserError(f"{args.lock}, {args.name}: {len(entry['files'])} files instead of one")
    folder = claim(hidden(args.output, "download"), "fetch_data")
    (path,) = hub.download(entry, folder)
    path.replace(args.output)
    shutil.rmtree(folder)


if __name__ == "__main__":
    cli.run(main)
