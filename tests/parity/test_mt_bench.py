"""Parity with FastChat: its golden vectors, and the library itself on our files."""

import contextlib
import io
import json
import os
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastchat_judge import judged_by
from mt_bench_files import answers, benchmark, jsonl
from pyarrow import parquet

import export_fastchat
import judge
import score
from fusionchat.categories import CATEGORIES
from fusionchat.dialogues.end_of_turn import stop_ids
from fusionchat.dialogues.messages import as_messages
from fusionchat.dialogues.templates import SpecialTokens, open_template, render_prompt
from fusionchat.files import read_jsonl
from fusionchat.mt_bench.judging.judge_prompts import read_judge_prompts
from fusionchat.mt_bench.judging.judges import make_tasks
from fusionchat.mt_bench.judging.ratings import parse_rating
from fusionchat.mt_bench.questions import read_questions
from fusionchat.mt_bench.scores import fastchat_tables


@pytest.fixture(scope="module")
def vectors(golden):
    """The folder of MT-Bench's golden vectors."""
    return golden / "mtbench"


def load(path: Path):
    return json.loads(path.read_text())


def test_every_prompt_is_rendered_as_fastchat_renders_it(vectors):
    data = load(vectors / "prompts.json")
    for case in data["cases"]:
        dialogue = data["dialogues"][case["dialogue"]]
        template = open_template(case["template"])
        (asked, answered), (second, replied) = dialogue[0], dialogue[1]
        where = (case["template"], case["dialogue"])
        said = as_messages([asked, answered, second, replied])
        told = as_messages([asked], data["system_message"])
        assert prompt(template, said[:1]) == case["prompt_turn1"], where
        assert template.raw(said[:2], open_turn=False) == case["complete_turn1"], where
        assert prompt(template, said[:3]) == case["prompt_turn2"], where
        assert template.raw(said, open_turn=False) == case["complete_turn2"], where
        assert prompt(template, told) == case["prompt_turn1_with_system"], where
    assert any(case["core"] for case in data["cases"])


def prompt(template, messages):
    return render_prompt(template, messages, SpecialTokens()).text


def test_stop_tokens_and_strings_are_those_of_the_templates(vectors):
    for name, facts in load(vectors / "prompts.json")["templates"].items():
        template = open_template(name)
        stop = facts["stop_str"]
        assert template.stop_strings() == ([stop] if isinstance(stop, str) else stop or [])
        if facts["stop_token_ids"]:
            literal = facts["stop_token_ids"]
            vocabulary = {template.end: literal[0], "<eos>": 9}
            tokenizer = SimpleNamespace(
                backend_tokenizer=SimpleNamespace(token_to_id=vocabulary.get),
                added_tokens_decoder=dict.fromkeys([*literal, 9]),
            )
            ids = stop_ids(tokenizer, template, frozenset(), {"<eos>"})
            assert ids == {*literal, 9}


def test_ratings_are_parsed_as_fastchat_parses_them(vectors):
    for entry in load(vectors / "rating_parse.json"):
        found = parse_rating(entry["text"])
        if entry["error"]:
            # FastChat stops there; we take the number.
            assert found >= 0, entry
        else:
            assert (found, type(found).__name__) == (entry["rating"], entry["type"]), entry


def test_score_tables_are_fastchats(vectors):
    expected = load(vectors / "expected_scores.json")
    records = read_jsonl(vectors / "judgments.jsonl")
    for name, rows in fastchat_tables(records).items():
        assert [model for model, _ in rows] == [model for model, _ in expected["tables"][name]]
        wanted = [mean for _, mean in expected["tables"][name]]
        assert [mean for _, mean in rows] == pytest.approx(wanted, abs=1e-12)


