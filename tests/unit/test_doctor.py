"""The doctor finds what is wrong and says how to mend it."""

import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fusionchat.cluster import doctor


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Stand-ins for the scheduler's commands: name to shell text."""

    def install(**texts: str) -> None:
        for name, text in texts.items():
            path = tmp_path / name
            path.write_text(f"#!/bin/sh\n{text}\n")
            path.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    install(sbatch="", squeue="", scancel="", sacct="exit 1", srun="echo no >&2; exit 1")
    install(sinfo="echo cpu; echo gpu", sacctmgr="echo lab")
    return install


PROFILE = {
    "default-resources": {"slurm_account": "lab", "slurm_partition": "cpu"},
    "set-resources": {"dump_logits": {"slurm_partition": "gpu", "gpu_model": "a100"}},
}


def failed(findings) -> dict[str, str]:
    return {item.check: item.fix for item in findings if item.fix}


def test_a_good_cluster_has_no_findings(commands):
    commands(sacct="exit 0", srun="echo visible 0,1 cuda 2 bf16 True")
    assert not failed(doctor.slurm(PROFILE, 2, sys.executable))


def test_status_query_account_partition_and_job_are_told_apart(commands):
    profile = {"default-resources": {"slurm_account": "EDIT", "slurm_partition": "EDIT"}}
    found = failed(doctor.slurm(profile, 1, sys.executable))
    assert set(found) == {"status query", "account", "partition", "GPU job"}
    assert "squeue" in found["status query"]
    assert "cpu, gpu" in found["partition"]


def test_a_job_that_sees_fewer_gpus_is_found(commands):
    commands(sacct="exit 0", srun="echo visible 0 cuda 1 bf16 True")
    assert set(failed(doctor.slurm(PROFILE, 2, sys.executable))) == {"GPU job", "CUDA and bf16"}


def test_the_command_line_of_the_gpu_job_is_the_profiles():
    line = " ".join(doctor.gpu_job(PROFILE, 4))
    assert "--gpus=a100:4" in line
    assert "--account=lab --partition=gpu" in line


def test_disk_and_hub_and_judges(tmp_path, monkeypatch):
    assert failed(doctor.disk(tmp_path, 1e9))
    assert not failed(doctor.disk(tmp_path, 0.0))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert failed(doctor.hub({"a": "x/y"}, tmp_path))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "manifest.json").write_text("{}")
    assert not failed(doctor.hub({"a": "x/y"}, tmp_path))
    judge = {"kind": "openai", "model": "m", "base_url": "http://127.0.0.1:9", "api_key_env": "K"}
    assert set(failed(doctor.judges({"j": judge, "r": {"kind": "rule"}}))) == {"judge j"}


def test_a_judge_must_be_among_the_models_that_its_server_lists(tmp_path):
    (tmp_path / "models").write_text('{"data": [{"id": "org/judge"}]}')
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        judge = {"kind": "openai", "base_url": url, "api_key_env": "K"}
        (good,) = doctor.judges({"j": judge | {"model": "org/judge"}})
        (bad,) = doctor.judges({"j": judge | {"model": "org/other"}})
        server.shutdown()
    assert good.fix == ""
    assert "org/other is not served there" in bad.fix


def test_the_key_of_a_judge_is_never_shown(monkeypatch):
    monkeypatch.setenv("K", "secret-key")
    judge = {"kind": "openai", "model": "m", "base_url": "http://127.0.0.1:9", "api_key_env": "K"}
    assert "secret-key" not in doctor.report(list(doctor.judges({"j": judge})))
