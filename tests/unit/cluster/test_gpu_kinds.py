"""Partitions with several kinds of GPUs, and slices of them."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from sinfo_lines import nodes

from fusionchat.cluster import fitting
from fusionchat.cluster.costs.rates import read_rates
from fusionchat.cluster.doctor import limits, partitions
from fusionchat.cluster.doctor import slurm as doctor_slurm
from fusionchat.cluster.doctor.partitions import Wanted
from fusionchat.cluster.doctor.requests import Request, gpus
from fusionchat.cluster.plan import Plan
from fusionchat.cluster.slurm_executor import asked_gpus
from fusionchat.config import checked
from fusionchat.experiment import Experiment

ROOT = Path(__file__).resolve().parents[3]
MIXED = "infinite|512000|gpu:a100:4(S:0-1),gpu:1g.10gb:7(S:1)|mix"
MARKS = 'for path; do case "$path" in *doctor-job*) touch "$path";; esac; done; '


def profile(rule: str = "train_target", **given: object) -> dict:
    """A profile that sends a rule to GPUs of these words."""
    return {"set-resources": {rule: {"slurm_partition": "gpu"} | given}}


def wanted(given: dict, needed: int, rule: str = "train_target") -> dict[str, Wanted]:
    """A rule that needs so many GPUs, as it asks for them under a profile."""
    return {rule: Wanted(Request(1_000, 1_000, 60, 60), gpus(given, rule, needed)[0])}


@pytest.mark.parametrize(
    ("given", "needed", "said"),
    [
        ({"gpu_model": "'a100'"}, 4, ""),
        ({"gres": "'gpu:a100:4'", "gpu": 0}, 4, ""),
        ({"gpu_model": "'1g.10gb'"}, 1, ""),
        ({"gpu_model": "'a100'"}, 8, "gpu: a100 GPUs a node of train_target 8; at most 4"),
        ({"gres": "gpu:a100:8"}, 1, "gpu: a100 GPUs a node of train_target 8; at most 4"),
        ({"gpu_model": "'v100'"}, 1, "gpu: v100 GPUs a node of train_target 1; at most 0"),
        ({"gpu_model": "'1g.10gb'"}, 2, "gpu: 1g.10gb GPUs a node of train_target 2; at most 1"),
        ({}, 8, "gpu: GPUs a node of train_target 8; at most 5"),
    ],
)
def test_gpus_of_the_kind_that_is_asked_for_are_counted(commands, given, needed, said):
    commands(sinfo=nodes("gpu", facts=MIXED))
    asked = profile(**given)
    found = [one for one in partitions.check(wanted(asked, needed), asked) if one.fix]
    failures = [one for one in found if not one.warning]
    assert len(failures) == bool(said)
    for failure in failures:
        assert failure.found.startswith(said)
        assert "there: 1g.10gb (7 a node), a100 (4 a node)" in failure.fix


def test_who_names_no_kind_where_there_are_several_is_warned(commands):
    commands(sinfo=nodes("gpu", facts=MIXED))
    found = list(partitions.check(wanted(profile(), 2), profile()))
    (warning,) = (one for one in found if one.fix)
    assert warning.warning
    assert "train_target may be given GPUs of any kind: 1g.10gb (7" in warning.found
    assert "gpu_model" in warning.fix
    commands(sinfo=nodes("gpu", "gpu"))  # two nodes of one kind
    assert not [one for one in partitions.check(wanted(profile(), 2), profile()) if one.fix]


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("gres/gpu:a100=1", "a100 GPUs a node of train_target 2; at most 1"),
        ("gres/gpu:l40=1", ""),
        ("gres/gpu:a100=2,gres/gpu=8", ""),
    ],
)
def test_limits_of_a_kind_hold_for_jobs_that_name_it(commands, limit, said):
    rows = f'*"show qos"*) echo "normal|||{limit}||";; *DefaultQOS*) echo "lab|normal||||";;'
    commands(sacctmgr=f'case "$*" in {rows} esac')
    asked = profile(gpu_model="a100", slurm_account="lab")
    found = [one.found for one in limits.check(wanted(asked, 2), asked)]
    assert found == ([f"QoS normal: {said} is allowed"] if said else [])
    assert list(limits.check(wanted(profile(), 2), profile())) == []


def test_a_slice_has_the_memory_of_its_name(commands, tmp_path):
    """The jobs of each kind of GPU are compared with that kind alone."""
    commands(sacct="exit 0", sinfo=nodes("gpu", facts=MIXED))
    commands(srun=MARKS + "echo node n1 visible 0,1 cuda 2 bf16 True memory 80.0 peers none")
    config = yaml.safe_load((ROOT / "configs" / "paper.yaml").read_text())
    plan = Plan(Experiment(checked(config)), read_rates(None))
    given = profile("answer", gpu_model="1g.10gb") | {"slurm-no-account": True}
    given["set-resources"]["train_target"] = {"slurm_partition": "gpu", "gpu_model": "a100"}
    jobs = wanted(given, 1, "answer") | wanted(given, 2)
    probe = doctor_slurm.Probe("train_target", 2, 20, sys.executable, tmp_path)

    def too_large(gigabytes, rules):
        return fitting.too_large(plan, gigabytes, rules)

    found = [one for one in doctor_slurm.slurm(given, probe, jobs, too_large) if one.fix]
    assert {one.found.split()[0] for one in found} == {"answer"}
    assert all("10 GB are there" in one.found for one in found)
    assert {one.fix for one in found} == {"name a larger kind as gpu_model of answer"}


@pytest.mark.parametrize(
    ("given", "nodes", "said"),
    [
        ({"gpu_model": "'1g.10gb'"}, 1, "--gpus=1g.10gb:2"),
        ({"gres": "'gpu:a100:2'", "gpu": 0}, 1, "--gres=gpu:a100:2"),
        ({"gres": "'gpu:a100:2'", "gpu": 0}, 2, "--gres=gpu:a100:2"),
        ({"gpu": 0, "slurm_extra": "'--exclusive --hint=nomultithread'"}, 1, "--exclusive --hint"),
    ],
)
def test_the_doctor_s_job_asks_as_the_profile_does(tmp_path, given, nodes, said):
    probe = doctor_slurm.Probe("train_target", 2, 20, sys.executable, tmp_path, nodes)
    line = " ".join(doctor_slurm.probe_job(profile(**given), probe))
    assert said in line
    assert line.count("gpu") == said.count("gpu") + line.count("partition=gpu")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"gpu": 4}, " --gpus=4"),
        ({"gpu": 4, "gpu_model": "nvidia_a100-sxm4-80gb"}, " --gpus=nvidia_a100-sxm4-80gb:4"),
        ({"gres": "gpu:4", "gpu_model": "a100"}, " --gres=gpu:a100:4"),
        ({"gres": "gpu:a100:4", "gpu": 0}, " --gres=gpu:a100:4"),
        ({"gpu": 0, "gpu_model": "a100"}, ""),
        ({}, ""),
    ],
)
def test_a_job_asks_for_gpus_of_one_kind(given, said):
    assert asked_gpus(SimpleNamespace(resources=given)) == said
