"""Whether this machine, without a scheduler, has what the jobs of a run need."""

import os
from collections.abc import Callable, Iterator, Sequence

from fusionchat.cluster.costs.work import GB, Row
from fusionchat.cluster.doctor.checks import Finding, last_line, output
from fusionchat.cluster.doctor.slurm import SEEN, Probe, cuda, gpu_memory, program
from fusionchat.cluster.plan_report import Place


def gpus(probe: Probe, too_large: Callable[[float], Sequence[str]]) -> Iterator[Finding]:
    """Number and memory of the GPUs that torch sees."""
    mark = probe.folder / f".doctor-job-{os.getpid()}"
    code, text = output(*program(probe, mark), seconds=300)
    mark.unlink(missing_ok=True)
    seen = SEEN.search(text) if code == 0 else None
    if not seen:
        yield Finding("CUDA and bf16", last_line(text), "install torch where this program runs")
        return
    yield cuda(probe.gpus, int(seen[3]), seen[4] == "True")
    yield from gpu_memory(too_large(float(seen[5])))


def memory(rows: Sequence[Row], place: Place) -> Iterator[Finding]:
    """The machine's memory against the largest job, and against all that may run at once."""
    room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB
    largest = max(rows, key=lambda row: row.host_gb)
    found = f"{room:.1f} GB; a job of {largest.rule} takes {largest.host_gb:.1f} GB"
    if largest.host_gb > room:
        fix = "a smaller model, shorter dialogues (data.max_length) or a smaller micro_batch_size"
        yield Finding("memory", found, fix)
        return
    crowd = max(rows, key=lambda row: row.host_gb * place.at_once(row))
    count = place.at_once(crowd)
    if crowd.host_gb * count > room:
        found += f", {count} of {crowd.rule} at once {crowd.host_gb * count:.1f} GB"
        fix = (
            f"fewer at once: snakemake --cores {max(1, int(room / crowd.host_gb) * crowd.threads)}"
        )
        yield Finding("memory", found, fix, warning=True)
        return
    yield Finding("memory", found)
