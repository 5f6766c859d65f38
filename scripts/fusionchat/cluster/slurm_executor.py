"""Snakemake's SLURM executor, made to outlast the cluster's troubles.

The plugin's own class does the work; this subclass takes its place when the workflow is read, and
changes what loses a long run in 2.8.0:

- A dead node is not put on the list of excluded ones. SLURM itself sends nothing to a node that is
  down and uses it again when it is back, and what the plugin puts on that list is the node of the
  requeued job, "None assigned" while it waits, which makes every later submission fail
  (snakemake-executor-plugin-slurm, issue 485).
- While the controller or the accounting database is away, submissions wait for it and no attempt is
  spent; jobs whose state nobody can tell count as running, where the plugin forgets them.
- A job on one node runs in its batch script, where the plugin starts a second Snakemake by srun: a
  start and a question to the controller less. Trainings on several nodes call srun themselves.
- A job whose srun found no controller begins again, and no attempt is spent.
- A cancelled job has ended, also where the accounting says who did it ("CANCELLED by 0"), for which
  the plugin waits on.
- A failed job is submitted again after a pause that doubles, and asks for more of what it lacked.
- `gpu_model` is also the kind of GPUs asked for by the node, beside which the plugin asks for one
  more, and may have a hyphen.
- Jobs are looked at every `seconds-between-status-checks`, however long nothing has ended.
- Jobs of a killed snakemake that are still at work in this folder stop the next one before it sends
  the same jobs again.
"""

import re
import shlex
import threading
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import snakemake_executor_plugin_slurm as plugin
from snakemake_executor_plugin_slurm.job_status_query import query_job_status
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

from fusionchat.cluster import attempts
from fusionchat.cluster.leftovers import RUNS, refuse_leftovers, sign_in
from fusionchat.cluster.slurm_answers import (
    AWAY,
    answer,
    failure_reason,
    log_file,
    srun_was_cut_off,
)

TESTED = "2.8.0"
JOB_STEP = "--executor slurm-jobstep --jobs 1"  # lets a job's Snakemake start another one by srun
REFUSED = "REFUSED"  # sbatch did not take the job
MOST_CUT_OFF = 5
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 120.0  # seconds between two tries to reach the controller


def install() -> None:
    """Let `executor: slurm` mean the class below, and its questions be asked by `job_states`."""
    ExecutorPluginRegistry().get_plugin("slurm").executor = Executor
    plugin.query_job_status = job_states
    plugin.set_gres_string = asked_gpus


async def job_states(command: str, logger: Any) -> tuple[dict[str, str], float]:
    """State of each job that SLURM tells, in a word, and the seconds that it took."""
    states, seconds = await query_job_status(command, logger)
    return {job: state.split()[0] for job, state in (states or {}).items()}, seconds or 0.0


def asked_gpus(job: Any) -> str:
    """Options of sbatch for a job's GPUs: by the node where it has `gres`, else for all of it."""
    gres, count, model = (job.resources.get(key) for key in ("gres", "gpu", "gpu_model"))
    kind = f"{model}:" if model else ""
    if gres:
        return f" --gres={shlex.quote(re.sub(r'^gpu:(?=[0-9]+$)', f'gpu:{kind}', gres))}"
    return f" --gpus={shlex.quote(f'{kind}{count}')}" if count else ""


class ConfiguredNodes(frozenset[str]):
    """The nodes that the profile excludes; the plugin's additions are not taken up."""

    def add(self, node: str) -> None:
        """SLURM knows by itself which nodes are down."""


