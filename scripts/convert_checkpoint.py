"""Turn a checkpoint of pickled .bin files into safetensors, without running its code."""

import argparse
from collections.abc import Sequence

from fusionchat import cli


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--checkpoint", type=cli.existing_path, required=True, help="folder of pytorch_model*.bin"
    )
    parser.add_argument(
        "--checksums",
        type=cli.existing_path,
        required=True,
        help="a manifest.json, or the output of sha256sum; no file is read without",
    )
    parser.add_argument("--output", type=cli.output_folder, required=True, help="model folder")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Check, convert, write the manifest last."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.models import model_folder
    from fusionchat.models.pickled import read_checksums

    checksums = read_checksums(args.checksums, args.checkpoint)
    model_folder.from_pickles(args.checkpoint, checksums, args.output, "convert_checkpoint")


if __name__ == "__main__":
    cli.run(main)
