"""Get the answers of one model that FastChat's authors published, at a locked revision."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.errors import UserError
from fusionchat.files import atomic_file
from fusionchat.mt_bench.fetching import download

BASE_URL = "https://huggingface.co/spaces/lmsys/mt-bench/resolve"


def build_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(__doc__)
    parser.add_argument("--model", required=True, help="FastChat's name, e.g. gpt-3.5-turbo")
    parser.add_argument("--revision", required=True, help="commit of 40 hexadecimal digits")
    parser.add_argument("--sha256", required=True, help="checksum that the file must have")
    parser.add_argument("--base-url", default=BASE_URL, help="what precedes the revision")
    parser.add_argument("--output", type=Path, required=True, help="answer records (.jsonl)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Download, check and write the answer file."""
    args = build_parser().parse_args(argv)
    if len(args.revision) != 40:
        raise UserError(f"--revision {args.revision}: is not a full commit")
    url = f"{args.base_url}/{args.revision}/data/mt_bench/model_answer/{args.model}.jsonl"
    data = download(url, args.sha256.lower())
    with atomic_file(args.output) as partial:
        partial.write_bytes(data)


if __name__ == "__main__":
    cli.run(main)
