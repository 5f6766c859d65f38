"""Rendering Jinja chat templates in a sandbox, with what transformers offers to them.

Kept apart from transformers, whose import takes seconds that checking a configuration cannot
spend; tests compare the text with that of `apply_chat_template`.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

# Stand for the tokens that a tokenizer names, which differ between models.
BOS, EOS = "\ue002", "\ue003"


def render_jinja(source: str, messages: Sequence[Mapping[str, str]], open_turn: bool) -> str:
    """The text of a conversation; `bos_token` and `eos_token` appear as `BOS` and `EOS`."""
    return _compiled(source).render(
        messages=messages, add_generation_prompt=open_turn, bos_token=BOS, eos_token=EOS
    )


class _Generation(Extension):
    """`{% generation %}` marks what an assistant said; here it only shows it."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


@cache
def _compiled(source: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {"raise_exception": _refuse, "strftime_now": _now}
    return environment.from_string(source)


def _to_json(value: Any, **options: Any) -> str:
    """Jinja's own filter escapes HTML."""
    return json.dumps(value, **{"ensure_ascii": False, **options})


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)