def test_our_score_table_gives_the_same_counts_and_category_means(vectors, tmp_path):
    expected = load(vectors / "expected_scores.json")
    asked = [
        {"question_id": 81 + i, "category": CATEGORIES[i // 10], "turns": ["a", "b"]}
        for i in range(80)
    ]
    # Repeated rows become repeats: FastChat counts them twice, and nothing else is lost either.
    seen, files = {}, []
    for record in read_jsonl(vectors / "judgments.jsonl"):
        key = (record["model"], record["question_id"], record["turn"])
        seen[key] = seen.get(key, -1) + 1
        files.append({**record, "repeat": seen[key]})
    output = tmp_path / "scores.parquet"
    score.main(
        [
            f"--judgments={jsonl(tmp_path / 'judgments.jsonl', files)}",
            f"--questions={jsonl(tmp_path / 'question.jsonl', asked)}",
            f"--output={output}",
        ]
    )
    table = parquet.read_table(output).to_pandas().dropna()
    for model, counts in expected["counts"].items():
        rows = table[table.model == model]
        assert [(rows.turn == t).sum() for t in (1, 2)] == list(counts.values())
        means = rows.groupby("category").score.mean().to_dict()
        assert means == pytest.approx(expected["category_means_own"][model], abs=1e-12)


def fastchat_judgments(fastchat, question_file, answer_file, prompt_file, reference_file):
    """(question, turn) -> (messages, user prompt, prompt name) of FastChat's own functions."""
    questions = fastchat.load_questions(str(question_file), None, None)
    prompts = fastchat.load_judge_prompts(str(prompt_file))
    by_id = {record["question_id"]: record for record in read_jsonl(answer_file)}
    references = {record["question_id"]: record for record in read_jsonl(reference_file)}
    found = {}
    with judged_by(fastchat, lambda messages: "Rating: [[6]]") as sent:
        for question in questions:
            with_reference = question["category"] in fastchat.NEED_REF_CATS
            for turn in (1, 2):
                name = "single-math-v1" if with_reference else "single-v1"
                name += "-multi-turn" if turn == 2 else ""
                asked = fastchat.Judge("gpt-4", prompts[name], with_reference, turn == 2)
                reference = references[question["question_id"]] if with_reference else None
                rating, user_prompt, _ = fastchat.run_judge_single(
                    question, by_id[question["question_id"]], asked, reference, turn == 2
                )
                assert rating == 6
                found[question["question_id"], turn] = (sent[-1], user_prompt, name)
    return found


def assert_judge_prompts_agree(fastchat, *files):
    question_file, answer_file, prompt_file, reference_file = files
    expected = fastchat_judgments(fastchat, *files)
    questions = read_questions(question_file)
    prompts = read_judge_prompts(prompt_file, reference_file)
    prompts.check(questions)
    by_id = {record["question_id"]: record for record in read_jsonl(answer_file)}
    tasks = make_tasks(questions, by_id)
    assert len(tasks) == len(expected) == 160
    for task in tasks:
        messages, user_prompt, name = expected[task.question.question_id, task.turn]
        assert prompts.messages(task) == messages
        assert prompts.user_prompt(task) == user_prompt
        assert prompts.name(task) == name


def test_judge_prompts_agree_with_fastchat_on_our_files(fastchat, tmp_path):
    benchmark(tmp_path)
    jsonl(tmp_path / "m.jsonl", answers("m"))
    assert_judge_prompts_agree(
        fastchat,
        tmp_path / "question.jsonl",
        tmp_path / "m.jsonl",
        tmp_path / "judge_prompts.jsonl",
        tmp_path / "references.jsonl",
    )


def test_judge_prompts_agree_with_fastchat_on_the_real_files(fastchat, tmp_path):
    folder = os.environ.get("MT_BENCH_DIR")
    if not folder:
        pytest.skip("MT_BENCH_DIR does not name a folder with MT-Bench's files")
    real = Path(folder)
    made = [
        {
            "question_id": question.question_id,
            "model_id": "m",
            "choices": [{"index": 0, "turns": [f"{{one}} {i} é\n", f"two {{0}} {i}"]}],
        }
        for i, question in enumerate(read_questions(real / "question.jsonl"))
    ]
    references = next(
        p for p in (real / "references.jsonl", real / "reference_answer/gpt-4.jsonl") if p.exists()
    )
    assert_judge_prompts_agree(
        fastchat,
        real / "question.jsonl",
        jsonl(tmp_path / "m.jsonl", made),
        real / "judge_prompts.jsonl",
        references,
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Two models of the small benchmark, judged by rule and exported."""
    folder = tmp_path_factory.mktemp("export")
    benchmark(folder)
    for name in ("m1", "org/m2"):
        file = name.replace("/", "-")
        records = answers(name)
        for i, record in enumerate(records[: 40 if name == "m1" else 10]):
            record["choices"][0]["turns"] = [f"{i}", f"{-i}"]
        jsonl(folder / f"answers-{file}.jsonl", records)
        judge.main(
            [
                "--judge=rule",
                f"--answers={folder / f'answers-{file}.jsonl'}",
                f"--questions={folder / 'question.jsonl'}",
                f"--output={folder / f'judged-{file}.jsonl'}",
            ]
        )
    unrated = read_jsonl(folder / "judged-m1.jsonl")
    unrated[5]["score"] = -1
    jsonl(folder / "judged-m1.jsonl", unrated)
    export_fastchat.main(
        [
            f"--questions={folder / 'question.jsonl'}",
            f"--references={folder / 'references.jsonl'}",
            "--answers",
            *(str(folder / f"answers-{m}.jsonl") for m in ("m1", "org-m2")),
            "--judgments",
            *(str(folder / f"judged-{m}.jsonl") for m in ("m1", "org-m2")),
            f"--output={folder / 'fastchat'}",
        ]
    )
    return folder / "fastchat"


def test_show_result_prints_our_scores(exported, monkeypatch):
    from fastchat.llm_judge.show_result import display_result_single

    monkeypatch.chdir(exported)
    printed = io.StringIO()
    options = {"input_file": None, "bench_name": "mt_bench", "judge_model": "gpt-4"}
    with contextlib.redirect_stdout(printed):
        display_result_single(Namespace(**options, model_list=None))
    records = read_jsonl(exported / "data/mt_bench/model_judgment/gpt-4_single.jsonl")
    assert sum(r["score"] == -1 for r in records) == 1
    _, first, second, average = printed.getvalue().split("##########\n")
    tables = fastchat_tables(records)
    for block, name in ((first, "first_turn"), (second, "second_turn"), (average, "average")):
        rows = [line.split() for line in block.splitlines() if line.startswith(("m1", "org"))]
        assert [(row[0], float(row[-1])) for row in rows] == [
            (model, pytest.approx(mean, abs=1e-5)) for model, mean in tables[name]
        ]


def test_qa_browser_finds_every_answer_and_judgment(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", SimpleNamespace(Request=None))
    from fastchat.llm_judge import qa_browser as browser

    monkeypatch.chdir(exported / "data" / "mt_bench")
    questions = browser.load_questions("question.jsonl", None, None)
    by_model = browser.load_model_answers("model_answer")
    judgments = browser.load_single_model_judgments("model_judgment/gpt-4_single.jsonl")
    assert browser.load_pairwise_model_judgments("model_judgment/gpt-4_pair.jsonl") == {}
    assert sorted(by_model) == ["m1", "org_m2"]
    for question in questions:
        for model, given in by_model.items():
            shown = browser.single_to_gradio_chat_mds(question, given[question["question_id"]])
            assert question["turns"][1] in shown[2]
            for second in (False, True):
                found = browser.resolve_single_judgment_dict(
                    question, judgments, judgments, multi_turn=second
                )
                key = (question["question_id"], model)
                assert "Rating" in browser.get_single_judge_explanation(key, found)
