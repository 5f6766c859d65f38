"""Figures are drawn by their programs, say what the data say, and look alike for each model."""

import csv
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import report_run

import figure1
import figure_alignment
import figure_costs
import figure_cross_entropy
import figure_losses
import figure_radar
import figure_scores
import figure_weights
import figure_winners
from fusionchat.errors import UserError
from fusionchat.figures import scores as score_figures
from fusionchat.figures import style
from fusionchat.figures import teachers as teacher_figures
from fusionchat.figures.costs import duration, read_costs
from fusionchat.figures.losses import read_losses, smooth
from fusionchat.figures.style import PALETTES, looks
from fusionchat.figures.weights import place_unit, read_weights, weight_grid
from fusionchat.scores.benchmark import CATEGORIES, read_benchmark
from fusionchat.scores.rows import row_argument
from fusionchat.scores.teachers import Teachers, winner_shares

ROWS = [row_argument(word) for word in report_run.rows()[1::2]]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return report_run.make_run(tmp_path_factory.mktemp("run"))


def commands(run):
    """Each figure's program with its own arguments."""
    scores = ["--scores", str(run / "mt_bench/scores.parquet")]
    shards = {
        kind: [f"{name}={run}/{kind}/{name}/0000.parquet" for name in names]
        for kind, names in {
            "fused": ("multi", "mixtral"),
            "logits": report_run.SOURCES,
            "aligned": report_run.SOURCES,
        }.items()
    }
    losses = [f"{name}={run}/targets/{name}/loss.csv" for name in report_run.TARGETS]
    pivot = f"tiny_openchat={run}/logits/tiny_openchat/0000.parquet"
    dialogues = str(run / "dialogues/0000.parquet")
    return {
        "radar": (figure_radar, [*scores, "--show", "clm", "varm"]),
        "scores": (figure_scores, [*scores, "--baseline", "clm"]),
        "figure1": (figure1, [*scores, "--show", "varm_model", "varm"]),
        "weights": (figure_weights, ["--weights", str(run / "merged/varm/weights.csv")]),
        "losses": (figure_losses, ["--loss", *losses]),
        "winners": (figure_winners, ["--fused", *shards["fused"], "--dialogues", dialogues]),
        "cross_entropy": (
            figure_cross_entropy,
            ["--pivot", pivot, "--source", *shards["logits"]],
        ),
        "alignment": (
            figure_alignment,
            ["--aligned", *shards["aligned"]],
        ),
    }


NAMES = sorted(
    ("radar", "scores", "figure1", "weights", "losses", "winners", "cross_entropy", "alignment")
)


@pytest.mark.parametrize("name", NAMES)
def test_program_draws_svg_and_png(run, tmp_path, name):
    program, words = commands(run)[name]
    program.main([*report_run.rows(), *words, "--output", str(tmp_path / name)])
    svg = (tmp_path / f"{name}.svg").read_text()
    ElementTree.fromstring(svg)
    assert "<text" not in svg, "letters must be paths, so that no font is needed"
    assert "<dc:date>" not in svg
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", NAMES)
def test_legends_name_what_they_show(run, tmp_path, monkeypatch, name):
    drawn = []
    monkeypatch.setattr(style, "save", lambda figure, *_: drawn.append(figure))
    program, words = commands(run)[name]
    program.main([*report_run.rows(), *words, "--output", str(tmp_path / name)])
    legends = [one for part in (drawn[0], *drawn[0].axes) for one in legends_of(part)]
    named = [text.get_text() for legend in legends for text in legend.get_texts()]
    assert not [text for text in named if not text or text.startswith("_")]


def legends_of(part):
    """The legends of a figure or of its axes."""
    return part.legends if hasattr(part, "legends") else filter(None, [part.get_legend()])


def test_a_dollar_sign_in_a_label_is_no_formula(run, tmp_path):
    rows = [re.sub("^(.*:varm):[^:]*", r"\1:$\\frac{$5", word) for word in report_run.rows()]
    assert sum("$" in word for word in rows) == 1
    program, words = commands(run)["scores"]
    program.main([*rows, *words, "--output", str(tmp_path / "scores")])
    assert r"<!-- $\frac{$5 -->" in (tmp_path / "scores.svg").read_text()


