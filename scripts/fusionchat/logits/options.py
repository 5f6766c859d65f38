"""What the programs that score dialogues share: their command line, and the model they open."""

import argparse
from typing import TYPE_CHECKING, NamedTuple

from fusionchat import cli
from fusionchat.dialogues.options import add_rendering_options, rendering_options
from fusionchat.schema import default

if TYPE_CHECKING:
    from fusionchat.dialogues.dialogue import Dialogue
    from fusionchat.dialogues.renderer import Renderer
    from fusionchat.models.causal_lm import CausalLM


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


class Inputs(NamedTuple):
    """What the options name, opened."""

    dialogues: "list[Dialogue]"
    model: "CausalLM"
    renderer: "Renderer"


def open_inputs(args: argparse.Namespace) -> Inputs:
    """Read the dialogues, then load the model; the first to import torch in its process."""
    cli.limit_threads(args.threads)
    if args.device == "cpu":
        cli.hide_gpus()
    import torch

    from fusionchat.dialogues.dialogue import read_dialogues
    from fusionchat.dialogues.renderer import open_renderer
    from fusionchat.models.loading import load_causal_lm
    from fusionchat.models.model_config import load_config
    from fusionchat.models.tokenizer import check_vocabulary

    torch.set_num_threads(args.threads)
    dialogues = read_dialogues(args.dialogues)
    renderer = open_renderer(args.model, rendering_options(args))
    check_vocabulary(load_config(args.model), renderer.tokenizer, args.model)
    model = load_causal_lm(args.model, args.dtype, args.device, args.devices)
    return Inputs(dialogues, model, renderer)
