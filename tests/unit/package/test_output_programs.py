"""Every program that writes a folder spares what is not its own and fails whole and in one line."""

import importlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import hub_server
import mt_bench_files
import program_host
import pytest
import tiny_models
import torch
from endangered_folders import ENDANGERED, tree
from safetensors.torch import load_file

import make_pretraining
import make_world
from fusionchat.dialogues.dialogue import write_dialogues
from fusionchat.errors import UserError
from fusionchat.files import MANIFEST, MARKER, read_json, sha256, write_json

SCRIPTS = Path(make_world.__file__).parent
MERGES = {
    "merge_varm": [],
    "merge_linear": [],
    "merge_sce": [],
    "merge_mergekit": ["--method=ties"],
}
PROGRAMS = (
    *MERGES,
    *("convert_checkpoint", "fetch_model", "fetch_questions", "export_fastchat"),
    *("make_world", "make_tasks", "fetch_alpaca", "pretrain_source", "train_target"),
)


@pytest.fixture(scope="module")
def commands(tmp_path_factory) -> dict[str, list[str]]:
    """The options of each program but --output, on inputs that are small and valid."""
    folder = tmp_path_factory.mktemp("inputs")
    return {
        **merging(folder / "merging"),
        **models(folder),
        **benchmark(folder / "benchmark"),
        **training(folder / "training"),
    }


def merging(folder: Path) -> dict[str, list[str]]:
    options = [f"--pivot={tiny_models.save(folder / 'pivot', 'llama')}"]
    for seed, name in enumerate(("a", "b"), 1):
        options.append(f"--target={tiny_models.save(folder / name, 'llama', seed=seed)}")
    return {program: [*options, *more] for program, more in MERGES.items()}


def models(folder: Path) -> dict[str, list[str]]:
    checkpoint = tiny_models.save(folder / "pickled", "llama")
    fetch = [f"--path={tiny_models.save(folder / 'linked', 'llama')}"]
    torch.save(load_file(checkpoint / "model.safetensors"), checkpoint / "pytorch_model.bin")
    (checkpoint / "model.safetensors").unlink()
    files = {"pytorch_model.bin": sha256(checkpoint / "pytorch_model.bin")}
    write_json(folder / "sums.json", {"files": files})
    convert = [f"--checkpoint={checkpoint}", f"--checksums={folder / 'sums.json'}"]
    return {"convert_checkpoint": convert, "fetch_model": fetch}


def benchmark(folder: Path) -> dict[str, list[str]]:
    folder.mkdir()
    mt_bench_files.benchmark(folder)
    answers = mt_bench_files.jsonl(folder / "m.jsonl", mt_bench_files.answers("m"))
    judgments = mt_bench_files.jsonl(folder / "judged.jsonl", judgment_records())
    export = [f"--questions={folder / 'question.jsonl'}", f"--answers={answers}"]
    return {
        "fetch_questions": [f"--questions={folder}"],
        "export_fastchat": [*export, f"--judgments={judgments}"],
        "fetch_alpaca": [f"--data={alpaca_files(folder / 'alpaca')}"],
        "fetch_dataset": [f"--lock={locked(folder / 'lock.json')}", "--name=a"],
    }


def judgment_records() -> list[dict]:
    fact = {"model": "m", "judge": ["rule", "single-v1"], "user_prompt": "", "judgment": "[[5]]"}
    return [
        {**fact, "question_id": q["question_id"], "score": 5, "turn": 1, "tstamp": 0.0}
        for q in mt_bench_files.questions()
    ]


def alpaca_files(folder: Path) -> Path:
    folder.mkdir()
    (folder / "prompt.txt").write_text("{instruction}")
    write_json(
        folder / "outputs.json", [{"instruction": "a", "output": 999 * "b", "generator": "base"}]
    )
    columns = "model,preference,index,std_delta_len,instruction_difficulty"
    (folder / "gamed.csv").write_text(f"{columns}\nverbose,0.5,0,0.1,0.2\n")
    return folder


def locked(path: Path) -> Path:
    facts = {"repo": "lab/data", "kind": "dataset", "revision": "0" * 40}
    write_json(path, {"a": facts | {"files": {"a.csv": {"size": 1, "sha256": "0" * 64}}}})
    return path


def training(folder: Path) -> dict[str, list[str]]:
    pivot = tiny_models.save(folder / "pivot", "mistral")
    write_dialogues(folder / "dialogues.parquet", tiny_models.dialogues(4))
    world = folder / "world"
    make_world.main(["--seed=1", "--questions=1", f"--output={world}"])
    pretraining = folder / "pretraining.json"
    make_pretraining.main(["--seed=1", "--name=a", "--dialogues=8", f"--output={pretraining}"])
    target = [f"--pivot-model={pivot}", f"--dialogues={folder / 'dialogues.parquet'}"]
    source = [f"--dialogues={pretraining}", f"--text={world / 'text.txt'}", "--steps=0"]
    return {
        "make_world": ["--seed=1", "--questions=1"],
        "make_tasks": ["--seed=1", "--questions=1"],
        "pretrain_source": [*source, "--architecture=llama", "--tokenizer=metaspace"],
        "train_target": [
            *target,
            f"--checkpoints={folder / 'checkpoints'}",
            *("--epochs=1", "--global-batch-size=4", "--device=cpu", "--no-bf16"),
        ],
    }


