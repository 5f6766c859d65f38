"""Which distribution teaches: lowest CE, ties, exclusion, spans, mixtures, and the program."""

import dataclasses
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fuse_distributions
from fusionchat.errors import UserError
from fusionchat.fusion.fuse import choose, fuse_dialogue, mix, reward_weights, span_starts
from fusionchat.logits.store import DialogueLogits, LogitWriter, read_logits


def row(name="d", *, ce_byte=1.0, first=0, token_ce=(1.0, 1.0, 1.0, 1.0), ce=None, k=2):
    """Four response tokens; ids begin at `first` so that one sees whose distribution it is."""
    ids = np.tile(np.arange(first, first + k, dtype=np.int32), (4, 1))
    logs = np.tile(np.log(np.linspace(0.6, 0.3, k)), (4, 1)).astype(np.float16)
    return DialogueLogits(
        name,
        np.arange(10, 16, dtype=np.int32),
        np.array([[1, 2], [4, 2]], dtype=np.int32),
        ids,
        logs,
        np.array(token_ce, dtype=np.float16),
        4 * ce_byte if ce is None else ce,
        ce_byte,
    )


def test_the_lowest_cross_entropy_wins_and_ties_go_to_the_pivot():
    assert choose([1.0, 0.9, 0.95]) == 1
    assert choose([1.0, 1.0]) == 0
    assert choose([1.0, np.float32(1.0) + 1e-9]) == 0
    assert choose([np.nan, 2.0]) == 1
    assert choose([np.nan, np.nan]) == 0


@given(st.lists(st.floats(0.0625, 16, width=32), min_size=2, max_size=4), st.integers(1, 9))
def test_nats_a_byte_and_nats_a_token_agree_for_equal_tokenizers(ces, bytes_a_token):
    """One tokenizer means one ratio of bytes to tokens, which changes no order but near ties."""
    by_token, by_byte = choose(ces), choose(np.float32(ces) / np.float32(bytes_a_token))
    assert ces[by_token] == pytest.approx(ces[by_byte], rel=1e-6)


def test_min_ce_takes_the_winners_whole_row():
    fused = fuse_dialogue(
        [row(ce_byte=1.0), row(ce_byte=0.5, first=20), row(ce_byte=0.7, first=40)]
    )
    assert fused.winner == 1
    assert (fused.row.top_ids >= 20).all()
    assert fused.ces.dtype == np.float32
    assert fused.ces.tolist() == pytest.approx([1.0, 0.5, 0.7])


@pytest.mark.parametrize("function", ["min_ce", "avg_ce"])
@pytest.mark.parametrize("level", ["dialogue", "token"])
def test_a_missing_or_nan_source_is_excluded_alone(function, level):
    pivot, good = row(ce_byte=1.0), row(ce_byte=0.5, first=20, token_ce=(0.5,) * 4)
    broken = dataclasses.replace(
        row(ce_byte=math.nan, first=40), top_logprobs=np.full((4, 2), -np.inf, np.float16)
    )
    alone = fuse_dialogue([pivot, good], function, level)
    for bad in (None, broken):
        fused = fuse_dialogue([pivot, bad, good], function, level)
        assert fused.winner == 2
        assert math.isnan(fused.ces[1])
        mass = [dict_of(fused.row, r) for r in range(4)]
        assert mass == [pytest.approx(dict_of(alone.row, r), rel=1e-3) for r in range(4)]
        only = fuse_dialogue([pivot, bad], function, level)
        assert only.winner == 0
        assert dict_of(only.row, 0) == pytest.approx(dict_of(pivot, 0), rel=1e-3)


def dict_of(fused: DialogueLogits, position: int) -> dict[int, float]:
    """Probability of each id at a position."""
    pairs = zip(fused.top_ids[position], np.exp(fused.top_logprobs[position]), strict=True)
    return {int(token): float(mass) for token, mass in pairs if mass > 0}


def test_positions_that_could_not_be_transferred_take_the_pivots_distribution():
    source = row(ce_byte=0.5, first=20, k=3)
    source.top_logprobs[2] = -np.inf
    fused = fuse_dialogue([row(ce_byte=1.0), source])
    assert set(dict_of(fused.row, 2)) == {0, 1}
    assert set(dict_of(fused.row, 1)) == {20, 21, 22}


def test_min_ce_by_token_and_by_span():
    pivot = row(token_ce=(1.0, 1.0, 1.0, 1.0))
    source = row(first=20, token_ce=(0.5, 1.0, 1.2, 0.1))
    fused = fuse_dialogue([pivot, source], "min_ce", "token")
    assert fused.row.top_ids[:, 0].tolist() == [20, 0, 0, 20]
    spans = [None, np.array([1, 2, 1])]
    fused = fuse_dialogue([pivot, source], "min_ce", "token", spans)
    assert fused.row.top_ids[:, 0].tolist() == [20, 0, 0, 20]
    joined = fuse_dialogue([pivot, source], "min_ce", "token", [None, np.array([2, 2])])
    assert joined.row.top_ids[:, 0].tolist() == [20, 20, 20, 20]


