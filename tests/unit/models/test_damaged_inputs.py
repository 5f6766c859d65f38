"""Every program meets every damaged or foreign input of the kinds it reads: one line, no traceback.

The line names the file (or the folder whose file it is), nothing is computed before it, and no
output is left.
"""

import importlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import released_dump
import tiny_models
import torch
from damage import (
    WEIGHTS,
    Edit,
    as_text,
    change_json,
    change_table,
    change_weights,
    cut,
    finished,
    flip,
    put,
    shard,
    table,
)
from mt_bench_files import answers, jsonl, questions
from safetensors.torch import load_file

from fusionchat import cli
from fusionchat.dialogues.dialogue import write_dialogues
from fusionchat.files import sha256

ROWS = "--row Source:a:A --row Target:b:B --row Fused:c:C"
MODELS = "--pivot-model {tokenizer} --source-model {model}"
STORES = "--pivot-logits {logits} --source-logits {logits}"
MERGE = "--pivot {model} --target a={checkpoint} --target b={other} --output {out}"
SCORES = f"--scores {{scores}} --baseline b {ROWS} --output {{out}}"
# How each program is called; a damaged input takes the place of the one that its kind names.
PROGRAMS = {
    "dump_logits": "--model {checkpoint} --dialogues {dialogues} --output {out}",
    "measure_nll": "--model {checkpoint} --dialogues {dialogues} --output {out}",
    "train_target": "--pivot-model {checkpoint} --fused {logits} --output {out} "
    "--checkpoints {out}.checkpoints --device cpu",
    "answer": "--model {checkpoint} --model-id m --questions {questions} --output {out}",
    "memory_efficiency": f"{ROWS} --fused c={{checkpoint}} --source a={{model}} --output {{out}}",
    "merge_varm": MERGE,
    "merge_linear": MERGE,
    "merge_sce": MERGE,
    "merge_mergekit": f"--method ties {MERGE}",
    "measure_variation": "--pivot {model} --target {checkpoint} --output {out}",
    "compare_released": "--released r={checkpoint} --pivot {model} --target a={other} "
    "--output {out}",
    "fetch_model": "--path {checkpoint} --output {out}",
    "prepare_dialogues": "--mixture {mixture} --pivot-model {tokenizer} --output {out} "
    "--heldout-output {out}.heldout",
    "shard_dialogues": "--dialogues {dialogues} --output {out}",
    "align_tokens": f"{STORES} {MODELS} --output {{out}}",
    "map_vocabulary": f"--spans {{spans}} {MODELS} --output {{out}}",
    "transfer_logits": f"{STORES} {MODELS} --spans {{spans}} --vocabulary {{vocabulary}} "
    "--output {out}",
    "report_alignment": f"--aligned {{aligned}} {STORES} {MODELS} --spans {{spans}} "
    "--vocabulary {vocabulary} --output {out}",
    "fuse_distributions": "--pivot-logits {logits} --source s={logits} --output {out}",
    "judge": "--judge rule --answers {answers} --questions {questions} --output {out}",
    "judge_pairs": "--judge rule --answers {answers} --questions {questions} --baseline m "
    "--output {out}",
    "score": "--judgments {judgments} --questions {questions} --output {out}",
    "export_fastchat": "--questions {questions} --answers {answers} --judgments {judgments} "
    "--output {out}",
    "import_logits": "--released {released} --model {tokenizer} --dialogues {dialogues} "
    "--output {out}",
    "convert_checkpoint": "--checkpoint {pickled} --checksums {checksums} --output {out}",
    "pretrain_source": "--dialogues {mixture} --text {text} --architecture llama "
    "--tokenizer byte_level --output {out}",
    "case_study": "--questions {questions} --answers {answers} --judgments {judgments} "
    "--row Source:a:A --show a --paper {paper} --output {out}",
    "figure_cross_entropy": "--pivot a={logits} --source b={logits} --row Source:a:A "
    "--row Source:b:B --output {out}",
    "figure_losses": "--loss a={losses} --row Target:a:A --output {out}",
    "figure_weights": "--weights {weights} --row Target:a:A --output {out}",
    "agreement": "--scores {scores} --output {out}",
    "table1": f"{SCORES} --nll {{nll}}",
    "table2": SCORES,
    "figure_scores": SCORES,
    "plan": "--configfile {config} --output {out}",
    "doctor": "--configfile {config} --local --output {out}",
}


