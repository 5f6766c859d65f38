"""The pivot and the targets of a merge, opened and found to fit each other."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fusionchat.merging.checkpoint_audit import check_tokenizers, match_tensors
from fusionchat.models.checkpoint import Checkpoint, open_checkpoint
from fusionchat.readers.safetensors import TensorInfo

PIVOT = "pivot"


@dataclass(frozen=True)
class Inputs:
    """A pivot and its targets by name, which fit each other."""

    pivot: Checkpoint
    targets: dict[str, Checkpoint]
    matched: dict[str, dict[str, str]]

    @classmethod
    def open(
        cls, pivot: Path, targets: dict[str, Path], allow_other_tokenizer: bool = False
    ) -> "Inputs":
        """Open and audit the folders; `UserError` where they do not fit."""
        base = open_checkpoint(pivot)
        opened = {name: open_checkpoint(folder) for name, folder in targets.items()}
        matched = {name: match_tensors(base, target) for name, target in opened.items()}
        if not allow_other_tokenizer:
            for target in opened.values():
                check_tokenizers(base, target)
        return cls(base, opened, matched)

    def sources(self, with_pivot: bool) -> dict[str, Checkpoint]:
        """The checkpoints that a method reads, by name, the pivot first."""
        return {PIVOT: self.pivot, **self.targets} if with_pivot else dict(self.targets)

    def tensor(self, source: str, name: str) -> TensorInfo:
        """A source's tensor by the pivot's name for it."""
        if source == PIVOT:
            return self.pivot.tensors[name]
        return self.targets[source].tensors[self.matched[source][name]]


def not_finite(checkpoints: Iterable[Checkpoint], tensor: str) -> str:
    """The message for a tensor that is NaN, infinite, or too large for the type of the result."""
    folders = " or ".join(str(checkpoint.folder) for checkpoint in checkpoints)
    return (
        f"{folders}: tensor {tensor} holds NaN, infinity or a value that the merged model's type "
        "cannot hold; look for a diverged training or a damaged file"
    )
