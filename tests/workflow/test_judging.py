"""The rules that judge, beside a local endpoint: files of one's own, secrets, comparison rows."""

import json
import shutil

import pandas as pd
import pytest
import yaml
from micro_project import Project, copy_project
from mt_bench_files import answers, benchmark, jsonl
from mt_bench_server import FakeModel, serve

from fusionchat.files import read_jsonl, sha256

KEY = "sk-very-secret-9876543210"


def configure(project: Project, **changes: object) -> None:
    """Lay changes over the micro configuration."""
    config = yaml.safe_load((project.folder / "config.yaml").read_text()) | changes
    (project.folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


@pytest.fixture
def judged(tmp_path) -> Project:
    """The project with answers of one model, and a small benchmark in FastChat's own layout."""
    project = copy_project(tmp_path / "project")
    folder = project.folder / "bench"
    (folder / "reference_answer").mkdir(parents=True)
    benchmark(folder, 8)
    shutil.move(folder / "references.jsonl", folder / "reference_answer" / "gpt-4.jsonl")
    given = project.results / "mt_bench" / "answers" / "pivot.jsonl"
    given.parent.mkdir(parents=True)
    jsonl(given, answers("pivot", 8))
    return project


def judge(project: Project, *rules: str) -> None:
    """Make the pivot's judgments by the rules named, from the answers that are there."""
    run = project.make(
        *("--cores", "2", "--allowed-rules", "fetch_questions", "judge", *rules, "--"),
        "results/micro/mt_bench/judgments/llm/pivot.jsonl",
        SECRET_OF_THE_JUDGE=KEY,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    (project.folder / "snakemake.txt").write_text(run.stdout + run.stderr)


def endpoint(url: str, **more: object) -> dict[str, object]:
    """The settings of a judge at this address."""
    fixed = {"kind": "openai", "model": "j", "base_url": url, "api_key_env": "SECRET_OF_THE_JUDGE"}
    return fixed | more


def test_the_key_stays_out_of_every_file_of_a_run(judged):
    model = FakeModel(reply=lambda messages: f"You sent {KEY}. Rating: [[5]]")
    with serve(model) as url:
        configure(
            judged,
            mt_bench={"questions": "bench", "judges": {"llm": endpoint(url, reasoning=True)}},
        )
        judge(judged)
    assert len(model.requests) == 16
    assert all("max_completion_tokens" in body for body in model.requests)
    files = [path for path in judged.folder.rglob("*") if path.is_file()]
    assert any(".snakemake/metadata" in str(path) for path in files)
    assert any(path.suffix == ".log" for path in files)
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_corrected_references_of_the_config_reach_the_judge_and_its_records(judged):
    corrected = [
        {"question_id": q, "choices": [{"index": 0, "turns": ["right", "also right"]}]}
        for q in range(81, 89)
    ]
    path = jsonl(judged.folder / "corrected.jsonl", corrected)
    model = FakeModel()
    with serve(model) as url:
        bench = {"questions": "bench", "references": "corrected.jsonl"}
        configure(judged, mt_bench={**bench, "judges": {"llm": endpoint(url, max_calls=16)}})
        judge(judged)
    records = read_jsonl(judged.results / "mt_bench" / "judgments" / "llm" / "pivot.jsonl")
    assert {record["references_sha256"] for record in records} == {sha256(path)}
    assert sum("right" in json.dumps(body) for body in model.requests) == 6
    path.write_text(path.read_text().replace("also right", "changed"))
    planned = judged.planned("results/micro/mt_bench/judgments/llm/pivot.jsonl")
    assert planned["fetch_questions"] == planned["judge"] == 1


def test_comparison_rows_come_from_an_api_from_published_answers_and_from_the_paper(judged):
    config = yaml.safe_load((judged.folder / "config.yaml").read_text())
    targets = {"clm": {"sources": []}, "from_moe": {"sources": ["moe"]}}
    merges = {"linear": {"method": "linear", "targets": {"from_moe": 1}}}
    for name in ("moe", "deep", "clm", "from_moe", "linear"):
        jsonl(judged.results / "mt_bench" / "answers" / f"{name}.jsonl", answers(name, 8))
    winners = judged.results / "figures" / "winners.csv"
    winners.parent.mkdir()
    winners.write_text(
        "target,category,teacher,dialogues,share\n"
        "from_moe,all,pivot,4,1.0\nfrom_moe,all,moe,0,0.0\n"
    )
    jsonl(judged.folder / "published.jsonl", answers("gpt-x", 8)[::-1])
    model = FakeModel(reply=lambda messages: "It is 2.")
    with serve(model) as url:
        configure(
            judged,
            targets=targets,
            merges=merges,
            data=config["data"] | {"heldout": 0},
            mt_bench={
                "questions": "bench",
                "max_new_tokens": 9,
                "judges": {"rule": {"kind": "rule", "repeats": 2}},
                "pairwise": {"baseline": "clm"},
            },
            comparisons={
                "gpt4": {"label": "GPT-4 (March)", "paper": "gpt-4"},
                "asked": {
                    "label": "Asked",
                    "api": {k: v for k, v in endpoint(url).items() if k != "kind"},
                },
                "taken": {"label": "Taken", "answers": "published.jsonl"},
            },
        )
        run = judged.make(
            *("--cores", "2", "--allowed-rules", "fetch_questions", "answer_elsewhere", "judge"),
            *("score", "agreement", "write_table1", "judge_pairs", "pairwise", "--"),
            *(f"results/micro/tables/{name}.csv" for name in ("table1", "agreement", "pairwise")),
            SECRET_OF_THE_JUDGE=KEY,
        )
    assert run.returncode == 0, run.stdout + run.stderr
    assert len(model.requests) == 16
    assert {body["max_tokens"] for body in model.requests} == {9}
    table = pd.read_csv(judged.results / "tables" / "table1.csv").set_index("model")
    assert list(table["group"])[:3] == ["Paper", "Comparison", "Comparison"]
    assert table.loc["gpt4", "average"] == 8.96
    assert {"asked", "taken", "pivot", "clm", "linear"} <= set(table.index)
    page = (judged.results / "tables" / "table1.md").read_text()
    assert "moe never teaches from_moe" in page
    agreement = pd.read_csv(judged.results / "tables" / "agreement.csv")
    assert agreement["exact"].tolist() == [1.0]
    against = pd.read_csv(judged.results / "tables" / "pairwise.csv").set_index("model")
    assert set(against.index) == set(table.index) - {"clm", "gpt4"}
    assert set(against["baseline"]) == {"clm"}
    taken = read_jsonl(judged.results / "mt_bench" / "answers" / "taken.jsonl")
    assert [record["question_id"] for record in taken] == list(range(81, 89))
    assert {record["model_id"] for record in taken} == {"taken"}
    secret = [p for p in judged.folder.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]
    assert not secret


def test_alpacas_annotations_and_table_come_from_files_of_ones_own(judged):
    count = 30
    folder = judged.folder / "alpaca"
    folder.mkdir()
    outputs = [
        {"instruction": f"Say {i}.", "output": "no " * (1 + i % 4), "generator": "base"}
        for i in range(count)
    ]
    (folder / "outputs.json").write_text(json.dumps(outputs))
    text = "{instruction}\n{output_1}\n{output_2}\nBest:"
    (folder / "prompt.txt").write_text(f"<|im_start|>user\n{text}\n<|im_end|>")
    rows = [
        {"index": i, "std_delta_len": (i % 7 - 3) / 3, "instruction_difficulty": (i % 5 - 2) / 2}
        | {"model": "verbose", "preference": (1 + i % 9) / 10, "not_gamed_baseline": False}
        for i in range(count)
    ]
    pd.DataFrame(rows).to_csv(folder / "gamed.csv", index=False)
    for name, letter in (("pivot", "a"), ("moe", "b"), ("deep", "b")):
        said = [
            {
                "question_id": i,
                "model_id": name,
                "choices": [{"index": 0, "turns": [letter * (i + 1)]}],
            }
            for i in range(count)
        ]
        path = judged.results / "alpaca_eval" / "answers" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        jsonl(path, said)
    replies = FakeModel(reply=lambda messages: "mM"[len(messages[-1]["content"]) % 2])
    with serve(replies) as url:
        config = yaml.safe_load((judged.folder / "config.yaml").read_text())
        configure(
            judged,
            targets={},
            merges={},
            data=config["data"] | {"heldout": 0},
            mt_bench={"judges": {"llm": endpoint(url)}},
            alpaca_eval={"data": "alpaca", "logprobs": False, "seed": 3},
        )
        run = judged.make(
            *("--cores", "2", "--allowed-rules", "fetch_alpaca", "judge_alpaca", "alpaca_eval"),
            *("--", "results/micro/tables/alpaca_eval.csv"),
            SECRET_OF_THE_JUDGE=KEY,
        )
    assert run.returncode == 0, run.stdout + run.stderr
    assert len(replies.requests) == 2 * count  # equal answers share a judgment
    table = pd.read_csv(judged.results / "tables" / "alpaca_eval.csv").set_index("model")
    assert set(table.index) == {"pivot", "moe", "deep"}
    assert table["lc"].between(0, 100).all()
    assert (judged.results / "mt_bench" / "paid" / "llm").is_dir()
