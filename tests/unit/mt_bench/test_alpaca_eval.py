"""AlpacaEval 2: order, prompt, preference, faults and kills, and the package's own win rates."""

import csv
import json
import math
import os
import random
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mt_bench_files import jsonl
from mt_bench_server import FakeModel, Fault, completion, said, serve
from sklearn import linear_model
from test_judging_drills import Mix, digest, finish, start, unfinished, until

import alpaca_eval
import fetch_alpaca
import judge_alpaca
from fusionchat.alpaca_eval import length_control
from fusionchat.alpaca_eval.comparisons import is_swapped
from fusionchat.alpaca_eval.data import read_gamed
from fusionchat.alpaca_eval.rates import answers as judged_answers
from fusionchat.alpaca_eval.rates import rate_columns, read_annotations
from fusionchat.errors import UserError
from fusionchat.files import read_jsonl
from fusionchat.scores.comparisons import score

PROMPT = """<|im_start|>system
Judge.
<|im_end|>
<|im_start|>user
I: {instruction} {not_a_field}
m: {output_1}
M: {output_2}
Best:
<|im_end|>"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")


def data(folder: Path, count: int = 20) -> Path:
    """AlpacaEval's files, fetched from a folder of our own."""
    own = folder / "own"
    own.mkdir(parents=True)
    (own / "prompt.txt").write_text(PROMPT)
    outputs = [
        {
            "dataset": "koala",
            "instruction": f"Say {{output_2}} {i}.",
            "output": f"base {i} " * (1 + i % 5),
            "generator": "base",
        }
        for i in range(count)
    ]
    (own / "outputs.json").write_text(json.dumps(outputs))
    gamed(own / "gamed.csv", count)
    fetch_alpaca.main([f"--data={own}", f"--output={folder / 'data'}"])
    return folder / "data"


def gamed(path: Path, count: int, seed: int = 5) -> Path:
    """Like df_gamed.csv: the baseline told to be verbose and concise, in numbers made here."""
    draw = np.random.default_rng(seed)
    difficulty = draw.normal(0, 1, count)
    rows = []
    for model, shift in (("verbose", -0.5), ("concise", 0.5)):
        lengths = draw.normal(shift, 1, count)
        scores = -1.6 * np.tanh(lengths) + 0.75 * difficulty
        preference = np.clip(1 / (1 + np.exp(-scores)) + draw.normal(0, 0.2, count), 0, 1)
        rows += [
            [model, round(float(p), 6), i, round(float(d), 6), round(float(hard), 6), False]
            for i, (p, d, hard) in enumerate(zip(preference, lengths, difficulty, strict=True))
        ]
    columns = ["model", "preference", "index", "std_delta_len", "instruction_difficulty"]
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([[*columns, "not_gamed_baseline"], *rows])
    return path


def words(folder: Path, url: str, count: int = 20, models=("a", "b"), **more) -> list[str]:
    """A run on answers of these models; the first time it makes them."""
    if not (folder / "data").exists():
        data(folder, count)
    files = []
    for name in models:
        records = [
            {
                "question_id": i,
                "model_id": name,
                "choices": [{"index": 0, "turns": [f"{name} answers {i} " * (1 + i % 3)]}],
            }
            for i in range(count)
        ]
        files.append(str(jsonl(folder / f"{name}.jsonl", records)))
    chosen = {"concurrency": 8, "first_wait": 0.01, "timeout": 20, **more}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in chosen.items()]
    given = folder / "data"
    return [
        *("--judge=openai", "--judge-model=j", f"--base-url={url}", f"--store={folder / 'store'}"),
        *(f"--questions={given / 'question.jsonl'}", f"--outputs={given / 'outputs.json'}"),
        *(f"--prompts={given / 'prompt.txt'}", "--answers", *files, *options),
        f"--output={folder / 'annotations.jsonl'}",
    ]


def weighed(body: dict) -> Fault:
    """A reply of one token with probabilities that depend on what is shown."""
    share = (1 + digest(body["messages"])) / 258
    listed = [("m", share), ("M", 1 - share), ("Both", 1e-9)]
    top = [{"token": token, "logprob": math.log(p)} for token, p in listed]
    choice = {"finish_reason": "length", "logprobs": {"content": [{"top_logprobs": top}]}}
    return said(completion("m" if share > 0.5 else "M", choice=choice))


def test_the_preference_is_weighed_by_the_probabilities_and_follows_the_model(tmp_path):
    model = FakeModel(answer=weighed)
    with serve(model) as url:
        judge_alpaca.main(words(tmp_path, url))
    records = read_annotations(tmp_path / "annotations.jsonl")
    assert len(records) == 40 == len(model.requests)
    sent = {(b["logprobs"], b["top_logprobs"], b["max_tokens"]) for b in model.requests}
    assert sent == {(True, 5, 1)}
    by_text = {body["messages"][1]["content"]: body for body in model.requests}
    for record in records:
        both = [record["output_1"], record["output_2"]]
        shown = both[::-1] if record["is_switched_outputs"] else both
        text = f"I: {record['instruction']} {{not_a_field}}\nm: {shown[0]}\nM: {shown[1]}\nBest:"
        share = (1 + digest(by_text[text]["messages"])) / 258
        wins = share if record["is_switched_outputs"] else 1 - share
        assert record["preference"] == pytest.approx(1 + wins, abs=1e-9)
    assert 5 < sum(r["is_switched_outputs"] for r in records) < 35


