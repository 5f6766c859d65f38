"""Tasks of lm-evaluation-harness on our models: the harness's own scores, whole or not at all."""

import ast
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import lm_eval.models
import pytest
import tiny_models
from forked_python import forked_python
from local_tasks import write_more_tasks, write_tasks

import evaluate_tasks
from fusionchat.errors import UserError
from fusionchat.leaderboard import harness
from fusionchat.leaderboard.documents import read_documents
from fusionchat.leaderboard.settings import OFFLINE, EvaluationOptions, TaskSettings

PICK, SAY = ("pick", 2, "acc_norm"), ("say", 1, "exact_match,letter")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_models.save(tmp_path_factory.mktemp("model"), "llama")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return write_tasks(tmp_path_factory.mktemp("local") / "tasks")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """A job that opens a connection fails."""

    def refuse(*args, **kwargs):
        raise AssertionError("a connection was opened")

    for variable in OFFLINE:  # which the program sets for good
        monkeypatch.setenv(variable, "1")
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


def evaluate(model: Path, tasks: Path, output: Path, *chosen, **options):
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    for name, shots, metric in chosen or (PICK, SAY):
        words += ["--task", f"{name}:{shots}:{metric}"]
    given = ["--model", str(model), "--folder", str(tasks), "--output", str(output)]
    evaluate_tasks.main([*given, "--dtype", "float32", *words])
    return read_documents(output)


def by_document(table) -> dict[str, float]:
    return dict(zip(table["document"].to_pylist(), table["value"].to_pylist(), strict=True))


# The harness's own command line, which would read its 14,000 tasks to find ours: most of its time.
HARNESS = """
from functools import partial
import lm_eval.tasks
from lm_eval.__main__ import cli_evaluate
lm_eval.tasks.TaskManager = partial(lm_eval.tasks.TaskManager, include_defaults=False)
cli_evaluate()
"""


