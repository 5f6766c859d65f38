"""Alignment, vocabulary maps and transfer against golden vectors measured on the released code.

Every case file in `GOLDEN_DIR` is run: `align/token_align*.json`, `align/dist_align*.json` with the
arrays beside it, both also as `*_units.json`, and `mapping/*_{base}{blending}.*`.
"""

import json
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from fusionchat.alignment import dtw, vocabulary
from fusionchat.alignment.groups import Alignment, PairCounts
from fusionchat.alignment.transfer.reference import ReferenceTransfer
from fusionchat.models import token_table

GOLDEN = Path(os.environ.get("GOLDEN_DIR", Path(__file__).parents[1] / "golden"))


def golden(*path: str):
    return json.loads(GOLDEN.joinpath(*path).read_text(encoding="utf-8"))


def cases(name: str) -> list:
    """Parameters (file, case) of all files of a name or one that begins with it."""
    ours = [
        path
        for path in sorted(GOLDEN.glob(f"align/{name}*.json"))
        if path.stem.endswith("_units") == name.endswith("_units")
    ]
    return [
        pytest.param(path, case, id=f"{path.stem}-{case.get('id', number)}")
        for path in ours
        for number, case in enumerate(json.loads(path.read_text(encoding="utf-8"))["cases"])
    ]


@pytest.mark.parametrize("name", ["token_align", "token_align_units", "dist_align"])
def test_there_are_cases(name):
    assert cases(name), f"{GOLDEN} holds no cases of {name}"


def pairs_with(pattern: str) -> list[str]:
    return sorted(path.stem.rsplit("_", 1)[1] for path in GOLDEN.glob(pattern))


@cache
def table(letter: str) -> token_table.TokenTable:
    content = golden("tok", f"{letter}.json")
    by_id = {entry["id"]: entry["content"] for entry in content["added_tokens"]}
    names = {"unk": by_id[0], "bos": by_id[1], "eos": by_id[2]}
    return token_table.from_content(content, names, letter)


def partners(warping) -> list[list[int]]:
    ranges = zip(warping.start.tolist(), warping.count.tolist(), strict=True)
    return [list(range(start, start + count)) for start, count in ranges]


def warp(base: str, blending: str, base_ids, blending_ids) -> dtw.Warping:
    return dtw.align_spellings(
        [table(base).stripped[i] for i in base_ids],
        [table(blending).stripped[i] for i in blending_ids],
    )


@pytest.mark.parametrize(("path", "case"), cases("token_align"))
def test_time_warping_of_sequences(path, case):
    found = warp(case["base"], case["blending"], case["base_ids"], case["blending_ids"])
    assert partners(found) == case["base_to_blending"]
    assert found.cost == pytest.approx(case["cost"], abs=1e-9)


@pytest.mark.parametrize("path", sorted({param.values[0] for param in cases("token_align")}))
def test_markers_are_read_from_the_tokenizers(path):
    described = golden("align", path.name)["special_char"]
    assert {letter: table(letter).marker for letter in described} == described


@pytest.mark.parametrize(("path", "case"), cases("token_align_units"))
def test_time_warping_of_units(path, case):
    found = dtw.align_spellings(
        [token.replace(case["base_special"], "") for token in case["base_tokens"]],
        [token.replace(case["blending_special"], "") for token in case["blending_tokens"]],
    )
    assert partners(found) == case["base_to_blending"]
    assert found.cost == pytest.approx(case["cost"], abs=1e-9)


@cache
def texts(letter: str) -> list[np.ndarray]:
    stored = np.load(GOLDEN / "mapping" / f"ids_{letter}.npz")
    return np.split(stored["ids"].astype(np.int32), stored["offsets"][1:-1])


@cache
def counted(pair: str) -> vocabulary.Pairs:
    base, blending = pair
    counts = PairCounts(table(base), table(blending))
    for base_ids, blending_ids in zip(texts(base), texts(blending), strict=True):
        found = dtw.align(table(base), table(blending), base_ids, blending_ids)
        counts.add(base_ids, blending_ids, Alignment(*found))
    return vocabulary.Pairs.sum([counts.table()], table(base).size)