BAR = re.compile(r"\[\d\d:\d\d, |\[\d\d:\d\d<")
DUMP = "train/data.parquet"
BIN = "pytorch_model.bin"
UP = "model.layers.1.mlp.up_proj.weight"
NORM = "model.norm.weight"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"
LATIN = '{"a": "\xe9"}\n'.encode("latin-1")
SURROGATE = b'{"question_id": 1, "turns": ["\\ud83d"]}\n'

CHECKPOINTS: dict[str, Edit] = {
    "no weights": lambda f: (f / WEIGHTS).unlink(),
    "weights cut off": cut(WEIGHTS, -100),
    "header cut off": cut(WEIGHTS, 50),
    "LFS pointer": put(WEIGHTS, LFS),
    "weights of another format": put(WEIGHTS, b"PK\x03\x04" + bytes(500)),
    "weights are a pipe": lambda f: ((f / WEIGHTS).unlink(), os.mkfifo(f / WEIGHTS)),
    "missing weight": change_weights(lambda w: w.pop(UP) is None),
    "missing head": change_weights(lambda w: w.pop("lm_head.weight") is None),
    "unexpected weight": change_weights(lambda w: w.update({f"{UP}.extra": torch.ones(2)})),
    "foreign prefix": change_weights(lambda w: {f"net.tower.{n}": v for n, v in w.items()}),
    "another shape": change_weights(lambda w: w.update({UP: torch.ones(7, 32)})),
    "NaN": change_weights(lambda w: w[UP].__setitem__((3, 4), float("nan"))),
    "infinity": change_weights(lambda w: w[UP].__setitem__((3, 4), float("inf"))),
    "GPTQ": change_json("config.json", quantization_config={"quant_method": "gptq"}),
    "fp8": change_weights(lambda w: w.update({UP: w[UP].to(torch.float8_e4m3fn)})),
    "int16": change_weights(lambda w: w.update({UP: w[UP].to(torch.int16)})),
    "int64 norms": change_weights(lambda w: w.update({NORM: w[NORM].long()})),
    "pad id beyond the model": change_json("config.json", pad_token_id=99_999),
    "config of another size": change_json("config.json", hidden_size=64, head_dim=16),
    "config of an unknown kind": change_json("config.json", model_type="unheard_of"),
    "config is a list": put("config.json", b"[]"),
    "config in latin-1": put("config.json", LATIN),
    "adapter": put("adapter_config.json", b"{}"),
    "config in UTF-16": put("config.json", '{"a": 1}'.encode("utf-16")),
    "config is an LFS pointer": put("config.json", LFS),
    "more layers than weights": change_json("config.json", num_hidden_layers=3),
    "fewer layers than weights": change_json("config.json", num_hidden_layers=1),
    "one weight under two names": change_weights(
        lambda w: w.update({f"module.{UP}": w[UP].clone()})
    ),
    "index is cut off": shard({"weight_map": {}}, end=9),
    "index of a folder": shard({"weight_map": {UP: "../model.safetensors"}}),
    "index without weight_map": shard({"metadata": {}}),
    "index of absent files": shard({"weight_map": {UP: "model-00002-of-00002.safetensors"}}),
    "index of other tensors": shard({"weight_map": {"x": "model-00001-of-00001.safetensors"}}),
    "deleted after it was finished": finished(lambda f: (f / WEIGHTS).unlink()),
    "cut off after it was finished": finished(cut(WEIGHTS, -4)),
    "exchanged after it was finished": finished(
        change_weights(lambda w: {n: v + 0.1 for n, v in w.items()})
    ),
    "added after it was finished": finished(
        lambda f: (shutil.copy(f / WEIGHTS, f / "b.safetensors"), shard_beside(f))
    ),
}
TOKENIZERS: dict[str, Edit] = {
    "tokenizer of a newer form": change_json("tokenizer.json", model={"type": "Quantum", "v": 2}),
    "tokenizer without vocabulary": change_json("tokenizer.json", model={"type": "BPE"}),
    "tokenizer cut off": cut("tokenizer.json", 300),
    "tokenizer is an LFS pointer": put("tokenizer.json", LFS),
    "tokenizer is a list": put("tokenizer.json", b"[1]"),
    "tokenizer in UTF-16": put("tokenizer.json", '{"a": 1}'.encode("utf-16")),
    "tokenizer settings are an LFS pointer": put("tokenizer_config.json", LFS),
    "tokenizer settings are a list": put("tokenizer_config.json", b"[1]"),
    "special tokens that are no text": put("special_tokens_map.json", b'{"eos_token": 7}'),
    "length that is no number": change_json("tokenizer_config.json", model_max_length="x"),
    "added tokens without ids": put("added_tokens.json", b'{"<x>": "a"}'),
    "chat template in latin-1": put("chat_template.jinja", LATIN),
    "end of text in no vocabulary": change_json("tokenizer_config.json", eos_token="<end>"),
    "beginning of text in no vocabulary": change_json("tokenizer_config.json", bos_token="<x>"),
    "no tokenizer": lambda f: [p.unlink() for p in f.glob("tokenizer*")],
    "exchanged after it was finished": finished(put("tokenizer.json", b"{}")),
}
PARQUET: dict[str, Edit] = {
    "cut off": cut("", -20),
    "LFS pointer": put("", LFS),
    "empty": put("", b""),
    "text": put("", b"a,b\n1,2\n"),
    "another table": table(a=[1], b=["x"]),
    "columns of text": change_table(as_text),
}
# Files of one table, which no row may lack.
FILLED: dict[str, Edit] = {
    **PARQUET,
    "no rows": change_table(lambda t: t.slice(0, 0)),
    "no values": change_table(
        lambda t: pa.table([pa.nulls(len(t), f.type) for f in t.schema], schema=t.schema)
    ),
}
FLIPPED: dict[str, Edit] = {"bytes flipped": flip}
DIALOGUES: dict[str, Edit] = {
    **FILLED,
    **FLIPPED,
    "a dialogue twice": change_table(lambda t: pa.concat_tables([t, t.slice(2, 1)])),
}
JSON_LINES: dict[str, Edit] = {
    "empty": put("", b""),
    "a comma behind the record": put("", b'{"question_id": 1},\n'),
    "half a surrogate pair": put("", SURROGATE),
    "latin-1": put("", LATIN),
    "UTF-16": put("", '{"question_id": 1}'.encode("utf-16")),
    "LFS pointer": put("", LFS),
    "cut off": put("", b'{"question_id": 1}\n{"question_id": '),
    "a list": put("", b"[1, 2]\n"),
    "Parquet": table(a=[1]),
}
JSON: dict[str, Edit] = {
    "half a surrogate pair": put("", b'[{"id": "a", "conversations": [{"from": "human", '
    b'"value": "\\ud83d"}, {"from": "gpt", "value": "b"}]}]'),
    "latin-1": put("", LATIN),
    "cut off": put("", b'[{"id": '),
    "LFS pointer": put("", LFS),
    "a comma behind the last": put("", b'[{"id": 1},]'),
    "a number": put("", b"7"),
}  # fmt: skip
YAML: dict[str, Edit] = {
    "a key twice": put("", b"name: a\nname: b\n"),
    "a key twice in a nested list": put("", b"name: a\nx:\n- - b: 1\n    b: 2\n"),
    "two documents": put("", b"name: a\n---\nname: b\n"),
    "UTF-16": put("", "name: a\n".encode("utf-16")),
    "LFS pointer": put("", LFS),
    "empty": put("", b""),
    "a list": put("", b"- a\n"),
    "tabs": put("", b"name:\n\tx: 1\n"),
    "latin-1": put("", b"name: \xe9\n"),
}
RELEASED: dict[str, Edit] = {
    "empty": lambda f: shutil.rmtree(f / "train"),
    "cut off": cut(DUMP, -20),
    "LFS pointer": put(DUMP, LFS),
    "text": put(DUMP, b"a,b\n1,2\n"),
    "another table": lambda f: pq.write_table(pa.table({"a": [1]}), f / DUMP),
}
PICKLED: dict[str, Edit] = {
    "no weights": lambda f: (f / BIN).unlink(),
    "cut off": cut(BIN, -100),
    "LFS pointer": put(BIN, LFS),
    "other weights": lambda f: torch.save({"a": torch.ones(2)}, f / BIN),
    "index is a list": put(f"{BIN}.index.json", b"[]"),
    "index of other tensors": put(f"{BIN}.index.json", b'{"weight_map": {"x": "y"}}'),
}
CSV: dict[str, Edit] = {
    "empty": put("", b""),
    "LFS pointer": put("", LFS),
    "latin-1": put("", b"a,b\n1,\xe9\n"),
    "another table": put("", b"a,b\n1,2\n"),
    "Parquet": table(a=[1]),
}
CHECKSUMS: dict[str, Edit] = {
    "empty": put("", b""),
    "latin-1": put("", LATIN),
    "of other files": put("", b"0" * 64 + b"  other.bin\n"),
}
KINDS = {
    "checkpoint": CHECKPOINTS,
    "tokenizer": TOKENIZERS,
    "dialogues": DIALOGUES,
    "logits": {**PARQUET, **FLIPPED},
    **dict.fromkeys(("spans", "vocabulary"), FILLED),
    "scores": {**FILLED, **FLIPPED},
    **dict.fromkeys(("questions", "answers", "judgments"), JSON_LINES),
    **dict.fromkeys(("mixture", "nll"), JSON),
    **dict.fromkeys(("paper", "losses", "weights"), CSV),
    "config": YAML,
    "released": RELEASED,
    "pickled": PICKLED,
    "checksums": CHECKSUMS,
}
MERGES = ("merge_varm", "merge_linear", "merge_sce", "merge_mergekit", "measure_variation")
TOKENIZER_READERS = ("dump_logits", "measure_nll", "train_target", "answer", *MERGES)