def test_spans_of_several_sources_are_joined():
    assert span_starts(6, []).tolist() == [0, 1, 2, 3, 4, 5]
    assert span_starts(6, [None, np.array([2, 1, 3]), np.array([1, 2, 3])]).tolist() == [0, 3]
    assert span_starts(0, [np.array([], dtype=int)]).tolist() == []


def test_a_span_without_any_source_token_is_the_pivots():
    source = row(first=20, ce_byte=0.1, token_ce=(math.nan, 0.5, 0.5, 0.5))
    fused = fuse_dialogue([row(), source], "min_ce", "token")
    assert fused.row.top_ids[:, 0].tolist() == [0, 20, 20, 20]


def test_avg_ce_weighs_with_the_softmax_of_the_rewards():
    pivot, source = row(ce_byte=0.25, ce=1.0), row(ce_byte=0.5, first=1)
    fused = fuse_dialogue([pivot, source], "avg_ce")
    weights = reward_weights(np.array([1.0, 2.0]))
    rewards = np.exp([math.exp(-1.0), math.exp(-2.0)])
    assert weights == pytest.approx(rewards / rewards.sum())
    expected = {
        0: 0.6 * weights[0],
        1: 0.3 * weights[0] + 0.6 * weights[1],
        2: 0.3 * weights[1],
    }
    assert dict_of(fused.row, 0) == pytest.approx(expected, rel=2e-3)


@given(st.integers(0, 10**6))
def test_mixing_keeps_the_mass_of_every_id(seed):
    rng = np.random.default_rng(seed)
    ids = [np.stack([rng.permutation(9)[:4] for _ in range(5)]) for _ in range(3)]
    masses = [rng.dirichlet(np.ones(4), 5) for _ in range(3)]
    weights = rng.dirichlet(np.ones(3))
    dense = np.zeros((5, 9))
    for part, mass, weight in zip(ids, masses, weights, strict=True):
        np.put_along_axis(dense, part, np.take_along_axis(dense, part, 1) + weight * mass, axis=1)
    mixed_ids, mixed = mix(ids, masses, weights)
    found = np.zeros((5, 9))
    for r in range(5):
        np.add.at(found[r], mixed_ids[r], mixed[r])
    np.testing.assert_allclose(found, dense, atol=1e-12)
    assert (np.diff(mixed, axis=1) <= 0).all()


def write(path, rows, groups=None, **provenance):
    extra = None if groups is None else {"groups": pa.list_(pa.int32())}
    with LogitWriter(path, {"model": path.stem, **provenance}, extra=extra) as writer:
        for one in rows:
            more = {} if groups is None else {"groups": groups}
            writer.write(one, **more)
    return path


def test_the_program_writes_winners_and_cross_entropies(tmp_path):
    pivot = write(tmp_path / "p.parquet", [row("a"), row("b"), row("c")])
    source = write(
        tmp_path / "s.parquet",
        [row("a", ce_byte=0.5, first=20), row("c", ce_byte=1.0, first=20)],
        groups=[2, 2],
    )
    output = tmp_path / "fused.parquet"
    arguments = ["--pivot-logits", pivot, "--pivot-name", "tiny", "--source", f"src={source}"]
    fuse_distributions.main([*map(str, arguments), "--output", str(output)])
    table = pq.read_table(output)
    assert table["winner"].to_pylist() == ["src", "tiny", "tiny"]
    ces = table["ces"].to_pylist()
    assert ces[0] == pytest.approx([1.0, 0.5])
    assert math.isnan(ces[1][1])
    assert [one.top_ids[0, 0] for one in read_logits(output)] == [20, 0, 0]
    fuse_distributions.main(
        [*map(str, arguments), "--level", "token", "--function", "avg_ce", "--output", str(output)]
    )
    assert len(list(read_logits(output))) == 3


def test_sources_of_another_shard_or_vocabulary_are_refused(tmp_path):
    pivot = write(tmp_path / "p.parquet", [row("a"), row("b")])
    other = write(tmp_path / "o.parquet", [row("b"), row("a")])
    longer = dataclasses.replace(row("a"), input_ids=np.arange(90, 96, dtype=np.int32))
    foreign = write(tmp_path / "f.parquet", [longer])
    raw = write(tmp_path / "r.parquet", [row("a"), row("b")], vocabulary="the source's")
    output = tmp_path / "x.parquet"
    for source, reason in (
        (other, "another order"),
        (foreign, "pivot's response tokens"),
        (raw, "another vocabulary"),
    ):
        with pytest.raises(UserError, match=reason):
            fuse_distributions.main(
                f"--pivot-logits {pivot} --source s={source} --output {output}".split()
            )
    assert not output.exists()
