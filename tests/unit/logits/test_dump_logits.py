"""The program dump_logits: resume, provenance, several processes, and what it says of mistakes."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from forked_python import forked_python
from forks import finish, start
from safetensors.torch import save_file

import dump_logits
import measure_nll
from fusionchat.dialogues.dialogue import write_dialogues
from fusionchat.errors import UserError
from fusionchat.logits.store import read_logits, read_provenance

SCRIPTS = Path(dump_logits.__file__).parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dump")
    tiny_models.save(folder / "mixtral", "mixtral", vocab_size=len(tiny_models.tokenizer()) + 4)
    tiny_models.save(folder / "llama", "llama")
    write_dialogues(folder / "dialogues.parquet", tiny_models.dialogues(60))
    return folder


def arguments(folder: Path, output: Path, model: str = "llama", **options) -> list[str]:
    chosen = {"dtype": "float32", "token-budget": 500, "part": 10, **options}
    return [
        *("--model", str(folder / model), "--dialogues", str(folder / "dialogues.parquet")),
        *("--output", str(output)),
        *(text for name, value in chosen.items() for text in (f"--{name}", str(value))),
    ]


def test_killed_at_random_moments_the_store_is_the_same(folder, tmp_path, monkeypatch):
    from fusionchat.models import loading as models

    model = models.load_causal_lm(folder / "llama", "float32")
    monkeypatch.setattr(models, "load_causal_lm", lambda *_: model)
    whole = tmp_path / "whole" / "store.parquet"
    started = time.monotonic()
    assert finish(start(dump_logits.main, arguments(folder, whole))) == 0
    duration = time.monotonic() - started
    rng = random.Random(0)
    resumed = 0
    for round_ in range(20):
        output = tmp_path / f"{round_}" / "store.parquet"
        child = start(dump_logits.main, arguments(folder, output))
        time.sleep(rng.uniform(0, duration))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        resumed += len(list(output.parent.glob(".*.parts/*.parquet"))) > 0
        assert finish(start(dump_logits.main, arguments(folder, output))) == 0
        assert output.read_bytes() == whole.read_bytes()
        assert os.listdir(output.parent) == ["store.parquet"]
    assert resumed > 0


def test_what_is_done_is_not_done_again(folder, tmp_path, monkeypatch):
    from fusionchat.logits import dump

    output = tmp_path / "store.parquet"
    scored = []
    original = dump.dump

    def counting(model, tokenizer, dialogues, *rest):
        if len(scored) == 3:
            raise KeyboardInterrupt
        scored.append(dialogues[0].dialogue_id)
        return original(model, tokenizer, dialogues, *rest)

    monkeypatch.setattr(dump, "dump", counting)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            dump_logits.main(arguments(folder, output))
    assert len(scored) == 3
    scored.clear()
    dump_logits.main(arguments(folder, output))
    assert len(scored) == 3
    scored.clear()
    output.unlink()
    with pytest.raises(KeyboardInterrupt):
        dump_logits.main(arguments(folder, output, part=12))
    scored.clear()
    with pytest.raises(KeyboardInterrupt):  # parts of other arguments do not count
        dump_logits.main(arguments(folder, output, part=11))
    assert len(scored) == 3


def test_the_result_does_not_depend_on_how_the_work_is_divided(folder, tmp_path):
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    dump_logits.main(arguments(folder, first))
    dump_logits.main(arguments(folder, second, part=7, **{"token-budget": 4000}))
    assert_close(first, second)


def assert_close(first: Path, second: Path) -> None:
    """Equal within one rounding of float16; ids may change places where log-probs tie."""
    for ours, theirs in zip(read_logits(first), read_logits(second), strict=True):
        assert ours.dialogue_id == theirs.dialogue_id
        a, b = ours.top_logprobs.astype(np.float32), theirs.top_logprobs.astype(np.float32)
        np.testing.assert_allclose(a, b, rtol=2**-10, atol=1e-4)
        swapped = ours.top_ids != theirs.top_ids
        assert swapped.mean() < 0.01
        assert ours.ce == pytest.approx(theirs.ce, abs=1e-4)


AND_NO_GROUP_IS_LEFT = f"""
import os, sys
sys.path.append({str(SCRIPTS)!r})
import dump_logits, torch
dump_logits.main()
assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
assert not torch.distributed.is_initialized()
"""


def test_two_processes_share_a_mixture_of_experts(folder, tmp_path):
    one, two = tmp_path / "stores" / "one.parquet", tmp_path / "stores" / "two.parquet"
    dump_logits.main(arguments(folder, one, "mixtral"))
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "program.py").write_text(AND_NO_GROUP_IS_LEFT)
    torchrun = ["python", "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    torchrun += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "scripts/program.py"]
    path = f"{forked_python()}:{os.environ['PATH']}"
    done = subprocess.run(
        [*torchrun, *arguments(folder, two, "mixtral", devices=2)],
        cwd=tmp_path,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "0,1", "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert_close(one, two)
    assert sorted(os.listdir(tmp_path)) == ["scripts", "stores"]
    assert sorted(os.listdir(one.parent)) == ["one.parquet", "two.parquet"]


def test_the_report_counts_what_was_not_scored(folder, tmp_path):
    output, report = tmp_path / "s.parquet", tmp_path / "r.json"
    argv = arguments(folder, output, report=report, **{"max-length": 150})
    dump_logits.main(argv)
    facts = json.loads(report.read_text())
    rows = list(read_logits(output))
    assert facts["dialogues"] == 60
    assert facts["too_long"] == [row.dialogue_id for row in rows if not row.usable]
    assert 0 < len(facts["too_long"]) < 60
    assert facts["not_finite"] == []
    assert facts["response_tokens"] == sum(len(row.token_ce) for row in rows)
    assert read_provenance(output)["top_k"] == 10


def test_nll_of_the_program_is_that_of_the_dump(folder, tmp_path):
    output = tmp_path / "nll.json"
    argv = ["--dialogues", str(folder / "dialogues.parquet"), "--output", str(output)]
    argv += ["--dtype", "float32"]
    measure_nll.main(["--model", str(folder / "llama"), *argv])
    dump_logits.main(arguments(folder, tmp_path / "s.parquet"))
    facts = json.loads(output.read_text())
    assert facts["model"] == "llama"
    for record, row in zip(facts["per_dialogue"], read_logits(tmp_path / "s.parquet"), strict=True):
        assert record[0] == row.dialogue_id
        assert record[2] / record[3] == pytest.approx(row.ce, abs=1e-4)


def test_mistakes_are_named(folder, tmp_path):
    output = tmp_path / "s.parquet"
    pickled = tmp_path / "pickled"
    tiny_models.tokenizer().save_pretrained(pickled)
    (pickled / "config.json").write_bytes((folder / "llama" / "config.json").read_bytes())
    torch.save({}, pickled / "pytorch_model.bin")
    with pytest.raises(UserError, match="convert_checkpoint"):
        dump_logits.main(arguments(tmp_path, output, "pickled")[:2] + arguments(folder, output)[2:])
    with pytest.raises(UserError, match="torchrun"):
        dump_logits.main(arguments(folder, output, devices=2))
    with pytest.raises(UserError, match="promised"):
        dump_logits.main(arguments(folder, output, device="cuda"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="tokenizer"):
        dump_logits.main(["--model", str(tmp_path / "empty"), *arguments(folder, output)[2:]])
    assert not output.exists()


def test_weights_that_are_not_there_are_not_made_up(folder, tmp_path):
    """Transformers would put random numbers in their place and go on."""
    broken, output = tmp_path / "broken", tmp_path / "s.parquet"
    shutil.copytree(folder / "llama", broken)
    argv = ["--model", str(broken), *arguments(folder, output)[2:]]
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(UserError, match=r"broken/config.json says 3 layers, the files hold 2"):
        dump_logits.main(argv)
    (broken / "config.json").write_text(json.dumps({**config, "hidden_size": 16}))
    with pytest.raises(UserError, match=r"says hidden_size 16, model\.embed_tokens\.weight has 32"):
        dump_logits.main(argv)
    (broken / "config.json").write_text(json.dumps(config))
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"model.safetensors has .* where its header needs"):
        dump_logits.main(argv)
    assert not output.exists()


def test_processes_that_cannot_share_a_model_are_refused(folder, tmp_path, monkeypatch):
    output = tmp_path / "s.parquet"
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match="4 processes were started for --devices 3"):
        dump_logits.main(arguments(folder, output, devices=3))
    with pytest.raises(UserError, match="4 devices cannot share 2 key-value heads"):
        dump_logits.main(arguments(folder, output, devices=4))
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    with pytest.raises(UserError, match="CUDA_VISIBLE_DEVICES"):
        dump_logits.main(arguments(folder, output, devices=4))


def test_a_model_that_would_lie_partly_outside_the_gpus_is_refused(folder, tmp_path, monkeypatch):
    """Such a dump would take weeks; here nothing at all fits, because there are no GPUs."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="does not fit 2 GPUs"):
        dump_logits.main(arguments(folder, tmp_path / "s.parquet", devices=2, device="cuda"))


def test_code_in_a_model_folder_is_not_run(folder, tmp_path):
    evil = tmp_path / "evil"
    tiny_models.tokenizer().save_pretrained(evil)
    config = json.loads((folder / "llama" / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoModelForCausalLM": "evil.Model"}}
    config["auto_map"]["AutoConfig"] = "evil.Config"
    (evil / "config.json").write_text(json.dumps(config))
    (evil / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    save_file({"x": torch.zeros(1)}, evil / "model.safetensors")
    with pytest.raises(UserError, match=r"evil/config.json is no .* custom code"):
        dump_logits.main(["--model", str(evil), *arguments(folder, tmp_path / "s.parquet")[2:]])
    assert not (tmp_path / "ran").exists()
