"""The command line that the programs share that score dialogues; importing this costs nothing."""

import argparse
import os

from fusionchat import cli
from fusionchat.dialogues.options import add_rendering_options
from fusionchat.schema import default


def add_forward_options(parser: argparse.ArgumentParser, precision: str) -> None:
    """Add which model reads which dialogues, in what batches, and where.

    `precision` is the key of the configuration whose default the type of the weights has.
    """
    path = cli.existing_path
    add = parser.add_argument
    add("--model", type=path, required=True, help="Hugging Face folder, safetensors")
    add("--dialogues", type=path, required=True, help="Parquet file of dialogues")
    add(
        "--token-budget",
        type=cli.positive_int,
        default=default("logits.token_budget"),
        help="padded tokens of a batch",
    )
    add("--dtype", choices=["float32", "bfloat16"], default=default(precision))
    add("--device", choices=["cpu", "cuda"], default="cpu")
    add("--devices", type=cli.positive_int, default=1, help="devices that share the model")
    add_rendering_options(parser)


def start_torch(threads: int, device: str) -> None:
    """Give torch so many threads, and no GPU where it shall compute on the CPU.

    Call before anything else imports torch, whose parallelism takes the GPUs that it sees.
    """
    cli.limit_threads(threads)
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch

    torch.set_num_threads(threads)
