"""SCE against a plain version of select, calculate and erase, and against VaRM."""

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as numpy_arrays
from small_checkpoints import NAMES, changed, random_arrays, read, write

from fusionchat.merging.inputs import InputOptions, Inputs
from fusionchat.merging.methods.sce import SceMerge, threshold
from fusionchat.merging.methods.varm import VarmMerge
from fusionchat.merging.streaming import Merge
from fusionchat.merging.tensor_blocks import BLOCK


def run(tmp_path, pivot, targets, method):
    folders = {f"t{i}": write(tmp_path / f"t{i}", t) for i, t in enumerate(targets)}
    inputs = Inputs.open(InputOptions(write(tmp_path / "pivot", pivot), folders))
    output = tmp_path / "merged"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    Merge(inputs, method).run(output, 10**9)
    (output / "config.json").write_text("{}")
    return read(output), method.effective


def plain_sce(pivot, targets, select):
    """The definition, in float64 on whole arrays."""
    deltas = np.array(targets, np.float64) - pivot
    variance = deltas.var(0)
    count = int(np.count_nonzero(variance) * select)
    chosen = np.argsort(-variance, kind="stable")[:count]
    squares = (deltas[:, chosen] ** 2).sum(1)
    eta = squares / squares.sum() if squares.sum() else np.full(len(deltas), 1 / len(deltas))
    sign = np.where(deltas.sum(0) >= 0, 1, -1)
    mask = np.sign(deltas) == sign
    share = (eta[:, None] * mask).sum(0)
    merged = (eta[:, None] * mask * deltas).sum(0) / np.where(share == 0, 1, share)
    return eta, pivot + merged


@pytest.mark.parametrize("select", [0.1, 0.5, 0.999])
@pytest.mark.parametrize("size", [50, BLOCK + 77])
def test_select_calculate_erase(tmp_path, select, size):
    rng = np.random.default_rng(size)
    pivot = rng.standard_normal(size).astype(np.float32)
    targets = pivot + 0.01 * rng.standard_normal((3, size)).astype(np.float32)
    targets[:, 5:15] = pivot[5:15]
    targets[0, 20:30] = pivot[20:30]
    method = SceMerge(select)
    arrays = [{"w": target} for target in targets]
    merged, own = run(tmp_path, {"w": pivot}, arrays, method)
    eta, expected = plain_sce(pivot, targets, select)
    np.testing.assert_allclose(own["w"], eta, rtol=1e-9)
    np.testing.assert_allclose(merged["w"], expected, rtol=2e-7, atol=1e-9)
    np.testing.assert_array_equal(merged["w"][5:15], pivot[5:15])


def test_everything_selected_and_nothing_erased_is_varm(tmp_path):
    pivot = random_arrays(0)
    targets = [changed(pivot, seed) for seed in (1, 2, 3)]
    sce, sce_weights = run(tmp_path, pivot, targets, SceMerge(1.0, erase=False))
    varm, varm_weights = run(tmp_path, pivot, targets, VarmMerge("matrix"))
    for name in NAMES:
        np.testing.assert_array_equal(sce[name], varm[name])
        np.testing.assert_array_equal(sce_weights[name], varm_weights[name])


def test_small_changes_are_treated_like_large_ones(tmp_path):
    pivot = {name: np.zeros((6, 4), np.float32) for name in NAMES}
    targets = [changed(pivot, seed) for seed in (1, 2, 3)]
    tiny = [{name: array * np.float32(2.0**-60) for name, array in t.items()} for t in targets]
    merged, own = run(tmp_path, pivot, targets, SceMerge(0.3))
    merged_tiny, own_tiny = run(tmp_path, pivot, tiny, SceMerge(0.3))
    for name in NAMES:
        np.testing.assert_allclose(own_tiny[name], own[name], rtol=1e-12)
        np.testing.assert_allclose(merged_tiny[name] * 2.0**60, merged[name], rtol=1e-6)


def test_too_few_elements_to_select_give_equal_weights(tmp_path):
    pivot = {"w": np.zeros(4, np.float32)}
    targets = [{"w": np.array([1, 0, 0, 0], np.float32)}, {"w": np.array([0, 2, 0, 0], np.float32)}]
    merged, own = run(tmp_path, pivot, targets, SceMerge(0.1))
    assert own["w"].tolist() == [0.5, 0.5]
    assert merged["w"].tolist() == [1, 2, 0, 0]  # an unchanged target has no sign, so no share


deviations = st.floats(min_value=0, max_value=2.0**100, width=32)


@given(numpy_arrays(np.float32, st.integers(1, 300), elements=deviations), st.data())
def test_threshold_is_the_value_of_that_rank(values, data):
    rank = data.draw(st.integers(1, values.size))
    limit, ties = threshold(values, rank)
    ordered = np.sort(values)[::-1]
    assert limit == ordered[rank - 1]
    assert ties == rank - np.count_nonzero(values > limit)
