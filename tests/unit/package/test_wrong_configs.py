"""A wrong configuration ends in one line with file, line, key and what is right, before any job."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from fusionchat.checks.harness_tasks import WORLD, unknown_tasks
from fusionchat.checks.unused import METHODS
from fusionchat.config import read_config
from fusionchat.errors import UserError
from fusionchat.merging.methods.mergekit_runs import HEEDED
from fusionchat.world.tasks import FORMS

ROOT = Path(__file__).resolve().parents[3]
DEMO = yaml.safe_load((ROOT / "config.yaml").read_text())
NAN, INF = float("nan"), float("inf")
OPENAI = {"kind": "openai", "model": "gpt-4", "base_url": "https://x"}
MAP = {"x": "clm_weight", "models": {"A": ["clm"], "B": ["solar"]}, "controls": ["A"]}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files and folders that exist and are not what a key needs; `@` in a case stands for it."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "empty").mkdir()
    (folder / "empty.json").touch()
    (folder / "broken.json").write_text('{"a":')
    (folder / "list.json").write_text("[1]")
    (folder / "fp16.json").write_text('{"fp16": {"enabled": true}}')
    (folder / "batch.json").write_text('{"train_batch_size": 8}')
    (folder / "broken.jinja").write_text("{% for")
    for name, config in {"no_weights": "{}", "no_config": "{", "pickled": "{}"}.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(config)
    (folder / "pickled" / "pytorch_model.bin").touch()
    return folder


# Key, value and what the line says beside file and key.
CASES = [
    # files and folders
    ("data/exclude", "nofile.txt", "nofile.txt is not a file"),
    ("data/exclude", "@/empty", "is not a file"),
    ("training/deepspeed", "nofile.json", "nofile.json is not a file"),
    ("training/deepspeed", "@/empty", "is not a file"),
    ("training/deepspeed", "@/broken.json", "broken.json is not valid JSON"),
    ("training/deepspeed", "@/list.json", "not a JSON object with keys, but a list"),
    ("training/deepspeed", "@/fp16.json", "remove `fp16`"),
    ("training/deepspeed", "@/batch.json", 'train_batch_size must be "auto"'),
    ("mt_bench/questions", "no/such", "no/such is not a folder"),
    ("mt_bench/questions", "@/empty", "holds none of question.jsonl"),
    ("mt_bench/references", "@/empty", "is not a file"),
    ("mt_bench/references", "@/broken.json", "broken.json, line 1, is not valid JSON"),
    ("mt_bench/human_votes", "no/such", "no/such is not a file"),
    ("leaderboard/folders", ["no/such"], "no/such is not a folder"),
    ("leaderboard/models", ["varmm"], "'varmm' is not one of"),
    ("leaderboard/tasks", {"mean": {"metric": "acc"}}, "the mean of all tasks has this name"),
    ("leaderboard/tasks", {"a": {"metric": "acc", "revision": "0" * 40}}, "needs a repo"),
    (
        "leaderboard/tasks",
        {
            "a": {"metric": "acc", "repo": "o/q"},
            "b": {"metric": "acc", "repo": "o/q", "revision": "0" * 40},
        },
        "another task takes another one of o/q",
    ),
    ("leaderboard/tasks", {"a": {}}, "the key 'metric' is missing"),
    ("leaderboard/tasks/hellaswagg", {"metric": "acc"}, "did you mean 'hellaswag'?"),
    ("leaderboard/tasks/world_choise", {"metric": "acc"}, "`lm_eval ls tasks` lists its own"),
    ("models/tiny_solar", {"path": "no/such"}, "no/such is not a folder"),
    ("models/tiny_solar", {"path": "~/x"}, "~/x is not a folder; write the home folder's path"),
    ("models/tiny_solar", {"path": "@/list.json"}, "list.json is not a folder"),
    ("models/tiny_solar", {"path": ["a"]}, "['a'] is not text"),
    ("data/exclude", "~/x.txt", "~/x.txt is not a file; write the home folder's path"),
    ("models/tiny_solar", {"path": "@/empty"}, "has no config.json"),
    ("models/tiny_solar", {"path": "@/no_config"}, "config.json is not valid JSON"),
    ("models/tiny_solar", {"path": "@/no_weights"}, "has no *.safetensors files"),
    ("models/tiny_solar", {"path": "@/pickled"}, "convert_checkpoint.py makes them"),
    ("models/tiny_solar", {"repo": "a/b", "logits": "no/such"}, "no/such is not a folder"),
    ("comparisons/x", {"path": "@/no_weights"}, "has no *.safetensors files"),
    ("comparisons/x", {"answers": "@/empty"}, "is not a file"),
    ("targets/solar/checkpoint", {"path": "@/empty"}, "has no config.json"),
    ("merges/varm/checkpoint", {"path": "no/such"}, "no/such is not a folder"),
    ("template", "no_such.jinja", "no_such.jinja cannot be read"),
    ("template", "@/broken.jinja", "it cannot render the conversation"),
    ("data", {"path": "@/empty"}, "is not a file"),
    ("data", {"repo": "a/b"}, "name the file of the dataset"),
    ("comparisons/x", {"answers": "a" * 300}, "is not a file that can be reached: File name too"),
    ("leaderboard/folders", ["~/x"], "~/x is not a folder; write the home folder's path"),
    ("template", "~/x.jinja", "does not exist; write the home folder's path in place of ~"),
    # keys without effect
    ("merges/linear/density", 0.4, "merges.linear.density: only for method ties or dare_linear"),
    ("merges/ties/granularity", "layer", "only for method varm"),
    ("merges/varm/seed", 3, "only for method dare_linear"),
    ("merges/varm/select_topk", 0.2, "only for method sce or sce_mergekit"),
    ("mt_bench/judges/rule", {"kind": "rule", "budget": 5}, "only for a judge of kind openai"),
    ("models/tiny_solar/revision", "0" * 40, "revision: only with repo"),
    ("comparisons/x", {"published": "gpt-4", "revision": "0" * 40}, "revision: only with repo"),
    ("data/file", "train.json", "data.file: only with repo"),
    (
        "comparisons/x",
        {"paper": "gpt-4", "end_of_turn": "#"},
        "end_of_turn: only with path or repo",
    ),
    # names that stand for nothing
    ("alpaca_eval", {}, "needs a judge of kind openai"),
    ("alpaca_eval", {"data": "no/such"}, "no/such is not a folder"),
    ("alpaca_eval", {"printed": "yes"}, "printed"),
    ("mt_bench/pairwise", {"baseline": "clmm"}, "did you mean 'clm'?"),
    ("mt_bench/pairwise", {"judge": "gpt"}, "is not one of rule"),
    ("mt_bench/pairwise", {"judgee": "rule"}, "judge"),
    ("template", "openchat_99", "is none of FastChat's"),
    ("models/tiny_solar/template", "openchat_99", "is none of FastChat's"),
    ("models/tiny_solar/paper_row", "nope", "is not one of nh2_mixtral, nh2_solar, openchat"),
    ("targets/solar/paper_row", "solarr", "did you mean 'solar'?"),
    ("merges/varm/paper_row", "clm", "is not one of linear, slerp, ta"),
    ("comparisons/x", {"paper": "gpt-5"}, "is not one of gpt-4"),
    ("pivot", "tiny_opencat", "did you mean 'tiny_openchat'?"),
    ("targets/solar/sources", ["tiny_solr"], "did you mean 'tiny_solar'?"),
    ("targets/solar/data", "few", "is no variant of data.world (none)"),
    ("merges/varm/targets/solr", 1, "did you mean 'solar'?"),
    ("merges/varm/targets/clm-seed1", 1, "whose first training has its bare name"),
    ("merges/varm/targets/clm-seed4", 1, "has training seeds 1 to 3"),
    ("sweeps/s", ["clm", "slar"], "did you mean 'solar'?"),
    ("maps/m", MAP | {"controls": ["C"]}, "is not one of A, B"),
    ("maps/m", MAP | {"y": "clm_weight"}, "is the same as x"),
    ("mt_bench/judges/rule", {"kind": "oppenai"}, "did you mean 'openai'?"),
    ("mt_bench/judges/rule", {"kind": "rule", "model": "gpt-4"}, "only for a judge of kind openai"),
    ("mt_bench/judges/g", {"kind": "openai", "model": "gpt-4"}, "needs model and base_url"),
    ("mt_bench/judges/g", OPENAI | {"budget": 5}, "need input_price and output_price"),
    ("mt_bench/judges/g", OPENAI | {"base_url": "x"}, "begins with http:// or https://"),
    ("mt_bench/engine", "tgi", "is not one of local, vllm"),
    ("pivot", "Tiny_OpenChat", "did you mean 'tiny_openchat'?"),
    ("device", "“cpu”", "did you mean 'cpu'?"),
    ("device", "cpu\n", "did you mean 'cpu'?"),
    ("device", "$DEVICE", "is not one of cpu, cuda"),
    ("merges/varm/method", "VaRM", "is not one of linear, slerp"),
    ("merges/varm/targets/ties", 1, "is not one of clm, self"),
    # numbers
    ("training/learning_rate", NAN, "nan is not a finite number"),
    ("training/learning_rate", INF, "inf is not a finite number"),
    ("training/learning_rate", -1.0e-5, "-1e-05 is not above 0"),
    ("training/learning_rate", 0, "0 is not above 0"),
    ("training/learning_rate", "1e-5", "write it with a point"),
    ("training/max_grad_norm", "1.0e3", "write it with a point and a sign"),
    ("training/weight_decay", INF, "inf is not a finite number"),
    ("training/max_grad_norm", NAN, "nan is not a finite number"),
    ("training/temperature", 0, "0 is not above 0"),
    ("training/clm_weight", 1.5, "greater than the maximum of 1"),
    ("training/clm_weight", NAN, "nan is not a finite number"),
    ("training/clm_weight", -0.1, "less than the minimum of 0"),
    ("training/warmup_ratio", 1.2, "greater than the maximum of 1"),
    ("training/epochs", 0, "less than the minimum of 1"),
    ("training/epochs", 2.5, "2.5 is not an integer"),
    ("training/epochs", True, "True is not an integer"),
    ("training/epochs", 3.0, "3.0 is not an integer"),
    ("training/seeds", 0, "less than the minimum of 1"),
    ("training/seeds", 2024, "greater than the maximum of 100"),
    ("training/seeds", [1, 2, 3], "[1, 2, 3] is not an integer"),
    ("training/seed", 2**64, "greater than the maximum of 2147483647"),
    ("training/clm_weight", "0,9", "'0,9' is not a number"),
    ("training/clm_weight", "90%", "'90%' is not a number"),
    ("training/clm_weight", "−0.9", "'−0.9' is not a number"),
    ("training/learning_rate", "10**-3", "'10**-3' is not a number"),
    ("training/learning_rate", "5E-6", "write it with a point"),
    ("training/global_batch_size", "24GB", "'24GB' is not an integer"),
    ("training/bf16", "false", "'false' is not true or false"),
    ("training/bf16", 0, "0 is not true or false"),
    ("data/max_length", "512 tokens", "'512 tokens' is not an integer"),
    ("data/world/mixture", "1,000", "'1,000' is not an integer"),
    ("merges/varm/targets", {"solar": "2", "mixtral": 1}, "'2' is not a number"),
    ("merges/varm/targets", {"solar": None, "mixtral": None}, "is empty; it needs a number"),
    ("training/global_batch_size", 7, "is not a multiple of micro_batch_size x GPUs"),
    ("targets/solar/training", {"clm_weight": INF}, "greater than the maximum of 1"),
    ("targets/solar/fusion", {"top_k": 11}, "the dumps keep 10"),
    ("merges/varm/targets", {"solar": NAN, "mixtral": 1}, "nan is not a finite number"),
    ("merges/varm/targets", {"solar": -1, "mixtral": 1}, "less than the minimum of 0"),
    ("merges/varm/targets", {"solar": 0, "mixtral": 0}, "at least one weight must be above 0"),
    ("merges/slerp/targets", {"solar": 1}, "slerp merges exactly two targets"),
    ("merges/ties/density", 1.1, "greater than the maximum of 1"),
    ("merges/dare/density", 0, "0 is not above 0"),
    ("alignment/min_mass", 2, "greater than the maximum of 1"),
    ("data/world/wrong_answers", 1.5, "greater than the maximum of 1"),
    ("data/heldout", 5000, "none of 750 dialogues (data.world.mixture) is left"),
    ("data/heldout", -1, "less than the minimum of 0"),
    ("data/shards", 5000, "there are only 450 dialogues for 5000 shards"),
    ("data/shards", "8", "'8' is not an integer"),
    ("data/world/variants", {"few": {"dialogues": 451}}, "the mixture has 450 dialogues"),
    ("models/tiny_solar/gpu", 1.5, "1.5 is not an integer"),
    ("models/tiny_solar/pretrain/strong_share", 1.4, "greater than the maximum of 1"),
    ("models/tiny_solar/pretrain/kv_heads", 3, "does not divide heads"),
    # kinds of values
    ("models", None, "is empty; it needs keys with values"),
    ("models", {}, "needs at least 2"),
    ("training", "fast", "'fast' is not keys with values"),
    ("merges", [], "[] is not keys with values"),
    ("merges/varm/targets", ["solar", "mixtral"], "is not keys with values"),
    ("merges/x", {"targets": {"solar": 1}}, "'method' is missing"),
    ("targets/solar/sources", "tiny_solar", "'tiny_solar' is not a list"),
    ("targets/solar/sources", None, "is empty; it needs a list"),
    ("pivot", ["tiny_openchat"], "['tiny_openchat'] is not text"),
    ("targets", [{"clm": {"sources": []}}], "is not keys with values"),
    ("targets/solar/sources", ["tiny_solar", "tiny_solar"], "has non-unique elements"),
    ("targets/solar/sources", [None], "is empty; it needs text"),
    ("mt_bench/judges", "rule", "'rule' is not keys with values"),
    ("mt_bench/judges", [{"kind": "rule"}], "is not keys with values"),
    ("full_shapes", "yes", "'yes' is not true or false"),
    ("system_message", 3, "3 is not text"),
    ("device", "CPU", "is not one of cpu, cuda"),
    # misspelt keys
    ("trianing", {}, "did you mean 'training'?"),
    ("training/learning_rat", 1, "did you mean 'learning_rate'?"),
    ("targets/solar/training", {"clm_weigth": 0.5}, "did you mean 'clm_weight'?"),
    ("alignment/metod", "spans", "did you mean 'method'?"),
    ("merges/varm/granularty", "matrix", "did you mean 'granularity'?"),
    ("mt_bench/judges/rule/repeat", 2, "did you mean 'repeats'?"),
    ("precision", {"mrege": "float32"}, "did you mean 'merge'?"),
    # names and labels
    ("name", "Ünïcode", "letters without accents"),
    ("name", "my run", "letters without accents"),
    ("name", 'a"b', "letters without accents"),
    ("name", "../demo", "letters without accents"),
    ("name", "demo\n", "letters without accents"),
    ("name", "demo# of mine", "letters without accents"),
    ("name", "d" * 101, "is longer than 100 characters"),
    ("name", "", "letters without accents"),
    ("name", 2026, "2026 is not text; put it in quotes"),
    ("name", True, "takes yes, no, on and off for true and false; put it in quotes"),
    ("targets/solar/label", False, "False is not text; YAML takes yes, no"),
    ("models/upstage\\SOLAR", {"repo": "a/b"}, "letters without accents"),
    ("pivot", "openchat/openchat_3.5", "letters without accents"),
    ("models/tiny_sölar", {"repo": "a/b"}, "letters without accents"),
    ("targets/it's", {"sources": []}, "letters without accents"),
    ("merges/varm-seed2", {"method": "linear", "targets": {"solar": 1}}, "letters without accents"),
    ("targets/tiny_solar", {"sources": []}, "already a model's"),
    ("targets/CLM", {"sources": [], "label": "x"}, "differs from targets.clm only in capital"),
    ("merges/clm", {"method": "linear", "targets": {"solar": 1}}, "already a model's or target's"),
    ("models/tiny_solar/label", "Tiny Mixtral", "is already the label of models.tiny_mixtral"),
    ("merges/varm/label", " CLM", "is already the label of targets.clm"),
    ("merges/varm/label", "a: b", "one line without a colon"),
    ("merges/varm/label", "a\nb", "one line without a colon"),
    ("merges/varm/label", " ", "one line without a colon"),
    ("models/tiny_solar", {"repo": "a/b", "revision": "main"}, "40 hexadecimal digits"),
    ("models/tiny_solar", {"repo": "b"}, "OWNER/NAME"),
    # what was to be edited
    ("name", "EDIT", "still says EDIT"),
    ("mt_bench/judges/g", OPENAI | {"model": "EDIT"}, "still says EDIT"),
    ("mt_bench/judges/g", OPENAI | {"base_url": "https://EDIT/v1"}, "still says EDIT"),
]


def write(path: Path, key: str, value: Any, files: Path) -> list[str]:
    """The demo's configuration with one key set, and that key's parts."""
    config = copy.deepcopy(DEMO)
    *parents, last = parts = key.split("/")
    place = config
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = json.loads(json.dumps(value).replace("@", str(files)))
    path.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return parts


@pytest.mark.parametrize(("key", "value", "message"), CASES)
def test_a_wrong_key_is_named_with_its_line_and_what_is_right(
    key: str, value: Any, message: str, files: Path, tmp_path: Path
):
    path = tmp_path / "wrong.yaml"
    parts = write(path, key, value, files)
    with pytest.raises(UserError) as caught:
        read_config([path])
    said = str(caught.value)
    assert message in said
    assert "\n" not in said
    assert list(tmp_path.iterdir()) == [path]
    place = re.match(rf"{re.escape(str(path))}, line (\d+): ", said)
    assert place
    line = path.read_text(encoding="utf-8").splitlines()[int(place[1]) - 1]
    assert any(part.strip() and part in line for part in (*parts, *_names(value)))


def _names(value: Any) -> list[str]:
    """The names inside a value that was set as a whole."""
    if not isinstance(value, dict):
        return []
    return [name for key, inner in value.items() for name in (key, *_names(inner))]


def test_the_table_is_long_enough():
    assert len(CASES) >= 100
    assert len({(key, str(value)) for key, value, _ in CASES}) == len(CASES)


TEXTS = [
    ("", "is empty"),
    ("# nothing\n", "is empty"),
    ("- a\n", "holds a list"),
    ("demo\n", "holds a str"),
    ("name: demo\n  pivot: x\n models: [a,\n", "line 2: mapping values are not allowed here"),
    ("name: demo\ndata:\n\tpath: x\n", "line 3: found character '\\t'"),
    ("name: [a\n", "line 2: expected ',' or ']'"),
    ("name: a\npivot: b\nname: c\n", "line 3: the key 'name' is there already, in line 1"),
    ("training:\n  epochs: 1\n  epochs: 2\n", "line 3: the key 'epochs' is there already"),
    ("name: a\n2026: b\n", "line 2: the key '2026' is no text"),
    ("name: !!python/object:os.system a\n", "line 1: could not determine a constructor"),
    ("name: *nowhere\n", "line 1: found undefined alias"),
    ("name: 'a\npivot: b\n", "line 1: found unexpected end of stream; a quotation mark that opens"),
    ('name: "\\q"\n', "line 1: found unknown escape character"),
    ("name: demo\ndevice:cpu\npivot: b\n", "line 2: could not find expected ':'; write `key: val"),
    ("device：cpu\npivot: b\n", "line 2: mapping values are not allowed here; indent keys alike"),
    ("name: a\n  epochs: 3\n", "line 2: mapping values are not allowed here"),
    ("name: {{ name }}\n", "line 1: a list or mapping stands where a key is due"),
    ("? [a, b]\n: c\n", "line 1: a list or mapping stands where a key is due"),
    ("~: a\n", "line 1: the key '~' is no text"),
    ("name: a\ntargets: &t\n  a: {training: *t}\n", "line 3: *t stands inside &t itself"),
    ("a: &a [1, *a]\n", "line 1: *a stands inside &a itself"),
    ("training: {<<: 3}\n", "line 1: expected a mapping or list of mappings for merging"),
    ("training:\n  seed: 011\n", "line 2: YAML reads 011 as 9; write it without leading zero"),
    ("training:\n  epochs: 1:30\n", "line 2: YAML reads 1:30 as 90; write it without"),
    ("training:\n  epochs: 1:30.5\n", "line 2: YAML reads 1:30.5 as 90.5"),
    ("name: a\n---\nname: b\n", "line 2: but found another document"),
    ("name: a\n...\npivot: b\n", "line 3: expected '<document start>'"),
    ('{"name": "a",, }\n', "line 1: expected the node content, but found ','"),
    ("a: " + "[" * 3000, "maximum recursion depth"),
    ("name: a\0\n", "unacceptable character #x0000"),
    ("name: demo\n".encode("utf-16"), "is not text in UTF-8 (byte 0xff)"),
    ("name: Modèle\n".encode("latin-1"), "line 1, is not text in UTF-8 (byte 0xe8)"),
]


@pytest.mark.parametrize(("text", "message"), TEXTS)
def test_a_file_that_is_no_mapping_is_named_with_its_line(
    text: str | bytes, message: str, tmp_path: Path
):
    path = tmp_path / "wrong.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as caught:
        read_config([path])
    said = str(caught.value)
    assert said.startswith(str(path))
    assert message in said
    assert "\n" not in said


def test_a_byte_order_mark_and_windows_line_ends_are_no_fault(tmp_path: Path):
    path = tmp_path / "windows.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + (ROOT / "config.yaml").read_bytes().replace(b"\n", b"\r\n"))
    assert read_config([path]) == read_config([ROOT / "config.yaml"])


def test_of_several_files_the_one_at_fault_is_named(tmp_path: Path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("training:\n  seed: 1\n  epochs: none\n")
    given = [ROOT / "config.yaml", overlay]
    with pytest.raises(UserError, match=rf"^{overlay}, line 3: training\.epochs: 'none' is not"):
        read_config(given)
    overlay.write_text("training: {seed: 1}\npivot: x\n")
    with pytest.raises(UserError, match=rf"^{overlay}, line 2: pivot: 'x' is not one of"):
        read_config(given)
    overlay.write_text("training: {seed: 1}\n")
    with pytest.raises(UserError, match=r"'name' is missing; what changes a configuration stands"):
        read_config([overlay])
    with pytest.raises(UserError, match=r"^--config: device: 'tpu' is not one of"):
        read_config(given, ["device=tpu"])
    with pytest.raises(UserError, match=r"^--config: training\.epochs: .* into a YAML file"):
        read_config(given, ["training={epochs: 2}"])


def test_the_worlds_tasks_are_known_by_their_names():
    assert {f"world_{kind}" for kind in FORMS} == set(WORLD)


def test_a_task_of_ones_own_folder_is_known(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "mine.yml").write_text("task: entirely_mine\n")
    asked = ["entirely_mine", "entirely_yours"]
    assert [task for task, _ in unknown_tasks(asked, [str(tmp_path)])] == ["entirely_yours"]


@pytest.mark.parametrize("key", ["density", "seed", "select_topk"])
def test_a_key_without_effect_is_one_that_mergekits_method_does_not_heed(key):
    heed = {method for method, keys in HEEDED.items() if key in keys}
    assert heed == {method for method in METHODS[key] if method in HEEDED}
