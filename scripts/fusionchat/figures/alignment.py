"""How well a source's tokens and distributions arrive in the pivot's vocabulary."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionchat.figures.style import PAGE, Look, fill, legend_below, light_grid, new_figure
from fusionchat.scores.rows import Row

if TYPE_CHECKING:
    from matplotlib.container import Container
    from matplotlib.figure import Figure

    from fusionchat.alignment.quality import Quality

SHADES = ("#454545", "#8a8a8a", "#6a6a6a", "#bdbdbd", "#e3e3e3")
HATCHES = ("", "....", "////", "xxxx", "")


def kind_label(kind: str) -> str:
    """A kind of alignment in words, source tokens to pivot tokens."""
    return "none" if kind == "fallback" else kind.replace("_", " ")


def records(qualities: Mapping[str, "Quality"]) -> list[dict[str, object]]:
    """The numbers of the figure, one record a source.

    `listed_mass` is the mean probability that the source's top-k entries hold at a response token,
    `kept` the share of it that reached the pivot's vocabulary.
    """
    return [
        {
            "source": name,
            **quality.rates,
            "listed_mass": float(quality.mass_in.sum() / max(1, quality.rows.sum())),
            "kept": quality.kept,
            "dialogues": len(quality.dialogue_ids),
            "excluded": quality.excluded,
        }
        for name, quality in qualities.items()
    ]


def alignment_figure(
    qualities: Mapping[str, "Quality"], sources: Sequence[Row], looks: Mapping[str, Look]
) -> "Figure":
    """Left: kinds of token alignment. Right: share of dialogues that keep at least so much mass."""
    figure = new_figure(PAGE, 2.0 + 0.2 * len(sources))
    left, right = figure.subplots(1, 2)
    handles: dict[str, Container] = {}
    for place, row in enumerate(sources):
        start = 0.0
        for index, (kind, share) in enumerate(qualities[row.name].rates.items()):
            style = fill(Look(SHADES[index], "", "", HATCHES[index]), 0.6)
            bar = left.barh(place, share, 0.6, left=start, label=kind_label(kind), **style)
            handles.setdefault(kind, bar)
            start += share
        kept, look = np.sort(qualities[row.name].kept_by_dialogue), looks[row.name]
        above = 1 - np.arange(len(kept)) / max(1, len(kept))
        line: dict[str, Any] = {"color": look.colour, "linestyle": look.line, "label": row.label}
        right.step([0, *kept, 1], [1, *above, 0], **line)
    left.set_yticks(range(len(sources)), [row.label for row in sources])
    left.set_ylim(len(sources) - 0.5, -0.5)
    left.set_xticks([0, 0.5, 1], ["0", "50%", "100%"])
    left.set_xlabel("pivot's response tokens, source to pivot")
    left.tick_params(axis="y", length=0)
    lowest = min((q.kept_by_dialogue.min(initial=1) for q in qualities.values()), default=1)
    right.set_xlim(min(lowest, 0.95) - 0.01, 1.003)
    right.set_xlabel("listed probability kept, at least")
    right.set_ylabel("share of dialogues")
    right.set_ylim(0, 1.02)
    right.legend(loc="lower left")
    light_grid(right, "both")
    legend_below(figure, list(handles.values()))
    return figure
