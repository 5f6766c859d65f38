"""Jobs as the plan counts them, and their sums: by rule, and over all rules."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

GB = 1e9
LARGEST = (
    "gpus",
    "threads",
    "temporary_gb",
    "host_gb",
    "gpu_gb",
)  # a sum's is that of the largest job


@dataclass(frozen=True)
class Work:
    """Equal jobs of one rule. On a CPU its seconds are those of all its threads together; memory is
    of one job on the host and of one of its GPUs.
    """

    rule: str
    jobs: int
    seconds: float
    gpus: int = 0
    threads: int = 1
    kept: float = 0.0
    temporary: float = 0.0
    host: float = 1 * GB
    gpu_memory: float = 0.0
    calls: int = 0
    dollars: float = 0.0


@dataclass(frozen=True)
class Row:
    """One rule's sums over its jobs; GPUs, passing disk and memory are those of its largest job."""

    rule: str
    jobs: int
    gpus: int
    threads: int
    gpu_hours: float
    hours: float
    kept_gb: float
    temporary_gb: float
    host_gb: float
    gpu_gb: float
    judge_calls: int
    dollars: float


def total(rows: Sequence[Row]) -> Row:
    """Sums over all rules; of GPUs, passing disk and memory the largest."""
    values = {
        field.name: (max if field.name in LARGEST else sum)(
            getattr(row, field.name) for row in rows
        )
        for field in fields(Row)
        if field.name != "rule"
    }
    return Row(rule="total", **values)


def summed(rule: str, items: Sequence[Work]) -> Row:
    """One rule's row."""
    return Row(
        rule,
        sum(item.jobs for item in items),
        max(item.gpus for item in items),
        max(item.threads for item in items),
        sum(item.jobs * item.gpus * item.seconds for item in items) / 3600,
        sum(item.jobs * item.seconds for item in items) / 3600,
        sum(item.jobs * item.kept for item in items) / GB,
        max(item.temporary for item in items) / GB,
        max(item.host for item in items) / GB,
        max(item.gpu_memory if item.gpus else 0.0 for item in items) / GB,
        sum(item.jobs * item.calls for item in items),
        sum(item.jobs * item.dollars for item in items),
    )
