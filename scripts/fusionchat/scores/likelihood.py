"""Held-out negative log-likelihood of the models: nats per response token and per byte."""

from collections.abc import Hashable, Sequence
from pathlib import Path

from fusionchat.errors import UserError
from fusionchat.files import read_json
from fusionchat.scores.metrics import Column, Measured, Metric, column

TOKEN = Metric("nll", "NLL/token", "nats per response token", "", better=-1, digits=3, partial=True)
BYTE = Metric(
    "nll_byte",
    "NLL/byte",
    "held-out likelihood, nats per response byte",
    "dialogue",  # bytes are the same for every tokenizer
    better=-1,
    digits=4,
    partial=True,
)


def read_likelihoods(paths: Sequence[Path]) -> tuple[Column, Column]:
    """Read the files of measure_nll: nats per response token, and per byte, by dialogue."""
    tokens: dict[str, dict[Hashable, Measured]] = {}
    sizes: dict[str, dict[Hashable, Measured]] = {}
    for path in paths:
        record = read_json(path)
        try:
            name, rows = record["model"], record["per_dialogue"]
            if name in tokens:
                raise UserError(f"{path}: {name} is in another file too; give each model one")
            tokens[name] = {str(row[0]): Measured(float(row[2]), float(row[3])) for row in rows}
            sizes[name] = {str(row[0]): Measured(float(row[2]), float(row[4])) for row in rows}
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise UserError(f"{path} is not a file of measure_nll: {error!r}") from error
    return column(TOKEN, tokens), column(BYTE, sizes)
