"""Train one source model of the scale model from scratch and save it as a Hugging Face folder."""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.dialogues.dialogue import Dialogue
from fusionchat.dialogues.formats import parse_conversations
from fusionchat.errors import UserError
from fusionchat.files import read_json, read_text, sha256, write_manifest
from fusionchat.output_folder import output_folder
from fusionchat.schema import default

PROGRAM = "pretrain_source"
SHAPE = ("architecture", "tokenizer", "end_of_turn", "vocabulary", "hidden_size", "layers", "heads")
SHAPE += ("kv_heads", "intermediate_size", "experts", "dtype")
TRAINING = ("steps", "batch_size", "learning_rate", "seed")


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    add = parser.add_argument
    add("--dialogues", type=cli.existing_path, required=True, help="JSON of make_pretraining")
    add("--text", type=cli.existing_path, required=True, help="lines to train the tokenizer on")
    cli.add_settings(parser, "models.*.pretrain", *SHAPE, *TRAINING)
    add("--template", default=default("template"), help="FastChat conversation template")
    add("--output", type=cli.output_folder, required=True, help="folder of the model")
    return parser


def read_released(path: Path) -> list[Dialogue]:
    """Dialogues of a JSON file in FuseChat-Mixture's form."""
    try:
        return [
            Dialogue(record["id"], parse_conversations(record["conversations"]).turns)
            for record in read_json(path)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a list of dialogues: {error}") from error


def main(argv: Sequence[str] | None = None) -> None:
    """Train the tokenizer and the model; write the folder, its manifest last."""
    args = build_parser().parse_args(argv)
    if args.hidden_size % args.heads or args.heads % args.kv_heads:
        raise UserError("hidden_size must be a multiple of heads, and heads of kv_heads")
    if args.steps and args.dtype != "float32":
        raise UserError("--dtype: weights are trained in float32; other types need --steps 0")
    cli.limit_threads(args.threads)
    with output_folder(args.output, PROGRAM, [args.dialogues, args.text]) as folder:
        parameters = pretrain(args, folder)
        facts = {name: value for name, value in vars(args).items() if not isinstance(value, Path)}
        write_manifest(
            folder,
            PROGRAM,
            arguments=facts,
            parameters=parameters,
            inputs={"dialogues": sha256(args.dialogues), "text": sha256(args.text)},
        )


def pretrain(args: argparse.Namespace, folder: Path) -> int:
    """Write model, tokenizer and loss curve into `folder`; the number of parameters."""
    import torch

    from fusionchat.world.pretraining import Schedule, Shape, build_model, encode_all, train
    from fusionchat.world.tokenizer import train_tokenizer

    torch.set_num_threads(args.threads)
    lines = read_text(args.text).splitlines()
    tokenizer = train_tokenizer(lines, args.tokenizer, args.vocabulary, args.end_of_turn)
    names = ("hidden_size", "layers", "heads", "kv_heads", "intermediate_size", "experts")
    shape = Shape(**{name: getattr(args, name) for name in names})
    dtype = getattr(torch, args.dtype)
    model = build_model(args.architecture, shape, tokenizer, args.seed, dtype)
    dialogues = read_released(args.dialogues)
    if not dialogues:
        raise UserError(f"{args.dialogues} holds no dialogues to train on")
    rows = encode_all(tokenizer, dialogues, args.template)
    schedule = Schedule(args.steps, args.batch_size, args.learning_rate, args.seed)
    losses = train(model, rows, tokenizer.pad_token_id, schedule, folder) if args.steps else []
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with (folder / "loss.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("step", "loss"), *losses])
    return model.num_parameters()


if __name__ == "__main__":
    cli.run(main)