def test_figures_are_the_same_bytes_again(run, tmp_path):
    program, words = commands(run)["radar"]
    for name in ("a", "b"):
        program.main([*report_run.rows(), *words, "--output", str(tmp_path / name)])
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_costs_are_summed_by_rule(run, tmp_path):
    figure_costs.main(["--benchmarks", str(run / "benchmarks"), "--output", str(tmp_path / "c")])
    costs = {cost.rule: cost for cost in read_costs(run / "benchmarks")}
    assert costs["train_target"].jobs == 2
    assert costs["train_target"].seconds == pytest.approx(123)
    assert costs["score"].peak_mb == 512
    assert "train_target,2,123.0,110.0,512.0" in (tmp_path / "c.csv").read_text()
    with pytest.raises(UserError, match="no benchmark files"):
        read_costs(tmp_path / "nothing")


def test_durations():
    assert [duration(s) for s in (3.21, 45, 150, 7200)] == ["3.2 s", "45 s", "2.5 min", "2.0 h"]


def test_radar_axes_carry_their_own_categories(run):
    """The label at an angle names the category whose value is drawn there."""
    benchmark = read_benchmark(run / "mt_bench/scores.parquet")
    row = next(row for row in ROWS if row.name == "clm")
    figure = score_figures.radar(benchmark, [row], looks(ROWS))
    (axes,) = figure.axes
    (line,) = axes.get_lines()
    drawn = dict(zip(line.get_xdata()[:-1], line.get_ydata()[:-1], strict=True))
    by_label = dict(
        zip((t.get_text() for t in axes.get_xticklabels()), axes.get_xticks(), strict=True)
    )
    for index, category in enumerate(CATEGORIES):
        label = {"stem": "STEM"}.get(category, category.capitalize())
        mean = benchmark.question_means("clm")[benchmark.strata == index].mean()
        assert drawn[by_label[label]] == pytest.approx(mean)
    assert line.get_xdata()[0] == line.get_xdata()[-1]


def test_radar_needs_a_known_model(run, tmp_path):
    program, words = commands(run)["radar"]
    with pytest.raises(UserError, match="--show: absent is not among the rows"):
        program.main([*report_run.rows(), *words, "absent", "--output", str(tmp_path / "x")])


def test_scores_figure_shows_means_and_intervals(run):
    benchmark = read_benchmark(run / "mt_bench/scores.parquet")
    baseline = next(row for row in ROWS if row.name == "clm")
    figure = score_figures.score_bars(benchmark, ROWS, baseline, looks(ROWS))
    left, right = figure.axes
    ends = [patch.get_x() + patch.get_width() for patch in left.patches]
    means = [
        np.mean([benchmark.question_means(r.name)[benchmark.strata == s].mean() for s in range(8)])
        for r in ROWS
        if r.name != "multi"
    ]
    shown = [end for end, row in zip(ends, ROWS, strict=True) if row.name != "multi"]
    assert shown == pytest.approx(means)
    assert [t.get_text() for t in left.get_yticklabels()] == [row.label for row in ROWS]
    assert right.get_xlim()[0] < 0 < right.get_xlim()[1]


def test_model_looks_the_same_whatever_is_drawn():
    everywhere = looks(ROWS)
    assert looks(ROWS)["varm"] == everywhere["varm"]
    colours = [look.colour for look in everywhere.values()]
    assert len(set(colours)) == len(colours)


