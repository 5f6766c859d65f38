"""Choose, for every dialogue, the distribution that teaches a target: pivot or source."""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fusionchat import cli

if TYPE_CHECKING:
    import numpy as np

    from fusionchat.logits.store import DialogueLogits


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--pivot-logits", type=cli.existing_path, required=True, help="the pivot's logit store"
    )
    parser.add_argument("--pivot-name", default="pivot", help="the pivot's name in `winner`")
    parser.add_argument(
        "--source",
        type=cli.named_path,
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="a source's logit store in the pivot's vocabulary; may be given several times",
    )
    cli.add_settings(parser, "fusion", "function", "level")
    parser.add_argument("--top-k", type=cli.positive_int, help="keep so many entries of each row")
    parser.add_argument("--output", type=Path, required=True, help="Parquet file to write")
    return parser


Row = tuple["DialogueLogits", "np.ndarray | None"]


def read_source(path: Path) -> Iterator[Row]:
    """Rows of a transferred store, each with the sizes of its aligned spans, or None."""
    import numpy as np

    from fusionchat.logits.store import read_logits
    from fusionchat.readers.parquet import open_parquet, read_groups

    file = open_parquet(path, maker="transfer_logits")
    if "groups" not in file.schema_arrow.names:
        yield from ((row, None) for row in read_logits(path))
        return
    groups = (
        np.array(sizes, np.int32)
        for table in read_groups(file, path, ["groups"])
        for sizes in table["groups"].to_pylist()
    )
    yield from zip(read_logits(path), groups, strict=True)


def join(pivot: Path, sources: Sequence[tuple[str, Path]]) -> Iterator[list["Row | None"]]:
    """Rows of the pivot with the rows of each source, None where a source lacks the dialogue.

    Sources are in the pivot's vocabulary, keep its order and may leave dialogues out; anything
    else is a `UserError`.
    """
    import numpy as np

    from fusionchat.errors import UserError
    from fusionchat.logits.store import read_logits, read_provenance

    vocabulary = read_provenance(pivot).get("vocabulary")
    for name, path in sources:
        if read_provenance(path).get("vocabulary") != vocabulary:
            raise UserError(
                f"{path}: the distributions of {name} are in another vocabulary than {pivot}; "
                "transfer them to the pivot's first"
            )
    streams = [read_source(path) for _, path in sources]
    waiting = [next(stream, None) for stream in streams]
    for row in read_logits(pivot):
        candidates: list[Row | None] = [(row, None)]
        for index, (name, path) in enumerate(sources):
            candidate = waiting[index]
            if candidate is None or candidate[0].dialogue_id != row.dialogue_id:
                candidates.append(None)
                continue
            if not np.array_equal(candidate[0].response_ids, row.response_ids):
                raise UserError(
                    f"{path}: dialogue {row.dialogue_id} of {name} is not at the pivot's response "
                    "tokens; transfer it to the pivot's vocabulary first"
                )
            candidates.append(candidate)
            waiting[index] = next(streams[index], None)
        yield candidates
    for (name, path), left in zip(sources, waiting, strict=True):
        if left is not None:
            raise UserError(
                f"{path}: dialogue {left[0].dialogue_id} of {name} is not in {pivot} or comes in "
                "another order; both must be made from the same shard"
            )


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and write the fused store."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    import logging

    import pyarrow as pa

    from fusionchat.errors import UserError
    from fusionchat.fusion.fuse import fuse_dialogue, narrowed
    from fusionchat.logits.imported import check_token_ce
    from fusionchat.logits.store import KNOWN, LogitWriter, count_dialogues, read_provenance
    from fusionchat.progress import progress

    names = [args.pivot_name, *(name for name, _ in args.source)]
    if len(set(names)) != len(names):
        raise UserError(f"--source: the names {names} must differ from each other")
    stores = [args.pivot_logits, *dict(args.source).values()]
    for path in stores if args.level == "token" else ():
        check_token_ce(path, "a fusion at level `token` needs")
    provenance = {
        "function": args.function,
        "level": args.level,
        "top_k": args.top_k,
        "candidates": names,
        "inputs": [read_provenance(path) for path in stores],
    }
    extra = {"winner": pa.string(), "ces": pa.list_(pa.float32()), KNOWN.name: KNOWN.type}
    winners: Counter[str] = Counter()
    with LogitWriter(args.output, provenance, extra=extra) as writer:
        dialogues = join(args.pivot_logits, args.source)
        total = count_dialogues(args.pivot_logits)
        for joined in progress(dialogues, total=total, desc="fuse", unit="dialogue"):
            rows, groups = zip(*(one or (None, None) for one in joined), strict=True)
            fused = fuse_dialogue(rows, args.function, args.level, groups)
            row = fused.row if args.top_k is None else narrowed(fused.row, args.top_k)
            writer.write(row, winner=names[fused.winner], ces=fused.ces.tolist())
            winners[names[fused.winner]] += 1
    logging.info("winners: %s", ", ".join(f"{name} {winners[name]}" for name in names))
    for name in names[1:]:
        if not winners[name]:
            logging.warning("%s teaches nothing here: it wins no dialogue of this shard", name)


if __name__ == "__main__":
    cli.run(main)
