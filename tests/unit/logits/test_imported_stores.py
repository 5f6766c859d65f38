"""What becomes of imported dumps in the later stages: fused by dialogue, refused elsewhere."""

from dataclasses import replace
from pathlib import Path

import alignment_cases
import numpy as np
import pyarrow.parquet as pq
import pytest
import released_dump
import tiny_models

import align_tokens
import dump_logits
import fuse_distributions
import import_logits
import map_vocabulary
import transfer_logits
from fusionchat.dialogues.dialogue import write_dialogues
from fusionchat.errors import UserError
from fusionchat.logits.imported import check_full_vocabulary, check_token_ce
from fusionchat.logits.store import LogitWriter, read_logits

KINDS = {"pivot": "llama", "source": "mistral"}
DIALOGUES = tiny_models.dialogues(8, seed=6)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Two models of one tokenizer, each with its dump and an import of a release in `imported`."""
    folder = tmp_path_factory.mktemp("imported")
    write_dialogues(folder / "0000.parquet", DIALOGUES)
    for name, kind in KINDS.items():
        model = tiny_models.save(folder / name, kind)
        network = tiny_models.build(kind)
        records = [released_dump.record(network, dialogue) for dialogue in DIALOGUES]
        if name == "source":
            records = records[1:]
        released = folder / f"released_{name}"
        released_dump.save(released, released_dump.columns(records))
        common = ["--model", str(model), "--dialogues", str(folder / "0000.parquet")]
        dump_logits.main(
            [*common, "--dtype", "float32", "--output", str(folder / f"{name}.parquet")]
        )
        import_logits.main(
            [*common, "--released", str(released), "--output", str(folder / f"imported_{name}")]
        )
    return folder


def fused(world: Path, folder: Path, pivot: str, source: str, *options: str) -> Path:
    """The stages between two stores and the teacher."""
    models = ["--pivot-model", str(world / "pivot"), "--source-model", str(world / "source")]
    stores = ["--pivot-logits", str(world / pivot), "--source-logits", str(world / source)]
    spans, vocabulary, aligned, output = (folder / name for name in ("s", "v", "a", "f"))
    align_tokens.main([*stores, *models, "--output", str(spans)])
    map_vocabulary.main(["--spans", str(spans), *models, "--output", str(vocabulary)])
    files = ["--spans", str(spans), "--vocabulary", str(vocabulary)]
    transfer_logits.main([*stores, *models, *files, "--output", str(aligned)])
    inputs = ["--pivot-logits", str(world / pivot), "--source", f"src={aligned}"]
    fuse_distributions.main([*inputs, "--output", str(output), *options])
    return output


def shifted(logprobs: np.ndarray) -> np.ndarray:
    """Renormalised over the listed entries, float64 [N, k]."""
    logprobs = logprobs.astype(np.float64)
    return logprobs - np.logaddexp.reduce(logprobs, axis=1, keepdims=True)


@pytest.mark.parametrize("source", ["source.parquet", "imported_source/0000.parquet"])
def test_imported_dumps_teach_what_dumps_teach(world, tmp_path, source):
    imported = pq.read_table(fused(world, tmp_path, "imported_pivot/0000.parquet", source))
    rows = list(read_logits(tmp_path / "f"))
    expected = pq.read_table(fused(world, tmp_path, "pivot.parquet", "source.parquet"))
    lacking = int(source.startswith("imported"))
    assert imported["winner"][:lacking].to_pylist() == ["pivot"] * lacking
    assert imported["winner"][lacking:] == expected["winner"][lacking:]
    assert len(set(expected["winner"].to_pylist())) == 2
    dumped = list(read_logits(tmp_path / "f"))
    for ours, theirs in list(zip(rows, dumped, strict=True))[lacking:]:
        assert (ours.top_ids != theirs.top_ids).mean() < 0.06  # equal in float16
        np.testing.assert_allclose(
            shifted(ours.top_logprobs), shifted(theirs.top_logprobs), rtol=2**-9, atol=0.03
        )


def test_fusion_by_token_needs_the_cross_entropy_of_tokens(world, tmp_path):
    for pivot, source in (
        ("imported_pivot/0000.parquet", "source.parquet"),
        ("pivot.parquet", "imported_source/0000.parquet"),
    ):
        with pytest.raises(UserError, match="level `token` needs the cross-entropy of each token"):
            fused(world, tmp_path, pivot, source, "--level", "token")
    fused(world, tmp_path, "pivot.parquet", "source.parquet", "--level", "token")


def test_only_stores_behind_which_an_import_stands_lack_something(world, tmp_path):
    for path in (world / "pivot.parquet", world / "source.parquet"):
        check_token_ce(path, "x")
        check_full_vocabulary(path, "x")
    for path in (
        world / "imported_pivot" / "0000.parquet",
        fused(world, tmp_path, "pivot.parquet", "imported_source/0000.parquet"),
    ):
        with pytest.raises(UserError, match="a tail needs probabilities over the full vocabulary"):
            check_full_vocabulary(path, "a tail needs")


def test_the_mass_rules_refuse_an_imported_source_of_another_tokenizer(tmp_path):
    folders = [alignment_cases.model_folder(tmp_path / x, x) for x in "AB"]
    models = ["--pivot-model", str(folders[0]), "--source-model", str(folders[1])]
    texts = [["The quiet river", "home."]]
    pivot = alignment_cases.store(tmp_path / "p", folders[0], texts)
    source = alignment_cases.store(tmp_path / "s", folders[1], texts)
    rows = list(read_logits(source))
    with LogitWriter(source, {"normalised": "top_k", "token_ce": False}) as writer:
        for row in rows:
            writer.write(replace(row, token_ce=np.full_like(row.token_ce, np.nan)))
    stores = ["--pivot-logits", str(pivot), "--source-logits", str(source)]
    align_tokens.main([*stores, *models, "--output", str(tmp_path / "spans")])
    spans = ["--spans", str(tmp_path / "spans")]
    map_vocabulary.main([*spans, *models, "--output", str(tmp_path / "map")])
    common = [*stores, *models, *spans, "--vocabulary", str(tmp_path / "map")]
    with pytest.raises(UserError, match="between different tokenizers the rules `mass` need"):
        transfer_logits.main([*common, "--output", str(tmp_path / "x")])
    assert not (tmp_path / "x").exists()
    transfer_logits.main([*common, "--rules", "reference", "--output", str(tmp_path / "x")])
    (row,) = read_logits(tmp_path / "x")
    assert not np.isnan(row.top_logprobs).any()