def lightness(colour):
    """CIE L* of a hex colour."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


@pytest.mark.parametrize("group", ["Comparison", "Source", "Target"])
def test_first_colours_of_a_group_differ_in_grey(group):
    values = sorted(lightness(colour) for colour in PALETTES[group][:4])
    assert min(np.diff(values)) >= 8
    assert values[-1] <= 85, "the lightest must still stand out from white paper"


def test_winner_shares_by_category():
    teachers = Teachers(["a", "b", "c"], ["p", "s", "s"], ("p", "s", "never"))
    shares = winner_shares(teachers, {"a": "math", "b": "math"})
    assert list(shares) == ["all", "math", "other"]
    assert shares["all"]["s"] == (2, pytest.approx(2 / 3))
    assert shares["math"] == {"p": (1, 0.5), "s": (1, 0.5), "never": (0, 0.0)}
    assert teachers.never() == ["never"]
    assert shares["other"]["p"] == (0, 0.0)


def test_unscored_dialogues_are_not_drawn():
    points = teacher_figures.paired_entropies(
        {"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 0.5, "b": np.nan}
    )
    assert points.tolist() == [[1.0, 0.5]]


def test_alignment_numbers_beside_the_figure(run, tmp_path):
    """Equal tokenizers lose nothing, whatever mass lies outside of the source's top k."""
    program, words = commands(run)["alignment"]
    program.main([*report_run.rows(), *words, "--output", str(tmp_path / "alignment")])
    with (tmp_path / "alignment.csv").open(newline="") as stream:
        same, other = csv.DictReader(stream)
    kinds = ("one_to_one", "many_to_one", "one_to_many", "many_to_many", "fallback")
    assert [float(same[kind]) for kind in kinds] == [1, 0, 0, 0, 0]
    assert [float(other[kind]) for kind in kinds] == pytest.approx([0.2, 0.4, 0.2, 0, 0.2])
    assert (float(same["listed_mass"]), float(same["kept"])) == pytest.approx((0.8, 1.0))
    assert float(other["kept"]) == pytest.approx(0.75)
    assert (other["dialogues"], other["excluded"]) == ("24", "2")


@pytest.mark.parametrize(
    ("unit", "place"),
    [
        ("model.layers.3.self_attn.q_proj.weight", ("self_attn.q_proj", 3)),
        ("model.layers.12", ("all", 12)),
        ("transformer.h.0.mlp", ("mlp", 0)),
        ("model.embed_tokens.weight", ("embed_tokens", None)),
        ("model", ("model", None)),
    ],
)
def test_units_are_placed(unit, place):
    assert place_unit(unit) == place


def test_weight_grid():
    weights = {
        "model.layers.0.mlp.up.weight": 0.2,
        "model.layers.1.mlp.up.weight": 0.7,
        "norm": 0.5,
    }
    names, columns, grid = weight_grid(weights)
    assert (names, columns) == (["mlp.up", "norm"], ["0", "1", "none"])
    assert grid[0, :2].tolist() == [0.2, 0.7]
    assert grid[1, 2] == 0.5
    assert np.isnan(grid).sum() == 3


def test_weights_file_must_hold_weights(tmp_path):
    (tmp_path / "w.csv").write_text("unit,target,weight,elements\n")
    with pytest.raises(UserError, match="it has no rows"):
        read_weights(tmp_path / "w.csv")
    (tmp_path / "w.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=re.escape("not a weights.csv")):
        read_weights(tmp_path / "w.csv")


def test_losses(tmp_path):
    (tmp_path / "loss.csv").write_text("step,loss,clm,fusion\n1,2.0,2.0,\n2,1.0,1.0,\n")
    found = read_losses(tmp_path / "loss.csv")
    assert found["loss"].tolist() == [2.0, 1.0]
    assert np.isnan(found["fusion"]).all()
    assert smooth(np.array([0.0, 3.0, 6.0]), 3).tolist() == [1.5, 3.0, 4.5]
    (tmp_path / "loss.csv").write_text("a\n1\n")
    with pytest.raises(UserError, match="it has no column 'step'"):
        read_losses(tmp_path / "loss.csv")


@pytest.mark.parametrize(
    ("name", "option", "maker"),
    [
        ("scores", "--scores", "score"),
        ("winners", "--fused", "fuse_distributions"),
        ("winners", "--dialogues", "shard_dialogues"),
        ("cross_entropy", "--pivot", "dump_logits"),
        ("alignment", "--aligned", "transfer_logits"),
    ],
)
@pytest.mark.parametrize("content", ["text", "other columns"])
def test_a_foreign_file_is_named_with_its_maker(run, tmp_path, name, option, maker, content):
    program, words = commands(run)[name]
    foreign = (
        run / "mt_bench/scores.parquet" if option != "--scores" else run / "dialogues/0000.parquet"
    )
    if content == "text":
        foreign = tmp_path / "foreign"
        foreign.write_text("not Parquet")
    place = words.index(option) + 1
    words[place] = (
        f"{words[place].partition('=')[0]}={foreign}" if "=" in words[place] else str(foreign)
    )
    with pytest.raises(UserError) as error:
        program.main([*report_run.rows(), *words, "--output", str(tmp_path / "x")])
    assert str(foreign) in str(error.value)
    if option != "--aligned":
        assert f"make it with {maker}" in str(error.value)
