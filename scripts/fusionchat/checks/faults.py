"""All faults of a configuration that the schema lets pass, one line each, before any job starts."""

import math
from collections.abc import Iterator
from typing import Any

from fusionchat.checks import benchmark, fine_tuning, merging, models, templates, text
from fusionchat.schema import Config


def faults(config: Config) -> Iterator[str]:
    """Faults in the order of the pipeline; later ones may follow from the first."""
    yield from _numbers("", config)
    yield from text.faults(config)
    yield from models.faults(config)
    yield from templates.faults(config)
    yield from fine_tuning.faults(config)
    yield from merging.faults(config)
    yield from benchmark.faults(config)


def _numbers(key: str, value: Any) -> Iterator[str]:
    """Numbers that are none: the limits of the schema let `.nan` pass, and often `.inf`."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _numbers(f"{key}.{name}".strip("."), inner)
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{key}: {value} is not a finite number"
