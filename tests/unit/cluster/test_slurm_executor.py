"""What the package changes in Snakemake's SLURM executor, without a SLURM; tests/slurm has one."""

import asyncio
import threading
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as plugin
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

from fusionchat.cluster import attempts, leftovers, slurm_executor
from fusionchat.cluster.slurm_executor import Executor

AWAY = "sbatch: error: Batch job submission failed: Unable to contact slurm controller"
REFUSED = (
    "sbatch: error: Batch job submission failed: Requested node configuration is not available"
)
JOB = SimpleNamespace(
    is_group=lambda: False, rule=SimpleNamespace(name="answer"), wildcards=["varm"], jobid=3, log=[]
)


@pytest.fixture
def executor(monkeypatch):
    """An executor that never started, and what it told snakemake."""
    monkeypatch.setattr(attempts, "_failures", {})
    made = Executor.__new__(Executor)
    made._ending, made._numbers, made._cut_off = threading.Event(), set(), Counter()
    made.run_uuid = "run"
    settings = SimpleNamespace(seconds_between_status_checks=15)
    made.workflow = SimpleNamespace(remote_execution_settings=settings)
    made.logger = SimpleNamespace(info=print, warning=print, debug=print)
    made.told = []
    for name in ("_report_job_error_threadsafe", "_report_job_submission_threadsafe"):
        monkeypatch.setattr(plugin.Executor, name, lambda self, *words: self.told.append(words))
    monkeypatch.setattr(plugin.Executor, "report_job_error", lambda self, info, **more: None)
    monkeypatch.setattr(plugin, "query_job_status", slurm_executor.job_states)
    monkeypatch.setattr(slurm_executor, "FIRST_PAUSE", 0)
    return made


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Puts a stand-in for one of SLURM's commands in the path."""

    def write(name: str, script: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return write


def submitted(count: int) -> list[SubmittedJobInfo]:
    """Jobs with the numbers from 0."""
    aux = {"slurm_logfile": Path("log")}
    return [SubmittedJobInfo(JOB, external_jobid=str(n), aux=aux) for n in range(count)]


def looked_at(executor: Executor, infos: list[SubmittedJobInfo], name: str) -> list:
    """The jobs that are active after a look by one of SLURM's commands."""
    settings = {"init_seconds_before_status_checks": 1, "status_attempts": 2}
    settings |= {"status_command": name, "requeue": True, "keep_successful_logs": True}
    executor.workflow.executor_settings = SimpleNamespace(**settings)
    executor.status_rate_limiter = nullcontext()
    executor._next_seconds_between_status_checks = 1
    executor._status_query_calls = executor._status_query_failures = 0
    executor._status_query_total_seconds = executor._status_query_max_seconds = 0.0
    executor._status_query_min_seconds = None
    executor._status_query_cycle_rows = []

    async def collect():
        return [info async for info in executor.check_active_jobs(infos)]

    return asyncio.run(collect())


def test_another_version_of_the_plugin_is_refused(monkeypatch):
    monkeypatch.setattr(slurm_executor, "version", lambda name: "2.9.0")
    with pytest.raises(
        WorkflowError, match=r"pip install snakemake-executor-plugin-slurm==2\.8\.0"
    ):
        Executor.__new__(Executor).__post_init__()


def test_what_is_overridden_exists_in_the_plugin():
    methods = ("_submit_job", "run_job", "_report_job_error_threadsafe", "check_active_jobs")
    methods += ("_report_job_submission_threadsafe", "report_job_error")
    methods += ("format_job_exec", "get_job_exec_prefix", "shutdown", "__post_init__")
    assert not [name for name in methods if not hasattr(plugin.Executor, name)]
    source = Path(plugin.__file__).read_text()
    assert "self._failed_nodes.add(node)" in source
    assert "max_workers=2, thread_name_prefix" in source
    assert "SLURM status is: '{status}'" in source


@pytest.mark.parametrize(("resources", "steps"), [({"gpu": 2}, 0), ({"mpi": "srun"}, 1)])
def test_only_a_job_on_several_nodes_starts_snakemake_twice(
    executor, monkeypatch, resources, steps
):
    executor.workflow.executor_settings = SimpleNamespace(pass_command_as_script=False)
    words = executor.additional_general_args()
    monkeypatch.setattr(
        plugin.Executor, "format_job_exec", lambda self, job: f"snakemake {words} --mode remote"
    )
    command = executor.format_job_exec(SimpleNamespace(resources=resources))
    assert command.count("--executor") == steps
    assert command.split()[-2:] == ["--mode", "remote"]


def test_dead_nodes_are_not_excluded():
    nodes = slurm_executor.ConfiguredNodes({"node7"})
    nodes.add("None assigned")
    assert nodes == {"node7"}


def test_a_submission_waits_for_the_controller(executor, command, monkeypatch):
    command("squeue", "exit 0")
    again = []
    monkeypatch.setattr(Executor, "run_job", lambda self, job: again.append(job))
    executor._report_job_error_threadsafe(SubmittedJobInfo(JOB), AWAY)
    assert again == [JOB]
    assert not executor.told


def test_a_job_that_arrived_although_sbatch_gave_up_is_not_sent_twice(executor, command):
    executor._numbers.add("7")
    command("squeue", "printf '7\\n8\\n'")
    command("scontrol", "echo '   StdOut=/logs/8.log'")
    executor._report_job_error_threadsafe(SubmittedJobInfo(JOB), "Socket timed out on send/recv")
    ((info,),) = executor.told
    assert (info.external_jobid, info.aux) == ("8", {"slurm_logfile": Path("/logs/8.log")})


def test_a_refused_job_fails_and_asks_for_no_more(executor):
    executor._report_job_error_threadsafe(SubmittedJobInfo(JOB), REFUSED)
    assert len(executor.told) == 1
    assert attempts.doublings("answer", ["varm"], 2, attempts.MEMORY) == 0


def test_a_job_whose_srun_found_no_controller_begins_again(executor, tmp_path, monkeypatch):
    again = []
    executor._job_submission_executor = SimpleNamespace(submit=lambda run, job: again.append(job))
    log = tmp_path / "5.log"
    log.write_text(
        "srun: error: Unable to confirm allocation for job 5: "
        "Unable to contact slurm controller (connect failure)\n"
    )
    info = SubmittedJobInfo(JOB, external_jobid="5", aux={"slurm_logfile": log})
    message = "SLURM-job '5' failed, SLURM status is: 'OUT_OF_MEMORY'. "
    for _ in range(slurm_executor.MOST_CUT_OFF + 1):
        executor.report_job_error(info, msg=message)
    assert len(again) == slurm_executor.MOST_CUT_OFF
    assert attempts.failures("answer", ["varm"]) == ["OUT_OF_MEMORY"]


@pytest.mark.parametrize("name", ["sacct", "squeue"])
def test_no_job_is_forgotten_while_nobody_answers(executor, command, name):
    for word in ("sacct", "squeue", "scontrol"):
        command(word, "exit 1")
    infos = submitted(3)
    assert looked_at(executor, infos, name) == infos
    assert executor.next_seconds_between_status_checks == 15


def test_a_cancelled_job_has_ended(executor, command, monkeypatch):
    ended = []
    monkeypatch.setattr(Executor, "report_job_error", lambda self, info, **more: ended.append(info))
    command("scontrol", "exit 1")
    command("sacct", "printf '0|CANCELLED by 0\\n1|RUNNING\\n'")
    infos = submitted(2)
    assert looked_at(executor, infos, "sacct") == infos[1:]
    assert ended == infos[:1]


@pytest.mark.parametrize(
    ("state", "steps", "lacking"),
    [
        ("TIMEOUT", "OUT_OF_MEMORY", attempts.TIME),
        ("OUT_OF_MEMORY", "", attempts.MEMORY),
        ("FAILED", "FAILED\nOUT_OF_MEMORY", attempts.MEMORY),
        ("FAILED", "FAILED\nFAILED", None),
    ],
)
def test_the_reason_of_a_failure_decides_what_is_raised(executor, command, state, steps, lacking):
    command("sacct", f"printf '{steps}'")
    info = SubmittedJobInfo(JOB, external_jobid="5")
    executor.report_job_error(info, msg=f"SLURM-job '5' failed, SLURM status is: '{state}'. ")
    raised = {
        reason: attempts.doublings("answer", ["varm"], 2, reason)
        for reason in (attempts.TIME, attempts.MEMORY)
    }
    assert raised == {reason: int(reason == lacking) for reason in raised}
    told = executor.get_job_exec_prefix(JOB)
    assert told == f"export {attempts.VARIABLE}={lacking or state}"


def test_jobs_of_a_killed_snakemake_stop_the_next_one(command, tmp_path):
    jobs = ("4|dead|rule_answer|", "5|dead|(null)|", "6|living|rule_answer|", "7|gone|rule_judge|")
    listed = "\n".join(f"{job}{tmp_path}" for job in jobs)
    command("squeue", f"echo '{listed}\n8|dead|rule_answer|/tmp'")
    runs = tmp_path / leftovers.RUNS
    leftovers.sign_in(runs / "dead").close()
    living = leftovers.sign_in(runs / "living")
    with pytest.raises(WorkflowError, match=r"`scancel 4 7`; then start again"):
        leftovers.refuse_leftovers(tmp_path)
    leftovers.refuse_leftovers(tmp_path / "elsewhere")
    living.close()
