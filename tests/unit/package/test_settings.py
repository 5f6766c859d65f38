"""The schema holds every default, which programs read there, and explains every key."""

import argparse
import importlib
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from fusionchat.alignment.api import align_tokens, map_vocabulary, transfer_logits
from fusionchat.dialogues.options import RenderingOptions
from fusionchat.logits.api import DumpOptions, ForwardOptions
from fusionchat.merging.api import SceOptions, VarmOptions
from fusionchat.merging.methods.mergekit_runs import MergekitOptions
from fusionchat.mt_bench.answering.dialogue_engine import AnswerOptions
from fusionchat.mt_bench.endpoint.settings import EndpointOptions
from fusionchat.mt_bench.judging.command_line import JudgeOptions
from fusionchat.schema import default, part, schema

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = sorted(path.stem for path in (ROOT / "scripts").glob("*.py"))

# The sections of the configuration that a program's options are settings of.
SECTIONS = {
    "align_tokens": ("alignment",),
    "answer": ("mt_bench", ""),
    "dump_logits": ("logits", ""),
    "evaluate_tasks": ("leaderboard",),
    "fuse_distributions": ("fusion",),
    "import_logits": ("logits", ""),
    "judge": ("mt_bench.judges.*",),
    "make_mixture": ("data.world", "data"),
    "make_pretraining": ("models.*.pretrain",),
    "make_tasks": ("data.world",),
    "make_world": ("data.world",),
    "measure_nll": ("logits", ""),
    "memory_efficiency": ("logits", ""),
    "merge_linear": ("merges.*",),
    "merge_mergekit": ("merges.*",),
    "merge_sce": ("merges.*",),
    "merge_varm": ("merges.*",),
    "prepare_dialogues": ("data", ""),
    "pretrain_source": ("models.*.pretrain", ""),
    "report_alignment": ("alignment",),
    "table1": ("report",),
    "table2": ("report",),
    "train_target": ("training", "data", ""),
}
# Options that cannot bear their key's name: `--dtype` is the type of a program's forward pass, for
# which a run has two keys; `--vocabulary` is the file that a map is written to and read from; and
# in a program that transfers, `--transfer` would say nothing.
RENAMED = {
    ("evaluate_tasks", "dtype"): "precision.evaluation",
    ("answer", "dtype"): "precision.evaluation",
    ("measure_nll", "dtype"): "precision.evaluation",
    ("map_vocabulary", "strategy"): "alignment.vocabulary",
    ("transfer_logits", "rules"): "alignment.transfer",
}
OTHERWISE = {
    "device": "by hand, a program takes what every machine has",
    "seed of answer": "absent, 0 for checkpoints and none for an endpoint",
    "normalise of MergekitOptions": "mergekit's word for dividing weights by their sum",
}
# The options of the calls from Python, and the sections that they are settings of.
OPTIONS = {
    RenderingOptions: "",
    ForwardOptions: "logits.",
    DumpOptions: "logits.",
    VarmOptions: "merges.*.",
    SceOptions: "merges.*.",
    MergekitOptions: "merges.*.",
    AnswerOptions: "mt_bench.",
    EndpointOptions: "mt_bench.judges.*.",
    JudgeOptions: "mt_bench.judges.*.",
}


def keys(section: dict[str, Any], place: str = "") -> Iterator[str]:
    """Every key of the schema that holds a value."""
    if "$ref" in section:
        section = schema()["$defs"][section["$ref"].rpartition("/")[2]] | section
    if not {"properties", "additionalProperties"} & section.keys():
        yield place
        return
    for name, inner in section.get("properties", {}).items():
        yield from keys(inner, f"{place}.{name}".strip("."))
    if isinstance(section.get("additionalProperties"), dict):
        yield from keys(section["additionalProperties"], f"{place}.*".strip("."))


KEYS = sorted(keys(schema()))


@pytest.mark.parametrize("key", KEYS)
def test_each_key_is_explained(key: str):
    assert part(key).get("description", "").strip()


def settings() -> Iterator[tuple[str, argparse.Action, str]]:
    """Each option of a program that sets what a key of the configuration sets."""
    for program in PROGRAMS:
        module = importlib.import_module(program)
        for action in module.build_parser()._actions if hasattr(module, "build_parser") else ():
            name = RENAMED.get((program, action.dest))
            places = [f"{s}.{action.dest}".strip(".") for s in SECTIONS.get(program, ())]
            key = name or next((place for place in places if place in KEYS), None)
            exempt = action.dest in OTHERWISE or f"{action.dest} of {program}" in OTHERWISE
            if key and "default" in part(key) and not exempt:
                yield program, action, key


SETTINGS = list(settings())


@pytest.mark.parametrize(("program", "action", "key"), SETTINGS, ids=lambda v: str(v)[:40])
def test_a_program_s_default_is_the_schema_s(program: str, action: argparse.Action, key: str):
    assert action.required or action.default == default(key)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: options.__name__)
def test_the_default_of_a_call_is_the_schema_s(options: type):
    for field in fields(options):
        key = OPTIONS[options] + field.name
        exempt = field.default is MISSING or f"{field.name} of {options.__name__}" in OTHERWISE
        if key in KEYS and "default" in part(key) and not exempt:
            assert field.default == default(key), key


def test_the_calls_that_align_have_the_schema_s_defaults():
    assert align_tokens.__defaults__ == (
        default("alignment.method"),
        default("alignment.max_changed"),
    )
    assert map_vocabulary.__defaults__ == (default("alignment.vocabulary"),)
    assert transfer_logits.__defaults__ == (default("alignment.transfer"),)


def test_the_programs_settings_are_found():
    found = {(program, key) for program, _, key in SETTINGS}
    assert len(found) > 60
    for expected in (
        ("answer", "mt_bench.batch_size"),
        ("dump_logits", "logits.token_budget"),
        ("dump_logits", "logits.dtype"),
        ("make_mixture", "data.world.mixture"),
        ("merge_mergekit", "merges.*.seed"),
        ("report_alignment", "alignment.min_mass"),
        ("train_target", "training.bf16"),
        ("train_target", "training.gradient_checkpointing"),
    ):
        assert expected in found


def test_what_is_on_by_default_can_be_switched_off():
    parser = importlib.import_module("train_target").build_parser()
    given = ["--pivot-model", ".", "--fused", ".", "--output", "x", "--checkpoints", "y"]
    assert parser.parse_args(given).bf16 is True
    assert parser.parse_args([*given, "--no-bf16"]).bf16 is False


def test_an_option_takes_what_the_schema_allows(capsys: pytest.CaptureFixture[str]):
    parser = importlib.import_module("train_target").build_parser()
    given = ["--pivot-model", ".", "--fused", ".", "--output", "x", "--checkpoints", "y"]
    for wrong in ("--clm-weight=1.5", "--epochs=0", "--temperature=0", "--learning-rate=nan"):
        with pytest.raises(SystemExit):
            parser.parse_args([*given, wrong])
        assert wrong.partition("=")[0] in capsys.readouterr().err
