"""AlpacaEval 2: the package's own win rates, their intervals, and the table."""

import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from alpaca_files import excerpt, gamed
from mt_bench_files import jsonl
from sklearn import linear_model

import alpaca_eval
from fusionchat.alpaca_eval import length_control
from fusionchat.alpaca_eval.data import read_gamed
from fusionchat.alpaca_eval.rates import rate_columns
from fusionchat.scores.comparisons import score


@pytest.mark.parametrize(("skill", "seed"), [(0.0, 1), (-1.5, 2), (1.2, 3)])
def test_win_rates_are_those_of_the_package(tmp_path, skill, seed):
    """Computed once by alpaca_eval 0.6.6 (scikit-learn 1.9.1) on the same files:

    python -c 'glm.hf_hub_download = lambda **k: "gamed.csv"
    glm.get_length_controlled_winrate(DataFrame(excerpt(200, skill, seed)).drop(columns="index"),
    save_weights_dir=None)'
    """
    columns = rate_columns(excerpt(200, skill, seed), read_gamed(gamed(tmp_path / "g.csv", 200)))
    for one, expected in zip(columns, PACKAGE[seed], strict=True):
        rate = score(one, f"m{seed}")
        assert 100 * rate.mean == pytest.approx(expected, abs=1e-8)
        assert rate.low < rate.mean < rate.high


PACKAGE = {
    1: (51.39050773, 53.12279881236003),
    2: (25.918533715, 24.29717190190399),
    3: (71.2656153, 72.70211496354621),
}


def fusechat3(folder: Path) -> tuple[dict[str, list[dict]], Path]:
    """Published annotations of FuseChat 3.0's models, by model, and a df_gamed.csv for them.

    Preferences for the baseline's variants are not at hand; these have the sums over questions,
    alone, by length and by difficulty, that AlpacaEval's published rates and coefficients imply.
    """
    table = pd.read_csv(Path(__file__).parent / "fusechat3_alpaca_eval.csv", comment="#")
    hard, path = table["difficulty"], folder / "gamed.csv"
    rows = []
    for model, (by_length, by_difficulty, level) in IMPLIED.items():
        delta = table["baseline"] - table[model]
        length = delta / delta.std()
        scores = by_length * np.tanh(length) + by_difficulty * hard + level
        columns = {"model": model, "preference": 1 / (1 + np.exp(-scores)), "index": table.index}
        more = {"std_delta_len": length, "instruction_difficulty": hard}
        rows.append(pd.DataFrame({**columns, **more, "not_gamed_baseline": False}))
    pd.concat(rows).to_csv(path, index=False)
    fixed = {"annotator": "j", "generator_1": "gpt4_1106_preview"}
    return {
        model: [
            {
                **{"index": i, "instruction": str(i), "output_1": "x" * row["baseline"]},
                **{"output_2": "y" * row[model], "generator_2": model, **fixed},
                "preference": row[f"{model}_preference"],
            }
            for i, row in enumerate(table.to_dict("records"))
        ]
        for model in PRINTED
    }, path


IMPLIED = {
    "verbose": (-1.4764815981, 0.8430217706, 0.2433585382),
    "concise": (-1.5354397932, 0.6931108308, -0.3943726904),
}
PRINTED = {
    "gemma": (70.49713534560247, 70.18106263911686),
    "llama8b": (63.33158292362734, 65.38623116037492),
    "qwen": (64.64069997299381, 63.58298649463735),
    "llama3b": (51.29667710101864, 53.99883748344241),
    "llama1b": (29.9219322658882, 25.27098247880791),
}


def test_win_rates_on_published_annotations_are_those_that_alpacaeval_prints(tmp_path):
    annotations, path = fusechat3(tmp_path)
    known = read_gamed(path)
    for model, (wr, lc) in PRINTED.items():
        raw, controlled = (score(one, model) for one in rate_columns(annotations[model], known))
        assert 100 * raw.mean == pytest.approx(wr, abs=1e-4)
        # Four within 0.0001; of llama3b other preferences for the variants choose another penalty.
        assert 100 * controlled.mean == pytest.approx(lc, abs=0.01 if model == "llama3b" else 1e-4)


