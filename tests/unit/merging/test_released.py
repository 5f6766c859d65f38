"""Recognising what a released checkpoint was made from."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import compare_released
from fusionchat.errors import UserError
from fusionchat.merging.released import compare


@pytest.fixture
def models(tmp_path):
    """A pivot, two targets, and merges of them, each a folder."""
    rng = torch.Generator().manual_seed(1)
    pivot = {n: torch.randn(40, 8, generator=rng) for n in ("a.weight", "b.weight")}
    one = {n: t + 0.1 * torch.randn(t.shape, generator=rng) for n, t in pivot.items()}
    two = {n: t + 0.2 * torch.randn(t.shape, generator=rng) for n, t in pivot.items()}
    mixed = {n: pivot[n] + 0.3 * (one[n] - pivot[n]) + 0.7 * (two[n] - pivot[n]) for n in pivot}
    mean = {n: (one[n] + two[n]) / 2 for n in pivot}
    folders = {}
    made = {"pivot": pivot, "one": one, "two": two, "mixed": mixed, "mean": mean}
    for name, tensors in made.items():
        folders[name] = tmp_path / name
        folders[name].mkdir()
        save_file(tensors, folders[name] / "model.safetensors")
        (folders[name] / "config.json").write_text("{}")
    return folders


def test_a_mixture_is_found_with_its_weights(models):
    targets = {n: models[n] for n in ("one", "two")}
    found = compare(models["mixed"], models["pivot"], targets, {"mean": models["mean"]})
    assert np.allclose(found.coefficients(), [0.3, 0.7], atol=1e-5)
    assert found.left_over() < 1e-3
    assert found.relative("pivot") == pytest.approx(1)
    assert found.relative("mean") > 0.1
    assert np.allclose(found.intervals(), [[0.3, 0.3], [0.7, 0.7]], atol=1e-4)
    assert "0.300 (0.300 to 0.300) of one and 0.700" in found.verdict("it", ["one", "two"])


def test_the_answer_is_one_sentence(models):
    targets = {n: models[n] for n in ("one", "two")}
    rng = torch.Generator().manual_seed(2)
    other = load_file(models["pivot"] / "model.safetensors")
    noise = {n: t + 0.1 * torch.randn(t.shape, generator=rng) for n, t in other.items()}
    save_file(noise, models["mixed"] / "model.safetensors")
    found = compare(models["mixed"], models["pivot"], targets, {"mean": models["mean"]})
    verdict = found.verdict("it", list(targets))
    assert "it is none of the models compared, the nearest being" in verdict
    assert verdict.count(".\n") == 0


def test_a_released_model_in_bfloat16_is_its_float32_candidate(models):
    weights = load_file(models["mixed"] / "model.safetensors")
    models["released"] = models["mixed"].parent / "released"
    models["released"].mkdir()
    half = {n: t.to(torch.bfloat16) for n, t in weights.items()}
    save_file(half, models["released"] / "model.safetensors")
    (models["released"] / "config.json").write_text("{}")
    targets = {n: models[n] for n in ("one", "two")}
    found = compare(models["released"], models["pivot"], targets, {"varm": models["mixed"]})
    assert found.relative("varm") == 0
    assert found.verdict("it", list(targets)) == "it is varm (relative distance 0)."


def test_values_that_are_not_numbers_and_other_tensors_are_named(models):
    targets = {n: models[n] for n in ("one", "two")}
    weights = load_file(models["one"] / "model.safetensors")
    for broken, told in (
        ({**weights, "b.weight": weights["b.weight"] * torch.nan}, "tensor b.weight holds NaN"),
        ({"a.weight": weights["a.weight"]}, "lacks b.weight"),
        ({**weights, "c.weight": weights["a.weight"].clone()}, "c.weight"),
    ):
        save_file(broken, models["one"] / "model.safetensors")
        with pytest.raises(UserError, match=told):
            compare(models["mixed"], models["pivot"], targets, {})


def test_a_copy_of_the_first_target_is_recognised(models, tmp_path):
    compare_released.main(
        [
            *("--released", f"released={models['one']}", "--pivot", str(models["pivot"])),
            *("--target", f"one={models['one']}", "--target", f"two={models['two']}"),
            *("--candidate", f"mean={models['mean']}", "--output", str(tmp_path / "out")),
        ]
    )
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[1].startswith("one,0.0,1.0,0.0")
