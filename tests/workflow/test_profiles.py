"""What profiles and jobs ask a cluster for."""

import re
import shutil

import pytest
import yaml
from micro_project import ROOT, copy_project
from rule_files import read_rules


def test_needs_of_gpu_jobs_reach_the_profile(clone):
    run = clone.snakemake("--profile", "slurm", "-n", "targets")
    jobs = re.split(r"^(?:local)?rule (\w+):$", run.stdout + run.stderr, flags=re.MULTILINE)
    gpus = {}
    for rule, text in zip(jobs[1::2], jobs[2::2], strict=True):
        if rule in ("dump_logits", "train_target"):
            name = re.search(r"wildcards: (?:model|target)=(\w+)", text)[1]
            needs = re.search(r"resources: (.*)", text)[1]
            assert "nodes=1" in needs
            assert "tasks=" not in needs
            gpus[rule, name] = int(re.search(r"\bgpu=(\d+)", needs)[1])
    assert gpus == {
        ("dump_logits", "mixtral"): 4,
        ("dump_logits", "openchat"): 1,
        ("dump_logits", "solar"): 1,
        **{
            ("train_target", name): 8 for name in ("clm", "multi", "target_mixtral", "target_solar")
        },
    }


def test_the_rehearsals_true_shapes_ask_for_the_memory_of_their_weights(clone):
    model = "results/rehearsal/models/mixtral/manifest.json"
    needs = []
    for more in ((), ("--config", "full_shapes=True")):
        run = clone.snakemake("-n", model, "--configfile", "configs/rehearsal.yaml", *more)
        text = (run.stdout + run.stderr).partition("rule pretrain_source:")[2]
        needs.append(int(re.search(r"mem_mb=(\d+)", text)[1]))
    assert needs[0] < 5_000
    assert 94_000 < needs[1] < 190_000


def test_a_site_that_is_not_ready_is_examined_once(clone, tmp_path):
    stand_in = tmp_path / "python"
    stand_in.write_text(f"#!/bin/sh\necho called >> {tmp_path}/calls\nexit 1\n")
    stand_in.chmod(0o755)
    path = f"{tmp_path}:{clone.environment()['PATH']}"
    run = clone.snakemake("doctor", "--cores", "1", "--retries", "2", PATH=path)
    assert run.returncode == 1
    assert (tmp_path / "calls").read_text().split() == ["called"]


def test_the_default_profile_leaves_executor_and_resources_to_the_others():
    profile = yaml.safe_load((ROOT / "profiles" / "default" / "profile.yaml").read_text())
    keys = {key for key in profile if not key.startswith(("__", "?"))}
    others = {"show-failed-logs", "printshellcmds", "rerun-incomplete", "force-use-threads"}
    assert keys <= others
    assert [v for k, v in profile.items() if k.startswith("?")] == [
        {"cores": "all", "max-jobs-per-timespan": "500/5s"}
    ]


def test_every_rule_that_asks_for_gpus_goes_to_the_partition_that_has_them():
    profile = yaml.safe_load((ROOT / "slurm" / "profile.yaml").read_text())
    marks = (" gpu=", "**TRAINING_GPUS")
    asking = {
        name for name, rule in read_rules().items() if any(m in rule["resources"] for m in marks)
    }
    assert {"dump_logits", "train_target"} <= asking
    assert profile["set-resources"].keys() == asking


def test_no_default_resource_of_the_profile_reads_files_while_planning(clone):
    """Snakemake's own default for the disk adds up the sizes of each job's inputs."""
    run = clone.snakemake("--profile", "slurm", "-n", "targets")
    needs = re.findall(r"disk_mb=(\d+)", run.stdout + run.stderr)
    assert set(needs) == {"1000"}


def test_the_profile_marks_the_three_keys_of_a_site():
    lines = (ROOT / "slurm" / "profile.yaml").read_text().splitlines()
    assert sum('"EDIT"' in line for line in lines) == 3


@pytest.mark.skipif(not shutil.which("sbatch"), reason="needs SLURM's commands")
def test_a_profile_that_nobody_edited_is_refused_before_any_job(tmp_path):
    project = copy_project(tmp_path / "project")
    given = ("--profile", "slurm", "--configfile", "config.yaml")
    run = project.snakemake("results/micro/models/pivot/manifest.json", *given)
    assert run.returncode == 1
    assert "the profile still says EDIT for pretrain_source" in run.stdout + run.stderr
    assert not (project.results / "world").exists()
    shutil.copy(ROOT / "pyproject.toml", project.folder)  # the doctor compares versions with it
    asked = project.snakemake("doctor", *given)
    assert "still EDIT: default-resources.slurm_account" in asked.stdout + asked.stderr
