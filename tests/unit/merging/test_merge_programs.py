"""The merging programs end to end: output folder, refusals, dry run, kills, and model loading."""

import csv
import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from small_checkpoints import changed, random_arrays, read, to_bf16, write
from tiny_models import CONFIGS
from transformers import AutoModelForCausalLM

import measure_variation
import merge_linear
import merge_sce
import merge_varm
from fusionchat.errors import UserError
from fusionchat.files import MANIFEST, MARKER, checksums, read_json
from fusionchat.merging.inputs import InputOptions, Inputs
from fusionchat.merging.methods.varm import GRANULARITIES, VarmMerge
from fusionchat.merging.options import named, target_weights
from fusionchat.merging.streaming import Merge
from fusionchat.models.checkpoint import open_checkpoint

SIDE_FILES = {
    "generation_config.json": '{"eos_token_id": 2}',
    "tokenizer.json": '{"model": {"vocab": {"a": 0}}}',
    "tokenizer_config.json": "{}",
    "chat_template.jinja": "{{ messages }}",
}


NOT_COPIED = ("manifest.json", "README.md", "trainer_state.json", "pytorch_model.bin")


NOT_COPIED += ("pytorch_model.bin.index.json", "model.safetensors.index.json")


@pytest.fixture
def models(tmp_path) -> list[str]:
    """--pivot and --target options of three small models; the pivot is bfloat16 with side files."""
    pivot = random_arrays(0, (64, 32))
    folder = write(tmp_path / "pivot", {name: to_bf16(array) for name, array in pivot.items()})
    for name, content in SIDE_FILES.items():
        (folder / name).write_text(content)
    for name in NOT_COPIED:
        (folder / name).write_text("not to be copied")
    exact = read(folder)
    for number, name in enumerate(("a", "b"), 1):
        write(tmp_path / name, changed(exact, number, 0.1))
    options = ["--pivot", str(folder)]
    return [*options, "--target", str(tmp_path / "a"), "--target", str(tmp_path / "b")]


