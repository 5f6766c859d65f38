"""Whether a source teaches anything, and how well it was aligned."""

import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fusionchat.alignment import contest, spans_file
from fusionchat.alignment.contest import Contest
from fusionchat.alignment.groups import Alignment
from fusionchat.alignment.response_tokens import read_tokens
from fusionchat.alignment.transfer.tables import KINDS
from fusionchat.alignment.vocabulary import HOW, Vocabulary
from fusionchat.errors import UserError
from fusionchat.logits.store import read_columns, read_provenance
from fusionchat.models import token_table
from fusionchat.models.token_table import TokenTable

LABELS = {
    "one_to_one": "1-1",
    "many_to_one": "n-1 (n source tokens, 1 pivot token)",
    "one_to_many": "1-n (1 source token, n pivot tokens)",
    "many_to_many": "n-n",
    "fallback": "fallback (nothing transferred)",
}
COSTLY_TOKENS, WORST_DIALOGUES, SHOWN_GROUPS = 20, 5, 12
ROUNDING = 1e-9  # a share of probability that is no loss
ALL = ""  # no category has this name
Group = tuple[list[str], list[str]]  # the pivot's and the source's pieces of one aligned group


@dataclass(frozen=True)
class Shard:
    """The files of one shard: `aligned` is what transfer_logits wrote."""

    aligned: Path
    spans: Path
    pivot: Path
    source: Path


@dataclass(frozen=True)
class Quality:
    """Counts of all dialogues of a source.

    `rows` int64 [dialogues, kinds]: pivot tokens of each kind; `mass_in`, `mass_out` float64
    [dialogues]: listed probability before and after; `shard` int64 [dialogues]. `changed`: of the
    excluded ones, those whose text the source's tokenizer changed.
    """

    dialogue_ids: list[str]
    shard: np.ndarray
    rows: np.ndarray
    mass_in: np.ndarray
    mass_out: np.ndarray
    excluded: int
    changed: int = 0

    @property
    def kept(self) -> float:
        """Share of the listed probability that reached the pivot's vocabulary."""
        total = self.mass_in.sum()
        return float(self.mass_out.sum() / total) if total else 1.0

    @property
    def kept_by_dialogue(self) -> np.ndarray:
        """The same for each dialogue, float64 [dialogues]; 1 where nothing is listed."""
        return np.where(self.mass_in > 0, self.mass_out / np.maximum(self.mass_in, 1e-30), 1.0)

    @property
    def rates(self) -> dict[str, float]:
        """Share of the pivot's response tokens of each kind."""
        total = max(1, int(self.rows.sum()))
        return dict(zip(KINDS, (self.rows.sum(axis=0) / total).tolist(), strict=True))


def read_quality(aligned: Sequence[str | os.PathLike[str]]) -> Quality:
    """Collect what transfer_logits counted; only the small columns are read."""
    names: list[str] = []
    shard, tables, excluded, changed = [], [], 0, 0
    columns = ["dialogue_id", *KINDS, "mass_in", "mass_out"]
    for index, path in enumerate(aligned):
        table = read_columns(path, columns)
        facts = read_provenance(path)
        excluded, changed = excluded + facts["excluded"], changed + facts["changed"]
        names += table["dialogue_id"].to_pylist()
        shard += [index] * len(table)
        tables.append(np.column_stack([table[c].to_numpy() for c in columns[1:]]))
    values = np.concatenate(tables)
    rows, masses = values[:, : len(KINDS)].astype(np.int64), values[:, len(KINDS) :]
    return Quality(names, np.array(shard), rows, masses[:, 0], masses[:, 1], excluded, changed)


def bytes_lost(quality: Quality, shards: Sequence[Shard]) -> np.ndarray:
    """Bytes of each dialogue's responses times the share of probability that was not kept.

    The bytes follow from the pivot's cross-entropies per token and per byte.
    """
    ratios: dict[str, float] = {}
    for shard in shards:
        table = read_columns(shard.pivot, ["dialogue_id", "ce", "ce_byte"])
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = table["ce"].to_numpy() / table["ce_byte"].to_numpy()
        names = table["dialogue_id"].to_pylist()
        ratios.update(zip(names, np.nan_to_num(ratio, nan=1.0, posinf=1.0).tolist(), strict=True))
    size = quality.rows.sum(axis=1) * [ratios.get(name, 1.0) for name in quality.dialogue_ids]
    return size * (1.0 - quality.kept_by_dialogue)