@pytest.fixture(scope="module")
def programs() -> Iterator[program_host.Host]:
    with program_host.host() as host:
        yield host


@pytest.mark.parametrize("kind", ENDANGERED)
@pytest.mark.parametrize("program", [*PROGRAMS, "fetch_dataset"])
def test_nothing_of_a_strangers_is_touched(program, kind, commands, tmp_path):
    output = tmp_path / "m"
    ENDANGERED[kind](output, program)
    before = tree(tmp_path)
    with pytest.raises(UserError, match=r"\bm\b"):
        importlib.import_module(program).main([*commands[program], f"--output={output}"])
    assert tree(tmp_path) == before


@pytest.mark.parametrize("program", PROGRAMS)
def test_its_own_folder_is_made_anew_and_a_full_disk_leaves_it(
    program, commands, programs, tmp_path
):
    output = tmp_path / "m"
    options = [*commands[program], f"--output={output}"]
    found = programs.run(program, options)
    assert found.returncode == 0, found.stderr
    facts = read_json(output / MANIFEST)
    assert (facts["package"], facts["program"]) == ("fusionchat", program)
    marked = read_json(output / MARKER)
    assert marked["program"] == program
    assert set(marked["files"]) == {*facts["files"], MANIFEST}
    before = tree(tmp_path)
    found = programs.run(program, options, largest=900)
    assert found.returncode == 1
    assert "Traceback" not in found.stderr
    assert found.stderr.splitlines()[-1].startswith(f"error: --output {output} cannot be written")
    assert tree(tmp_path) == before
    (output / MANIFEST).unlink()  # as Snakemake does before it runs the job again
    found = programs.run(program, options)
    assert found.returncode == 0, found.stderr
    assert tree(tmp_path) == before


def test_programs_need_no_call_that_only_linux_has(commands, tmp_path):
    with program_host.host(PYTHONPATH=str(program_host.AS_ON_MACOS)) as host:
        for program in ("merge_varm", "fetch_model", "make_world", "pretrain_source"):
            found = host.run(program, [*commands[program], f"--output={tmp_path / program}"])
            assert found.returncode == 0, found.stderr
            assert read_json(tmp_path / program / MANIFEST)["program"] == program


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_read_only_place_is_one_line(program, commands):
    """Neither root nor anybody else writes below /proc."""
    with pytest.raises(UserError, match="--output /proc/x/m cannot be written"):
        importlib.import_module(program).main([*commands[program], "--output=/proc/x/m"])


@pytest.mark.parametrize("program", [*MERGES, "convert_checkpoint", "make_world"])
def test_another_file_system_takes_the_output(program, commands, tmp_path):
    """Through a link, which stays."""
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system to write to")
    with tempfile.TemporaryDirectory(dir=other) as place:
        output = tmp_path / "m"
        output.symlink_to(Path(place) / "m")
        for _ in range(2):
            importlib.import_module(program).main([*commands[program], f"--output={output}"])
            assert (output / MARKER).is_file()
        assert output.is_symlink()
        assert os.listdir(place) == ["m"]
    assert os.listdir(tmp_path) == ["m"]


@pytest.mark.parametrize(
    ("program", "more", "number"),
    [
        ("merge_mergekit", [], signal.SIGHUP),
        ("pretrain_source", ["--steps=1000000"], signal.SIGTERM),
        ("train_target", ["--epochs=100000"], signal.SIGINT),
    ],
)
def test_a_signal_ends_a_program_in_one_line_and_leaves_nothing(
    program, more, number, commands, tmp_path
):
    output = tmp_path / "m"
    words = [sys.executable, str(SCRIPTS / f"{program}.py"), *commands[program], *more]
    heard = partial(signal.signal, number, signal.SIG_DFL)  # also where the tests run under nohup
    process = subprocess.Popen(
        [*words, f"--output={output}"], stderr=subprocess.PIPE, text=True, preexec_fn=heard
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / ".m.partial").exists():
        assert process.poll() is None and time.monotonic() < deadline  # noqa: PT018
        time.sleep(0.01)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number
    assert said.splitlines()[-1] == f"error: stopped by {number.name}"
    assert "Traceback" not in said
    assert os.listdir(tmp_path) == []


def test_a_download_spares_a_strangers_folder(tmp_path):
    (tmp_path / ".m.download").mkdir()
    (tmp_path / ".m.download" / "config.json").write_text("somebody's")
    with hub_server.serve() as server:
        server.repos["lab/model"] = {"config.json": b"{}", "model.safetensors": b"x"}
        environment = {**os.environ, "HF_ENDPOINT": server.url, "NO_PROXY": "*"}
        environment.pop("HF_HUB_OFFLINE", None)
        lock = tmp_path / "lock.json"
        for program, options in (
            ("lock_models", ["--model=m=lab/model", f"--output={lock}"]),
            ("fetch_model", [f"--lock={lock}", "--name=m", f"--output={tmp_path / 'm'}"]),
        ):
            found = subprocess.run(
                [sys.executable, str(SCRIPTS / f"{program}.py"), *options],
                env=environment,
                capture_output=True,
                text=True,
            )
    assert found.returncode == 1
    assert ".m.download is in the way and was not made by fetch_model" in found.stderr
    assert sorted(os.listdir(tmp_path)) == [".m.download", "lock.json"]
    assert (tmp_path / ".m.download" / "config.json").read_text() == "somebody's"
