"""Get MT-Bench's questions, judge prompts and references, locked by commit and checksum."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.errors import UserError
from fusionchat.files import write_manifest
from fusionchat.mt_bench import fetching
from fusionchat.output_folder import output_folder


def build_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(__doc__)
    parser.add_argument("--output", type=cli.output_folder, required=True, help="folder")
    parser.add_argument("--base-url", default=fetching.BASE_URL, help="what precedes the commit")
    parser.add_argument("--commit", default=fetching.COMMIT, help="40 hexadecimal digits")
    parser.add_argument(
        "--questions", type=cli.existing_path, help="take the files from this folder instead"
    )
    parser.add_argument(
        "--references", type=cli.existing_path, help="corrected reference answers to use instead"
    )
    parser.add_argument(
        "--sha256",
        action="append",
        type=name_and_checksum,
        default=[],
        metavar="FILE=SHA256",
        help="checksum that a file must have; needed for another commit",
    )
    return parser


def name_and_checksum(text: str) -> tuple[str, str]:
    """An argparse type: question.jsonl=..., judge_prompts.jsonl=... or references.jsonl=..."""
    name, _, checksum = text.partition("=")
    if name not in fetching.PATHS or len(checksum) != 64:
        raise argparse.ArgumentTypeError(
            f"{text} is not one of {', '.join(fetching.PATHS)} with 64 hexadecimal digits"
        )
    return name, checksum.lower()


def main(argv: Sequence[str] | None = None) -> None:
    """Write question.jsonl, judge_prompts.jsonl, references.jsonl and the manifest."""
    args = build_parser().parse_args(argv)
    locked = locked_checksums(args)
    inputs = [path for path in (args.questions, args.references) if path]
    with output_folder(args.output, "fetch_questions", inputs) as folder:
        for name in fetching.PATHS:
            (folder / name).write_bytes(content(args, name, locked.get(name)))
        origin = str(args.questions) if args.questions else f"{args.base_url}/{args.commit}"
        references = str(args.references) if args.references else "as published"
        facts = {"origin": origin, "references": references, "locked": locked}
        write_manifest(folder, "fetch_questions", **facts)


def locked_checksums(args: argparse.Namespace) -> dict[str, str]:
    """The checksums to hold the files to: given ones, and the known ones of the known commit."""
    given = dict(args.sha256)
    if args.questions:
        return given
    if len(args.commit) != 40:
        raise UserError(f"--commit {args.commit}: is not a full commit of 40 hexadecimal digits")
    known = fetching.CHECKSUMS if args.commit == fetching.COMMIT else {}
    locked = {**known, **given}
    needed = set(fetching.PATHS) - ({"references.jsonl"} if args.references else set())
    if absent := sorted(needed - set(locked)):
        raise UserError(f"--sha256: commit {args.commit} needs checksums of {', '.join(absent)}")
    if args.references and "references.jsonl" not in given:
        locked.pop("references.jsonl", None)
    return locked


def content(args: argparse.Namespace, name: str, checksum: str | None) -> bytes:
    """One file's content, from where the options say, checked."""
    if name == "references.jsonl" and args.references:
        data, where = args.references.read_bytes(), str(args.references)
    elif args.questions:
        data, where = fetching.read_local(args.questions, name), f"{args.questions}/{name}"
    else:
        return fetching.download(fetching.address(name, args.base_url, args.commit), checksum)
    fetching.check(data, checksum, where)
    return data


if __name__ == "__main__":
    cli.run(main)
