"""Which model taught each dialogue, and how well each predicted it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from fusionchat.readers.csv import read_csv
from fusionchat.readers.parquet import check_disjoint, read_metadata, read_table
from fusionchat.scores.benchmark import category_order

ALL = "all"
NO_CATEGORY = "other"
MAKER = "fuse_distributions"
METADATA_KEY = b"fusionchat"
NAME = ("dialogue_id", pa.string())
WINNERS = pa.schema([NAME, ("winner", pa.string())])
CATEGORIES = pa.schema([NAME, ("category", pa.string())])
ENTROPIES = pa.schema([NAME, ("ce_byte", pa.float32())])


@dataclass(frozen=True)
class Teachers:
    """Dialogues of a target: ids [D], winners [D], and who could have won, the pivot first."""

    dialogue_ids: list[str]
    winners: list[str]
    candidates: tuple[str, ...]

    def never(self) -> list[str]:
        """Candidates that taught no dialogue."""
        return [name for name in self.candidates if name not in set(self.winners)]


def read_teachers(paths: Sequence[Path]) -> Teachers:
    """Read the shards of a target; only two columns of the logit store are touched."""
    ids: list[str] = []
    winners: list[str] = []
    candidates: dict[str, None] = {}
    for path in paths:
        table = read_table(path, WINNERS, MAKER)
        facts = read_metadata(path, table.schema, METADATA_KEY, MAKER)
        candidates |= dict.fromkeys(facts["candidates"])
        ids += [str(value) for value in table["dialogue_id"].to_pylist()]
        winners += table["winner"].to_pylist()
    check_disjoint(paths)
    return Teachers(ids, winners, tuple(candidates))


def read_categories(paths: Sequence[Path]) -> dict[str, str]:
    """The category of each dialogue; dialogues without one are in `other`."""
    categories: dict[str, str] = {}
    for path in paths:
        table = read_table(path, CATEGORIES, "shard_dialogues")
        pairs = zip(table["dialogue_id"].to_pylist(), table["category"].to_pylist(), strict=True)
        categories |= {str(name): category or NO_CATEGORY for name, category in pairs}
    return categories


def winner_shares(
    teachers: Teachers, categories: Mapping[str, str]
) -> dict[str, dict[str, tuple[int, float]]]:
    """Count and share of the dialogues that each model won: {category: {model: (count, share)}}.

    The first category is `all`. Candidates that never win are there with 0.
    """
    groups: dict[str, list[str]] = {ALL: list(teachers.winners)}
    pairs = zip(teachers.dialogue_ids, teachers.winners, strict=True)
    for name, winner in pairs:
        groups.setdefault(categories.get(name, NO_CATEGORY), []).append(winner)
    order = [ALL, *sorted((c for c in groups if c != ALL), key=category_order)]
    models = list(dict.fromkeys([*teachers.candidates, *teachers.winners]))
    return {
        category: {
            model: (
                groups[category].count(model),
                groups[category].count(model) / len(groups[category]),
            )
            for model in models
        }
        for category in order
    }


@dataclass(frozen=True)
class Share:
    """Dialogues that a model teaches a target, of all or of one category."""

    target: str
    category: str
    teacher: str
    dialogues: int
    share: float


def read_shares(path: Path) -> list[Share]:
    """The shares of all dialogues, from the csv of the winners figure."""
    shares = read_csv(path, _share, "the csv of the winners figure")
    return [share for share in shares if share.category == ALL]


def _share(record: dict[str, str]) -> Share:
    target, category, teacher = (record[name] for name in ("target", "category", "teacher"))
    return Share(target, category, teacher, int(record["dialogues"]), float(record["share"]))


def idle_note(shares: Sequence[Share]) -> str:
    """Which sources never teach a target of theirs; empty where all do.

    The pivot, a target's first teacher, is none of them: the target begins with its weights.
    """
    pivots = {s.target: s.teacher for s in reversed(shares)}
    idle = [
        f"{s.teacher} never teaches {s.target}"
        for s in shares
        if not s.dialogues and s.teacher != pivots[s.target]
    ]
    return f"{'; '.join(idle)}: these targets hold nothing of that model." if idle else ""


def read_entropies(paths: Sequence[Path]) -> dict[str, float]:
    """Each dialogue's nats per response byte; NaN where it could not be scored."""
    entropies: dict[str, float] = {}
    for path in paths:
        table = read_table(path, ENTROPIES, "dump_logits")
        pairs = zip(table["dialogue_id"].to_pylist(), table["ce_byte"].to_pylist(), strict=True)
        entropies |= {str(name): float(value) for name, value in pairs}
    return entropies
