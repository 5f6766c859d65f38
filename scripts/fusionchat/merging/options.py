"""The options that the merging programs share; importing this costs nothing."""

import argparse
import math
import os
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.errors import UserError
from fusionchat.schema import default

DTYPES = ("targets", "pivot", "float32", "bfloat16", "float16")


def add_input_options(parser: argparse.ArgumentParser) -> None:
    """`--pivot`, `--target [NAME=]FOLDER` (repeatable), and what may differ between them."""
    parser.add_argument("--pivot", type=Path, required=True, help="folder of the pivot model")
    parser.add_argument(
        "--target",
        action="append",
        required=True,
        metavar="[NAME=]FOLDER",
        help="folder of a model fine-tuned from the pivot; repeat for each (default name: folder)",
    )
    parser.add_argument(
        "--allow-other-tokenizer",
        action="store_true",
        help="merge although a target's tokenizer differs from the pivot's",
    )
    parser.add_argument(
        "--allow-other-config",
        action="store_true",
        help="merge although a target's config (rotary embedding, norms, ...) differs",
    )
    parser.add_argument(
        "--tokenizer-from",
        metavar="NAME",
        help="the target whose tokenizer, template and end-of-turn tokens are taken "
        "(default: the pivot's)",
    )
    parser.add_argument(
        "--template-from", metavar="NAME", help="the target whose chat template is taken"
    )


def add_output_options(parser: argparse.ArgumentParser, program: str) -> None:
    """`--output`, `--dtype`, `--shard-size` and `--allow-equal`; `program` owns the output."""
    parser.set_defaults(program=program)
    parser.add_argument(
        "--output", type=cli.output_folder, required=True, help="folder of the merged model"
    )
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default="targets",
        help="type of the merged model; targets: the finest among them, so that nothing is lost",
    )
    parser.add_argument(
        "--shard-size", type=cli.positive_number, default=5.0, help="largest safetensors file in GB"
    )
    parser.add_argument(
        "--allow-equal",
        action=argparse.BooleanOptionalAction,
        default=default("merges.*.allow_equal"),
        help="accept a merged model that equals one of its inputs",
    )


def add_dry_run_option(parser: argparse.ArgumentParser) -> None:
    """`--dry-run`."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print sizes, memory, the loss by rounding and weights; write nothing",
    )


def named_folders(pairs: Sequence[str], option: str) -> dict[str, Path]:
    """`named`, with paths."""
    return {name: Path(value) for name, value in named(pairs, option).items()}


def share(text: str) -> float:
    """An argparse type: a number above 0 and up to 1."""
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not in (0, 1]")
    return value


def named(pairs: Sequence[str], option: str) -> dict[str, str]:
    """NAME=VALUE texts as a dictionary; a text without a name is named by its last path part."""
    result: dict[str, str] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or "/" in name:
            name, value = os.path.basename(os.path.abspath(pair)), pair
        if not (name and value):
            raise UserError(f"{option} {pair!r} has no name; write {option} NAME=VALUE")
        if name in result:
            raise UserError(f"{option} {pair}: {name} is there twice; write {option} NAME={value}")
        result[name] = value
    return result


def add_weight_option(parser: argparse.ArgumentParser) -> None:
    """`--weight NAME=NUMBER` (repeatable)."""
    parser.add_argument(
        "--weight",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="weight of a target; only the ratio counts, because weights are divided by their sum "
        "(without any, all targets have the weight 1)",
    )


def target_weights(options: Sequence[str], targets: Sequence[str]) -> dict[str, float]:
    """`--weight NAME=NUMBER` for all targets, or 1 for each where the option is not used."""
    if not options:
        return dict.fromkeys(targets, 1.0)
    by_target = named(options, "--weight")
    if set(by_target) != set(targets):
        raise UserError(
            f"--weight names {', '.join(sorted(by_target))}; give one for each target: "
            f"{', '.join(targets)}"
        )
    try:
        weights = {name: float(by_target[name]) for name in targets}
    except ValueError as error:
        raise UserError(f"--weight: {error}") from error
    total = sum(weights.values())
    if total == 0 or not math.isfinite(total):
        raise UserError(f"the --weight numbers sum to {total}; their ratio counts, give others")
    return weights
