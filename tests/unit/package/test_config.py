"""Every constraint of the configuration has a test that breaks it."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fusionchat.config import checked, lay_over, read_config, save_config
from fusionchat.errors import UserError
from fusionchat.schema import SCHEMA

ROOT = Path(__file__).resolve().parents[3]

DEMO = yaml.safe_load((ROOT / "config.yaml").read_text())
RULES = yaml.safe_load(SCHEMA.read_text())

MAP = {"x": "clm_weight", "models": {"CLM": ["clm"], "SOLAR": ["solar"]}, "controls": ["CLM"]}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The demo's config with one key set, or removed when the value is None."""
    config = copy.deepcopy(DEMO | {"maps": {"example": MAP}})
    *parents, last = path.split("/")
    place = config
    for parent in parents:
        place = place.setdefault(parent, {})
    if value is None:
        del place[last]
    else:
        place[last] = value
    return config


def test_the_demo_is_valid_and_defaults_are_filled_in():
    config = checked(DEMO)
    assert config["fusion"] == {"function": "min_ce", "level": "dialogue"}
    assert config["merges"]["varm"]["change"] == "square"
    assert "fusion" not in DEMO


def test_the_schema_is_closed_and_each_object_has_its_defaults():
    def visit(part: Any) -> None:
        if isinstance(part, dict):
            if part.get("type") == "object":
                assert "additionalProperties" in part, part
            for value in part.values():
                visit(value)

    visit(RULES)


EXAMPLES = {
    "tasks": "world_choice",
    "models": "tiny_solar",
    "targets": "solar",
    "merges": "varm",
    "judges": "rule",
}


def breaches(part: dict[str, Any], place: str) -> Iterator[tuple[str, Any]]:
    """A value that breaks each constraint of a leaf of the schema, and where to put it."""
    wrong_type = {"integer": "x", "number": "x", "boolean": "x", "string": 7, "array": "x"}
    if "enum" in part:
        yield place, "no such choice"
    elif "type" in part:
        yield place, wrong_type[part["type"]]
    if "minimum" in part:
        yield place, part["minimum"] - 1
    if "maximum" in part:
        yield place, part["maximum"] + 1
    if "exclusiveMinimum" in part:
        yield place, part["exclusiveMinimum"]
    if "pattern" in part or "minLength" in part:
        yield place, ""
    if "uniqueItems" in part:
        yield place, ["same", "same"]
    if "minItems" in part:
        yield place, ["x"] * (part["minItems"] - 1)


