"""VaRM: units, weights, and what must hold for merged models at every granularity."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as numpy_arrays
from small_checkpoints import NAMES, Arrays, changed, random_arrays, read, write

from fusionchat.merging import api
from fusionchat.merging.inputs import InputOptions, Inputs
from fusionchat.merging.merged_folder import OutputOptions
from fusionchat.merging.methods.varm import (
    CHANGES,
    GRANULARITIES,
    NORMALISATIONS,
    VarmMerge,
    layer_of,
    module_of,
    pool,
    unit_of,
    weights,
)
from fusionchat.merging.streaming import Merge
from fusionchat.merging.tensor_blocks import BLOCK
from fusionchat.merging.variation import known_weights, measure

Weights = dict[str, np.ndarray]


def merge(
    pivot: Arrays, targets: list[Arrays], granularity: str, change="square", normalise="sum"
) -> tuple[Arrays, Weights]:
    """Merged tensors and the effective weights of each unit."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folders = {f"t{i}": write(folder / f"t{i}", t) for i, t in enumerate(targets)}
        inputs = Inputs.open(InputOptions(write(folder / "pivot", pivot), folders))
        known = None
        if granularity in ("model", "layer", "module"):
            known = known_weights(inputs, measure(inputs), granularity, change, normalise)
        method = VarmMerge(granularity, change, normalise, known)
        (folder / "merged").mkdir()
        Merge(inputs, method).run(folder / "merged", 10**9)
        (folder / "merged" / "config.json").write_text("{}")
        return read(folder / "merged"), {
            method.unit(name): own for name, own in method.effective.items()
        }


def test_units():
    name = "model.layers.12.self_attn.q_proj.weight"
    assert layer_of(name) == "model.layers.12"
    assert module_of(name) == "model.layers.12.self_attn"
    assert module_of("model.layers.3.input_layernorm.weight") == "model.layers.3.input_layernorm"
    assert module_of("model.layers.0.mlp.experts.7.w1.weight") == "model.layers.0.mlp"
    assert layer_of("transformer.h.5.attn.c_attn.weight") == "transformer.h.5"
    assert layer_of("encoder.block.2.layer.1.wi.weight") == "encoder.block.2"
    assert module_of("model.layers.4.mlp.layers.0.weight") == "model.layers.4.mlp"
    for outside in ("lm_head.weight", "model.norm.weight", "model.embed_tokens.weight"):
        assert layer_of(outside) == module_of(outside) == outside
    assert unit_of(name, "model") == "model"
    assert unit_of(name, "matrix") == unit_of(name, "parameter") == name


@pytest.mark.parametrize(
    ("name", "layer", "module"),
    [
        ("encoder.block.2.layer.1.DenseReluDense.wi.weight", "encoder.block.2", ".layer.1"),
        (
            "albert.encoder.albert_layer_groups.0.albert_layers.1.ffn.weight",
            "albert.encoder.albert_layer_groups.0",
            ".albert_layers.1",
        ),
        ("transformer.attentions.3.q_lin.weight", "transformer.layers.3", ".attentions"),
        ("transformer.layer_norm1.3.weight", "transformer.layers.3", ".layer_norm1"),
        ("visual.transformer.resblocks.7.attn.in_proj_weight", None, ".attn"),
        ("blk.11.attn_q.weight", "blk.11", ".attn_q"),
    ],
)
def test_layers_and_modules_of_other_architectures(name, layer, module):
    layer = layer or "visual.transformer.resblocks.7"
    assert (layer_of(name), module_of(name)) == (layer, layer + module)


