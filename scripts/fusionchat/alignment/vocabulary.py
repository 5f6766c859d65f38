"""From a source's token ids to the pivot's: the strategies, and the file of the chosen map.

Every strategy first maps special tokens by role and tokens of the same bytes to each other; they
differ in the rest. `statistics_reference` is the released code's rule and decides alone.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist, cpdist

from fusionchat.alignment import vocabulary_map
from fusionchat.alignment.dtw import CONTAINED
from fusionchat.alignment.groups import sum_by_key
from fusionchat.alignment.spans_file import PAIR, pair_array, pair_columns
from fusionchat.errors import UserError
from fusionchat.files import atomic_file
from fusionchat.logits.cutting import Cutter
from fusionchat.models import token_table
from fusionchat.models.token_table import NO_TOKEN, TokenTable
from fusionchat.readers.parquet import check_filled, read_metadata, read_table

STRATEGIES = ("statistics", "statistics_reference", "min_edit", "exact")
HOW = ("none", "role", "exact", "statistics", "min_edit", "identity", "cut")
METADATA_KEY = b"fusionchat_vocabulary"
BLOCK = 1 << 24


@dataclass(frozen=True)
class Pairs:
    """Aligned pairs of a corpus: pivot ids, source ids, counts; int64, sorted by source, pivot.

    `count` and `groups` as `PairCounts` counts them.
    """

    pivot: np.ndarray
    source: np.ndarray
    count: np.ndarray
    groups: np.ndarray

    @classmethod
    def sum(cls, tables: Sequence[tuple[np.ndarray, ...]], pivot_size: int) -> "Pairs":
        """Add up the tables of the shards' `PairCounts`."""
        keys = [source * pivot_size + pivot for pivot, source, *_ in tables]
        counts = [np.stack(both, axis=1) for _, _, *both in tables]
        none = np.empty((0, 2), np.int64)
        key, sums = sum_by_key(np.concatenate([none[:, 0], *keys]), np.concatenate([none, *counts]))
        return cls(key % pivot_size, key // pivot_size, *sums.T)


@dataclass(frozen=True)
class Vocabulary:
    """`mapped`: int32 [source size], pivot id or -1; `how`: int8, index into HOW; `pairs`."""

    mapped: np.ndarray
    how: np.ndarray
    pairs: Pairs


def build(pivot: TokenTable, source: TokenTable, pairs: Pairs, strategy: str) -> Vocabulary:
    """The map of one strategy; equal tokenizers give the identity whatever the strategy."""
    if token_table.equal(pivot, source):
        mapped = vocabulary_map.identity(source, pivot)
        how = np.where(mapped == NO_TOKEN, HOW.index("none"), HOW.index("identity"))
    elif strategy == "statistics_reference":
        mapped = reference_statistics(pivot, source, pairs)
        how = np.full(source.size, HOW.index("statistics"))
    else:
        mapped = vocabulary_map.exact(source, pivot)
        how = np.where(mapped == NO_TOKEN, HOW.index("none"), HOW.index("exact"))
        open_ids = np.flatnonzero((mapped == NO_TOKEN) & _is_text(source))
        if strategy == "statistics":
            counted = _most_frequent(pivot, source, pairs, open_ids)
            cut = Cutter(pivot)
            for index in open_ids.tolist():
                pieces = (counted[index],) if index in counted else cut(source.token_bytes[index])
                if pieces:
                    mapped[index] = pieces[0]
                    how[index] = HOW.index("statistics" if index in counted else "cut")
        elif strategy == "min_edit":
            text = np.flatnonzero(_is_text(pivot))
            nearest = min_edit(
                [source.surfaces[i] for i in open_ids], [pivot.surfaces[i] for i in text]
            )
            mapped[open_ids] = text[nearest]
            how[open_ids] = HOW.index("min_edit")
    roles = list(token_table.special_map(source, pivot))
    how[roles] = HOW.index("role")
    return Vocabulary(mapped, how.astype(np.int8), pairs)


def _is_text(table: TokenTable) -> np.ndarray:
    """Bool [V]: ids that stand for text."""
    return np.array([bool(data) for data in table.token_bytes]) & ~table.special


def _most_frequent(
    pivot: TokenTable, source: TokenTable, pairs: Pairs, open_ids: np.ndarray
) -> dict[int, int]:
    """The paper's mapping statistics: the pivot token that a source token meets most often.

    Groups of the same text count once each, for the tokens that begin them; and only a token that
    spells the beginning of the source token can be what the pivot would say next. On equal counts
    the longer one wins, then the lowest id.
    """
    wanted = (pairs.groups > 0) & np.isin(pairs.source, open_ids)
    wanted[wanted] = [
        source.token_bytes[s].startswith(pivot.token_bytes[p])
        for p, s in zip(pairs.pivot[wanted], pairs.source[wanted], strict=True)
    ]
    p, s, count = pairs.pivot[wanted], pairs.source[wanted], pairs.groups[wanted]
    order = np.lexsort([p, -np.diff(pivot.offsets)[p], -count, s])
    counted, first = np.unique(s[order], return_index=True)
    return dict(zip(counted.tolist(), p[order][first].tolist(), strict=True))


def reference_statistics(pivot: TokenTable, source: TokenTable, pairs: Pairs) -> np.ndarray:
    """The released code's rule, int32 [source size].

    The partner with the smallest edit distance x sigmoid(count), first on ties; a token without
    partners goes to `unk`, bos and eos to each other.
    """
    cost = edit_costs(
        [pivot.stripped[i] for i in pairs.pivot], [source.stripped[i] for i in pairs.source]
    )
    score = cost * (1.0 / (1.0 + np.exp(-pairs.count.astype(np.float64))))
    order = np.lexsort([pairs.pivot, score, pairs.source])
    ids, first = np.unique(pairs.source[order], return_index=True)
    mapped = np.full(source.size, pivot.roles.get("unk", NO_TOKEN), np.int32)
    mapped[ids] = pairs.pivot[order][first]
    for role in ("bos", "eos"):
        if role in source.roles and role in pivot.roles:
            mapped[source.roles[role]] = pivot.roles[role]
    return mapped


def edit_distances(first: Sequence[str], second: Sequence[str]) -> np.ndarray:
    """Levenshtein distances of pairs of strings, int64 [n]."""
    if not len(first):
        return np.empty(0, np.int64)
    distance = cpdist(first, second, scorer=Levenshtein.distance, dtype=np.uint32, workers=1)
    return distance.astype(np.int64)


def edit_costs(first: Sequence[str], second: Sequence[str]) -> np.ndarray:
    """Edit distances, times 0.1 where one string contains the other; float64 [n]."""
    distance = edit_distances(first, second).astype(np.float64)
    contained = np.array([a in b or b in a for a, b in zip(first, second, strict=True)], dtype=bool)
    return np.where(contained, distance * CONTAINED, distance)


def min_edit(source: Sequence[str], pivot: Sequence[str]) -> np.ndarray:
    """For each source string the index of the nearest pivot string, lowest on ties; int64 [n].

    Strings whose lengths differ by d are at least d apart, so lengths are tried from the nearest
    on, and a source string is done when no other length can be as near.
    """
    lengths = np.array([len(text) for text in pivot])
    order = np.argsort(lengths, kind="stable")
    blocks = {length: order[lengths[order] == length] for length in np.unique(lengths).tolist()}
    nearest = np.zeros(len(source), np.int64)
    source_lengths = np.array([len(text) for text in source], dtype=np.int64)
    for length in np.unique(source_lengths).tolist():
        same = np.flatnonzero(source_lengths == length)
        for begin in range(0, len(same), 4096):
            rows = same[begin : begin + 4096]
            nearest[rows] = _nearest_of_length([source[i] for i in rows], length, pivot, blocks)
    return nearest


def _nearest_of_length(
    source: list[str], length: int, pivot: Sequence[str], blocks: dict[int, np.ndarray]
) -> np.ndarray:
    kind = np.uint8 if max(length, *blocks) < 256 else np.uint32
    best = np.full(len(source), np.iinfo(np.int64).max)
    nearest = np.full(len(source), len(pivot), np.int64)
    for other in sorted(blocks, key=lambda value: (abs(value - length), value)):
        waiting = np.flatnonzero(best >= abs(other - length))
        if not len(waiting):
            break
        block = blocks[other]
        step = max(1, BLOCK // len(waiting))
        for begin in range(0, len(block), step):
            part = block[begin : begin + step]
            distance = cdist(
                [source[i] for i in waiting],
                [pivot[i] for i in part],
                scorer=Levenshtein.distance,
                dtype=kind,
                workers=1,
            )
            column = distance.argmin(axis=1)
            smallest, index = distance[np.arange(len(waiting)), column], part[column]
            better = (smallest < best[waiting]) | (
                (smallest == best[waiting]) & (index < nearest[waiting])
            )
            best[waiting[better]], nearest[waiting[better]] = smallest[better], index[better]
    return nearest


def write(
    path: str | os.PathLike[str],
    vocabulary: Vocabulary,
    pivot: TokenTable,
    source: TokenTable,
    strategy: str,
) -> None:
    """Write the map: a row a source id, with spellings and all partners."""
    facts = {
        "strategy": strategy,
        "pivot_tokenizer": pivot.fingerprint,
        "source_tokenizer": source.fingerprint,
    }
    pairs = vocabulary.pairs
    bounds = np.searchsorted(pairs.source, np.arange(source.size + 1))
    partners = pair_array((pairs.pivot, pairs.source, pairs.count, pairs.groups))
    table = pa.table(
        {
            "source_id": pa.array(range(source.size), pa.int32()),
            "source_piece": pa.array(source.pieces),
            "pivot_id": pa.array(vocabulary.mapped, pa.int32()),
            "pivot_piece": pa.array(
                [pivot.pieces[i] if i >= 0 else None for i in vocabulary.mapped]
            ),
            "how": pa.array([HOW[i] for i in vocabulary.how]),
            "pairs": pa.ListArray.from_arrays(pa.array(bounds, pa.int32()), partners),
        }
    ).replace_schema_metadata({METADATA_KEY: json.dumps(facts, sort_keys=True)})
    with atomic_file(path) as partial:
        pq.write_table(table, partial, compression="zstd", write_page_checksum=True)


def read(path: str | os.PathLike[str], pivot: TokenTable, source: TokenTable) -> Vocabulary:
    """Read a map; one made for other tokenizers is a `UserError`."""
    columns = pa.schema([("pivot_id", pa.int32()), ("how", pa.string()), ("pairs", pa.list_(PAIR))])
    table = read_table(path, columns, "map_vocabulary")
    facts = read_metadata(path, table.schema, METADATA_KEY, "map_vocabulary")
    check_tokenizers(path, facts, pivot, source)
    check_filled(path, table, columns.names, "; make it with map_vocabulary")
    if len(table) != source.size:
        raise UserError(
            f"{path} is damaged: it maps {len(table)} of the {source.size} ids of {source.name}; "
            "make it with map_vocabulary"
        )
    pairs = Pairs(*pair_columns(table["pairs"].combine_chunks()))
    how = np.array([HOW.index(name) for name in table["how"].to_pylist()], np.int8)
    return Vocabulary(table["pivot_id"].to_numpy().astype(np.int32), how, pairs)


def check_tokenizers(
    path: str | os.PathLike[str], facts: dict[str, str], pivot: TokenTable, source: TokenTable
) -> None:
    """Stop when a file was made for other tokenizers than these two."""
    for role, table in (("pivot", pivot), ("source", source)):
        if facts.get(f"{role}_tokenizer") != table.fingerprint:
            raise UserError(
                f"{path}: was made with another {role} tokenizer than {table.name} has; "
                "align again with the models in use"
            )
