"""No text of a figure is cut off or covers another, with few short labels and many long ones."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from fusionchat.alignment.quality import Quality
from fusionchat.figures import alignment as alignment_quality
from fusionchat.figures import claims as claim_figures
from fusionchat.figures import forest, style
from fusionchat.figures import losses as loss_figures
from fusionchat.figures import scores as score_figures
from fusionchat.figures import teachers as teacher_figures
from fusionchat.figures.claims import claim_figure
from fusionchat.figures.costs import Cost, cost_figure
from fusionchat.figures.forest import likelihood_figure
from fusionchat.figures.maps import Gain, map_figure
from fusionchat.figures.style import LINES, MARKERS, PALETTES, legend_columns, looks
from fusionchat.figures.sweeps import sweep_figure
from fusionchat.figures.weights import heatmap, largest_deviation
from fusionchat.scores.benchmark import CATEGORIES, RATING, Benchmark
from fusionchat.scores.claims import (
    CONTRADICTED,
    CONTROL_MISSING,
    NOT_RESOLVABLE,
    STATEMENTS,
    SUPPORTED,
    Claim,
    Finding,
)
from fusionchat.scores.comparisons import Comparison
from fusionchat.scores.likelihood import BYTE
from fusionchat.scores.metrics import Column, Values
from fusionchat.scores.rows import Row

TINY = {
    "Source": ["Tiny OpenChat", "Tiny Mixtral", "Tiny SOLAR"],
    "Target": ["CLM", "Multi", "Target Mixtral", "Target SOLAR"],
    "Fused": ["Linear", "SLERP", "TA", "TIES", "DARE", "VaRM model", "VaRM layer", "VaRM"],
}
SIX = {
    "Source": [
        "OpenChat-3.5-7B",
        "Starling-LM-7B-alpha",
        "NH2-SOLAR-10.7B",
        "InternLM2-Chat-20B",
        "Mixtral-8x7B-Instruct",
        "Qwen1.5-Chat-72B",
    ],
    "Target": [
        f"OpenChat-3.5-7B {name}"
        for name in ("SFT", "Multi", "Starling", "SOLAR", "InternLM", "Mixtral", "Qwen")
    ],
    "Fused": ["FuseChat-7B SCE", "Linear", "TIES", "DARE", "VaRM model", "VaRM layer", "VaRM"],
}
DATASETS = ["all", "orca-best", "no_robots", "sharegpt_gpt4", "metamathqa", "python-code"]
MATRICES = ("self_attn.q_proj", "mlp.gate_proj", "post_attention_layernorm")


@pytest.fixture(params=[(TINY, 2), (SIX, 32)], ids=["tiny", "six"])
def world(request):
    """Rows by group, their looks, a benchmark, the number of layers, and random numbers."""
    labels, layers = request.param
    groups = {group: [Row(group, n, n, n) for n in names] for group, names in labels.items()}
    rows = [row for part in groups.values() for row in part]
    rng = np.random.default_rng(4)
    scores = {r.name: rng.integers(6, 11, (1, 80, 2, 1, 1)).astype(float) for r in rows}
    strata = np.repeat(np.arange(8), 10)
    benchmark = Benchmark(
        "j",
        CATEGORIES,
        np.arange(80),
        strata,
        (1, 2),
        scores,
        seeds=dict.fromkeys(scores, (1,)),
        asked=np.ones((80, 2), dtype=bool),
    )
    return groups, rows, looks(rows), benchmark, layers, rng


def radar(world):
    groups, _, look, benchmark, _, _ = world
    shown = [*groups["Source"], groups["Target"][0], groups["Fused"][-1]]
    return score_figures.radar(benchmark, shown, look)


def scores(world):
    groups, rows, look, benchmark, _, _ = world
    return score_figures.score_bars(benchmark, rows, groups["Target"][0], look)


def figure1(world):
    groups, _, look, benchmark, _, _ = world
    return score_figures.turn_bars(benchmark, groups["Fused"][-4:], look)


def weights(world):
    groups, rows, _, _, layers, rng = world
    targets = [row.name for row in groups["Target"][2:]]
    units = [f"model.layers.{i}.{m}.weight" for i in range(layers) for m in MATRICES]
    shares = rng.dirichlet(np.full(len(targets), 20.0), len(units) + 1)
    found = {
        t: dict(zip([*units, "lm_head.weight"], s, strict=True))
        for t, s in zip(targets, shares.T, strict=True)
    }
    return heatmap(found, {row.name: row.label for row in rows})


def winners(world):
    groups, rows, look, _, _, _ = world
    names = [row.name for row in groups["Source"]]
    taught = groups["Target"][1:]
    shares = {
        target.name: {
            dataset: {name: (9999, 1 / len(names)) for name in names} for dataset in DATASETS
        }
        for target in taught
    }
    return teacher_figures.winners(shares, taught, rows, look)


def cross_entropy(world):
    groups, _, look, _, _, rng = world
    pivot, *sources = groups["Source"]
    found = {
        row.name: {str(i): e for i, e in enumerate(rng.gamma(5, 0.05, 400))}
        for row in groups["Source"]
    }
    return teacher_figures.cross_entropies(found, pivot, sources, look)


def alignment(world):
    groups, _, look, _, _, rng = world
    found = {
        row.name: Quality(
            [str(i) for i in range(300)],
            np.zeros(300, int),
            rng.integers(1, 50, (300, 5)),
            np.ones(300),
            rng.beta(20, 2, 300),
            0,
        )
        for row in groups["Source"][1:]
    }
    return alignment_quality.alignment_figure(found, groups["Source"][1:], look)


def losses(world):
    groups, _, look, _, _, rng = world
    steps = np.arange(1.0, 200)
    found = {
        row.name: {"step": steps, **{p: rng.gamma(9, 0.1, 199) for p in loss_figures.PARTS}}
        for row in groups["Target"]
    }
    return loss_figures.loss_curves(found, groups["Target"], look)


def costs(world):
    _, _, _, _, layers, _ = world
    names = ["train_target", "merge_mergekit", "figure_cross_entropy", "score"]
    return cost_figure([Cost(n, layers, 9e4 / (i + 1), 1.0, 512.0) for i, n in enumerate(names)])


def claims(world):
    groups, rows, _, _, _, _ = world
    targets, main = groups["Target"], groups["Fused"][-1].name
    verdicts = (SUPPORTED, CONTRADICTED, NOT_RESOLVABLE)
    numbers = Comparison(-0.0123, -0.3, 0.02, 0.1, 0.2, 0.1, 0.05, 0.2)
    found = [
        Finding(Claim(name, main, (target.name,)), target.name, numbers, verdict)
        for name, target, verdict in zip(STATEMENTS, targets, itertools.cycle(verdicts))
    ]
    found.append(Finding(Claim("weights", main, ()), None, None, CONTROL_MISSING))
    return claim_figure({RATING: found, BYTE: found}, rows)


def nll(world):
    groups, rows, _, _, _, rng = world
    ids, strata, sizes = tuple(map(str, range(50))), np.zeros(50, int), np.full(50, 80.0)
    found = {
        row.name: Values(ids, (1, 2, 3), rng.gamma(20, 0.4, (50, 3)), strata, sizes) for row in rows
    }
    return likelihood_figure(Column(BYTE, found), rows, groups["Target"][:2])


def sweep(world):
    groups, _, _, benchmark, _, _ = world
    rows = groups["Fused"][:4]
    values = dict(zip([row.name for row in rows], (0.1, 0.5, 0.9, 1.0), strict=False))
    return sweep_figure(
        benchmark, Column(BYTE, {}), rows, values, "share of a setting with a rather long name"
    )


def gain_map(world):
    groups, _, _, _, _, rng = world
    rows = [row.label for row in groups["Target"][:3]]
    grid = itertools.product((0.1, 0.5, 0.9), (0, 0.25, 0.5), rows, ("CLM", "Self"))
    gains = [Gain(x, y, row, c, rng.normal(), -0.5, 0.5) for x, y, row, c in grid]
    return map_figure(gains, "CLM weight", "share of wrong answers", "average score")


def drawn_texts(figure, monkeypatch):
    """Every text that is really drawn, with its box in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # settles the layout
    found, draw = [], Text.draw
    monkeypatch.setattr(
        Text, "draw", lambda self, *a, **k: (found.append(self), draw(self, *a, **k))
    )
    canvas.draw()
    monkeypatch.undo()
    renderer = canvas.get_renderer()
    shown = [text for text in found if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in shown]


