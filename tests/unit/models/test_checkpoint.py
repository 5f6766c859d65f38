import json

import numpy as np
import pytest
from safetensors.numpy import load_file
from small_checkpoints import random_arrays, read, to_bf16, write

from fusionchat.errors import UserError
from fusionchat.models.checkpoint import open_checkpoint
from fusionchat.readers.safetensors import TensorReader, read_header


def test_what_is_written_can_be_read_by_the_safetensors_library(tmp_path):
    arrays = random_arrays(1)
    write(tmp_path / "model", arrays)
    loaded = load_file(tmp_path / "model" / "model.safetensors")
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array)


def test_large_checkpoints_are_sharded_with_an_index(tmp_path):
    arrays = random_arrays(1)  # 96 bytes a tensor
    write(tmp_path / "model", arrays, shard=200)
    files = sorted(path.name for path in (tmp_path / "model").glob("*.safetensors"))
    assert files == [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    index = json.loads((tmp_path / "model" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 5 * 96
    for name, file in index["weight_map"].items():
        np.testing.assert_array_equal(load_file(tmp_path / "model" / file)[name], arrays[name])
    assert list(open_checkpoint(tmp_path / "model").tensors) == list(arrays)


def test_a_tensor_larger_than_a_shard_gets_a_file_of_its_own(tmp_path):
    arrays = random_arrays(1)
    write(tmp_path / "model", arrays, shard=10)
    assert len(list((tmp_path / "model").glob("*.safetensors"))) == 5
    assert read(tmp_path / "model").keys() == arrays.keys()


def test_scalars_and_empty_tensors(tmp_path):
    arrays = {"scale": np.array(2.5, np.float32), "none": np.zeros((0, 4), np.float32)}
    write(tmp_path / "model", arrays)
    found = read(tmp_path / "model")
    assert found["scale"] == 2.5
    assert found["none"].shape == (0, 4)


def test_a_mapped_tensor_does_not_write_to_the_file(tmp_path):
    write(tmp_path / "model", {"a": np.arange(8, dtype=np.float32), "b": np.ones(2, np.float32)})
    reader = TensorReader()
    values = reader.map(open_checkpoint(tmp_path / "model").tensors["a"]).view(np.float32)
    reader.close()
    assert values.tolist() == list(range(8))
    values[0] = 5
    assert read(tmp_path / "model")["a"][0] == 0


def test_a_header_that_is_not_padded_is_read_all_the_same(tmp_path):
    entries = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    header = json.dumps(entries).encode()
    header += b" " * ((1 - len(header)) % 4)
    data = np.array([1.5, -2.0], np.float32)
    content = len(header).to_bytes(8, "little") + header + data.tobytes()
    (tmp_path / "model.safetensors").write_bytes(content)
    (tmp_path / "config.json").write_text("{}")
    assert read(tmp_path)["a"].tolist() == [1.5, -2.0]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "model.safetensors").write_bytes(b"\x08"), "not a safetensors file"),
        (lambda f: cut(f / "model.safetensors", -5), "bytes where its header needs"),
        (lambda f: cut(f / "model.safetensors", 40), "not a safetensors file"),
        (lambda f: (f / "model.safetensors").unlink(), "convert_checkpoint"),
        (lambda f: (f / "adapter_config.json").write_text("{}"), "holds an adapter"),
        (lambda f: (f / "config.json").unlink(), "config.json does not exist"),
        (lambda f: (f / "config.json").write_text("{"), "not valid JSON"),
    ],
)
def test_damaged_checkpoints_are_named(tmp_path, damage, message):
    damage(write(tmp_path / "model", random_arrays(1)))
    with pytest.raises(UserError, match=message):
        open_checkpoint(tmp_path / "model")


def cut(path, end):
    path.write_bytes(path.read_bytes()[:end])


def test_a_missing_shard_and_a_stale_index_are_named(tmp_path):
    folder = write(tmp_path / "model", random_arrays(1), shard=200)
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["model.extra.weight"] = "model-00001-of-00003.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"model\.extra\.weight"):
        open_checkpoint(folder)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(UserError, match="is missing"):
        open_checkpoint(folder)


def test_a_single_file_comes_before_an_index_as_in_transformers(tmp_path):
    folder = write(tmp_path / "model", random_arrays(1), shard=200)
    whole = random_arrays(2)
    other = write(tmp_path / "other", whole)
    (other / "model.safetensors").rename(folder / "model.safetensors")
    for name, array in read(folder).items():
        np.testing.assert_array_equal(array, whole[name])


def test_a_header_that_contradicts_itself_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    header = json.dumps({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(UserError, match="its shape 12"):
        read_header(path)


def test_bfloat16_is_read_exactly(tmp_path):
    values = np.array([1.0, -0.0, 3.140625, 2.0**-133], np.float32)
    write(tmp_path / "model", {"a": to_bf16(values)})
    np.testing.assert_array_equal(
        read(tmp_path / "model")["a"].view(np.uint32), values.view(np.uint32)
    )