# What a program has no reason to refuse: it reads no numbers, or ids alone.
ENDS = {"end of text in no vocabulary", "beginning of text in no vocabulary"}
BESIDE = {
    "length that is no number",
    "special tokens that are no text",
    "added tokens without ids",
    "chat template in latin-1",
}
UNREAD = {name: {"no tokenizer", *ENDS, *BESIDE} for name in MERGES}
UNREAD["measure_variation"] |= {name for name in TOKENIZERS if "tokenizer settings" in name}
UNREAD["fetch_model"] = {"NaN", "infinity"}
ALIGNING = ("align_tokens", "map_vocabulary", "transfer_logits", "report_alignment")
UNREAD |= dict.fromkeys(ALIGNING, BESIDE)


def cases() -> Iterator[tuple[str, str, str]]:
    for kind, damages in KINDS.items():
        for program, line in PROGRAMS.items():
            both = kind == "tokenizer" and program in TOKENIZER_READERS
            if f"{{{kind}}}" in line or both:
                for damage in damages:
                    if damage not in UNREAD.get(program, ()):
                        yield program, kind, damage


def shard_beside(folder: Path) -> None:
    """An index that names a file which the manifest does not list."""
    (folder / WEIGHTS).unlink()
    names = dict.fromkeys(load_file(folder / "b.safetensors"), "b.safetensors")
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": names}))


