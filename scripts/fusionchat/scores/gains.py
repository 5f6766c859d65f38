"""Gains of models over controls at points of one or two settings: when does fusion help?"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fusionchat.scores.benchmark import Benchmark
from fusionchat.scores.comparisons import Comparison, compare_pairs

Key = tuple[float, float, str, str]
"""The values x and y of the settings, the label of a row and that of its control."""


@dataclass(frozen=True)
class Point:
    """Values of the settings, and the model that each label stands for there."""

    x: float
    y: float
    models: Mapping[str, str]


def point_argument(text: str) -> Point:
    """An argparse type: `X:Y:LABEL=MODEL,LABEL=MODEL...`."""
    try:
        x, y, models = text.split(":")
        return Point(float(x), float(y), dict(pair.split("=") for pair in models.split(",")))
    except ValueError as error:
        message = f"{text!r} is not X:Y:LABEL=MODEL,LABEL=MODEL..."
        raise argparse.ArgumentTypeError(message) from error


def gains(
    benchmark: Benchmark, points: Sequence[Point], controls: Sequence[str]
) -> dict[Key, Comparison]:
    """Every other model of a point against the controls that the point has; one family."""
    pairs: dict[Key, tuple[str, str]] = {
        (point.x, point.y, row, control): (model, point.models[control])
        for control in controls
        for point in points
        for row, model in point.models.items()
        if row not in controls and control in point.models
    }
    return compare_pairs(benchmark.column, pairs)


def gain_records(gains: Mapping[Key, Comparison]) -> list[dict[str, Any]]:
    """One record a gain, in the columns that figure_map reads."""
    return [
        {"x": x, "y": y, "row": row, "control": control}
        | {"gain": one.difference, "low": one.low, "high": one.high, "p_holm": one.p_holm}
        for (x, y, row, control), one in gains.items()
    ]