def costly_tokens(
    pivot: TokenTable, source: TokenTable, vocabulary: Vocabulary
) -> list[dict[str, Any]]:
    """The source tokens of which most bytes are lost in the aligned text.

    In each group that one of them begins, the bytes of it that its partner does not spell.
    """
    count = np.zeros(source.size, np.int64)
    np.add.at(count, vocabulary.pairs.source, vocabulary.pairs.groups)
    spelled = np.append(np.diff(pivot.offsets), 0)[vocabulary.mapped]
    lost = count * np.maximum(np.diff(source.offsets) - spelled, 0) * ~source.special
    order = np.argsort(-lost, kind="stable")[:COSTLY_TOKENS].tolist()
    return [
        {
            "source": source.pieces[token],
            "mapped_to": pivot.pieces[vocabulary.mapped[token]]
            if vocabulary.mapped[token] != token_table.NO_TOKEN
            else "(nothing)",
            "count": int(count[token]),
            "bytes_lost": int(lost[token]),
        }
        for token in order
        if lost[token]
    ]


def worst(quality: Quality, lost: np.ndarray) -> list[int]:
    """Indices of the dialogues that lost most bytes, most first."""
    without = quality.rows[:, KINDS.index("fallback")]
    order = np.lexsort([-without, -lost])
    some = (quality.kept_by_dialogue < 1.0 - ROUNDING) | (without > 0)
    return [index for index in order.tolist() if some[index]][:WORST_DIALOGUES]


def facts(
    quality: Quality,
    pivot: TokenTable,
    source: TokenTable,
    vocabulary: Vocabulary,
    settings: dict[str, Any],
    contests: Mapping[str, Contest],
    lost: np.ndarray,
) -> dict[str, Any]:
    """Everything that the report says in numbers, for programs.

    `contests`: that of all dialogues under ALL, then those of the categories; `lost`: `bytes_lost`.
    """
    kept = quality.kept_by_dialogue
    return {
        **settings,
        "contest": contests[ALL].facts(),
        "categories": {name: one.facts() for name, one in contests.items() if name != ALL},
        "rows_taught_by_pivot": int(quality.rows[:, KINDS.index("fallback")].sum()),
        "equal_tokenizers": token_table.equal(pivot, source),
        "dialogues": len(quality.dialogue_ids),
        "excluded": quality.excluded,
        "text_changed": quality.changed,
        "pivot_tokens": int(quality.rows.sum()),
        "rates": quality.rates,
        "mass_kept": quality.kept,
        "mass_kept_by_dialogue": {
            name: float(np.quantile(kept, level)) if len(kept) else 1.0
            for name, level in (("lowest", 0.0), ("5%", 0.05), ("median", 0.5))
        },
        "vocabulary": dict(
            zip(HOW, np.bincount(vocabulary.how, minlength=len(HOW)).tolist(), strict=True)
        ),
        "costly_tokens": costly_tokens(pivot, source, vocabulary),
        "worst_dialogues": [
            {"dialogue_id": quality.dialogue_ids[index], "bytes_lost": float(lost[index])}
            for index in worst(quality, lost)
        ],
    }


def side_by_side(
    shards: Sequence[Shard],
    quality: Quality,
    pivot: TokenTable,
    source: TokenTable,
    lost: np.ndarray,
) -> str:
    """Markdown: the groups of the worst dialogues that are not one token to the same token."""
    parts, shown = [], worst(quality, lost)
    named: dict[int, set[str]] = {}
    for index in shown:
        named.setdefault(int(quality.shard[index]), set()).add(quality.dialogue_ids[index])
    odd: dict[str, list[Group]] = {}
    for number, names in named.items():
        odd |= _odd_groups_of(shards[number], names, pivot, source)
    for index in shown:
        name = quality.dialogue_ids[index]
        groups = odd[name]
        lines = [f"| {_tokens(a)} | {_tokens(b)} |" for a, b in groups[:SHOWN_GROUPS]]
        more = len(groups) - SHOWN_GROUPS
        parts += [
            f"### {name}: {quality.kept_by_dialogue[index]:.1%} kept, {lost[index]:.0f} bytes "
            f"lost, {quality.rows[index, KINDS.index('fallback')]} of {quality.rows[index].sum()} "
            "tokens without a distribution",
            "",
            "| pivot | source |",
            "|---|---|",
            *(lines or ["| (all tokens have a partner) | |"]),
            *([f"| and {more} more | |"] if more > 0 else []),
            "",
        ]
    return "\n".join(parts)


def _odd_groups_of(
    shard: Shard, names: Set[str], pivot: TokenTable, source: TokenTable
) -> dict[str, list[Group]]:
    """`odd_groups` of some dialogues of a shard, whose files are read once."""
    alignments = dict(spans_file.read_alignments(shard.spans))
    stores = read_tokens(shard.pivot, pivot), read_tokens(shard.source, source)
    sides = [{row.dialogue_id: row.ids for row in s if row.dialogue_id in names} for s in stores]
    groups = {}
    for name in names:
        if any(name not in side for side in sides):
            raise UserError(
                f"dialogue {name} of the spans is missing in a logit store; align again"
            )
        p, s = (side[name] for side in sides)
        alignment = alignments[name] or Alignment.same(len(p))
        groups[name] = odd_groups(p, s, alignment, pivot, source)
    return groups


