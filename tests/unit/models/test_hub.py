"""Locked downloads from a hub that breaks off, lies, or has changed."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import hub_server
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fusionchat.dialogues import mixture
from fusionchat.errors import UserError
from fusionchat.files import MANIFEST, MARKER, read_json
from fusionchat.models import hub as library
from fusionchat.output_folder import claim

SCRIPTS = Path(library.__file__).parents[2]
CHUNK = 10 * 2**20  # what the hub's library writes at a time
WEIGHTS = np.random.default_rng(0).bytes(5 * CHUNK // 2)
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    "model-00001-of-00001.safetensors": WEIGHTS,
    "model.safetensors.index.json": b"{}",
    "consolidated.safetensors": b"the same again",
    "pytorch_model.bin": b"pickled",
    "modeling_evil.py": b"raise SystemExit",
    "original/params.json": b"{}",
    "README.md": b"# model",
}
KEPT = ["config.json", "model-00001-of-00001.safetensors", "model.safetensors.index.json"]
KEPT += ["tokenizer.json"]


@pytest.fixture
def server():
    with hub_server.serve() as server:
        server.repos["lab/model"] = dict(FILES)
        server.repos["lab/data"] = {"mixture.json": b"[]" * 50_000}
        yield server


def start(server, program: str, *argv: str, **variables: str) -> subprocess.Popen:
    names = {"HF_HUB_OFFLINE", "HF_TOKEN", "TRANSFORMERS_OFFLINE"}
    environment = {key: value for key, value in os.environ.items() if key not in names}
    environment |= {"HF_ENDPOINT": server.url, "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "*"}
    environment |= variables
    command = [sys.executable, str(SCRIPTS / f"{program}.py"), *map(str, argv)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(server, program: str, *argv: str) -> str:
    """Run a program; returns what it says if it fails, else nothing."""
    code, said = everything(server, program, *argv)
    return said.splitlines()[-1] if code else ""


def everything(server, program: str, *argv: str, **variables: str) -> tuple[int, str]:
    """Run a program; returns its exit code and all that it says."""
    process = start(server, program, *argv, **variables)
    out, errors = process.communicate()
    assert "Traceback" not in errors, errors
    return process.returncode, out + errors


@pytest.fixture
def lock(server, tmp_path) -> Path:
    path = tmp_path / "lock.json"
    argv = ["--model", "m=lab/model", "--data", "d=lab/data:mixture.json", "--output", path]
    assert run(server, "lock_models", *argv) == ""
    server.requests.clear()
    return path


def fetch(server, lock: Path, output: Path) -> str:
    return run(server, "fetch_model", "--lock", lock, "--name", "m", "--output", output)


def test_a_locked_model_is_fetched_although_the_line_breaks(server, lock, tmp_path):
    entry = json.loads(lock.read_text())["m"]
    assert entry["revision"] == hub_server.COMMIT
    assert sorted(entry["files"]) == KEPT
    server.cut[KEPT[1]] = 2
    folder = tmp_path / "models" / "m"
    assert fetch(server, lock, folder) == ""
    assert sorted(os.listdir(folder)) == sorted([*KEPT, MANIFEST, MARKER])
    assert all((folder / name).read_bytes() == FILES[name] for name in KEPT)
    ranges = [asked for name, asked in server.requests if name == KEPT[1]]
    assert ranges == [None, f"bytes={CHUNK}-", f"bytes={CHUNK}-"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["repo"], manifest["revision"]) == ("lab/model", hub_server.COMMIT)
    assert os.listdir(folder.parent) == ["m"]


def test_a_killed_download_goes_on(server, lock, tmp_path):
    server.pause = 0.1
    process = start(
        server, "fetch_model", "--lock", lock, "--name", "m", "--output", tmp_path / "m"
    )
    partial = tmp_path / ".m.download" / f"{KEPT[1]}.partial"
    for _ in range(200):
        if partial.exists() and partial.stat().st_size > 0:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    process.stderr.close()
    assert not (tmp_path / "m").exists()
    have = partial.stat().st_size
    assert 0 < have < len(WEIGHTS)
    server.pause = 0
    server.requests.clear()
    assert fetch(server, lock, tmp_path / "m") == ""
    assert (KEPT[1], f"bytes={have}-") in server.requests
    assert (tmp_path / "m" / KEPT[1]).read_bytes() == WEIGHTS
    assert ("config.json", None) not in server.requests


def test_other_bytes_than_the_locked_ones_are_refused(server, lock, tmp_path):
    server.lies[KEPT[1]] = WEIGHTS[:-1] + b"!"
    assert "is locked" in fetch(server, lock, tmp_path / "m")
    assert not (tmp_path / "m").exists()
    server.lies[KEPT[1]] = WEIGHTS[:1000]
    assert "error:" in fetch(server, lock, tmp_path / "m")
    server.lies.clear()
    assert fetch(server, lock, tmp_path / "m") == ""
    assert (tmp_path / "m" / KEPT[1]).read_bytes() == WEIGHTS


def test_a_hub_that_cannot_continue_sends_the_whole_file(server, lock, tmp_path):
    server.ranges = False
    folder = claim(tmp_path / ".m.download", "fetch_model")
    (folder / f"{KEPT[1]}.partial").write_bytes(WEIGHTS[:1000])
    assert fetch(server, lock, tmp_path / "m") == ""
    assert (KEPT[1], "bytes=1000-") in server.requests
    assert (tmp_path / "m" / KEPT[1]).read_bytes() == WEIGHTS


def test_a_busy_hub_is_asked_again(server, lock, tmp_path):
    server.busy["config.json"] = 2
    assert fetch(server, lock, tmp_path / "m") == ""
    assert server.requests[:3] == [("config.json", None)] * 3


def test_files_of_an_earlier_lock_are_not_taken_for_those_of_this_one(server, lock, tmp_path):
    folder = claim(tmp_path / ".m.download", "fetch_model")
    (folder / "config.json").write_bytes(b"of another commit")
    (folder / "vocab.json").write_bytes(b"of another commit")
    assert fetch(server, lock, tmp_path / "m") == ""
    assert sorted(os.listdir(tmp_path / "m")) == sorted([*KEPT, MANIFEST, MARKER])
    assert (tmp_path / "m" / "config.json").read_bytes() == FILES["config.json"]


def test_secrets_are_used_and_not_told(server, tmp_path):
    server.token = "hf_s3cret"
    output = tmp_path / "lock.json"
    argv = ["--model", "m=lab/model", "--output", output]
    address = server.url.replace("://", "://user:s3cret@")
    told = [
        everything(server, "lock_models", *argv),
        everything(server, "lock_models", *argv, HF_ENDPOINT=address),
        everything(server, "lock_models", *argv, HF_TOKEN=server.token),
    ]
    assert [code for code, _ in told] == [1, 1, 0]
    assert all("401" in said for _, said in told[:2])
    server.expired = {KEPT[1]}
    argv = ["--lock", output, "--name", "m", "--output", tmp_path / "m"]
    told += [
        everything(server, "fetch_model", *argv, HF_TOKEN=server.token),
        everything(server, "fetch_model", *argv, HF_ENDPOINT=address),
    ]
    assert "403" in told[3][1]
    assert "s3cret" not in "".join(said for _, said in told)


def test_a_damaged_partial_file_begins_again(server, lock, tmp_path):
    folder = claim(tmp_path / ".m.download", "fetch_model")
    (folder / f"{KEPT[1]}.partial").write_bytes(b"x" * 1000)
    (folder / "config.json.partial").write_bytes(b"x" * 1000)
    assert fetch(server, lock, tmp_path / "m") == ""
    assert (tmp_path / "m" / KEPT[1]).read_bytes() == WEIGHTS


def test_a_data_set_is_one_locked_file(server, lock, tmp_path):
    output = tmp_path / "data" / "mixture.json"
    argv = ["--lock", lock, "--name", "d", "--output", output]
    assert run(server, "fetch_data", *argv) == ""
    assert output.read_bytes() == server.repos["lab/data"]["mixture.json"]
    assert os.listdir(output.parent) == ["mixture.json"]
    argv[3] = "m"
    assert "4 files instead of one" in run(server, "fetch_data", *argv)


SAID = (("Hi", "Hello."), ("And now?", "Bye."))
# Rows as such data sets have them on the hub, with columns that mean nothing here.
HUB_ROWS = {
    "sharegpt": {
        "id": "a1",
        "conversations": [
            {"from": speaker, "value": text, "weight": None}
            for turn in SAID
            for speaker, text in zip(("human", "gpt"), turn, strict=True)
        ],
    },
    "messages": {
        "prompt": "Hi",
        "prompt_id": "a1",
        "messages": [
            {"role": role, "content": text, "tool_calls": None}
            for turn in SAID
            for role, text in zip(("user", "assistant"), turn, strict=True)
        ],
    },
    "alpaca": {
        "instruction": SAID[1][0],
        "input": None,
        "output": SAID[1][1],
        "history": [list(SAID[0])],
        "text": "### Instruction: ...",
    },
}


def hub_file(row: dict, suffix: str) -> bytes:
    if suffix == "jsonl":
        return json.dumps(row).encode() + b"\n"
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row]), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_data_sets_of_every_format_become_dialogues(server, tmp_path, suffix):
    file, lock = f"data/train-00000-of-00001.{suffix}", tmp_path / "lock.json"
    for name, row in HUB_ROWS.items():
        server.repos[f"lab/{name}"] = {file: hub_file(row, suffix), "README.md": b"# data"}
    named = [word for name in HUB_ROWS for word in ("--data", f"{name}=lab/{name}:{file}")]
    assert run(server, "lock_models", *named, "--output", lock) == ""
    for name in HUB_ROWS:
        path = tmp_path / name / file
        assert run(server, "fetch_data", "--lock", lock, "--name", name, "--output", path) == ""
        report = mixture.Report()
        (dialogue,) = mixture.read_mixture(path, False, report)
        assert (dialogue.turns, report.formats) == (SAID, {name: 1})


def test_a_whole_data_set_is_its_card_and_its_data(server, tmp_path):
    files = {"README.md": b"# card", "main/test-0.parquet": WEIGHTS, "load.py": b"raise SystemExit"}
    server.repos["lab/tasks"] = files
    lock, output = tmp_path / "lock.json", tmp_path / "tasks"
    assert run(server, "lock_models", "--dataset", "t=lab/tasks", "--output", lock) == ""
    assert run(server, "fetch_dataset", "--lock", lock, "--name", "t", "--output", output) == ""
    found = {str(p.relative_to(output / "files")): p for p in output.rglob("files/**/*.*")}
    assert {name: path.read_bytes() for name, path in found.items()} == {
        name: files[name] for name in ("README.md", "main/test-0.parquet")
    }
    assert read_json(output / MANIFEST)["repo"] == "lab/tasks"
    server.repos["lab/tasks"] = {"README.md": b"# card", "load.py": b"raise SystemExit"}
    said = run(server, "lock_models", "--dataset", "t=lab/tasks", "--output", lock)
    assert "has no data in Parquet, JSON or CSV files" in said


def test_published_answers_are_one_locked_file_of_a_space(server, tmp_path):
    server.repos["lmsys/mt-bench"] = {"data/answer/gpt-4.jsonl": b'{"question_id": 81}\n'}
    lock, output = tmp_path / "lock.json", tmp_path / "gpt-4.jsonl"
    reference = "gpt=lmsys/mt-bench:data/answer/gpt-4.jsonl"
    assert run(server, "lock_models", "--space", reference, "--output", lock) == ""
    assert run(server, "fetch_data", "--lock", lock, "--name", "gpt", "--output", output) == ""
    assert output.read_bytes() == b'{"question_id": 81}\n'


def test_a_lock_is_only_made_of_what_the_hub_really_has(server, tmp_path):
    output = tmp_path / "lock.json"

    def locking(reference: str, option: str = "--model") -> str:
        return run(server, "lock_models", option, reference, "--output", output)

    assert "lab/none" in locking("x=lab/none")
    assert "has no other.json" in locking("x=lab/data:other.json", "--data")
    server.lies["config.json"] = b'{"model_type": "other"}'
    assert "not what the commit holds" in locking("x=lab/model")
    server.lies.clear()
    assert "hub answers with commit" in locking(f"x=lab/model@{'f' * 40}")
    server.commit = "main"
    assert "hub answers with commit 'main'" in locking("x=lab/model")
    assert not output.exists()


def test_locks_that_pin_too_little_are_refused(tmp_path):
    path = tmp_path / "lock.json"
    good = {"sha256": "0" * 64, "size": 1}
    for entry, reason in [
        ({"revision": "main", "files": {"a": good}}, "not a commit"),
        ({"files": {"a": {"size": 1}}}, "no sha256"),
        ({"files": {"a": {"sha256": "0" * 64}}}, "no size"),
        ({"files": {"../a": good}}, "not a name below"),
        ({"repo": "lab/model", "kind": "model"}, "'files' is missing"),
    ]:
        pinned = {"repo": "lab/model", "kind": "model", "revision": hub_server.COMMIT}
        whole = entry if "repo" in entry else pinned | entry
        path.write_text(json.dumps({"m": whole}))
        with pytest.raises(UserError, match=reason):
            library.read_lock(path, "m")
    with pytest.raises(UserError, match="no entry 'x'"):
        library.read_lock(path, "x")
    path.write_text("[]")
    with pytest.raises(UserError, match="no entry 'm'"):
        library.read_lock(path, "m")


def test_a_model_with_code_of_its_own_is_refused_before_the_download(server, tmp_path):
    config = {"model_type": "internlm2", "auto_map": {"AutoModelForCausalLM": "modeling_evil.X"}}
    server.repos["lab/model"]["config.json"] = json.dumps(config).encode()
    argv = ["lock_models", "--output", tmp_path / "lock.json", "--model"]
    told = run(server, *argv, "m=lab/model")
    assert "'internlm2'" in told
    assert f"remote_code: {hub_server.COMMIT}" in told
    read = [f"m=lab/model@{hub_server.COMMIT}", "--remote-code"]
    assert run(server, *argv, *read) == ""
    assert "modeling_evil.py" in json.loads((tmp_path / "lock.json").read_text())["m"]["files"]
    config["model_type"] = "mistral"
    server.repos["lab/model"]["config.json"] = json.dumps(config).encode()
    assert run(server, *argv, "m=lab/model") == ""


def test_pickles_are_taken_only_where_there_is_nothing_else():
    names = ["config.json", "pytorch_model.bin", "a/model.safetensors", "code.py"]
    assert library.chosen_files(names) == ["config.json", "pytorch_model.bin"]
    assert library.chosen_files([*names, "model.safetensors"]) == [
        "config.json",
        "model.safetensors",
    ]
    assert library.chosen_files(["config.json"]) == []