def run(program: str, files: dict[str, object]) -> None:
    words = PROGRAMS[program].split()
    cli.run(importlib.import_module(program).main, [word.format(**files) for word in words])


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, object]:
    """A good file of each kind."""
    folder = tmp_path_factory.mktemp("whole")
    files = {"model": tiny_models.save(folder / "model", "llama")}
    files["other"] = tiny_models.save(folder / "other", "llama", seed=1)
    files |= {"checkpoint": files["model"], "tokenizer": files["model"]}
    items = tiny_models.dialogues(6)
    for name in (
        "dialogues",
        "logits",
        "spans",
        "vocabulary",
        "scores",
        "nll",
        "judgments",
        "aligned",
    ):
        files[name] = folder / name
    write_dialogues(files["dialogues"], items)
    files["mixture"] = tiny_models.mixture(folder / "mixture.json", items)
    files["questions"] = jsonl(folder / "questions.jsonl", questions(8))
    files["answers"] = jsonl(folder / "answers.jsonl", answers("a", 8))
    files["released"] = folder / "released"
    (files["released"] / "train").mkdir(parents=True)
    model, encode = tiny_models.build("llama"), tiny_models.renderer().encode
    short = [i for i in items if len(encode(i).input_ids) <= released_dump.WIDTH]
    records = [released_dump.record(model, item) for item in short]
    released_dump.columns(records).to_parquet(files["released"] / DUMP)
    files["pickled"] = folder / "pickled"
    shutil.copytree(files["model"], files["pickled"])
    torch.save(load_file(files["pickled"] / WEIGHTS), files["pickled"] / BIN)
    (files["pickled"] / WEIGHTS).unlink()
    files["checksums"] = folder / "checksums"
    files["checksums"].write_text(f"{sha256(files['pickled'] / BIN)}  {BIN}\n")
    (folder / "text").write_text("one\ntwo\n")
    files["text"] = folder / "text"
    nll = {"model": "a", "per_dialogue": [["d", None, 1.0, 2, 3], ["e", None, 2.0, 3, 4]]}
    files["nll"].write_text(json.dumps(nll))
    files["losses"], files["weights"] = folder / "losses", folder / "weights"
    files["losses"].write_text("step,loss\n1,2.0\n")
    files["weights"].write_text("unit,target,weight\nmodel.layers.0.mlp,a,1.0\n")
    files["paper"] = Path(__file__).parents[3] / "resources" / "paper" / "case_study.csv"
    files["config"] = Path(__file__).parents[3] / "config.yaml"
    made = {"dump_logits": "logits", "align_tokens": "spans", "map_vocabulary": "vocabulary"}
    made |= {"transfer_logits": "aligned", "judge": "judgments", "score": "scores"}
    for program, name in made.items():
        run(program, {**files, "out": files[name]})
    return files


@pytest.mark.parametrize(("program", "kind", "damage"), list(cases()))
def test_damaged_and_foreign_inputs_are_one_line(program, kind, damage, whole, tmp_path, capfd):
    broken = tmp_path / f"broken_{kind}"
    if whole[kind].is_dir():
        shutil.copytree(whole[kind], broken)
    else:
        shutil.copy(whole[kind], broken)
    KINDS[kind][damage](broken)
    files = {**whole, kind: broken, "out": tmp_path / "out"}
    if kind == "tokenizer":
        files["checkpoint"] = broken
    capfd.readouterr()
    with pytest.raises(SystemExit) as stop:
        run(program, files)
    printed = capfd.readouterr().err.splitlines()
    lines = [line for line in printed if line and not BAR.search(line)]
    assert stop.value.code == 1
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert str(broken) in lines[-1]
    assert len(lines) == 1
    left = {path.name for path in tmp_path.iterdir()} - {broken.name}
    assert left <= {".out.journal"}  # of the answers, none so far