def test_a_fit_ends_where_its_slope_does(monkeypatch):
    """If it is let to: where liblinear stops by default is on the way to the minimum."""
    patient = partial(linear_model.LogisticRegression, tol=1e-9, max_iter=10_000)
    monkeypatch.setattr(linear_model, "LogisticRegression", patient)
    for seed in range(12):
        draw = np.random.default_rng(seed)
        lengths = np.tanh(draw.normal(-1.5 * (seed % 3), 0.5, 200))
        features = np.column_stack([lengths, draw.normal(0, 1, 200), np.ones(200)])
        wins = draw.uniform(0, 1, 200) ** (1 + seed % 5)
        data = length_control._Data(features, wins, draw.choice([0.1, 1.0], 200))
        for strength in length_control.STRENGTHS[3:]:
            fitted = length_control._fit(data, strength, np.random.RandomState(seed))
            chance = 1 / (1 + np.exp(-features @ fitted))
            penalty = 1 / strength
            slope = features.T @ (data.weights * (chance - wins))
            zero, other = np.abs(slope) - penalty, np.abs(slope + penalty * np.sign(fitted))
            assert np.where(fitted == 0, zero, other).max() < 1e-5


def test_the_interval_is_that_of_other_questions(tmp_path, monkeypatch):
    """Its standard error against that of resampled questions, fitted anew at one strength."""
    monkeypatch.setattr(length_control, "_choose", lambda data: 1.0)
    records, known = excerpt(200, 0.3, 5), read_gamed(gamed(tmp_path / "g.csv", 200))
    error = float(rate_columns(records, known)[1].estimate("m5").estimate.error[0])
    shares = np.array([r["preference"] - 1 for r in records])
    lengths = np.array([[len(r["output_1"]), len(r["output_2"])] for r in records], float)
    difficulty = np.array([known.of_question[r["index"]] for r in records])
    rng, rates = np.random.default_rng(0), []
    for _ in range(60):
        drawn = rng.integers(0, len(records), len(records))
        fitted = length_control.length_controlled(
            shares[drawn], lengths[drawn], difficulty[drawn], known
        )
        rates.append(fitted.mean())
    assert error == pytest.approx(np.std(rates, ddof=1), rel=0.25)


def test_the_published_annotations_give_the_packages_numbers():
    """ALPACA_EVAL_DIR: gamed.csv, published annotations (NAME.json), and the package's numbers."""
    folder = os.environ.get("ALPACA_EVAL_DIR")
    if not folder:
        pytest.skip("ALPACA_EVAL_DIR does not name a folder with published annotations")
    expected = json.loads(Path(folder, "package.json").read_text())
    known = read_gamed(Path(folder, "gamed.csv"))
    for name, wanted in expected.items():
        records = json.loads(Path(folder, name).read_text())
        records = [record | {"index": i} for i, record in enumerate(records)]
        keys = ("win_rate", "length_controlled_winrate")
        for one, key in zip(rate_columns(records, known), keys, strict=True):
            (model,) = one.models
            assert 100 * score(one, model).mean == pytest.approx(wanted[key], abs=1e-6)


def test_the_table_stands_beside_printed_numbers(tmp_path):
    records = excerpt(60, 0.0, 1) + excerpt(60, 1.0, 2)
    names = {"m1": "sce", "m2": "openchat"}
    records = [r | {"generator_2": names[r["generator_2"]]} for r in records]
    path = jsonl(tmp_path / "annotations.jsonl", records)
    paper = Path(__file__).resolve().parents[3] / "resources" / "paper" / "alpaca_eval.csv"
    alpaca_eval.main(
        [
            *(f"--annotations={path}", f"--gamed={gamed(tmp_path / 'g.csv', 60)}"),
            *(f"--paper={paper}", "--row=Source:openchat:OpenChat", "--row=Fused:sce:SCE"),
            *(f"--output={tmp_path / 'alpaca_eval'}", f"--values={tmp_path / 'values.parquet'}"),
        ]
    )
    table = pd.read_csv(tmp_path / "alpaca_eval.csv").set_index("model")
    assert table.loc["sce", ["printed_wr", "printed_lc"]].tolist() == [11.52, 17.16]
    assert table.loc["openchat", "lc"] > table.loc["sce", "lc"]
    text = (tmp_path / "alpaca_eval.md").read_text()
    assert "printed LC" in text
    assert "no reproduction" in text
