"""Make a model folder of safetensors: from the hub, locked, or from a folder of one's own.

What was cut off goes on where it stopped. Pickled weights are converted, without running code.
"""

import argparse
from collections.abc import Sequence

from fusionchat import cli


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    origin = parser.add_mutually_exclusive_group(required=True)
    origin.add_argument("--lock", type=cli.existing_path, help="JSON of lock_models; needs --name")
    origin.add_argument(
        "--path", type=cli.existing_path, help="a folder with safetensors, linked, not copied"
    )
    parser.add_argument("--name", help="entry of the lock")
    parser.add_argument("--output", type=cli.output_folder, required=True, help="model folder")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Download or link, convert where needed, write the manifest last."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.lock and not args.name:
        parser.error("--lock needs --name")
    cli.limit_threads(args.threads)
    from fusionchat.models import model_folder

    if args.path:
        model_folder.from_path(args.path, args.output, "fetch_model")
    else:
        model_folder.from_lock(args.lock, args.name, args.output, "fetch_model")


if __name__ == "__main__":
    cli.run(main)
