"""Parity with FastChat's pairwise comparisons: prompts, winners, win rates."""

import contextlib
import hashlib
import io
import json
import os
import random
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
from fastchat_judge import judged_by
from mt_bench_files import NEED_REFERENCE, answers, benchmark, jsonl
from mt_bench_server import FakeModel, serve

import judge_pairs
from fusionchat.files import read_jsonl
from fusionchat.mt_bench.questions import read_questions


def fastchat_matches(fastchat, folder, prompt_file, reference_file):
    """(question, turn) -> FastChat's record of m against base, and the messages it sent."""
    prompts = fastchat.load_judge_prompts(str(prompt_file))
    by_id = {
        model: {record["question_id"]: record for record in read_jsonl(folder / f"{model}.jsonl")}
        for model in ("m", "base")
    }
    references = {record["question_id"]: record for record in read_jsonl(reference_file)}
    found = {}
    with judged_by(fastchat, verdict) as sent:
        for question in fastchat.load_questions(str(folder / "question.jsonl"), None, None):
            number, with_reference = question["question_id"], question["category"] in NEED_REFERENCE
            for turn in (1, 2):
                name = "pair-math-v1" if with_reference else "pair-v2"
                name += "-multi-turn" if turn == 2 else ""
                asked = fastchat.Judge("gpt-4", prompts[name], with_reference, turn == 2)
                match = fastchat.MatchPair(
                    *(question, "m", "base", by_id["m"][number], by_id["base"][number], asked),
                    ref_answer=references[number] if with_reference else None,
                    multi_turn=turn == 2,
                )
                record = fastchat.play_a_match_pair(match, None)
                found[number, turn] = (record, sent[-2:])
    return found


def verdict(messages):
    """A verdict that depends on what is shown: any winner, several, or none."""
    said = ("[[A]]", "[[B]]", "[[C]]", "[[B]] no, [[A]]", "[[C]] or [[B]]", "neither")
    return said[hashlib.sha256(json.dumps(messages).encode()).digest()[0] % len(said)]


def assert_matches_agree(fastchat, folder, prompt_file, reference_file):
    """Our prompts, winners and records of all questions in both orders are FastChat's."""
    expected = fastchat_matches(fastchat, folder, prompt_file, reference_file)
    sent = []
    model = FakeModel(reply=lambda messages: (sent.append(messages), verdict(messages))[1])
    with serve(model) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "none")
        judge_pairs.main(
            [
                *("--judge=openai", "--judge-model=gpt-4", f"--base-url={url}", "--attempts=1"),
                f"--store={folder / 'store'}",
                f"--questions={folder / 'question.jsonl'}",
                *(f"--prompts={prompt_file}", f"--references={reference_file}"),
                *("--answers", str(folder / "m.jsonl"), str(folder / "base.jsonl")),
                *("--baseline=base", f"--output={folder / 'pairs.jsonl'}"),
            ]
        )
    records = read_jsonl(folder / "pairs.jsonl")
    assert len(records) == len(expected) == 160
    for record in records:
        wanted, messages = expected[record["question_id"], record["turn"]]
        same = wanted.keys() - {"judge", "tstamp"}
        assert {key: record[key] for key in same} == {key: wanted[key] for key in same}
        assert record["judge"] == list(wanted["judge"])
        assert all(message in sent for message in messages)
    assert {r["g1_winner"] for r in records} == {"model_1", "model_2", "tie", "error"}
    return records


def test_pairwise_prompts_and_winners_agree_with_fastchat_on_our_files(fastchat, tmp_path):
    benchmark(tmp_path)
    for name in ("m", "base"):
        jsonl(tmp_path / f"{name}.jsonl", answers(name))
    files = tmp_path / "judge_prompts.jsonl", tmp_path / "references.jsonl"
    assert_matches_agree(fastchat, tmp_path, *files)


def test_pairwise_prompts_and_winners_agree_with_fastchat_on_the_real_files(fastchat, tmp_path):
    folder = os.environ.get("MT_BENCH_DIR")
    if not folder:
        pytest.skip("MT_BENCH_DIR does not name a folder with MT-Bench's files")
    real = Path(folder)
    for name in ("m", "base"):
        made = [
            {
                "question_id": question.question_id,
                "model_id": name,
                "choices": [{"index": 0, "turns": [f"{{{name}}} {i} é\n", f"two {{0}} {i}"]}],
            }
            for i, question in enumerate(read_questions(real / "question.jsonl"))
        ]
        jsonl(tmp_path / f"{name}.jsonl", made)
    shutil.copy(real / "question.jsonl", tmp_path)
    references = next(
        p for p in (real / "references.jsonl", real / "reference_answer/gpt-4.jsonl") if p.exists()
    )
    assert_matches_agree(fastchat, tmp_path, real / "judge_prompts.jsonl", references)


def test_show_result_prints_our_win_rates(fastchat, tmp_path):
    """Three models against a baseline; errors, ties and disagreements among their matches."""
    from fastchat.llm_judge.show_result import display_result_pairwise

    from fusionchat.pairwise.win_rates import read_matches, win_rates

    draw = random.Random(2)
    records = [
        {
            **{"question_id": 81 + q, "model_1": model, "model_2": "base", "turn": turn},
            "g1_winner": draw.choices(("model_1", "model_2", "tie", "error"), (luck, 4, 2, 1))[0],
            "g2_winner": draw.choices(("model_1", "model_2", "tie", "error"), (luck, 4, 2, 1))[0],
            "judge": ["j", "pair-v2"],
        }
        for model, luck in (("weak", 1), ("equal", 4), ("strong", 12))
        for q in range(80)
        for turn in (1, 2)
    ]
    path = jsonl(tmp_path / "pairs.jsonl", records)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        display_result_pairwise(
            Namespace(input_file=str(path), model_list=None, baseline_model="base")
        )
    lines = [line.split() for line in printed.getvalue().splitlines()]
    shown = {line[0]: line[1:] for line in lines if line and line[0] in ("weak", "equal", "strong")}
    rates = win_rates(read_matches(path))
    assert list(shown) == sorted(rates, key=lambda name: -rates[name].rate)
    for name, (win, loss, tie, *_, adjusted) in shown.items():
        rate = rates[name]
        assert [int(win), int(loss), int(tie)] == [rate.wins, rate.losses, rate.ties]
        assert float(adjusted) == pytest.approx(rate.rate, abs=1e-6)
        assert rate.low < rate.rate < rate.high
        assert rate.missing == 160 - rate.wins - rate.losses - rate.ties > 0
