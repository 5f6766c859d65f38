"""The options of every program that renders conversations."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fusionchat import cli

SpecialText = Literal["text", "token"]


@dataclass(frozen=True)
class RenderingOptions:
    """How conversations are rendered.

    `template`: a name of FastChat's, a Jinja file, or `tokenizer` for the chat template of
    `template_model` (None: of the model that reads the conversation). `system_message` stands for
    the template's own where a dialogue has none. `end_of_turn`: the token that ends a turn, where
    the tokenizer does not say it. `special_text`: whether the spelling of a special token inside a
    message is text or that token.
    """

    template: str = "openchat_3.5"
    template_model: Path | None = None
    system_message: str | None = None
    end_of_turn: str | None = None
    special_text: SpecialText = "text"


def add_rendering_options(parser: argparse.ArgumentParser) -> None:
    """Add how conversations become text and tokens; the same options in every program."""
    group = parser.add_argument_group("rendering")
    default = RenderingOptions()
    group.add_argument(
        "--template",
        default=default.template,
        help="chat template: FastChat's name, a Jinja file (NAME.jinja), or tokenizer",
    )
    group.add_argument(
        "--template-model",
        type=cli.existing_path,
        help="with --template tokenizer: the folder whose chat template is used, the pivot's in a "
        "run (default: the model's own)",
    )
    group.add_argument("--system-message", help="instead of the template's")
    group.add_argument(
        "--end-of-turn", help="the token that ends a turn, where tokenizer and template are wrong"
    )
    group.add_argument(
        "--special-text",
        choices=["text", "token"],
        default=default.special_text,
        help="what the spelling of a special token inside a message is",
    )


def template_checksum(template: str) -> str | None:
    """The checksum of a Jinja file; None for templates that are none."""
    from fusionchat.files import sha256

    path = Path(template)
    return sha256(path) if path.suffix == ".jinja" and path.is_file() else None
