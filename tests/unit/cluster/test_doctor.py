"""The doctor finds what is wrong and says how to mend it."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

import doctor as program
from fusionchat.cluster import doctor, doctor_slurm
from fusionchat.config import checked
from fusionchat.errors import UserError
from fusionchat.experiment import Experiment

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Stand-ins for the scheduler's commands: name to shell text."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def install(**texts: str) -> None:
        for name, text in texts.items():
            path = folder / name
            path.write_text(f"#!/bin/sh\n{text}\n")
            path.chmod(0o755)

    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    install(sbatch="", squeue="", scancel="", scontrol="", sacct="exit 1")
    install(sinfo="echo cpu; echo gpu", sacctmgr="echo lab", srun="echo no >&2; exit 1")
    return install


@pytest.fixture
def server():
    """An HTTP server on this machine: path to (status, JSON); it notes the keys that it is sent."""
    answers, keys = {}, []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            keys.append(self.headers.get("Authorization"))
            status, content = answers.get(self.path, (404, {}))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=running.serve_forever, daemon=True).start()
    running.url, running.answers, running.keys = (
        f"http://127.0.0.1:{running.server_port}",
        answers,
        keys,
    )
    yield running
    running.shutdown()
    running.server_close()


PROFILE = {
    "default-resources": {"slurm_account": "lab", "slurm_partition": "cpu"},
    "set-resources": {"train_target": {"slurm_partition": "gpu", "gpu_model": "a100"}},
}
SEES_TWO = 'for path; do :; done; touch "$path"; echo visible 0,1 cuda 2 bf16 True'


def probe(folder: Path, gpus: int = 2, seconds: float = 20) -> doctor_slurm.Probe:
    return doctor_slurm.Probe("train_target", gpus, seconds, sys.executable, folder)


def failed(findings) -> dict[str, str]:
    return {item.check: item.fix for item in findings if item.fix}


def test_a_good_cluster_has_no_findings(commands, tmp_path):
    commands(sacct="exit 0", srun=SEES_TWO)
    found = list(doctor_slurm.slurm(PROFILE, probe(tmp_path)))
    assert not failed(found)
    assert {"GPU job", "CUDA and bf16", "shared folder"} <= {item.check for item in found}
    assert not list(tmp_path.glob(".doctor*"))


def test_status_query_account_partition_and_job_are_told_apart(commands, tmp_path):
    profile = {"default-resources": {"slurm_account": "EDIT", "slurm_partition": "EDIT"}}
    found = failed(doctor_slurm.slurm(profile, probe(tmp_path, 1)))
    assert set(found) == {"status query", "account", "partition", "GPU job"}
    assert "squeue" in found["status query"]
    assert "cpu, gpu" in found["partition"]


def test_an_account_must_be_the_users_own(commands, tmp_path):
    commands(sacct="exit 0", srun=SEES_TWO)
    commands(sacctmgr='case "$*" in *user=*) echo other;; *) echo lab;; esac')
    assert set(failed(doctor_slurm.slurm(PROFILE, probe(tmp_path)))) == {"account"}


def test_quoted_names_and_lists_of_partitions_are_understood(commands, tmp_path):
    commands(sacct="exit 0", srun=SEES_TWO, sinfo="echo all; echo gpu; echo old")
    profile = {
        "default-resources": {"slurm_account": "'lab'", "slurm_partition": "'all'"},
        "set-resources": {"train_target": {"slurm_partition": "gpu,old"}},
    }
    assert not failed(doctor_slurm.slurm(profile, probe(tmp_path)))
    assert "--partition=gpu,old" in doctor_slurm.gpu_job(profile, probe(tmp_path))


def test_a_job_that_sees_fewer_gpus_is_found(commands, tmp_path):
    commands(sacct="exit 0", srun=SEES_TWO.replace("0,1 cuda 2", "0 cuda 1"))
    found = failed(doctor_slurm.slurm(PROFILE, probe(tmp_path)))
    assert set(found) == {"GPU job", "CUDA and bf16"}


def test_a_folder_that_nodes_do_not_share_is_found(commands, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor_slurm, "LONGEST", 0.3)
    commands(sacct="exit 0", srun="echo visible 0,1 cuda 2 bf16 True")
    assert set(failed(doctor_slurm.slurm(PROFILE, probe(tmp_path)))) == {"shared folder"}


def test_a_job_that_waits_too_long_is_withdrawn(commands, tmp_path):
    """srun gives its place in the queue back when it is told to end, not when it is killed."""
    gone = tmp_path / "gone"
    commands(sacct="exit 0", srun=f"trap 'kill $!; touch {gone}; exit 1' TERM; sleep 60 & wait")
    found = failed(doctor_slurm.slurm(PROFILE, probe(tmp_path, seconds=1)))
    assert "--wait" in found["GPU job"]
    assert gone.exists()


def test_without_scheduler_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "--local" in failed(doctor_slurm.slurm(PROFILE, probe(tmp_path)))["SLURM"]
    assert set(failed(doctor_slurm.local(1, sys.executable, tmp_path))) == {"CUDA and bf16"}


def test_the_command_line_of_the_gpu_job_is_the_profiles(tmp_path):
    profile = PROFILE | {"slurm-reservation": "course"}
    profile["default-resources"] = PROFILE["default-resources"] | {"constraint": "ib", "qos": "q"}
    line = " ".join(doctor_slurm.gpu_job(profile, probe(tmp_path, 4)))
    assert "--gpus=a100:4" in line
    assert "--account=lab --partition=gpu --constraint=ib --qos=q --reservation=course" in line
    assert "--account" not in doctor_slurm.gpu_job(
        PROFILE | {"slurm-no-account": True}, probe(tmp_path)
    )


def experiment_of(name: str) -> Experiment:
    config = yaml.safe_load((ROOT / name).read_text())
    return Experiment(checked(config))


def test_the_largest_job_is_asked_for():
    assert doctor_slurm.largest_job(experiment_of("configs/paper.yaml")) == ("train_target", 8)
    assert doctor_slurm.largest_job(experiment_of("configs/released.yaml")) == ("answer", 4)
    assert doctor_slurm.largest_job(experiment_of("config.yaml"))[1] == 0


def test_disk_is_compared_with_the_plan(tmp_path):
    assert failed(doctor.disk(tmp_path, 1e9))
    assert not failed(doctor.disk(tmp_path, 0.0))


def test_the_hub_is_asked_for_everything_that_is_not_here(tmp_path, monkeypatch, server):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    wanted = doctor.from_hub(experiment_of("configs/released.yaml"), tmp_path)
    assert len(wanted) == 8
    assert "models/FuseAI/FuseChat-7B-VaRM" in wanted
    data = "datasets/FuseAI/FuseChat-Mixture"
    assert data in doctor.from_hub(experiment_of("configs/paper.yaml"), tmp_path)
    (absent,) = [name for name in wanted if "VaRM" in name]
    for name, path in wanted.items():
        if name != absent:
            path.parent.mkdir(parents=True)
            path.write_text("{}")
    assert failed(doctor.hub(wanted))
    server.answers[f"/api/{absent}"] = (403, {})
    assert "HF_TOKEN" in failed(doctor.hub(wanted))["hub"]
    server.answers[f"/api/{absent}"] = (200, {})
    assert not failed(doctor.hub(wanted))
    wanted[absent].parent.mkdir(parents=True)
    wanted[absent].write_text("{}")
    server.shutdown()
    assert not failed(doctor.hub(wanted))


def judge(url: str) -> dict:
    return {"j": {"kind": "openai", "model": "org/m", "base_url": url, "api_key_env": "K"}}


def test_a_judge_must_answer_and_serve_its_model(monkeypatch, server):
    monkeypatch.setenv("K", "secret-key")
    configured = judge(f"{server.url}/v1") | {"r": {"kind": "rule"}}
    assert "base_url" in failed(doctor.judges(configured))["judge j"]
    server.answers["/v1/models"] = (401, {})
    assert failed(doctor.judges(configured)) == {"judge j": "set K to a valid key"}
    server.answers["/v1/models"] = (200, {"data": [{"id": "other"}]})
    assert "other" in failed(doctor.judges(configured))["judge j"]
    server.answers["/v1/models"] = (200, {"data": [{"id": "other"}, {"id": "org/m"}]})
    assert not failed(doctor.judges(configured))
    assert set(server.keys) == {"Bearer secret-key"}


def test_the_key_of_a_judge_is_never_shown(monkeypatch):
    monkeypatch.setenv("K", "secret-key")
    report = doctor.report(list(doctor.judges(judge("http://127.0.0.1:9"))))
    assert "secret-key" not in report
    assert "ConnectError" in report


def test_the_program_ends_with_1_and_names_what_failed(commands, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    report = tmp_path / "doctor.txt"
    paper = str(ROOT / "configs" / "paper.yaml")
    with pytest.raises(UserError, match=r"not ready: .*hub.*GPU job"):
        program.main(
            ["--configfile", paper, "--results", str(tmp_path / "r"), "--output", str(report)]
        )
    assert report.read_text() == capsys.readouterr().out
    assert report.read_text().count("FAIL") == report.read_text().count("fix: ")
