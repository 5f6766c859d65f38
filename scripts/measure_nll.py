"""Negative log-likelihood of a model on held-out dialogues, in nats a response token and byte."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--model", type=cli.existing_path, required=True, help="Hugging Face folder, safetensors"
    )
    parser.add_argument(
        "--dialogues", type=cli.existing_path, required=True, help="Parquet file of dialogues"
    )
    parser.add_argument("--template", default="openchat_3.5", help="FastChat conversation template")
    parser.add_argument(
        "--token-budget", type=cli.positive_int, default=8192, help="padded tokens of a batch"
    )
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--devices", type=cli.positive_int, default=1, help="devices that share the model"
    )
    parser.add_argument("--name", help="the model's name in the result (its folder's by default)")
    parser.add_argument("--output", type=Path, required=True, help="JSON file")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Load the model, score the dialogues, write the sums."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    if args.device == "cpu":
        cli.hide_gpus()
    import torch

    from fusionchat.dialogues import read_dialogues
    from fusionchat.files import write_json
    from fusionchat.logits import dump
    from fusionchat.models import loading as models

    torch.set_num_threads(args.threads)
    dialogues = read_dialogues(args.dialogues)
    tokenizer = models.load_tokenizer(args.model)
    model = models.load_causal_lm(args.model, args.dtype, args.device, args.devices)
    dump.check_vocabulary(model, tokenizer)
    settings = dump.Settings(args.template, args.token_budget, max_length=model.max_length)
    facts = dump.measure_nll(model, tokenizer, dialogues, settings)
    models.part_from_others()
    if facts["unusable"]:
        logging.warning("%d dialogues could not be scored", len(facts["unusable"]))
    if models.is_first_process():
        name = args.name or args.model.name
        write_json(args.output, {"model": name, "dialogues": args.dialogues.name, **facts})


if __name__ == "__main__":
    cli.run(main)