def all_breaches(part: dict[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    """`breaches` of every leaf below an object, and a key that each object does not know."""
    part = RULES["$defs"][part["$ref"].rpartition("/")[2]] | part if "$ref" in part else part
    if part.get("type") != "object":
        yield from breaches(part, place)
        if "items" in part:
            yield from ((place, [value]) for _, value in all_breaches(part["items"], place))
        return
    for name, child in part.get("properties", {}).items():
        yield from all_breaches(child, f"{place}/{name}".strip("/"))
    others = part["additionalProperties"]
    name = EXAMPLES.get(place.rpartition("/")[2], "example") if others else "no_such_key"
    if others:
        yield from all_breaches(others, f"{place}/{name}".strip("/"))
    else:
        yield f"{place}/{name}".strip("/"), 1


BREACHES = list(all_breaches(RULES))


@pytest.mark.parametrize(("path", "value"), BREACHES, ids=lambda part: str(part))
def test_each_constraint_of_the_schema_is_enforced_and_named(path: str, value: Any):
    with pytest.raises(UserError) as caught:
        checked(changed(path, value))
    assert path.rpartition("/")[2] in str(caught.value)
    assert "\n" not in str(caught.value)


FAULTS = [
    ("name", "my run", "name"),
    ("name", None, "'name' is missing"),
    ("nmae", "x", "unknown key 'nmae'"),
    ("pivot", "tiny_openchatt", "tiny_openchat, tiny_mixtral, tiny_solar"),
    ("device", "tpu", "cpu, cuda"),
    ("models/tiny_solar/pretrain/architecture", "gpt", "mistral, llama, mixtral"),
    ("models/tiny_solar/pretrain", None, "exactly one of pretrain, path, repo"),
    ("models/tiny_solar/path", "x", "exactly one of pretrain, path, repo"),
    ("models/tiny_solar", {"path": "no/such/folder"}, "no/such/folder is not a folder"),
    ("models/tiny_solar/logits", str(ROOT), "models.tiny_solar.logits: not for a model that"),
    (
        "models/tiny_solar",
        {"repo": "org/name", "logits": "no/such"},
        "models.tiny_solar.logits: no/such is not a folder",
    ),
    ("models/tiny_solar", {"repo": "org/name", "revision": "main"}, "revision"),
    ("models/tiny_solar", {"repo": "name"}, "repo"),
    ("models/tiny_solar/gpu", -1, "gpu"),
    ("models/tiny_solar/pretrain/dtype", "bfloat16", "steps must be 0"),
    ("models/tiny_solar/pretrain/full", {"width": 1}, "unknown key 'width'"),
    ("models/tiny_solar/pretrain/full", {"layers": 0}, "layers"),
    ("data/world", None, "exactly one of world, path, repo"),
    ("data/world/seed", None, "'seed' is missing"),
    ("data", {"path": "no/such.json"}, "no/such.json is not a file"),
    ("data", {"path": __file__}, "needs data.world"),
    ("merges/varm/label", "a:b", "merges.varm.label"),
    ("report", {"compare": "all"}, "signs, verdicts"),
    ("data/shards", 0, "shards"),
    ("data/on_error", "ignore", "stop, skip"),
    ("data/heldout", -1, "heldout"),
    ("logits/top_k", 0, "top_k"),
    ("logits/dtype", "int8", "float32, bfloat16"),
    ("alignment/method", "magic", "spans, dtw"),
    ("alignment/min_mass", 2, "min_mass"),
    ("fusion/function", "max_ce", "min_ce, avg_ce"),
    ("training/clm_weight", 1.5, "clm_weight"),
    ("training/learning_rate", 0, "learning_rate"),
    ("training/epochs", 0, "epochs"),
    ("training/epochs", "three", "epochs"),
    ("training/fit_memory", True, "training.fit_memory: needs `device: cuda` and one GPU"),
    ("training/optimizer", "adamw_8bit", "training.optimizer: adamw_8bit needs `device: cuda`"),
    ("training/gpu", 3, "global_batch_size: 8 is not a multiple of micro_batch_size x GPUs = 24"),
    ("training/nodes", 2, "0 GPUs cannot be divided evenly among 2 nodes"),
    ("targets/solar/sources", ["tiny_solarr"], "'tiny_solarr' is not one of tiny_mixtral"),
    ("targets/solar/sources", ["tiny_openchat", "tiny_solar"], "name it alone (the Self control)"),
    ("targets/solar/data", "few", "'few' is no variant of data.world (none)"),
    ("data/world/variants", {"few": {"dialogues": 451}}, "the mixture has 450 dialogues"),
    ("merges/linear/targets", {"clm": 1, "clm-seed4": 1}, "targets.clm has training seeds 1 to 3"),
    ("targets/solar/sources", ["tiny_solar", "tiny_solar"], "targets.solar.sources"),
    ("targets/tiny_solar", {"sources": []}, "already a model's"),
    ("targets/solar/alignment", {"method": "magic"}, "spans, dtw"),
    ("targets/solar/alignment", {}, "targets.solar.alignment"),
    ("targets/bad name", {"sources": []}, "bad name"),
    ("targets/solar/checkpoint", {}, "exactly one of path, repo"),
    ("merges/linear/targets/solar", -1, "merges.linear.targets.solar"),
    ("merges/linear/targets", {"mixtral": 0}, "above 0"),
    ("merges/linear/targets", {}, "merges.linear.targets"),
    ("merges/linear/targets/sola", 1, "'sola' is not one of clm, self, multi"),
    ("merges/linear/method", "average", "linear, slerp"),
    ("merges/varm/granularity", "tensor", "model, layer, module, matrix, parameter"),
    ("merges/clm", {"method": "linear", "targets": {"solar": 1}}, "already a model's or target's"),
    ("merges/slerp/targets/clm", 1, "exactly two"),
    ("merges/slerp/base", "clm", "merges.slerp.base: only for slerp, and one of its two"),
    ("merges/ties/base", "solar", "merges.ties.base: only for slerp"),
    ("merges/varm/allow_equal", "yes", "merges.varm.allow_equal"),
    ("merges/dare/density", 0, "density"),
    ("comparisons/clm", {"paper": "gpt-4"}, "already a model's, target's or merge's"),
    ("comparisons/x", {"label": "X"}, "exactly one of path, repo, api, published, answers, paper"),
    ("comparisons/x", {"paper": "gpt-4", "published": "gpt-4"}, "found published and paper"),
    ("comparisons/x", {"path": "no/such"}, "comparisons.x.path: no/such is not a folder"),
    ("comparisons/x", {"answers": "no/such"}, "comparisons.x.answers: no/such is not a file"),
    ("comparisons/x", {"published": "../etc/passwd"}, "comparisons.x.published"),
    (
        "comparisons/x",
        {"api": {"model": "m"}},
        "comparisons.x.api: an endpoint needs model and base_url",
    ),
    (
        "comparisons/x",
        {"api": {"model": "m", "base_url": "https://x", "budget": 1}},
        "comparisons.x.api.budget: dollars need",
    ),
    ("mt_bench/top_k", 0, "top_k"),
    ("mt_bench/judges", {}, "judges"),
    ("mt_bench/judges/rule/kind", "human", "rule, openai"),
    ("mt_bench/judges/gpt", {"kind": "openai", "model": "m"}, "model and base_url"),
    ("mt_bench/judges/rule/base_url", "ftp://x", "base_url"),
    (
        "mt_bench/judges/gpt",
        {"kind": "openai", "model": "m", "base_url": "https://me:secret@x/v1"},
        "mt_bench.judges.gpt.base_url: must hold no password",
    ),
    (
        "mt_bench/judges/gpt",
        {"kind": "openai", "model": "m", "base_url": "https://x", "headers": {"api-key": "sk-1"}},
        "mt_bench.judges.gpt.headers: api-key: give a secret as $VARIABLE",
    ),
    (
        "mt_bench/judges/rule",
        {"kind": "openai", "model": "m", "base_url": "http://x", "budget": 5},
        "mt_bench.judges.rule.budget: dollars need input_price and output_price",
    ),
    ("mt_bench/judges/rule/max_calls", 0, "max_calls"),
    ("mt_bench/questions", "no/such", "no/such is not a folder"),
    ("mt_bench/references", "no/such", "no/such is not a file"),
    ("models/tiny_solar", {"path": str(ROOT)}, "has no config.json"),
    ("models/tiny_solar/pretrain/heads", 3, "hidden_size: 64 is not an even multiple of heads = 3"),
    ("models/tiny_solar/pretrain/kv_heads", 3, "kv_heads: 3 does not divide heads = 4"),
    ("models/tiny_solar/paper_row", "no_such", "models.tiny_solar.paper_row: 'no_such' is not one"),
    (
        "models/tiny_solar/paper_row",
        "varm",
        "'varm' is not one of nh2_mixtral, nh2_solar, openchat",
    ),
    ("models/tiny_solar/label", "Tiny Mixtral", "'Tiny Mixtral' is already the label of models"),
    ("targets/other", {"sources": [], "label": "VaRM"}, "merges.varm.label: 'VaRM' is already"),
    ("comparisons/x", {"paper": "gpt-5"}, "comparisons.x.paper: 'gpt-5' is not one of gpt-4"),
    ("comparisons/x", {"path": str(ROOT)}, "comparisons.x.path"),
    ("data/heldout", 750, "data.heldout: none of 750 dialogues (data.world.mixture) is left"),
    ("data/shards", 451, "data.shards: there are only 450 dialogues for 451 shards"),
    ("data/shards", 100_000, "data.shards: 100000 is greater than the maximum of 10000"),
    ("data/exclude", "no/such.txt", "data.exclude: no/such.txt is not a file"),
    ("training/deepspeed", "no/such.json", "training.deepspeed: no/such.json is not a file"),
    ("training/learning_rate", float("nan"), "training.learning_rate: nan is not a finite number"),
    ("training/learning_rate", float("inf"), "training.learning_rate: inf is not a finite number"),
    ("training/learning_rate", "5e-6", "'5e-6' is text in YAML; write it with a point"),
    ("merges/ta/targets/solar", float("inf"), "merges.ta.targets.solar: inf is not a finite"),
    ("targets/solar/checkpoint", {"path": "no/such"}, "targets.solar.checkpoint.path: no/such"),
    ("merges/varm/checkpoint", {"path": str(ROOT)}, "merges.varm.checkpoint.path"),
    ("targets/solar/fusion", {"top_k": 11}, "targets.solar.fusion.top_k: the dumps keep 10"),
]


def test_the_pivot_alone_may_teach_a_target():
    config = checked(changed("targets/self", {"sources": ["tiny_openchat"]}))
    assert config["targets"]["self"]["sources"] == ["tiny_openchat"]


def test_full_shapes_take_the_place_of_the_small_ones():
    config = changed("models/tiny_solar/pretrain/full", {"layers": 48})
    assert checked(config)["models"]["tiny_solar"]["pretrain"]["layers"] == 6
    full = checked(config | {"full_shapes": True})["models"]
    assert full["tiny_solar"]["pretrain"]["layers"] == 48
    assert full["tiny_mixtral"]["pretrain"]["layers"] == 2


@pytest.mark.parametrize("model", ["tiny_openchat", "tiny_solar"])
def test_no_tail_is_taken_from_a_released_dump(model: str):
    config = changed(f"models/{model}", {"repo": "org/name", "logits": str(ROOT)})
    checked(config)
    config["targets"]["clm"]["training"] = {"tail": True}
    checked(config)
    own = copy.deepcopy(config)
    own["targets"]["solar"]["training"] = {"tail": True}
    with pytest.raises(UserError, match=rf"targets.solar.training.tail: models.{model}.logits"):
        checked(own)
    config["training"]["tail"] = True
    with pytest.raises(UserError, match=rf"config: training.tail: models.{model}.logits"):
        checked(config)
    for target in config["targets"].values():
        target["training"] = {"tail": False}
    checked(config)


@pytest.mark.parametrize(("path", "value", "message"), FAULTS)
def test_a_fault_is_named_with_its_key(path: str, value: Any, message: str):
    with pytest.raises(UserError) as caught:
        checked(changed(path, value))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


OVERLAYS = [
    ({"training": {"epochs": 1}}, {"training": {"seed": 2}}),
    ({"targets": {"clm": {"sources": []}}}, {"targets": {"clm": {"sources": ["a"]}, "b": {}}}),
    ({"device": "cpu"}, {"device": {"a": 1}}),
    ({"device": {"a": 1}}, {"device": "cpu"}),
    ({"models": {"a": None}}, {"models": {"a": {"gpu": 1}}}),
    ({"models": {"a": {"gpu": 1}}}, {"models": {"a": {}}}),
    ({"sweeps": {"s": ["a", "b"]}}, {"sweeps": {"s": ["c"]}}),
]


@pytest.mark.parametrize(("first", "second"), OVERLAYS)
def test_files_are_merged_as_snakemake_merges_them(first: Any, second: Any):
    from snakemake.utils import update_config

    theirs: dict[str, Any] = {}
    ours: dict[str, Any] = {}
    for file in (first, second):
        update_config(theirs, copy.deepcopy(file))
        lay_over(ours, copy.deepcopy(file))
    assert ours == theirs


def test_overlays_and_settings_reach_the_configuration(tmp_path: Path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("training: {epochs: 5}\nmodels: {tiny_solar: {gpu: 2}}\n")
    files = [ROOT / "config.yaml", overlay]
    config = read_config(files, ["device=cuda", "full_shapes=True"])
    assert (config["training"]["epochs"], config["training"]["learning_rate"]) == (5, 0.001)
    assert (config["models"]["tiny_solar"]["gpu"], config["device"]) == (2, "cuda")
    assert config["full_shapes"] is True
    with pytest.raises(UserError, match="device: 'tpu' is not one of cpu, cuda"):
        read_config(files, ["device=tpu"])
    with pytest.raises(UserError, match="--config"):
        read_config(files, ["device"])


@pytest.mark.parametrize("path", [ROOT / "config.yaml", *sorted(ROOT.glob("configs/*.yaml"))])
def test_a_saved_configuration_says_the_same_again(path: Path, tmp_path: Path):
    config = read_config([path])
    save_config(tmp_path / "config.yaml", config)
    assert read_config([tmp_path / "config.yaml"]) == config
    full = read_config([path], ["full_shapes=True"])
    save_config(tmp_path / "config.yaml", full)
    assert read_config([tmp_path / "config.yaml"]) == full


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("template", "nonsense", "template: 'nonsense' is none of FastChat's"),
        ("template", "solar", "template: solar: no token ends an answer"),
        ("template", "chatgpt", "template: chatgpt: FastChat cannot render it"),
        ("template", "yuan2", "template: yuan2: the prompt of a turn is not the beginning"),
        ("template", "nowhere.jinja", r"template: nowhere\.jinja cannot be read"),
        ("models/tiny_solar/template", "bard", r"models\.tiny_solar\.template: bard: FastChat"),
        ("comparisons/x", {"repo": "a/b", "template": "no"}, r"comparisons\.x\.template: 'no' is"),
    ],
)
def test_a_template_that_does_not_work_is_refused_before_any_job(path, value, reason):
    with pytest.raises(UserError, match=f"^config: {reason}") as caught:
        checked(changed(path, value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "text", "fine"),
    [
        ("tokenizer_config.json", "{}", False),
        ("tokenizer_config.json", '{"chat_template": "{{ messages }}"}', True),
        ("chat_template.jinja", "{{ messages }}", True),
    ],
)
def test_a_local_tokenizer_must_bring_the_template_that_is_asked_for(tmp_path, file, text, fine):
    (tmp_path / file).write_text(text)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").touch()
    config = changed("models/tiny_solar", {"path": str(tmp_path), "template": "tokenizer"})
    if fine:
        checked(config)
        return
    with pytest.raises(UserError, match=r"tiny_solar\.template: the tokenizer in .* no chat"):
        checked(config)
    config["models"]["tiny_solar"]["template"] = "zephyr"
    checked(config)
    with pytest.raises(UserError, match="config: template: the tokenizer in"):
        checked(config | {"pivot": "tiny_solar", "template": "tokenizer"})


def test_a_system_message_needs_a_place_in_the_template(tmp_path):
    path = tmp_path / "plain.jinja"
    path.write_text(
        "{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    checked(changed("template", str(path)))
    with pytest.raises(UserError, match="no place for a system message"):
        checked(changed("template", str(path)) | {"system_message": "Be brief."})


@pytest.mark.parametrize("name", ["solar", "falcon", "tokenizer", "vicuna_v1.1"])
def test_a_model_may_answer_in_a_format_that_nothing_is_trained_in(name):
    checked(changed("models/tiny_solar/template", name))