def run_harness(model: Path, tasks: Path, folder: Path, *arguments: str) -> None:
    """Its command line in a fork of a process that has imported it, and nothing of this package."""
    (folder / "scripts").mkdir()
    (folder / "scripts" / "harness.py").write_text(HARNESS)
    command = [f"{forked_python()}/python", "scripts/harness.py", "run", "--model", "hf"]
    command += ["--model_args", f"pretrained={model},dtype=float32", "--device", "cpu"]
    command += ["--include_path", str(tasks), "--output_path", "out", "--log_samples", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def by_hand(model: Path, tasks: Path, folder: Path, task: tuple, *arguments: str):
    """Score, standard error and the documents' values by the harness's own command line."""
    name, shots, key = task
    metric, _, chosen = key.partition(",")
    run_harness(model, tasks, folder, "--tasks", name, "--num_fewshot", str(shots), *arguments)
    (results,) = (folder / "out").rglob("results_*.json")
    (samples,) = (folder / "out").rglob("samples_*.jsonl")
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    values = {str(x["doc_id"]): x[metric] for x in lines if x["filter"] == (chosen or "none")}
    stated = json.loads(results.read_text())["results"][name]
    return stated[f"{metric},{chosen or 'none'}"], values


@pytest.mark.parametrize("task", [PICK, SAY], ids=["choice", "generation"])
def test_scores_are_those_of_the_harness_by_hand(model, tasks, tmp_path, task):
    table, facts = evaluate(model, tasks, tmp_path / "ours.parquet", task)
    score, values = by_hand(model, tasks, tmp_path, task)
    assert by_document(table) == values
    assert sum(values.values()) / len(values) == pytest.approx(score)
    assert task == SAY or 0 < score < 1  # an untrained model says nothing right
    assert facts["tasks"] == {task[0]: {"shots": task[1], "metric": task[2]}}


def test_every_kind_of_task_that_is_a_mean_gives_the_harness_s_scores(model, tmp_path):
    """Stop words, and a group of two tasks, one of which has several right answers."""
    folder = write_more_tasks(tmp_path / "tasks")
    chosen = ("stops", 0, "exact_match"), ("both", 0, "acc")
    table, _ = evaluate(model, folder, tmp_path / "ours.parquet", *chosen)
    ours: dict[str, dict[str, float]] = {}
    for row in table.to_pylist():
        ours.setdefault(row["subtask"], {})[row["document"]] = row["value"]
    assert set(table["task"].to_pylist()) == {"stops", "both"}
    assert [len(set(values.values())) for values in ours.values()] == [2, 2, 2]
    run_harness(model, folder, tmp_path, "--tasks", "stops,both")
    for subtask, values in ours.items():
        (samples,) = tmp_path.rglob(f"samples_{subtask}_*.jsonl")
        metric = "exact_match" if subtask == "stops" else "acc"
        lines = [json.loads(line) for line in samples.read_text().splitlines()]
        assert values == {str(line["doc_id"]): line[metric] for line in lines}


def test_scores_of_a_real_model_are_those_of_the_harness_by_hand(smollm2, tasks, tmp_path):
    task = ("pick", 1, "acc_norm")
    table, _ = evaluate(smollm2, tasks, tmp_path / "ours.parquet", task, limit=4, batch_size=3)
    _, values = by_hand(smollm2, tasks, tmp_path, task, "--limit", "4", "--batch_size", "2")
    assert by_document(table) == values


def test_scores_are_equal_for_every_batch_size(model, tasks, tmp_path):
    alone, in_batches = (
        evaluate(model, tasks, tmp_path / f"{size}.parquet", batch_size=size) for size in (1, 5)
    )
    assert alone == in_batches
    assert alone[0].num_rows == 14


def test_a_killed_run_goes_on_where_it_was(model, tasks, tmp_path, monkeypatch):
    whole = evaluate(model, tasks, tmp_path / "whole.parquet")
    measure, measured = harness.measure, []

    def killed(lm, leaf, options):
        if leaf.task.task_name == "say":
            raise KeyboardInterrupt
        return measure(lm, leaf, options)

    def counted(lm, leaf, options):
        measured.append(leaf.task.task_name)
        return measure(lm, leaf, options)

    output = tmp_path / "ours.parquet"
    monkeypatch.setattr(harness, "measure", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, tasks, output)
    assert not output.exists()
    monkeypatch.setattr(harness, "measure", counted)
    assert evaluate(model, tasks, output) == whole
    assert measured == ["say"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours.parquet", "whole.parquet"]


UNFINISHED = """
import sys, time
import evaluate_tasks
from fusionchat.leaderboard import harness

measure = harness.measure

def slow(lm, leaf, options):
    if leaf.task.task_name == "say":
        time.sleep(600)
    return measure(lm, leaf, options)

harness.measure = slow
evaluate_tasks.main(sys.argv[1:])
"""


def test_a_run_that_was_sent_sigkill_goes_on_where_it_was(model, tasks, tmp_path, monkeypatch):
    output = tmp_path / "ours.parquet"
    words = ["--model", str(model), "--folder", str(tasks), "--output", str(output)]
    words += ["--task", f"{PICK[0]}:{PICK[1]}:{PICK[2]}", "--task", f"{SAY[0]}:{SAY[1]}:{SAY[2]}"]
    scripts = Path(evaluate_tasks.__file__).parent
    command = [sys.executable, "-c", UNFINISHED, *words, "--dtype", "float32"]
    with subprocess.Popen(command, cwd=scripts, stderr=subprocess.DEVNULL) as running:
        while not list(tmp_path.glob(".ours.parquet*/pick.parquet")):
            assert running.poll() is None
            time.sleep(0.1)
        running.kill()
    assert running.returncode == -signal.SIGKILL
    assert not output.exists()
    measure, measured = harness.measure, []

    def counted(lm, leaf, options):
        measured.append(leaf.task.task_name)
        return measure(lm, leaf, options)

    monkeypatch.setattr(harness, "measure", counted)
    found = evaluate(model, tasks, output)
    assert measured == ["say"]
    assert found == evaluate(model, tasks, tmp_path / "whole.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours.parquet", "whole.parquet"]


def test_vllm_is_called_with_arguments_that_the_harness_s_backend_names(model, monkeypatch):
    """Its module cannot be imported without vLLM, so the signature is read from its source."""
    source = Path(lm_eval.models.__file__).parent / "vllm_causallms.py"
    (kind,) = (n for n in ast.walk(ast.parse(source.read_text())) if is_called(n, "VLLM"))
    (init,) = (n for n in kind.body if is_called(n, "__init__"))
    known = {argument.arg: argument.annotation for argument in init.args.args}
    called = {}
    backend = ModuleType("lm_eval.models.vllm_causallms")
    backend.VLLM = lambda **given: called.update(given)
    monkeypatch.setitem(sys.modules, backend.__name__, backend)
    tasks = (TaskSettings(*PICK),)
    for dtype in ("float32", "bfloat16"):
        options = EvaluationOptions(model, tasks, engine="vllm", dtype=dtype, device="cuda")
        harness.load_harness_model(options)
        assert called.keys() <= known.keys() - {"self"}
        assert dtype in ast.literal_eval(known["dtype"].slice)
        assert (called["pretrained"], called["tensor_parallel_size"]) == (str(model), 1)


def is_called(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name


def test_what_was_finished_with_other_settings_is_run_again(model, tasks, tmp_path, monkeypatch):
    measure, measured = harness.measure, []

    def killed_later(lm, leaf, options):
        if leaf.task.task_name == "say":
            raise KeyboardInterrupt
        measured.append(options.limit)
        return measure(lm, leaf, options)

    monkeypatch.setattr(harness, "measure", killed_later)
    for limit in (3, 4):
        with pytest.raises(KeyboardInterrupt):
            evaluate(model, tasks, tmp_path / "ours.parquet", limit=limit)
    assert measured == [3, 4]


def test_the_chat_format_is_that_of_the_tokenizer(model, tasks, tmp_path):
    words = ["--model", str(model), "--folder", str(tasks), "--task", "pick:0:acc"]
    words += ["--output", str(tmp_path / "x.parquet"), "--chat-template"]
    with pytest.raises(UserError, match=r"--chat-template: the tokenizer of .* has none"):
        evaluate_tasks.main(words)


WRONG = {
    "no metric": (("pick", 0, "f1"), {}, r"task pick has no metric f1 \(it has acc, acc_norm\)"),
    "two filters": (
        ("say", 0, "exact_match"),
        {},
        "task say: choose one of the metrics exact_match,letter, exact_match,word",
    ),
    "code": (
        ("pick", 0, "acc"),
        {"unsafe_code": True},
        "task pick runs code that the model writes; choose another task",
    ),
    "no shots": (
        ("pick", 2, "acc"),
        {"num_fewshot": 0},
        "task pick is defined without examples; give it 0 shots",
    ),
    "no mean": (
        ("pick", 0, "acc"),
        {"metric_list": [{"metric": "acc", "aggregation": "median", "higher_is_better": True}]},
        "task pick: acc is no mean over documents; choose another metric",
    ),
    "not fetched": (
        ("pick", 0, "acc"),
        {"dataset_path": "owner/questions"},
        r"data set owner/questions was not fetched \(none is given\); name it as the task's `repo`",
    ),
    "no such file": (
        ("pick", 0, "acc"),
        {"dataset_kwargs": {"data_files": {"test": "no/such.jsonl"}}},
        "task pick cannot be read: .*no/such.jsonl",
    ),
}


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (("several", 2, "acc"), "task several cannot be asked with 2 shots: .* not a string"),
        (("rolling", 0, "bits_per_byte"), "rolling: bits_per_byte is no mean over documents"),
        (("ending", 0, "perplexity"), "ending: perplexity is no mean over documents"),
    ],
)
def test_kinds_of_tasks_that_are_not_measured_are_named(model, tmp_path, chosen, message):
    folder = write_more_tasks(tmp_path / "tasks")
    with pytest.raises(UserError, match=message):
        evaluate(model, folder, tmp_path / "x.parquet", chosen)
    assert [path.name for path in tmp_path.iterdir()] == ["tasks"]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_would_not_be_measured_as_asked_is_refused(model, tmp_path, wrong):
    chosen, more, message = WRONG[wrong]
    folder = write_tasks(tmp_path / "tasks", **more)
    with pytest.raises(UserError, match=message):
        evaluate(model, folder, tmp_path / "x.parquet", chosen)
    assert [path.name for path in tmp_path.iterdir()] == ["tasks"]


def test_a_data_set_that_was_fetched_stands_for_its_repository(model, tmp_path):
    folder = write_tasks(tmp_path / "tasks")
    expected, _ = evaluate(model, folder, tmp_path / "local.parquet", PICK)
    fetched = tmp_path / "fetched"
    (fetched / "data").mkdir(parents=True)
    for split in ("test", "train"):
        (folder / f"{split}.jsonl").rename(fetched / "data" / f"{split}.jsonl")
    (fetched / "README.md").write_text(CARD)
    text = (folder / "pick.yaml").read_text().replace("dataset_path: json", "dataset_path: o/q")
    kept = [line for line in text.splitlines() if "jsonl" not in line and "data_files" not in line]
    lines = [line for line in kept if not line.startswith("dataset_kwargs")]
    (folder / "pick.yaml").write_text("\n".join([*lines, "dataset_name: easy"]))
    (folder / "say.yaml").unlink()
    table, facts = evaluate(model, folder, tmp_path / "x.parquet", PICK, data=f"o/q={fetched}")
    assert table == expected
    assert set(facts["data"]["o/q"]) == {"README.md", "data/test.jsonl", "data/train.jsonl"}


CARD = """---
configs:
- config_name: easy
  data_files:
  - split: test
    path: data/test.jsonl
  - split: train
    path: data/train.jsonl
---
"""
