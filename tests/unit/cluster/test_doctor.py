"""The doctor finds what is wrong and says how to mend it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from doctor_findings import experiment_of, failed
from sinfo_lines import nodes

import doctor as program
from fusionchat.cluster.costs.work import Work, summed
from fusionchat.cluster.doctor import checks as doctor
from fusionchat.cluster.doctor import limits, old_checkpoints, partitions
from fusionchat.cluster.doctor import local as doctor_local
from fusionchat.cluster.doctor import slurm as doctor_slurm
from fusionchat.cluster.doctor.partitions import Wanted
from fusionchat.cluster.doctor.requests import Request, requests
from fusionchat.cluster.plan_report import Place
from fusionchat.errors import UserError

ROOT = Path(__file__).resolve().parents[3]


PROFILE = {
    "default-resources": {"slurm_account": "lab", "slurm_partition": "cpu"},
    "set-resources": {"train_target": {"slurm_partition": "gpu", "gpu_model": "a100"}},
}
MARKS = 'for path; do case "$path" in *doctor-job*) touch "$path";; esac; done; '
SEES_TWO = MARKS + "echo node n1 visible 0,1 cuda 2 bf16 True memory 40.0 peers none"
TRAINS = {"train_target": Wanted(Request(128_000, 512_000, 720, 2_880), 2)}


def probe(folder: Path, gpus: int = 2, seconds: float = 20, nodes: int = 1) -> doctor_slurm.Probe:
    return doctor_slurm.Probe("train_target", gpus, seconds, sys.executable, folder, nodes)


def slurm(
    profile: dict, a_probe: doctor_slurm.Probe, too_large=lambda gb, rules: []
) -> list[doctor.Finding]:
    jobs = {"train_target": Wanted(Request(), a_probe.gpus)}
    return list(doctor_slurm.slurm(profile, a_probe, jobs, too_large))


def test_a_good_cluster_has_no_findings(commands, tmp_path):
    commands(sacct="exit 0", srun=SEES_TWO)
    found = slurm(PROFILE, probe(tmp_path))
    assert not failed(found)
    assert {"GPU job", "CUDA and bf16", "shared folder"} <= {item.check for item in found}
    assert not list(tmp_path.glob(".doctor*"))


def test_memory_of_the_gpus_that_a_job_sees_is_compared(commands, tmp_path):
    commands(sacct="exit 0", srun=SEES_TWO)
    found = failed(
        slurm(PROFILE, probe(tmp_path), lambda gb, _: [f"GPU memory: {gb:.0f} GB; set x"])
    )
    assert found == {"GPU memory": "set x"}


def test_status_query_account_and_partition_are_told_apart(commands, tmp_path):
    profile = {"default-resources": {"slurm_account": "her", "slurm_partition": "big"}}
    found = failed(slurm(profile, probe(tmp_path, 1)))
    assert set(found) == {"status query", "account", "partition"}
    assert "squeue" in found["status query"]
    assert "cpu, gpu" in found["partition"]


def test_a_controller_that_is_down_is_one_line(commands, tmp_path):
    commands(scontrol="echo 'Slurmctld(primary) at head is DOWN'", sinfo="sleep 60")
    (finding,) = slurm(PROFILE, probe(tmp_path))
    assert "head is DOWN" in finding.found
    assert "wait" in finding.fix


def test_keys_to_edit_are_named_with_what_may_stand_there(commands, tmp_path):
    profile = yaml.safe_load((ROOT / "slurm" / "profile.yaml").read_text())
    found = {item.check: item for item in slurm(profile, probe(tmp_path)) if item.fix}
    assert "default-resources.slurm_account" in found["profile"].found
    assert "set-resources.answer.slurm_partition" in found["profile"].found
    assert found["profile"].fix == "accounts: lab; partitions: cpu, gpu"
    assert "GPU job" not in found


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ("8:00:00|512000|gpu:a100:8|idle", "runtime of train_target 720; at most 480"),
        ("1-00:00:00|512000|gpu:a100:8|mix", "runtime of the last attempt of train_target 2,880"),
        ("infinite|96000|gpu:a100:8|idle", "mem_mb of train_target 128,000; at most 96,000"),
        ("infinite|512000|gpu:a100:1|idle", "GPUs a node of train_target 2; at most 1"),
        ("infinite|512000|gpu:l40:8|idle", "GPUs a node of train_target 2; at most 0"),
        ("infinite|512000|(null)|idle", "GPUs a node of train_target 2; at most 0"),
        ("infinite|512000|gpu:a100:8|down*", "gpu: no node is up"),
        ("infinite|512000|gpu:a100:8(S:0-1)|alloc", ""),
    ],
)
def test_partitions_are_compared_with_first_and_last_requests(commands, facts, said):
    commands(sinfo=nodes("gpu", facts=facts.replace("infinite", "30-00:00:00")))
    found = [item for item in partitions.check(TRAINS, PROFILE) if item.fix]
    assert [item.found for item in found if said in item.found] or not said
    assert len(found) == bool(said)
    if "last attempt" in said:
        assert found[0].warning
        assert "train_target: {runtime: 1440}" in found[0].fix


def test_of_several_partitions_one_suffices(commands):
    profile = {"set-resources": {"train_target": {"slurm_partition": "short,long"}}}
    short, long = (
        nodes(n, facts=f"{time}|512000|gpu:8|idle")
        for n, time in (("short", "1:00:00"), ("long", "3-00:00:00"))
    )
    commands(sinfo=f"{short}\n{long}")
    assert not failed(partitions.check(TRAINS, profile))
    commands(sinfo=short)
    assert len([item for item in partitions.check(TRAINS, profile) if item.fix]) == 2


def test_limits_of_a_partition_beside_its_nodes(commands):
    both = {"train_target": Wanted(Request(128_000, 128_000, 60, 60), 2, nodes=2)}
    shown = "echo PartitionName=gpu MaxNodes=1 MaxMemPerNode=64000 State=UP"
    commands(scontrol=shown, sinfo=nodes("gpu", "gpu"))
    found = [item.found for item in partitions.check(both, PROFILE)]
    assert "gpu: nodes of train_target 2; at most 1 is allowed" in found
    assert any("mem_mb of train_target 128,000; at most 64,000" in line for line in found)


def test_requests_are_those_of_the_rules_under_a_profile():
    profile = {"retries": 2, "set-resources": {"answer": {"mem_mb": 8000, "runtime": "4h"}}}
    found = requests(ROOT / "rules", profile, 4)
    assert found["train_target"] == Request(128_000, 512_000, 720, 2_880)
    assert found["answer"] == Request(8_000, 8_000, 240, 240)
    assert found["merge_mergekit"].megabytes > found["merge_linear"].megabytes
    assert {"lock_models", "fetch_model", "plan"}.isdisjoint(found)
    words = {"set-resources": ["answer:mem_mb=8000"], "default-resources": ["slurm_partition=x"]}
    assert requests(ROOT / "rules", words, 4)["answer"].megabytes == 8_000
    with pytest.raises(UserError, match="retries"):
        requests(ROOT / "rules", {"retries": "many"}, 4)


def test_an_account_must_be_the_users_own(commands, tmp_path):
    commands(sacct="exit 0", srun=SEES_TWO)
    commands(sacctmgr='case "$*" in *user=*) echo other;; *) echo lab;; esac')
    assert set(failed(slurm(PROFILE, probe(tmp_path)))) == {"account"}


def test_quoted_names_and_lists_of_partitions_are_understood(commands, tmp_path):
    commands(sacct="exit 0", srun=SEES_TWO, sinfo=nodes("all*", "gpu", "old"))
    profile = {
        "default-resources": {"slurm_account": "'lab'", "slurm_partition": "'all'"},
        "set-resources": {"train_target": {"slurm_partition": "gpu,old"}},
    }
    assert not failed(slurm(profile, probe(tmp_path)))
    assert "--partition=gpu,old" in doctor_slurm.probe_job(profile, probe(tmp_path))


def test_a_job_that_sees_fewer_gpus_is_found(commands, tmp_path):
    commands(sacct="exit 0", srun=SEES_TWO.replace("0,1 cuda 2", "0 cuda 1"))
    found = failed(slurm(PROFILE, probe(tmp_path)))
    assert set(found) == {"GPU job", "CUDA and bf16"}


def test_a_folder_that_nodes_do_not_share_is_found(commands, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor_slurm, "LONGEST", 0.3)
    commands(sacct="exit 0", srun=SEES_TWO.removeprefix(MARKS))
    assert set(failed(slurm(PROFILE, probe(tmp_path)))) == {"shared folder"}


def test_a_job_that_waits_too_long_is_withdrawn(commands, tmp_path):
    """srun gives its place in the queue back when it is told to end, not when it is killed."""
    gone = tmp_path / "gone"
    commands(sacct="exit 0", srun=f"trap 'kill $!; touch {gone}; exit 1' TERM; sleep 60 & wait")
    found = failed(slurm(PROFILE, probe(tmp_path, seconds=1)))
    assert "--wait" in found["GPU job"]
    assert gone.exists()


def test_without_scheduler_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "--local" in failed(slurm(PROFILE, probe(tmp_path)))["SLURM"]


def test_without_gpus_the_machine_is_asked_for_its_memory():
    rows = [summed("train_target", [Work("train_target", 4, 1.0, host=1e9)])]
    assert not failed(doctor_local.memory(rows, Place(1, 1)))
    rows = [summed("train_target", [Work("train_target", 4, 1.0, host=1e15)])]
    assert "micro_batch_size" in failed(doctor_local.memory(rows, Place(1, 1)))["memory"]


def test_gpus_that_torch_does_not_see_are_missed(tmp_path):
    assert set(failed(doctor_local.gpus(probe(tmp_path), lambda gb: []))) == {"CUDA and bf16"}


def test_nodes_of_a_training_meet_where_it_would(tmp_path):
    """The probe itself, as two tasks: one listens, the other finds and reaches it."""
    mark = tmp_path / ".doctor-job-1"
    words = [sys.executable, str(doctor_slurm.PROBE), str(mark), "2"]
    tasks = [
        subprocess.Popen(
            words, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"SLURM_PROCID": str(rank), "SLURM_JOB_ID": "4711"},
        )
        for rank in range(2)
    ]  # fmt: skip
    seen = doctor_slurm.SEEN.findall("".join(task.communicate()[0] for task in tasks))
    assert [node[5] for node in seen] == ["reached", "reached"]
    assert [path.name for path in tmp_path.iterdir()] == [mark.name]


def test_several_nodes_are_probed_together(commands, tmp_path):
    lines = "\n".join(
        f"echo node n{n} visible 0,1 cuda 2 bf16 True memory 40.0 peers reached" for n in (1, 2)
    )
    commands(sacct="exit 0", srun=MARKS + lines, sinfo=nodes("cpu", "gpu", "gpu"))
    assert not failed(slurm(PROFILE, probe(tmp_path, nodes=2)))
    line = " ".join(doctor_slurm.probe_job(PROFILE, probe(tmp_path, nodes=2)))
    assert "--nodes=2 --ntasks=2 --ntasks-per-node=1 --gres=gpu:a100:2" in line
    commands(srun=MARKS + lines.replace("reached", "lost"))
    assert set(failed(slurm(PROFILE, probe(tmp_path, nodes=2)))) == {"nodes"}


def test_old_checkpoints_are_listed_with_what_removes_them(tmp_path):
    experiment = experiment_of("configs/paper.yaml")
    folder = tmp_path / "paper" / "checkpoints"
    for number, name in enumerate(
        ("clm/old", "clm/new", "gone/run", "multi/run", "target_solar/run")
    ):
        (folder / name).mkdir(parents=True)
        (folder / name / "weights").write_bytes(bytes(1000))
        os.utime(folder / name, (number, number))
    manifest = tmp_path / "paper" / "targets" / "multi" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("{}")
    (finding,) = old_checkpoints.old_checkpoints(experiment, tmp_path)
    assert finding.warning
    assert finding.fix.split()[2:] == [
        str(folder / n) for n in ("clm/old", "gone/run", "multi/run")
    ]
    assert not list(old_checkpoints.old_checkpoints(experiment, tmp_path / "elsewhere"))


def test_extras_are_no_versions_that_a_run_needs(tmp_path):
    project = tmp_path / "pyproject.toml"
    project.write_text(
        '[project]\ndependencies = ["numpy==0.1"]\noptional-dependencies.test = ["absent==1"]\n'
    )
    (finding,) = doctor.versions(project)
    assert "numpy" in finding.found
    assert "absent" not in finding.found


def test_the_command_line_of_the_gpu_job_is_the_profiles(tmp_path):
    profile = PROFILE | {"slurm-reservation": "course"}
    profile["default-resources"] = PROFILE["default-resources"] | {"constraint": "ib", "qos": "q"}
    line = " ".join(doctor_slurm.probe_job(profile, probe(tmp_path, 4)))
    assert "--gpus=a100:4" in line
    assert "--account=lab --partition=gpu --constraint=ib --qos=q --reservation=course" in line
    assert "--account" not in doctor_slurm.probe_job(
        PROFILE | {"slurm-no-account": True}, probe(tmp_path)
    )


def test_the_largest_job_is_asked_for():
    for name, rules, job in (
        ("configs/paper.yaml", ["answer", "train_target"], ("train_target", 8)),
        ("configs/released.yaml", ["answer"], ("answer", 4)),
        ("config.yaml", ["answer", "train_target"], ("answer", 0)),
    ):
        assert doctor_slurm.largest_job(experiment_of(name), rules) == job


def test_disk_is_compared_with_the_plan(tmp_path):
    assert failed(doctor.disk(tmp_path, 1e9))
    assert not failed(doctor.disk(tmp_path, 0.0))


def test_the_program_ends_with_1_and_names_what_failed(commands, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    report = tmp_path / "doctor.txt"
    paper = str(ROOT / "configs" / "paper.yaml")
    with pytest.raises(UserError, match=r"not ready: .*hub.*profile"):
        program.main(
            ["--configfile", paper, "--results", str(tmp_path / "r"), "--output", str(report)]
        )
    assert report.read_text() == capsys.readouterr().out
    assert report.read_text().count("FAIL") == report.read_text().count("fix: ")


def test_a_group_asks_for_the_sum_of_its_jobs(commands):
    profile = yaml.safe_load((ROOT / "slurm" / "profile.yaml").read_text()) | {"retries": 0}
    alone = requests(ROOT / "rules", {}, 64)
    asked = requests(ROOT / "rules", profile, 64)
    align, one = asked["align_tokens"], alone["align_tokens"]
    assert (align.together, align.megabytes) == (32, 8 * one.megabytes)  # eight side by side
    assert align.minutes == 4 * one.minutes  # four after one another
    dump, one = asked["dump_logits"], alone["dump_logits"]
    assert (dump.megabytes, dump.minutes) == (one.megabytes, 8 * one.minutes)
    assert requests(ROOT / "rules", profile, 8)["dump_logits"].together == 1
    words = ["align_{source}=4", "dump_{model}=many"]  # a profile may write words
    listed = requests(ROOT / "rules", profile | {"group-components": words}, 8)
    assert listed["align_tokens"].together == 4
    with pytest.raises(UserError, match=r"group-components: dump_{model}: 'many' is not a whole"):
        requests(ROOT / "rules", profile | {"group-components": words}, 16)
    few, many = (requests(ROOT / "rules", profile, 2, n)["align_tokens"] for n in (1, 3))
    assert (few.together, many.together) == (2, 6)
    commands(sinfo=nodes("gpu", facts="infinite|16000|(null)|idle"))
    found = failed(partitions.check({"align_tokens": Wanted(align)}, {"default-resources": {}}))
    assert "partition" in found


ASSOCIATION = "lab|normal|{wall}|{a_node}|{job}|"
QOS = "normal|{wall}|{a_node}|{job}|{everybody}|{user}"


def accounting(**given: str) -> str:
    """A stand-in for sacctmgr whose QoS and association have these limits, the last one nothing."""
    empty = dict.fromkeys(("wall", "a_node", "job", "everybody", "user"), "")
    qos = QOS.format(**empty | {k: v for k, v in given.items() if k != "mine"})
    mine = ASSOCIATION.format(**empty | {"wall": given.get("mine", "")})
    asked = f'*"show qos"*) echo "{qos}";; *DefaultQOS*) echo "{mine}";; *) echo lab;;'
    return f'case "$*" in {asked} esac'


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"wall": "08:00:00"}, "QoS normal: runtime of train_target 720; at most 480 is allowed"),
        ({"mine": "10:00:00"}, "account lab: runtime of train_target 720; at most 600 is allowed"),
        ({"job": "cpu=4,mem=100G"}, "QoS normal: mem_mb of train_target 128,000; at most 51,200"),
        ({"user": "gres/gpu=3"}, "QoS normal: GPUs a node of train_target 2; at most 1"),
        ({"everybody": "gres/gpu=2,node=1"}, "QoS normal: nodes of train_target 2; at most 1"),
        ({"a_node": "gres/gpu=1"}, "QoS normal: GPUs a node of train_target 2; at most 1"),
        ({"wall": "1-00:00:00", "job": "gres/gpu=4,mem=1T"}, ""),
        ({}, ""),
    ],
)
def test_limits_of_account_and_qos_are_compared(commands, given, said):
    commands(sacctmgr=accounting(**given))
    both = {"train_target": Wanted(Request(128_000, 512_000, 720, 2_880), 2, nodes=2)}
    found = [item.found for item in limits.check(both, PROFILE)]
    assert any(line.startswith(said) for line in found) if said else found == []


def test_a_qos_that_is_not_there_is_named(commands):
    commands(sacctmgr=accounting())
    (finding,) = limits.check(TRAINS, PROFILE | {"slurm-qos": "fast"})
    assert (finding.found, finding.fix) == ("fast: unknown", "name one of normal")


def test_without_accounting_there_are_no_limits_to_compare(commands):
    commands(sacctmgr="echo no >&2; exit 1")
    assert list(limits.check(TRAINS, PROFILE)) == []
