"""How the jobs of a plan call their programs: what reaches which, and on how many devices."""

import re
import socket
import subprocess

import yaml
from micro_project import planned_command


def test_a_training_on_cpus_is_one_process_with_the_cores_that_it_may_have(clone):
    target = "results/cpu/targets/clm/manifest.json"
    given = ("--configfile", "configs/cpu.yaml", "-n", "-p", target)
    for cores, threads in ((4, 4), (16, 8)):
        run = clone.snakemake("--cores", str(cores), *given)
        assert run.returncode == 0, run.stderr
        command = (run.stdout + run.stderr).partition("train_target.py")
        assert "torch.distributed" not in command[0]
        assert f" --device cpu --devices 1 --threads {threads} " in command[2]


def test_a_targets_own_alignment_reaches_its_programs_alone(clone):
    run = clone.snakemake("-n", "-p", "sweeps", "--configfile", "configs/ablations.yaml")
    text = run.stdout + run.stderr
    own = "results/ablations/aligned/tiny_solar@align_released/0000.parquet"
    for line in re.findall(r"^Shell command: (.*)$", text, flags=re.MULTILINE):
        if "scripts/transfer_logits.py" in line:
            assert ("--rules reference" in line) == (f"--output {own}" in line)
        if "scripts/fuse_distributions.py" in line and "/align_released/" in line:
            assert f"--source tiny_solar={own}" in line
    assert f"--output {own}" in text


def test_settings_of_a_merge_reach_its_program(clone):
    config = yaml.safe_load((clone.folder / "configs" / "paper.yaml").read_text())
    config["merges"]["slerp"]["base"] = "target_solar"
    both = config["merges"]["varm"]["targets"]
    config["merges"] |= {
        "sce": {"method": "sce", "select_topk": 0.3, "targets": both, "allow_equal": True},
        "sce_mergekit": {"method": "sce_mergekit", "select_topk": 0.2, "targets": both},
    }
    (clone.folder / "merges.yaml").write_text(yaml.safe_dump(config))
    run = clone.snakemake("--configfile", "merges.yaml", "-n", "-p", "merges")
    assert run.returncode == 0, run.stderr
    commands = re.findall(r"python scripts/merge_.* > \S+", run.stdout + run.stderr)
    by_output = {re.search(r"merged/(\w+) >", command)[1]: command for command in commands}
    assert set(by_output) == set(config["merges"])
    assert "merge_sce.py" in by_output["sce"]
    assert " --method sce_mergekit " in by_output["sce_mergekit"]
    assert " --base target_solar " in by_output.pop("slerp")
    assert " --select-topk 0.3 --dtype float32 --allow-equal " in by_output.pop("sce")
    assert " --select-topk 0.2 " in by_output["sce_mergekit"]
    assert not any("--base" in c or "--allow-equal" in c for c in by_output.values())


def test_jobs_on_one_machine_get_gpus_of_their_own(clone):
    run = clone.snakemake("all", "memory_efficiency", "--profile", "profiles/multi_gpu", "-n", "-p")
    found = {}
    start = r"python scripts/on_gpus\.py (\d) python (?:-m torch.* )?scripts/(\w+)\.py"
    for gpus, program in re.findall(start, run.stdout):
        found.setdefault(program, set()).add(gpus)
    assert found == {
        "dump_logits": {"1", "4"},
        "train_target": {"8"},
        "answer": {"1", "4"},
        "memory_efficiency": {"4"},
    }


def training_job(clone, **training) -> tuple[str, str]:
    """Resources and shell command of a target's training in the paper's run, otherwise set."""
    config = yaml.safe_load((clone.folder / "configs" / "paper.yaml").read_text())
    config["training"] |= training
    (clone.folder / "other.yaml").write_text(yaml.safe_dump(config))
    run = clone.snakemake(
        *("--profile", "slurm", "--configfile", "other.yaml", "-n", "-p"),
        "results/paper/targets/clm/manifest.json",
    )
    assert run.returncode == 0, run.stderr
    job = re.search(r"^rule train_target:.*", run.stdout + run.stderr, re.MULTILINE | re.DOTALL)[0]
    return re.search(r"resources: (.*)", job)[1], re.search(r"LEFT=(.*)", job)[0]


def words(clone, command: str, program: str) -> list[str]:
    """What `program` is called with where the plugin left the job only its number of SLURM."""
    stub = clone.folder / "bin" / program
    stub.parent.mkdir(exist_ok=True)
    stub.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    stub.chmod(0o755)
    shell = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command.rpartition(" > ")[0]],
        env={"PATH": f"{stub.parent}:/usr/bin:/bin", "SLURM_JOB_ID": "12345"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not shell.stderr
    return shell.stdout.splitlines()


def test_several_nodes_start_through_srun(clone):
    resources, command = training_job(clone, gpu=16, nodes=2)
    needs = set(resources.split(", "))
    assert {"gres=gpu:8", "nodes=2", "mpi=srun", "tasks=2", "tasks_per_gpu=0"} <= needs
    given = words(clone, command, "srun")
    program = given.index("python")
    assert given[program - 3 : program] == ["timeout", "--foreground", "42900"]
    assert given[program + 1 : program + 5] == ["scripts/on_gpus.py", "8", "python", "-m"]
    for option, value in (
        *(("--nodes", "2"), ("--ntasks", "2"), ("--ntasks-per-node", "1")),
        ("--cpus-per-task", "8"),
    ):
        assert given[given.index(option, 0, program) + 1] == value
    assert "--kill-on-bad-exit=1" in given[:program]
    for option, value in (
        *(("--nnodes", "2"), ("--nproc_per_node", "8"), ("--devices", "16")),
        ("--rdzv_id", "12345"),
        ("--rdzv_endpoint", f"{socket.gethostname()}:22345"),
    ):
        assert given[given.index(option, program) + 1] == value


def test_deepspeed_starts_through_torchrun_on_one_gpu_too(clone):
    given = words(clone, training_job(clone, gpu=1)[1], "python")
    assert given[:5] == ["scripts/on_gpus.py", "1", "python", "-m", "torch.distributed.run"]
    assert given[given.index("--nproc_per_node") + 1] == "1"
    assert "--deepspeed" in given


def test_models_with_code_of_their_own_are_spread_over_gpus_by_one_process(clone):
    config = yaml.safe_load((clone.folder / "configs" / "six_sources.yaml").read_text())
    output = "results/six_sources/logits/internlm/0000.parquet"
    shared = planned_command(clone, "shared", config, output)
    assert "torch.distributed.run --standalone --nproc_per_node 2" in shared
    config["models"]["internlm"]["remote_code"] = "0" * 40
    spread = planned_command(clone, "spread", config, output)
    assert "torch.distributed" not in spread
    assert "--devices 2" in spread


def test_a_frozen_list_of_exclusions_reaches_the_dialogues(clone):
    config = yaml.safe_load((clone.folder / "configs" / "paper.yaml").read_text())
    config["data"]["exclude"] = "not_finite.txt"
    (clone.folder / "not_finite.txt").write_text("# identifiers\n")
    command = planned_command(clone, "exclude", config, "results/paper/dialogues/report.json")
    assert "prepare_dialogues.py" in command
    assert "--exclude not_finite.txt" in command