PROGRAMS = {
    "varm": (merge_varm.main, []),
    "layer": (merge_varm.main, ["--granularity", "layer"]),
    "linear": (merge_linear.main, []),
    "sce": (merge_sce.main, []),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_output_has_the_pivots_layout_and_side_files(name, models, tmp_path):
    main, options = PROGRAMS[name]
    output = tmp_path / "merged" / name
    main([*models, *options, "--dtype", "pivot", "--output", str(output)])
    for file in (*SIDE_FILES, "config.json"):
        assert (output / file).read_bytes() == (tmp_path / "pivot" / file).read_bytes()
    pivot, merged = open_checkpoint(tmp_path / "pivot"), open_checkpoint(output)
    assert {n: (i.dtype, i.shape) for n, i in merged.tensors.items()} == {
        n: (i.dtype, i.shape) for n, i in pivot.tensors.items()
    }
    main([*models, *options, "--output", str(output)])  # in the targets' type
    assert {i.dtype for i in open_checkpoint(output).tensors.values()} == {"F32"}
    assert read_json(output / "config.json")["dtype"] == "float32"
    expected = {*SIDE_FILES, "config.json", "model.safetensors"}
    expected |= {MANIFEST, MARKER, "README.md", "weights.csv", "rounding.csv"}
    assert {path.name for path in output.iterdir()} - {"weights.svg"} == expected
    assert [path.name for path in output.parent.iterdir()] == [name]


@pytest.mark.parametrize("name", PROGRAMS)
def test_tensors_of_one_element_of_none_and_of_mixed_types(name, tmp_path):
    """A target in float16, scalars, tensors without elements, counters."""
    main, options = PROGRAMS[name]
    arrays = {"pivot": random_arrays(0)}
    arrays |= {target: changed(arrays["pivot"], seed) for seed, target in ((1, "a"), (2, "b"))}
    for number, folder in enumerate(arrays):
        dtype = np.float16 if folder == "a" else np.float32
        tensors = {tensor: array.astype(dtype) for tensor, array in arrays[folder].items()}
        tensors |= {"scale": np.array(2 + number, dtype), "none": np.empty((0, 4), dtype)}
        tensors |= {"steps": np.array(7), "no_steps": np.empty(0, np.int64)}
        role = "pivot" if folder == "pivot" else "target"
        options = [*options, f"--{role}={write(tmp_path / folder, tensors)}"]
    main([*options, f"--output={tmp_path / 'm'}"])
    merged, pivot = (load_file(tmp_path / f / "model.safetensors") for f in ("m", "pivot"))
    shapes = {tensor: (array.dtype, array.shape) for tensor, array in pivot.items()}
    assert {tensor: (array.dtype, array.shape) for tensor, array in merged.items()} == shapes
    mean = {"linear": 3.5, "sce": 3.5}.get(name, 3.8)  # SCE selects nothing of one element
    assert merged["scale"] == pytest.approx(mean)


def test_manifest_weights_and_card_tell_the_same(models, tmp_path):
    merge_varm.main([*models, "--output", str(tmp_path / "merged")])
    manifest = json.loads((tmp_path / "merged" / "manifest.json").read_text())
    assert manifest["files"] == checksums(tmp_path / "merged")
    assert manifest["method"] == "varm"
    assert manifest["settings"]["granularity"] == "matrix"
    digests = {source["weights_xxh3_128"] for source in manifest["inputs"].values()}
    assert len(digests) == 3
    assert len(manifest["inputs"]["pivot"]["sha256"]["config.json"]) == 64
    card = (tmp_path / "merged" / "README.md").read_text()
    with (tmp_path / "merged" / "weights.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 10
    for row in rows:
        weight = float(row["weight"])
        assert manifest["weights"][row["unit"]][row["target"]] == weight
        assert row["elements"] == "2048"
    for target in "ab":
        own = [float(row["weight"]) for row in rows if row["target"] == target]
        numbers = f"{np.mean(own):.4f} | {min(own):.4f} | {max(own):.4f}"
        assert f"| {target} | {numbers} |" in card.splitlines()
    assert str(tmp_path) not in card


@pytest.mark.parametrize("options", [["--threads", "3"], ["--shard-size", "0.000005"]])
def test_threads_and_shards_change_no_tensor(options, models, tmp_path):
    merge_varm.main([*models, "--output", str(tmp_path / "one")])
    merge_varm.main([*models, *options, "--output", str(tmp_path / "other")])
    one, other = read(tmp_path / "one"), read(tmp_path / "other")
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
    manifests = [
        json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("one", "other")
    ]
    assert manifests[0]["inputs"] == manifests[1]["inputs"]
    assert manifests[0]["weights"] == manifests[1]["weights"]
    assert manifests[1]["files"] == checksums(tmp_path / "other")
    tables = [(tmp_path / name / "weights.csv").read_text() for name in ("one", "other")]
    assert tables[0] == tables[1]


def test_equal_work_gives_equal_bytes(models, tmp_path):
    for name, threads in (("first", "1"), ("second", "4")):
        options = ["--granularity", "layer", "--threads", threads]
        merge_varm.main([*models, *options, "--output", str(tmp_path / name)])
    assert checksums(tmp_path / "first") == checksums(tmp_path / "second")


def test_tables_and_one_pass_give_the_same_model(models, tmp_path):
    options = []
    for name in ("a", "b"):
        table = tmp_path / f"{name}.parquet"
        command = ["--pivot", str(tmp_path / "pivot"), "--target", str(tmp_path / name)]
        measure_variation.main([*command, "--output", str(table)])
        options += ["--variation", f"{name}={table}"]
    for granularity in ("matrix", "layer", "parameter"):
        command = [*models, "--granularity", granularity]
        merge_varm.main([*command, "--output", str(tmp_path / "one_pass")])
        merge_varm.main([*command, *options, "--output", str(tmp_path / "tables")])
        assert checksums(tmp_path / "one_pass") == checksums(tmp_path / "tables")
    other = changed(read(tmp_path / "pivot"), 5)
    write(tmp_path / "a", other)
    with pytest.raises(UserError, match="other weights of a"):
        merge_varm.main([*models, *options, "--output", str(tmp_path / "stale")])
    assert not (tmp_path / "stale").exists()


def test_dtype_option_is_written_into_the_config(models, tmp_path):
    merge_linear.main([*models, "--dtype", "float16", "--output", str(tmp_path / "merged")])
    merged = open_checkpoint(tmp_path / "merged")
    assert {info.dtype for info in merged.tensors.values()} == {"F16"}
    assert merged.config["dtype"] == "float16"


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_dry_run_prints_the_plan_and_writes_nothing(granularity, models, tmp_path, capsys):
    command = [*models, "--granularity", granularity, "--output", str(tmp_path / "merged")]
    before = checksums(tmp_path)
    merge_varm.main([*command, "--dry-run"])
    assert checksums(tmp_path) == before
    printed = capsys.readouterr().out
    for line in ("pivot: ", "a: ", "b: ", "output: ", "peak memory: "):
        assert f"\n{line}" in f"\n{printed}"
    table = [line.split("\t") for line in printed.splitlines() if "\t" in line]
    assert table[0] == ["unit", "a", "b"]
    merge_varm.main(command)
    with (tmp_path / "merged" / "weights.csv").open() as stream:
        rows = {(row["unit"], row["target"]): row["weight"] for row in csv.DictReader(stream)}
    assert len(rows) == 2 * len(table[1:])
    for unit, *own in table[1:]:
        for target, weight in zip("ab", own, strict=True):
            assert float(weight) == pytest.approx(float(rows[unit, target]), abs=6e-7)


def test_a_merge_that_changes_nothing_is_refused(models, tmp_path):
    one = [*models[:2], "--target", str(tmp_path / "a"), "--output", str(tmp_path / "merged")]
    with pytest.raises(UserError, match=r"equals a; say --allow-equal"):
        merge_varm.main(one)
    assert not (tmp_path / "merged").exists()
    merge_varm.main([*one, "--allow-equal"])
    assert (tmp_path / "merged" / "manifest.json").exists()
    nothing = [*models[:2], "--target", f"same={tmp_path / 'pivot'}", "--target", f"t={tmp_path}/a"]
    with pytest.raises(UserError, match="equals t"):
        merge_varm.main([*nothing, "--output", str(tmp_path / "again")])


def test_a_difference_found_by_another_thread_is_not_forgotten(tmp_path, monkeypatch):
    pivot = random_arrays(0)
    folder = write(tmp_path / "t", pivot)
    merge = Merge(
        Inputs.open(InputOptions(write(tmp_path / "pivot", pivot), {"t": folder})),
        VarmMerge("matrix"),
    )

    def equal_while_another_thread_finds_a_difference(first, second):
        merge._equal.update(pivot=False, t=False)
        return np.asarray(first).tobytes() == np.asarray(second).tobytes()

    monkeypatch.setattr(np, "array_equal", equal_while_another_thread_finds_a_difference)
    (tmp_path / "merged").mkdir()
    assert merge.run(tmp_path / "merged", 10**9).equal_to == []


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_input_that_is_written_to_meanwhile_is_named(name, models, tmp_path, monkeypatch):
    main, more = PROGRAMS[name]
    merge, weights = Merge.run, tmp_path / "b" / "model.safetensors"

    def merge_while_somebody_writes(*args):
        outcome = merge(*args)
        weights.write_bytes(weights.read_bytes())
        return outcome

    monkeypatch.setattr(Merge, "run", merge_while_somebody_writes)
    with pytest.raises(UserError, match=r"/b/model\.safetensors was changed while it was read"):
        main([*models, *more, "--output", str(tmp_path / "merged")])
    assert not list(tmp_path.glob("*merged*"))


def test_mistakes_on_the_command_line(models, tmp_path):
    output = ["--output", str(tmp_path / "merged")]
    with pytest.raises(UserError, match="give one for each target: a, b"):
        merge_linear.main([*models, "--weight", "a=1", *output])
    with pytest.raises(UserError, match="--weight"):
        merge_linear.main([*models, "--weight", "a=1", "--weight", "b=x", *output])
    for weight in ("-1", "nan", "inf"):
        with pytest.raises(UserError, match="--weight numbers sum to"):
            merge_linear.main([*models, "--weight", "a=1", "--weight", f"b={weight}", *output])
    with pytest.raises(SystemExit):
        merge_linear.main([*models, "--shard-size", "0", *output])
    with pytest.raises(UserError, match="a is there twice"):
        merge_linear.main([*models, "--target", str(tmp_path / "a"), *output])
    with pytest.raises(UserError, match="give it a name of its own"):
        merge_linear.main([*models, "--target", f"pivot={tmp_path / 'a'}", *output])
    with pytest.raises(UserError, match="not a folder with a model"):
        merge_linear.main([*models, "--target", str(tmp_path / "nowhere"), *output])
    (tmp_path / "a" / "tokenizer.json").write_text('{"model": {"vocab": {"b": 0}}}')
    with pytest.raises(UserError, match="--allow-other-tokenizer"):
        merge_linear.main([*models, *output])
    merge_linear.main([*models, "--allow-other-tokenizer", *output])


def test_only_an_older_merge_or_an_empty_folder_is_replaced(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "pivot")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "precious.txt").write_text("precious")
    write(tmp_path / "model", random_arrays(0))
    before = checksums(tmp_path)
    for output in (tmp_path / "pivot", "../a", tmp_path, ".", "..", "/"):
        with pytest.raises(UserError, match="would replace"):
            merge_linear.main([*models, "--output", str(output)])
    for output in ("notes", "notes/precious.txt", "model"):
        with pytest.raises(UserError, match=r"was not made by merge_linear|is no folder"):
            merge_linear.main([*models, "--output", str(tmp_path / output)])
    assert checksums(tmp_path) == before
    (tmp_path / "merged").mkdir()
    merge_linear.main([*models, "--output", str(tmp_path / "merged")])
    first = checksums(tmp_path / "merged")
    (tmp_path / "merged" / "manifest.json").unlink()
    merge_linear.main([*models, "--weight", "a=1", "--weight", "b=3", "--output", "../merged"])
    assert checksums(tmp_path / "merged") != first


def test_a_folder_that_cannot_be_written_is_one_line(models, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/merged cannot be written"):
        merge_linear.main([*models, "--output", str(tmp_path / "file" / "merged")])
    limit, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(UserError, match=r"merged cannot be written: .*too large"):
            merge_linear.main([*models, "--output", str(tmp_path / "merged")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    assert not list(tmp_path.glob("*merged*")) + list(tmp_path.glob(".*merged*"))


def test_names_of_targets(tmp_path, monkeypatch):
    assert named(["x=/m/a", "/m/b/", "/m/c=d"], "--target") == {
        "x": "/m/a",
        "b": "/m/b/",
        "c=d": "/m/c=d",
    }
    monkeypatch.chdir(tmp_path)
    assert named([".", "../z"], "--target") == {tmp_path.name: ".", "z": "../z"}
    for pair in ("=/m/a", "x=", "/"):
        with pytest.raises(UserError, match="has no name; write --target NAME=VALUE"):
            named([pair], "--target")
    assert target_weights([], ["a", "b"]) == {"a": 1.0, "b": 1.0}
    assert target_weights(["b=2", "a=0.5"], ["a", "b"]) == {"a": 0.5, "b": 2.0}


@pytest.mark.parametrize(
    "program", ["merge_varm", "merge_linear", "merge_sce", "merge_mergekit", "measure_variation"]
)
def test_help_imports_nothing_heavy(program):
    code = (
        f"import sys, {program}\n"
        f"{program}.build_parser().format_help()\n"
        "print([m for m in ('torch', 'numba', 'numpy', 'mergekit') if m in sys.modules])"
    )
    scripts = Path(merge_varm.__file__).parent
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=scripts, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("architecture", CONFIGS)
def test_transformers_loads_the_merged_model_whole(architecture, tmp_path):
    """Tied and untied, dense and sparse: bfloat16 pivot, float32 targets, several shards."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[architecture](64), dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "pivot")
    pivot = {name: weight.double() for name, weight in model.state_dict().items()}
    options = ["--pivot", str(tmp_path / "pivot")]
    targets = []
    for scale, name in ((0.01, "a"), (0.03, "b")):
        model.load_state_dict(pivot)
        model = model.float()
        with torch.no_grad():
            for weight in model.parameters():
                weight += scale * torch.randn_like(weight)
        model.save_pretrained(tmp_path / name)
        options += ["--target", str(tmp_path / name)]
        targets.append({name: weight.double() for name, weight in model.state_dict().items()})
    options += ["--granularity", "model", "--shard-size", "0.00002", "--dtype", "pivot"]
    merge_varm.main([*options, "--output", str(tmp_path / "merged")])
    assert len(list((tmp_path / "merged").glob("*.safetensors"))) > 1
    merged, report = AutoModelForCausalLM.from_pretrained(
        tmp_path / "merged", output_loading_info=True
    )
    assert not any(report.values())
    assert merged.config.tie_word_embeddings == model.config.tie_word_embeddings
    distinct = dict(merged.named_parameters())
    squares = torch.tensor(
        [sum(((target[name] - pivot[name]) ** 2).sum() for name in distinct) for target in targets]
    )
    first, second = (squares / squares.sum()).tolist()
    for name, weight in distinct.items():
        assert weight.dtype == torch.bfloat16
        exact = first * targets[0][name] + second * targets[1][name]
        torch.testing.assert_close(weight.double(), exact, rtol=2.0**-8, atol=1e-9)


def test_help_shows_the_defaults_that_say_something():
    text = " ".join(merge_varm.build_parser().format_help().split())
    assert "gives a weight of its own (varm) (default: matrix)" in text
    assert "so that nothing is lost (default: targets)" in text
    assert not any(f"(default: {nothing})" in text for nothing in ("None", "False", "[]"))