DRAWN = [radar, scores, figure1, weights, winners, cross_entropy, alignment, losses, costs]
DRAWN += [claims, nll, sweep, gain_map]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "draw",
    DRAWN,
    ids=lambda draw: draw.__name__,
)
def test_texts_are_whole_and_apart(world, draw, monkeypatch):
    figure = draw(world)
    texts = drawn_texts(figure, monkeypatch)
    assert len(texts) > 5
    for text, box in texts:
        room = [box.x0, box.y0, figure.bbox.width - box.x1, figure.bbox.height - box.y1]
        assert min(room) >= -1, f"{text} is cut off"
    for (one, a), (other, b) in itertools.combinations(texts, 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        up = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(across, up) <= 1, f"{one} covers {other}"


def test_radar_labels_stand_outside_the_circle(world, monkeypatch):
    figure = radar(world)
    texts = dict(drawn_texts(figure, monkeypatch))
    circle = figure.axes[0].bbox
    centre = np.asarray([circle.x0 + circle.x1, circle.y0 + circle.y1]) / 2
    for category in CATEGORIES:
        box = texts[{"stem": "STEM"}.get(category, category.capitalize())]
        nearest = np.clip(centre, [box.x0, box.y0], [box.x1, box.y1])
        assert np.hypot(*(nearest - centre)) > circle.width / 2, category


def test_no_look_comes_twice_among_many_rows():
    for group in PALETTES:
        rows = [Row(group, str(i), str(i), str(i)) for i in range(30)]
        seen = {(look.colour, look.marker) for look in looks(rows).values()}
        assert len(seen) == len(rows)
    assert len(LINES) == len(set(LINES))
    assert all(len(MARKERS[group]) == len(set(MARKERS[group])) for group in MARKERS)


def test_legend_columns():
    assert legend_columns(["a"] * 4, 7.0) == 4
    assert legend_columns(["a" * 40] * 4, 7.0) == 2
    assert legend_columns(["a" * 200] * 4, 7.0) == 1


def test_colours_of_weights_are_centred_on_equal_ones():
    assert largest_deviation({"a": {"u": 0.5}, "b": {"u": 0.5}}, 0.5) == pytest.approx(0.01)
    wide = largest_deviation({"a": {"u": 0.9, "v": 0.4}, "b": {"u": 0.1, "v": 0.6}}, 0.5)
    assert wide == pytest.approx(0.4)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_colours_stand_out_from_the_page():
    colours = {colour for palette in PALETTES.values() for colour in palette}
    colours |= {*forest.COLOURS, *claim_figures.COLOURS.values(), style.GREY}
    for colour in colours:
        assert 1.05 / (luminance(colour) + 0.05) >= 3, colour
