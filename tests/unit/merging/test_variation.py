import numpy as np
import pyarrow.parquet as pq
import pytest
from small_checkpoints import NAMES, changed, random_arrays, write

import measure_variation
from fusionchat.errors import UserError
from fusionchat.merging.inputs import InputOptions, Inputs
from fusionchat.merging.variation import (
    check_digests,
    known_weights,
    measure,
    measure_or_read,
    read_variation,
    write_variation,
)


@pytest.fixture
def inputs(tmp_path):
    pivot = random_arrays(0)
    targets = {"a": changed(pivot, 1), "b": changed(pivot, 2)}
    targets["a"]["lm_head.weight"][:, :2] = pivot["lm_head.weight"][:, :2]
    folders = {name: write(tmp_path / name, target) for name, target in targets.items()}
    return Inputs.open(InputOptions(write(tmp_path / "pivot", pivot), folders))


def test_program_writes_one_row_a_tensor(inputs, tmp_path):
    command = ["--pivot", str(tmp_path / "pivot"), "--target", str(tmp_path / "a")]
    measure_variation.main([*command, "--output", str(tmp_path / "variation" / "a.parquet")])
    rows = pq.read_table(tmp_path / "variation" / "a.parquet").to_pylist()
    assert [row["tensor"] for row in rows] == list(NAMES)
    pivot, target = random_arrays(0), changed(random_arrays(0), 1)
    target["lm_head.weight"][:, :2] = pivot["lm_head.weight"][:, :2]
    for row in rows:
        change = target[row["tensor"]].astype(np.float64) - pivot[row["tensor"]]
        assert row["elements"] == 24
        assert row["sum_square"] == pytest.approx((change**2).sum(), rel=1e-13)
        assert row["mean_square"] == pytest.approx((change**2).mean(), rel=1e-13)
        assert row["mean_abs"] == pytest.approx(np.abs(change).mean(), rel=1e-13)
        assert row["share_changed"] == np.mean(change != 0)
    by_name = {row["tensor"]: row for row in rows}
    assert by_name["lm_head.weight"]["share_changed"] == 0.5
    assert by_name["lm_head.weight"]["layer"] == "lm_head.weight"
    assert by_name["model.layers.1.self_attn.q_proj.weight"]["layer"] == "model.layers.1"
    assert by_name["model.layers.0.mlp.up_proj.weight"]["module"] == "model.layers.0.mlp"


def test_equal_work_gives_equal_bytes(inputs, tmp_path):
    for name in ("first", "second"):
        write_variation(tmp_path / name, measure(inputs)["a"])
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_a_table_survives_the_file_and_does_not_depend_on_other_targets(inputs, tmp_path):
    tables = measure(inputs)
    write_variation(tmp_path / "b.parquet", tables["b"])
    assert read_variation(tmp_path / "b.parquet") == tables["b"]
    alone = Inputs.open(InputOptions(tmp_path / "pivot", {"b": tmp_path / "b"}))
    assert measure(alone)["b"] == tables["b"]


def test_weights_from_tables_are_pooled(inputs):
    tables = measure(inputs)
    own = known_weights(inputs, tables, "model", "square", "sum")
    sums = np.array([sum(r.sum_square for r in tables[t].rows.values()) for t in ("a", "b")])
    for name in NAMES:
        np.testing.assert_allclose(own[name], sums / sums.sum(), rtol=1e-12)
    own = known_weights(inputs, tables, "layer", "abs", "sum")
    layer = [n for n in NAMES if n.startswith("model.layers.0")]
    sums = np.array([sum(tables[t].rows[n].sum_abs for n in layer) for t in ("a", "b")])
    np.testing.assert_allclose(own[layer[0]], sums / sums.sum(), rtol=1e-12)
    np.testing.assert_array_equal(own[layer[0]], own[layer[1]])


def test_tables_of_other_models_are_refused(inputs, tmp_path):
    tables = measure(inputs)
    files = {}
    for name, table in tables.items():
        files[name] = str(tmp_path / f"{name}.parquet")
        write_variation(files[name], table)
    assert measure_or_read(inputs, files, on_the_way=True) == tables
    with pytest.raises(UserError, match="give one for each target"):
        measure_or_read(inputs, {"a": files["a"]}, on_the_way=True)
    (tmp_path / "broken.parquet").write_text("no table")
    with pytest.raises(UserError, match=r"not Parquet.*make it with measure_variation"):
        measure_or_read(inputs, {**files, "a": str(tmp_path / "broken.parquet")}, on_the_way=True)
    digests = {"pivot": tables["a"].pivot, "a": tables["a"].target, "b": tables["b"].target}
    check_digests(tables, digests, files)
    for source in digests:
        with pytest.raises(
            UserError, match=rf"[ab].parquet was measured on other weights of {source}"
        ):
            check_digests(tables, {**digests, source: "0" * 32}, files)
    larger = random_arrays(0, (7, 4))
    for name in ("pivot", "a", "b"):
        write(tmp_path / "larger" / name, larger)
    other = Inputs.open(
        InputOptions(
            tmp_path / "larger" / "pivot", {n: tmp_path / "larger" / n for n in ("a", "b")}
        )
    )
    with pytest.raises(UserError, match="run measure_variation again"):
        measure_or_read(other, files, on_the_way=True)