def test_a_unit_that_falls_back_to_the_matrix_is_told(tmp_path, caplog):
    caplog.set_level("INFO")
    arrays = {f"part{n}.weight": np.ones((4, 4), np.float32) for n in range(2)}
    pivot = write(tmp_path / "pivot", arrays)
    target = write(tmp_path / "a", {n: v * 2 for n, v in arrays.items()})
    options = InputOptions(pivot, {"a": target})
    output = OutputOptions(tmp_path / "m", allow_equal=True)
    api.merge_varm(options, output, api.VarmOptions("layer"))
    assert "no layers are recognised: each matrix is a unit, not each layer" in caplog.text
    named = random_arrays(0)
    target = write(tmp_path / "b", changed(named, 1))
    options = InputOptions(write(tmp_path / "p", named), {"b": target})
    output = OutputOptions(tmp_path / "n", allow_equal=True)
    api.merge_varm(options, output, api.VarmOptions("layer"))
    assert "units of their own, outside all layers: model.embed_tokens.weight" in caplog.text


def test_a_unit_is_pooled_over_all_its_elements():
    names = ["model.layers.0.a.weight", "model.layers.0.b.weight", "lm_head.weight"]
    sums = {name: np.array([n + 1.0, 2.0]) for n, name in enumerate(names)}
    elements = dict(zip(names, (10, 90, 7), strict=True))
    pooled = pool(names, "layer", sums, elements)
    total, count = pooled["model.layers.0"]
    assert (total.tolist(), count) == ([3.0, 4.0], 100)
    total, count = pool(names, "model", sums, elements)["model"]
    assert (total.tolist(), count) == ([6.0, 6.0], 107)


def test_weights_by_hand():
    assert weights([1.0, 3.0], 4).tolist() == [0.25, 0.75]
    assert weights([0.0, 3.0], 4).tolist() == [0.0, 1.0]
    assert weights([0.0, 0.0, 0.0], 4).tolist() == pytest.approx([1 / 3] * 3)
    expected = np.exp([0.25, 0.75]) / np.exp([0.25, 0.75]).sum()
    np.testing.assert_allclose(weights([1.0, 3.0], 4, "softmax"), expected, rtol=1e-14)


sums_of_change = st.lists(st.floats(min_value=0, max_value=2.0**100), min_size=1, max_size=5)


@given(sums_of_change, st.sampled_from(NORMALISATIONS))
def test_weights_sum_to_one_and_follow_a_permutation(sums, normalise):
    own = weights(sums, 1000, normalise)
    assert own.sum() == pytest.approx(1, rel=1e-14)
    assert (own >= 0).all()
    np.testing.assert_allclose(own[::-1], weights(sums[::-1], 1000, normalise), rtol=1e-14)


@given(st.lists(st.floats(min_value=1e-20, max_value=1e5), min_size=2, max_size=4))
def test_there_is_no_epsilon(sums):
    np.testing.assert_allclose(weights(np.array(sums) * 1e-12, 9), weights(sums, 9), rtol=1e-14)
    np.testing.assert_allclose(weights(np.array(sums) * 1e-250, 9), weights(sums, 9), rtol=1e-12)


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_scaling_all_changes_by_a_millionth_changes_no_weight(granularity):
    pivot = {name: np.zeros((6, 4), np.float32) for name in NAMES}  # so that scaling is exact
    targets = [changed(pivot, seed) for seed in (1, 2, 3)]
    scaled = [{name: array * np.float32(2.0**-20) for name, array in t.items()} for t in targets]
    merged, own = merge(pivot, targets, granularity)
    merged_scaled, own_scaled = merge(pivot, scaled, granularity)
    for unit in own:
        np.testing.assert_allclose(own_scaled[unit], own[unit], rtol=1e-13)
    for name in NAMES:
        np.testing.assert_allclose(merged_scaled[name] * 2.0**20, merged[name], rtol=1e-6)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("normalise", NORMALISATIONS)
