"""Snakemake's locks of the files of a run: each process deletes its own.

Snakemake 9.27 deletes everybody's when it ends. So `snakemake check` beside a run, or the run of
another configuration, left the first one unlocked, and a third could write the same files.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

import snakemake.api  # noqa: F401 (snakemake.persistence cannot be imported first)
from snakemake.persistence.file import FilePersistence

_delete_all = FilePersistence._delete_locks


def install() -> None:
    """Let only `snakemake --unlock` delete the locks of others."""
    FilePersistence.unlock = _delete_own
    FilePersistence.cleanup_locks = _delete_all


def _delete_own(persistence: Any) -> None:
    for file in persistence._lockfile.values():
        with suppress(FileNotFoundError):
            Path(file).unlink()
    persistence._lockfile.clear()
