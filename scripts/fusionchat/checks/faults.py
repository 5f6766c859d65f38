"""All faults of a configuration that the schema lets pass, one line each, before any job starts."""

import math
import re
from collections.abc import Iterator
from typing import Any

from fusionchat.checks import (
    benchmark,
    fine_tuning,
    leaderboard,
    merging,
    models,
    templates,
    text,
    unused,
)
from fusionchat.schema import Config

_EDIT = re.compile(r"\bEDIT\b")


def faults(config: Config) -> Iterator[str]:
    """Faults in the order of the pipeline; later ones may follow from the first."""
    yield from _values("", config)
    yield from text.faults(config)
    yield from models.faults(config)
    yield from templates.faults(config)
    yield from fine_tuning.faults(config)
    yield from merging.faults(config)
    yield from benchmark.faults(config)
    yield from leaderboard.faults(config)
    yield from unused.faults(config)


def _values(key: str, value: Any) -> Iterator[str]:
    """Numbers that are none, which the schema's limits let pass, and places left to be edited."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _values(f"{key}.{name}".strip("."), inner)
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{key}: {value} is not a finite number"
    elif isinstance(value, str) and _EDIT.search(value):
        yield f"{key}: still says EDIT; put your own value there"
