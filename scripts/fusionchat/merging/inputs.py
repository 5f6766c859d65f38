"""The pivot and the targets of a merge, opened and found to fit each other."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fusionchat.errors import UserError
from fusionchat.merging.checkpoint_audit import check_tokenizers, match_tensors
from fusionchat.merging.config_differences import differences
from fusionchat.models.checkpoint import Checkpoint, open_checkpoint
from fusionchat.models.generation_config import generation_ends
from fusionchat.readers.safetensors import TensorInfo

PIVOT = "pivot"
RESULT = "mergekit's result"  # among the targets, so no likely name of one
Stamp = tuple[int, int, int]  # of a file: its number, its size, when it was written


@dataclass(frozen=True)
class InputOptions:
    """The folders to merge, and how alike they must be.

    `tokenizer_from` and `template_from` name the target whose tokenizer or chat template the merged
    model gets; it gets the pivot's otherwise.
    """

    pivot: Path
    targets: Mapping[str, Path]
    allow_other_tokenizer: bool = False
    allow_other_config: bool = False
    tokenizer_from: str | None = None
    template_from: str | None = None


@dataclass(frozen=True)
class Inputs:
    """A pivot and its targets by name, which fit each other.

    `result` holds the merged weights where another program has computed them, in its own type.
    """

    pivot: Checkpoint
    targets: dict[str, Checkpoint]
    matched: dict[str, dict[str, str]]
    tokenizer_from: Checkpoint | None = field(default=None)
    template_from: Checkpoint | None = field(default=None)
    stops: frozenset[int] = frozenset()  # the ids at which every target ends an answer
    result: Checkpoint | None = None
    stamps: Mapping[Path, Stamp] = field(default_factory=dict)  # of the files with weights

    @classmethod
    def open(cls, options: InputOptions) -> "Inputs":
        """Open and audit the folders; `UserError` where they do not fit."""
        if not options.targets:
            raise UserError("a merge needs at least one target")
        if PIVOT in options.targets:
            folder = options.targets[PIVOT]
            raise UserError(f"--target {PIVOT}={folder}: give it a name of its own")
        pivot = open_checkpoint(options.pivot)
        targets = {name: open_checkpoint(folder) for name, folder in options.targets.items()}
        matched = {name: match_tensors(pivot, target) for name, target in targets.items()}
        if not options.allow_other_config:
            for target in targets.values():
                _check_config(pivot, target)
        tokenizer = _named(targets, options.tokenizer_from, "--tokenizer-from")
        template = _named(targets, options.template_from, "--template-from")
        if not options.allow_other_tokenizer:
            for other in (pivot, *targets.values()):
                check_tokenizers(tokenizer or pivot, other)
        stops = frozenset.intersection(*(generation_ends(t.folder) for t in targets.values()))
        files = {info.path for c in (pivot, *targets.values()) for info in c.tensors.values()}
        stamps = {path: _stamp(path) for path in files}
        return cls(pivot, targets, matched, tokenizer, template, stops, stamps=stamps)

    def check_unchanged(self) -> None:
        """Raise `UserError` where a file was written to or exchanged since it was opened."""
        for path, stamp in self.stamps.items():
            if _stamp(path) != stamp:
                raise UserError(
                    f"{path} was changed while it was read; merge again when nothing writes to it"
                )

    def sources(self, with_pivot: bool) -> dict[str, Checkpoint]:
        """The checkpoints that are merged, by name, the pivot first."""
        return {PIVOT: self.pivot, **self.targets} if with_pivot else dict(self.targets)

    def read(self, with_pivot: bool) -> dict[str, Checkpoint]:
        """The checkpoints that a method reads: those that are merged, and last their `result`."""
        return self.sources(with_pivot) | ({RESULT: self.result} if self.result else {})

    def tensor(self, source: str, name: str) -> TensorInfo:
        """The tensor of one of the checkpoints that are read, by the pivot's name for it."""
        if source == PIVOT:
            return self.pivot.tensors[name]
        return self.read(False)[source].tensors[self.matched[source][name]]

    def target_tensors(self) -> list[dict[str, TensorInfo]]:
        """The tensors of each target by the pivot's names."""
        return [{n: self.tensor(t, n) for n in self.pivot.tensors} for t in self.targets]


def _stamp(path: Path) -> Stamp:
    facts = path.stat()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def _check_config(pivot: Checkpoint, target: Checkpoint) -> None:
    if different := differences(pivot.config, target.config):
        more = f" (and {len(different) - 1} more)" if len(different) > 1 else ""
        raise UserError(
            f"{target.folder}/config.json: {different[0]}{more}; the merged model gets the pivot's "
            "config: say --allow-other-config if that is what you want"
        )


def _named(targets: Mapping[str, Checkpoint], name: str | None, option: str) -> Checkpoint | None:
    if name is not None and name not in targets:
        raise UserError(f"{option} {name}: the targets are {', '.join(targets)}")
    return None if name is None else targets[name]


def not_finite(checkpoints: Iterable[Checkpoint], tensor: str) -> str:
    """The message for a tensor that is NaN, infinite, or too large for the type of the result."""
    folders = " or ".join(str(checkpoint.folder) for checkpoint in checkpoints)
    return (
        f"{folders}: tensor {tensor} holds NaN, infinity or a value that the merged model's type "
        "cannot hold; look for a diverged training or a damaged file"
    )