@pytest.mark.parametrize("pair", pairs_with("mapping/matrix_*.npz"))
def test_mapping_statistics(pair):
    expected = np.load(GOLDEN / "mapping" / f"matrix_{pair}.npz")
    found = counted(pair)
    order = np.lexsort([found.source, found.pivot])
    np.testing.assert_array_equal(found.pivot[order], expected["row"])
    np.testing.assert_array_equal(found.source[order], expected["col"])
    np.testing.assert_array_equal(found.count[order], expected["count"])


@pytest.mark.parametrize("pair", pairs_with("mapping/blending_to_base_*.json"))
def test_released_vocabulary_map(pair):
    expected = golden("mapping", f"blending_to_base_{pair}.json")["blending_to_base"]
    base, blending = pair
    found = vocabulary.build(table(base), table(blending), counted(pair), "statistics_reference")
    np.testing.assert_array_equal(found.mapped, expected)


@cache
def rules(pair: str, use_counts: bool) -> ReferenceTransfer:
    base, blending = table(pair[0]), table(pair[1])
    mapped = golden("mapping", f"blending_to_base_{pair}.json")["blending_to_base"]
    markers = (base.marker, blending.marker)
    counts = counted(pair)
    return ReferenceTransfer(
        base.pieces, blending.pieces, markers, np.array(mapped), counts, use_counts
    )


@cache
def arrays(path: Path):
    return np.load(path.with_suffix(".npz"))


@pytest.mark.parametrize("flag", ["nomatrix", "matrix"])
@pytest.mark.parametrize(("path", "case"), cases("dist_align"))
def test_distribution_transfer(path, case, flag):
    stored = {
        name: arrays(path)[f"{case['id']}/{name}"]
        for name in ("base_ids", "blending_ids", "logits", "indices")
    }
    expected = {
        name: arrays(path)[f"{case['id']}/{flag}/{name}"]
        for name in ("out_logits", "out_indices", "out_offsets", "branch")
    }
    base_ids, blending_ids = stored["base_ids"].tolist(), stored["blending_ids"].tolist()
    found = rules(case["base"] + case["blending"], flag == "matrix").rows(
        base_ids,
        blending_ids,
        partners(warp(case["base"], case["blending"], base_ids, blending_ids)),
        stored["indices"].astype(np.int32),
        stored["logits"].astype(np.float64),
    )
    names = golden("align", path.name)["branch_names"]
    assert [branch for _, branch in found] == [names[i] for i in expected["branch"]]
    lengths = np.diff(expected["out_offsets"])
    assert [len(distribution) for distribution, _ in found] == lengths.tolist()
    tokens = [token for distribution, _ in found for token in distribution]
    logits = [logit for distribution, _ in found for logit in distribution.values()]
    np.testing.assert_array_equal(tokens, expected["out_indices"])
    np.testing.assert_allclose(logits, expected["out_logits"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("flag", ["nomatrix", "matrix"])
@pytest.mark.parametrize(("path", "case"), cases("dist_align_units"))
def test_distribution_transfer_of_units(path, case, flag):
    base, blending = case["base_special"], case["blending_special"]
    row, col = np.nonzero(np.array(case["matrix"]))
    order = np.lexsort([row, col])
    count = np.array(case["matrix"])[row, col][order]
    pairs = vocabulary.Pairs(row[order], col[order], count, np.zeros_like(count))
    unit_rules = ReferenceTransfer(
        case["base_vocab"],
        case["blending_vocab"],
        (base, blending),
        np.array(case["blending_to_base"]),
        pairs,
        flag == "matrix",
    )
    warping = dtw.align_spellings(
        [case["base_vocab"][i].replace(base, "") for i in case["base_ids"]],
        [case["blending_vocab"][i].replace(blending, "") for i in case["blending_ids"]],
    )
    found = unit_rules.rows(
        case["base_ids"],
        case["blending_ids"],
        partners(warping),
        np.array(case["indices"]),
        np.array(case["logits"], np.float64),
    )
    for position, (distribution, branch) in enumerate(found):
        assert list(distribution) == case["out"][flag]["indices"][position]
        np.testing.assert_allclose(
            list(distribution.values()), case["out"][flag]["logits"][position], rtol=0, atol=1e-6
        )
        if flag == "matrix":
            single = branch in ("one_to_one", "many_to_one")
            assert ("single" if single else branch) == case["branches_matrix"][position]