def test_a_judge_without_probabilities_counts_by_its_word(tmp_path):
    replies = iter(["m", "`M`", "The first one"] * 40)
    model = FakeModel(reply=lambda messages: next(replies))
    with serve(model) as url:
        arguments = words(tmp_path, url, models=("a",), concurrency=1, attempts=1)
        judge_alpaca.main([*arguments, "--no-logprobs"])
    assert all("logprobs" not in body for body in model.requests)
    records = read_annotations(tmp_path / "annotations.jsonl")
    for record in records:
        first = {0: True, 1: False, 2: None}[record["index"] % 3]
        wanted = None if first is None else 2.0 if first == record["is_switched_outputs"] else 1.0
        assert record["preference"] == wanted
        assert ("missing" in record) == (first is None)
    counts = judged_answers(records)
    assert (counts.judged, counts.missing) == (14, 6)


def test_the_order_is_a_coin_of_question_and_seed():
    asked = [f"Question {i}?" for i in range(400)]
    coins = [is_swapped(text, 0) for text in asked]
    assert coins == [is_swapped(text, 0) for text in asked]
    assert 160 < sum(coins) < 240
    assert 160 < sum(a == is_swapped(t, 1) for a, t in zip(coins, asked, strict=True)) < 240
    # What alpaca_eval 0.6.6 draws: random_seeded_choice("is_switched_outputs" + text + "0", ...)
    assert coins[:8] == ORDER


ORDER = [random.Random(f"is_switched_outputsQuestion {i}?0").random() >= 0.5 for i in range(8)]


def test_equal_answers_are_a_tie(tmp_path):
    with serve(FakeModel(reply=lambda messages: "m")) as url:
        arguments = words(tmp_path, url, models=("a",))
        outputs = json.loads((tmp_path / "data" / "outputs.json").read_text())
        records = read_jsonl(tmp_path / "a.jsonl")
        records[3]["choices"][0]["turns"] = [outputs[3]["output"]]
        jsonl(tmp_path / "a.jsonl", records)
        judge_alpaca.main(arguments)
    records = read_annotations(tmp_path / "annotations.jsonl")
    assert [r["index"] for r in records if r["preference"] == 1.5] == [3]


@pytest.mark.timeout(300)
def test_kills_and_faults_change_nothing_and_every_comparison_is_made_once(tmp_path, monkeypatch):
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    calm.mkdir(), rough.mkdir()
    with serve(FakeModel(answer=weighed)) as url:
        judge_alpaca.main(words(calm, url, 60))
    faults = Mix(0.2, seed=3)
    server = FakeModel(answer=lambda body: faults(body) or weighed(body), delay=0.02)
    with serve(server) as url:
        arguments = words(rough, url, 60, retries=30, timeout=60)
        running = start(arguments, judge_alpaca.main)
        for _ in range(4):
            before = len(server.requests)
            until(lambda before=before: len(server.requests) >= before + 12)
            os.kill(running, signal.SIGKILL)
            assert finish(running) == -signal.SIGKILL
            running = start(arguments, judge_alpaca.main)
        assert finish(running) == 0
    written = (calm / "annotations.jsonl").read_bytes()
    assert (rough / "annotations.jsonl").read_bytes() == written
    assert len(set(server.keys)) == 120
    kept = [e for p in (rough / "store").glob("*.jsonl") for e in read_jsonl(p)]
    assert sum(event["event"] == "response" for event in kept) == 120
    assert max(unfinished(rough / "store")) <= 8
    monkeypatch.delenv("OPENAI_API_KEY")  # a replay needs neither key nor server
    judge_alpaca.main([w.replace("127.0.0.1", "nowhere.invalid") for w in arguments])
    assert (rough / "annotations.jsonl").read_bytes() == written


def excerpt(count: int, skill: float, seed: int) -> list[dict]:
    """Annotations in AlpacaEval's format, of numbers made here."""
    draw = random.Random(seed)
    records = []
    for i in range(count):
        ours, theirs = draw.randrange(20, 900), draw.randrange(20, 900)
        score = skill + (ours - theirs) / 300 + draw.gauss(0, 1)
        preference = 1.5 if i % 50 == 7 else 1 + 1 / (1 + math.exp(-score))
        records.append(
            {
                **{"instruction": f"i{i}", "index": i, "annotator": "j", "dataset": "d"},
                **{"output_1": "x" * theirs, "generator_1": "base"},
                **{"output_2": "y" * ours, "generator_2": f"m{seed}"},
                "preference": round(preference, 8),
            }
        )
    return records


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


def test_what_is_not_alpacaevals_is_refused(tmp_path):
    good = excerpt(60, 0.0, 1)
    path = jsonl(tmp_path / "a.jsonl", [*good, good[0]])
    with pytest.raises(UserError, match="line 61: this comparison appears twice, first in line 1"):
        read_annotations(path)
    for changed, message in (
        ({"preference": 3}, "preference is 3, not a number from 1 to 2"),
        ({"preference": True}, "preference is True, not a number from 1 to 2"),
        ({"index": True}, "index is not the question's number"),
    ):
        jsonl(path, [good[0] | changed])
        with pytest.raises(UserError, match=message):
            read_annotations(path)
    known = read_gamed(gamed(tmp_path / "g.csv", 10))
    with pytest.raises(UserError, match="question 10: its difficulty"):
        rate_columns(good, known)
    arguments = words(tmp_path, "http://127.0.0.1:1")
    file = tmp_path / "data" / "question.jsonl"
    file.write_text(file.read_text().replace("Say {output_2} 1.", "Say"))
    with pytest.raises(UserError, match="question 1 is not that of the baseline's outputs"):
        judge_alpaca.main(arguments)