def test_equal_changes_give_the_uniform_average(granularity, change, normalise):
    step = {
        name: np.where(array > 0, 0.5, 0.25).astype(np.float32)
        for name, array in random_arrays(0).items()
    }
    pivot = {name: np.zeros_like(array) for name, array in step.items()}
    targets = [{name: sign * step[name] for name in NAMES} for sign in (1, -1)]
    merged, own = merge(pivot, targets, granularity, change, normalise)
    for weights_of_unit in own.values():
        np.testing.assert_allclose(weights_of_unit, [0.5, 0.5], rtol=1e-12)
    for name in NAMES:
        np.testing.assert_array_equal(merged[name], np.zeros((6, 4)))


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_permuting_targets_permutes_weights(granularity):
    pivot = random_arrays(0)
    targets = [changed(pivot, seed) for seed in (1, 2, 3)]
    merged, own = merge(pivot, targets, granularity)
    turned, own_turned = merge(pivot, targets[::-1], granularity)
    for unit in own:
        np.testing.assert_allclose(own_turned[unit], own[unit][::-1], rtol=1e-13)
        assert own[unit].sum() == pytest.approx(1, rel=1e-12)
    for name in NAMES:
        np.testing.assert_allclose(turned[name], merged[name], rtol=1e-6)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("normalise", NORMALISATIONS)
def test_one_target_is_that_target_and_no_change_is_the_pivot(granularity, normalise):
    pivot = random_arrays(0)
    pivot["lm_head.weight"][0, 0] = -0.0
    target = changed(pivot, 1)
    merged, _ = merge(pivot, [target], granularity, normalise=normalise)
    kept, _ = merge(pivot, [pivot, pivot, pivot], granularity, normalise=normalise)
    for name in NAMES:
        np.testing.assert_array_equal(merged[name], target[name])
        np.testing.assert_array_equal(kept[name].view(np.uint32), pivot[name].view(np.uint32))


def test_a_matrix_that_only_one_target_changed_is_that_targets():
    pivot = random_arrays(0)
    first, second = changed(pivot, 1), changed(pivot, 2)
    first["lm_head.weight"] = pivot["lm_head.weight"]
    merged, own = merge(pivot, [first, second], "matrix")
    assert own["lm_head.weight"].tolist() == [0.0, 1.0]
    np.testing.assert_array_equal(merged["lm_head.weight"], second["lm_head.weight"])


values = st.floats(min_value=-1e4, max_value=1e4, width=32, allow_subnormal=False)


@settings(max_examples=40, deadline=None)
@given(
    numpy_arrays(np.float32, (4, 7), elements=values),
    st.sampled_from(GRANULARITIES),
    st.sampled_from(CHANGES),
    st.sampled_from(NORMALISATIONS),
)
def test_no_element_leaves_the_range_of_the_targets(stack, granularity, change, normalise):
    pivot, *targets = ({"model.layers.0.mlp.weight": array} for array in stack)
    merged, _ = merge(pivot, targets, granularity, change, normalise)
    result = merged["model.layers.0.mlp.weight"]
    assert (result >= stack[1:].min(0)).all()
    assert (result <= stack[1:].max(0)).all()


def test_parameter_level_keeps_the_pivot_where_nothing_changed():
    pivot = random_arrays(0)
    targets = [changed(pivot, seed) for seed in (1, 2)]
    for target in targets:
        target["lm_head.weight"][:3] = pivot["lm_head.weight"][:3]
    targets[0]["lm_head.weight"][3] = pivot["lm_head.weight"][3]
    merged, own = merge(pivot, targets, "parameter")
    result = merged["lm_head.weight"]
    np.testing.assert_array_equal(result[:3], pivot["lm_head.weight"][:3])
    np.testing.assert_array_equal(result[3], targets[1]["lm_head.weight"][3])
    assert own["lm_head.weight"].sum() == pytest.approx(1)


def test_tensors_of_many_blocks_equal_the_plain_formula():
    rng = np.random.default_rng(3)
    name = "model.layers.0.mlp.weight"
    stack = rng.standard_normal((3, 2 * BLOCK + 123)).astype(np.float32)
    stack[2] = stack[0] + 1e-3 * stack[2]
    merged, own = merge({name: stack[0]}, [{name: stack[1]}, {name: stack[2]}], "matrix")
    mean = ((stack[1:].astype(np.float64) - stack[0]) ** 2).mean(1)
    np.testing.assert_allclose(own[name], mean / mean.sum(), rtol=1e-12)
    expected = own[name] @ stack[1:].astype(np.float64)
    np.testing.assert_array_equal(merged[name], expected.astype(np.float32))
