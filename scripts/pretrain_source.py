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

PROGRAM = "pretrain_source"


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    add = parser.add_argument
    add("--dialogues", type=cli.existing_path, required=True, help="JSON of make_pretraining")
    add("--text", type=cli.existing_path, required=True, help="lines to train the tokenizer on")
    add("--architecture", choices=("mistral", "llama", "mixtral"), required=True)
    add("--tokenizer", choices=("metaspace", "byte_level"), required=True)
    add("--vocabulary", type=cli.positive_int, default=900, help="tokens without the end of turn")
    add("--end-of-turn", default="<|end_of_turn|>", help="the token that ends a turn (eos)")
    add("--template", default="openchat_3.5", help="FastChat conversation template")
    add("--steps", type=int, default=600, help="optimizer steps; 0 leaves the random weights")
    add("--batch-size", type=cli.positive_int, default=16, help="dialogues a step")
    add("--learning-rate", type=float, default=2e-3, help="maximum; cosine after 5%% warm-up")
    add("--hidden-size", type=cli.positive_int, default=128)
    add("--layers", type=cli.positive_int, default=4)
    add("--heads", type=cli.positive_int, default=4)
    add("--kv-heads", type=cli.positive_int, default=2, help="key and value heads")
    add("--intermediate-size", type=cli.positive_int, default=320, help="of an expert in Mixtral")
    add("--experts", type=cli.positive_int, default=4, help="of Mixtral; two see each token")
    add("--seed", type=int, default=1, help="of the weights and the order of dialogues")
    add("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the weights")
    add("--output", type=Path, required=True, help="folder of the model")
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
    rows = encode_all(tokenizer, read_released(args.dialogues), args.template)
    schedule = Schedule(args.steps, args.batch_size, args.learning_rate, args.seed)
    losses = train(model, rows, tokenizer.pad_token_id, schedule, folder) if args.steps else []
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with (folder / "loss.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("step", "loss"), *losses])
    return model.num_parameters()


if __name__ == "__main__":
    cli.run(main)
