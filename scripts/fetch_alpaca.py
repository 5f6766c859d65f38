"""Get AlpacaEval's prompt, baseline outputs and difficulties, locked, and make its questions."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.alpaca_eval.data import FILES, QUESTIONS, question_records, read_gamed, read_outputs
from fusionchat.errors import UserError
from fusionchat.files import write_jsonl, write_manifest
from fusionchat.mt_bench import fetching
from fusionchat.output_folder import output_folder


def build_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--data", type=cli.existing_path, help=f"take {', '.join(FILES)} from this folder instead"
    )
    parser.add_argument("--output", type=cli.output_folder, required=True, help="folder")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Write the files, the questions and the manifest."""
    args = build_parser().parse_args(argv)
    inputs = [args.data] if args.data else []
    with output_folder(args.output, "fetch_alpaca", inputs) as folder:
        for name, (url, checksum) in FILES.items():
            data = read_local(args.data / name) if args.data else fetching.download(url, checksum)
            (folder / name).write_bytes(data)
        outputs = read_outputs(folder / "outputs.json")
        read_gamed(folder / "gamed.csv")
        write_jsonl(folder / QUESTIONS, question_records(outputs))
        origin = str(args.data) if args.data else {name: url for name, (url, _) in FILES.items()}
        write_manifest(folder, "fetch_alpaca", origin=origin)


def read_local(path: Path) -> bytes:
    """A file of the user's own folder."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"--data: {path}: {error.strerror}") from error


if __name__ == "__main__":
    cli.run(main)