def odd_groups(
    pivot_ids: np.ndarray,
    source_ids: np.ndarray,
    alignment: Alignment,
    pivot: TokenTable,
    source: TokenTable,
) -> list[Group]:
    """Spellings of both sides of each group that is not one token to one of the same bytes."""
    roles = token_table.special_map(source, pivot)
    firsts = np.flatnonzero(alignment.begins).tolist()
    odd = []
    for first, last in zip(firsts, [*firsts[1:], len(pivot_ids)], strict=True):
        p = pivot_ids[first:last].tolist()
        stop = int((alignment.start[first:last] + alignment.count[first:last]).max())
        s = source_ids[alignment.start[first] : stop].tolist()
        same = len(p) == len(s) == 1 and (
            pivot.token_bytes[p[0]] == source.token_bytes[s[0]] or roles.get(s[0]) == p[0]
        )
        if not same:
            odd.append(([pivot.pieces[i] for i in p], [source.pieces[i] for i in s]))
    return odd


def _tokens(pieces: Sequence[str]) -> str:
    shown = [f"`{_escaped(piece)}`" for piece in pieces[:8]]
    return " ".join(shown) + (f" and {len(pieces) - 8} more" if len(pieces) > 8 else "")


def _escaped(piece: str) -> str:
    return piece.replace("`", "'").replace("|", "¦").replace("\n", "\\n").replace("\t", "\\t")


def markdown(values: dict[str, Any], worst_dialogues: str) -> str:
    """The report for people."""
    rates = [f"| {LABELS[kind]} | {rate:.2%} |" for kind, rate in values["rates"].items()]
    kept = values["mass_kept_by_dialogue"]
    tokens = [
        f"| `{_escaped(row['source'])}` | `{_escaped(row['mapped_to'])}` | {row['count']} "
        f"| {row['bytes_lost']} |"
        for row in values["costly_tokens"]
    ]
    by_category = contest.table(values["source"], values["pivot"], values["categories"])
    vocabulary = ", ".join(f"{n} {how}" for how, n in values["vocabulary"].items() if n)
    one_hot = "Taught by the pivot or by one token alone, as in the released code"
    instead = one_hot if values["rules"] == "reference" else "Taught by the pivot"
    equal = "equal (special tokens by role)" if values["equal_tokenizers"] else "different"
    return "\n".join(
        [
            f"# Alignment of {values['source']} with {values['pivot']}",
            "",
            contest.verdict(values),
            "",
            f"Listed probability that reached the pivot's vocabulary: {values['mass_kept']:.2%} "
            f"(by dialogue: lowest {kept['lowest']:.2%}, 5% {kept['5%']:.2%}, "
            f"median {kept['median']:.2%}).",
            "",
            *([*by_category, ""] if values["categories"] else []),
            f"Tokenizers: {equal}. Method: {values['method']}. Rules: {values['rules']}.",
            f"Dialogues: {values['dialogues']}, excluded for this source: {values['excluded']}"
            f" (its tokenizer changes too much of the text of {values['text_changed']}).",
            f"Response tokens of the pivot: {values['pivot_tokens']}. {instead}, for want of a "
            f"distribution of this source: {values['rows_taught_by_pivot']}.",
            f"Vocabulary map, source ids by origin: {vocabulary}.",
            "",
            "| source tokens to pivot tokens | share of the pivot's tokens |",
            "|---|---|",
            *rates,
            "",
            "## Source tokens of which most bytes are lost",
            "",
            *(
                ["| source | its partner | groups | bytes lost |", "|---|---|---:|---:|", *tokens]
                if tokens
                else ["None."]
            ),
            "",
            "## Dialogues that lost most",
            "",
            worst_dialogues or "None lost anything.",
            "",
        ]
    )


def draw(values: dict[str, Any], quality: Quality, path: Path, suffix: str) -> None:
    """Figure: the rates, and a histogram of the probability kept by dialogue (.svg or .png)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "fusionchat"  # equal work gives equal bytes
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    names = [label.split(" ")[0] for label in LABELS.values()]
    bars = left.barh(names[::-1], [100 * values["rates"][kind] for kind in KINDS][::-1])
    left.bar_label(bars, fmt="%.1f%%", padding=3)
    left.set(xlim=(0, 118), xlabel="% of the pivot's response tokens", title="Aligned groups")
    right.hist(100 * quality.kept_by_dialogue, bins=np.linspace(0, 100, 41))
    right.axvline(100 * quality.kept, color="black", linestyle="--")
    right.set(xlabel="% of listed probability kept", ylabel="dialogues")
    right.set_title(f"Probability kept ({quality.kept:.1%} in all)")
    figure.suptitle(f"{values['source']} to {values['pivot']}")
    metadata = {"Date": None} if suffix == ".svg" else {"Software": None}
    figure.savefig(path, format=suffix.lstrip("."), metadata=metadata, dpi=150)
    plt.close(figure)
