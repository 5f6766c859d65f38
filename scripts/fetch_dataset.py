"""Download a whole data set, locked; what was cut off goes on where it stopped."""

import argparse
from collections.abc import Sequence

from fusionchat import cli


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--lock", type=cli.existing_path, required=True, help="JSON of lock_models")
    parser.add_argument("--name", required=True, help="entry of the lock")
    parser.add_argument(
        "--output",
        type=cli.output_folder,
        required=True,
        help="folder; the data set is its folder `files`",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Download beside the output, compare checksums, write the manifest last."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    import shutil

    from fusionchat.files import write_manifest
    from fusionchat.models import hub
    from fusionchat.output_folder import claim, hidden, output_folder

    program = "fetch_dataset"
    entry = hub.read_lock(args.lock, args.name)
    with output_folder(args.output, program, [args.lock]) as folder:
        download = claim(hidden(args.output.resolve(), "download"), program)
        hub.download(entry, download)
        for file in entry["files"]:
            place = folder / "files" / file
            place.parent.mkdir(parents=True, exist_ok=True)
            (download / file).rename(place)
        write_manifest(folder, program, repo=entry["repo"], revision=entry["revision"])
    shutil.rmtree(download)


if __name__ == "__main__":
    cli.run(main)