class Executor(plugin.Executor):
    """The plugin's executor; see above for what differs."""

    _failed_nodes: set[str] | ConfiguredNodes

    def __post_init__(self, test_mode: bool = False) -> None:
        """Refuse a plugin that was not tried, and jobs that a killed snakemake left behind."""
        if (installed := version("snakemake-executor-plugin-slurm")) != TESTED:
            raise WorkflowError(
                f"snakemake-executor-plugin-slurm {installed} is installed, "
                f"scripts/fusionchat/cluster/slurm_executor.py changes {TESTED}; "
                f"pip install snakemake-executor-plugin-slurm=={TESTED}"
            )
        self._ending = threading.Event()
        self._numbers: set[str] = set()  # of every job of this run
        self._cut_off: Counter[object] = Counter()  # how often each job found no controller
        super().__post_init__(test_mode)
        self._failed_nodes = ConfiguredNodes(self._failed_nodes)
        # One at a time, so that the job of a submission that timed out is told by its number.
        self._job_submission_executor = ThreadPoolExecutor(1, "slurm_job_submit")
        folder = Path(self.workflow.workdir_init)
        refuse_leftovers(folder)
        self._signed = sign_in(folder / RUNS / self.run_uuid)

    @property
    def _look(self) -> float:
        """Seconds between two looks at the jobs."""
        return self.workflow.remote_execution_settings.seconds_between_status_checks

    def get_job_exec_prefix(self, job: Any) -> str:
        """Tell a job that is tried again why it failed before."""
        reasons = max((attempts.failures(*one) for one in _single(job)), key=len)
        return f"export {attempts.VARIABLE}={shlex.quote(' '.join(reasons))}" if reasons else ""

    def format_job_exec(self, job: Any) -> str:
        """The command of a job; without `mpi` its own Snakemake starts the program."""
        command = super().format_job_exec(job)
        return command if job.resources.get("mpi") else command.replace(JOB_STEP, "")

    def _submit_job(self, job: Any) -> None:
        """Submit a job; one that failed before only after a pause."""
        if job.attempt == 1:
            super()._submit_job(job)
            return
        self.run_job_pre(job)
        pause = min(self._look * 2 ** (job.attempt - 1), LONGEST_PAUSE)
        timer = threading.Timer(pause, self._submit_later, [job])
        timer.daemon = True
        timer.start()

    def run_job(self, job: Any) -> None:
        """Submit a job; whatever goes wrong is told, also for groups, which the plugin forgets."""
        try:
            super().run_job(job)
        except Exception as error:
            message = str(error.__context__ or error)
            self._report_job_error_threadsafe(SubmittedJobInfo(job), message)

    def _submit_later(self, job: Any) -> None:
        if not self._ending.is_set():
            self._job_submission_executor.submit(self.run_job, job)

    def _report_job_error_threadsafe(self, job_info: SubmittedJobInfo, msg: str) -> None:
        """Hear of a failed submission: one for want of a controller is only put off."""
        if not AWAY.search(msg):
            _note(job_info.job, REFUSED)
            super()._report_job_error_threadsafe(job_info, msg)
            return
        self._wait_for_controller()
        if self._ending.is_set():
            return
        if (number := self._lost_job()) is None:
            self.run_job(job_info.job)
            return
        self.logger.info(f"Job {job_info.job.jobid} had been submitted after all, as {number}.")
        aux = {"slurm_logfile": log_file(number)}
        self._report_job_submission_threadsafe(
            SubmittedJobInfo(job_info.job, external_jobid=number, aux=aux)
        )

    def _wait_for_controller(self) -> None:
        """Return when SLURM answers again, or when snakemake ends."""
        pause = FIRST_PAUSE
        while not self._ending.wait(pause):
            if answer("squeue", "--noheader", "--name", self.run_uuid) is not None:
                return
            pause = min(2 * pause, LONGEST_PAUSE)
            self.logger.warning(f"SLURM does not answer; trying again in {pause:.0f} s.")

    def _lost_job(self) -> str | None:
        """The job whose submission arrived although sbatch gave up waiting for the answer."""
        question = ("--noheader", "--name", self.run_uuid, "--states", "all", "--format", "%i")
        listed = (answer("squeue", *question) or "").split()
        return next((number for number in listed if number not in self._numbers), None)

    def _report_job_submission_threadsafe(self, job_info: SubmittedJobInfo) -> None:
        self._numbers.add(str(job_info.external_jobid))
        super()._report_job_submission_threadsafe(job_info)

    def report_job_error(self, job_info: SubmittedJobInfo, msg: str = "", **more: Any) -> None:
        """Remember why a job failed; one that could not ask the controller begins again."""
        if self._was_cut_off(job_info):
            self.logger.warning(f"Job {job_info.external_jobid} found no controller; once more.")
            self._job_submission_executor.submit(self.run_job, job_info.job)
            return
        if state := re.search(r"SLURM status is: '(\w+)", msg):
            _note(job_info.job, failure_reason(state[1], str(job_info.external_jobid)))
        super().report_job_error(job_info, msg=msg, **more)

    def _was_cut_off(self, job_info: SubmittedJobInfo) -> bool:
        """Whether srun failed in the job for want of a controller, and not time and again."""
        files = [job_info.aux.get("slurm_logfile"), *job_info.job.log] if job_info.aux else []
        if not any(srun_was_cut_off(Path(file)) for file in files if file):
            return False
        self._cut_off[job_info.job.jobid] += 1
        return self._cut_off[job_info.job.jobid] <= MOST_CUT_OFF

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncIterator[SubmittedJobInfo]:
        """Yield the jobs that have not ended, and look again as soon as the profile says."""
        async for info in super().check_active_jobs(active_jobs):
            yield info
        self.next_seconds_between_status_checks = self._look

    def shutdown(self) -> None:
        """End without waiting for a controller that is away."""
        self._ending.set()
        super().shutdown()
        Path(self._signed.name).unlink(missing_ok=True)
        self._signed.close()


def _single(job: Any) -> list[attempts.Job]:
    """Rule and wildcards of a job, or of each job in a group."""
    jobs = job.jobs if job.is_group() else [job]
    return [(one.rule.name, tuple(one.wildcards)) for one in jobs]


def _note(job: Any, reason: str) -> None:
    for rule, wildcards in _single(job):
        attempts.note(rule, wildcards, reason)
