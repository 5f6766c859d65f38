"""A program called in a wrong way says in one line which option is wrong, and writes nothing."""

import importlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fusionchat import cli

SCRIPTS = Path(cli.__file__).parents[1]
PROGRAMS = sorted(path.stem for path in SCRIPTS.glob("*.py"))
ROWS = "--row Source:a:A --row Target:b:B"
PAIR = "--target a={folder} --target b={folder}"
SCORES = f"--scores {{file}} --baseline b {ROWS}"
MODELS = "--pivot-model {folder} --source-model {folder}"

# Program, its words and what the line names. {file} and {folder} exist and are not what is needed.
CASES = [
    # files that are not there
    ("agreement", "--scores no/such --output {out}", "--scores: no/such does not exist"),
    ("align_tokens", f"--pivot-logits no/such --source-logits {{file}} {MODELS}", "--pivot-logits"),
    ("answer", "--model no/such --model-id m --questions {file} --output {out}", "--model"),
    ("answer", "--model {folder} --model-id m --questions no/such --output {out}", "--questions"),
    ("calibrate_judge", "--votes no/such --judge rule --output {out}", "--votes"),
    ("case_study", f"--questions no/such {ROWS} --output {{out}}", "--questions"),
    ("claims", f"--scores {{file}} {ROWS} --nll no/such --output {{out}}", "--nll"),
    ("compare_released", "--released r=no/such --pivot {folder} --output {out}", "--released"),
    ("convert_checkpoint", "--checkpoint {folder} --checksums no/such", "--checksums"),
    ("doctor", "--configfile no/such", "--configfile: no/such does not exist"),
    ("dump_logits", "--model no/such --dialogues {file} --output {out}", "--model"),
    ("evaluate_tasks", "--model no/such --task a:0:acc --output {out}", "--model"),
    ("export_fastchat", "--questions no/such --answers {file} --output {out}", "--questions"),
    ("fetch_data", "--lock no/such --name a --output {out}", "--lock"),
    ("fetch_dataset", "--lock no/such --name a --output {out}", "--lock"),
    ("fetch_model", "--path no/such --output {out}", "--path"),
    ("fetch_questions", "--questions no/such --output {out}", "--questions"),
    ("figure_costs", "--benchmarks no/such --output {out}", "--benchmarks"),
    ("figure_nll", f"--nll no/such --against a {ROWS} --output {{out}}", "--nll"),
    ("fuse_distributions", "--pivot-logits {file} --source s=no/such --output {out}", "no/such"),
    ("import_logits", "--released no/such --model {folder} --dialogues {file}", "--released"),
    ("judge", "--judge rule --answers no/such --questions {file} --output {out}", "--answers"),
    ("leaderboard", f"--scores no/such --task a:documents:A {ROWS} --output {{out}}", "--scores"),
    ("map_vocabulary", f"--spans no/such {MODELS} --output {{out}}", "--spans"),
    ("measure_nll", "--model {folder} --dialogues no/such --output {out}", "--dialogues"),
    ("measure_variation", "--pivot no/such --target {folder} --output {out}", "no/such"),
    ("merge_varm", f"--pivot no/such {PAIR} --output {{out}}", "no/such"),
    ("plan", "--configfile {folder}/a.yaml", "a.yaml does not exist"),
    ("prepare_dialogues", "--mixture no/such --pivot-model {folder} --output {out}", "--mixture"),
    ("pretrain_source", "--dialogues no/such --text {file} --output {out}", "--dialogues"),
    ("score", "--judgments no/such --questions {file} --output {out}", "--judgments"),
    ("shard_dialogues", "--dialogues no/such --output {out}", "--dialogues"),
    ("show_results", "--run no/such", "no/such"),
    ("table1", "--scores no/such --baseline b --output {out}", "--scores"),
    ("train_target", "--pivot-model no/such --dialogues {file} --output {out}", "--pivot-model"),
    # files of another kind
    ("agreement", "--scores {file} --output {out}", "notes.txt"),
    ("answer", "--model {folder} --model-id m --questions {file} --output {out}", "notes.txt"),
    ("convert_checkpoint", "--checkpoint {folder} --checksums {file} --output {out}", "{folder}"),
    ("doctor", "--local --configfile {file}", "notes.txt"),
    ("dump_logits", "--model {folder} --dialogues {file} --output {out}", "notes.txt"),
    ("fetch_data", "--lock {file} --name a --output {out}", "notes.txt"),
    ("evaluate_tasks", "--model {folder} --task a:0:acc --output {out}", "{folder}"),
    ("fetch_dataset", "--lock {file} --name a --output {out}", "notes.txt"),
    ("fetch_model", "--path {folder} --output {out}", "{folder}"),
    ("fetch_model", "--lock {file} --output {out}", "--name"),
    ("fetch_questions", "--questions {folder} --output {out}", "{folder}"),
    ("fuse_distributions", "--pivot-logits {file} --source s={file} --output {out}", "notes.txt"),
    ("judge", "--judge rule --answers {file} --questions {file} --output {out}", "notes.txt"),
    ("merge_linear", f"--pivot {{folder}} {PAIR} --output {{out}}", "{folder}"),
    ("merge_sce", f"--pivot {{file}} {PAIR} --output {{out}}", "notes.txt"),
    ("leaderboard", f"--scores {{file}} --task a:documents:A {ROWS} --baseline b --output {{out}}",
     "notes.txt"),
    ("mergekit_yaml", "{file} {out}", "notes.txt"),
    ("mergekit_yaml", "no/such.yaml {out}", "no/such.yaml"),
    ("plan", "--configfile {file}", "notes.txt"),
    ("prepare_dialogues", "--mixture {file} --pivot-model {folder} --output {out} "
     "--heldout-output {out}.held", "{folder}"),
    ("shard_dialogues", "--dialogues {file} --output {out}", "notes.txt"),
    ("show_results", "--run {folder}", "{folder}"),
    ("table2", f"{SCORES} --output {{out}}", "notes.txt"),
    # the same file twice, however it is written
    ("figure_nll", f"--nll {{file}} {{file}} --against a {ROWS} --output {{out}}",
     "--nll: {file} is given twice"),
    ("figure_winners", f"--fused a={{file}},{{file}} --dialogues {{file}} {ROWS} --output {{out}}",
     "--fused: {file} is given twice"),
    ("fuse_distributions", "--pivot-logits {file} --source s={file} --source t={file} "
     "--output {out}", "--source: {file} is given twice"),
    ("judge_pairs", "--answers {file} {folder}/../notes.txt --baseline b --questions {file} "
     "--judge openai --output {out}", "--answers: {folder}/../notes.txt is given twice"),
    ("leaderboard", f"--scores {{file}} notes.txt --task a:documents:A {ROWS} --output {{out}} "
     "--baseline b",
     "--scores: notes.txt is given twice"),
    ("map_vocabulary", f"--spans {{file}} {{file}} {MODELS} --output {{out}}", "--spans: {file}"),
    ("report_alignment", f"--aligned {{file}} {{file}} --spans {{file}} --pivot-logits {{file}} "
     f"--source-logits {{file}} --vocabulary {{file}} {MODELS} --output {{out}}", "--aligned: "),
    ("score", "--judgments {file} {file} --questions {file} --output {out}", "--judgments: {file}"),
    ("train_target", "--pivot-model {folder} --dialogues {file} {file} --output {out} "
     "--checkpoints {out}", "--dialogues: {file} is given twice"),
    # folders for files, files for folders, nothing, and what cannot be written
    ("fetch_data", "--lock {folder} --name a --output {out}", "a folder is a folder, not a file"),
    ("make_mixture", "--seed 1 --mixture 9 --output {folder}", "{folder} is a folder; name a file"),
    ("make_mixture", "--seed 1 --mixture 9 --output {file}/m.parquet", "cannot be written"),
    ("make_mixture", "--seed 1 --mixture 9 --output /proc/m.parquet", "cannot be written: /proc"),
    ("make_world", "--seed 1 --output {file}", "notes.txt exists and is no folder"),
    ("make_world", "--seed 1 --output {file}/world", "world cannot be written"),
    ("make_world", "--seed 1 --output=", "--output: is empty; name a file or folder"),
    ("merge_varm", f"--pivot= {PAIR} --output {{out}}", "--pivot: is empty"),
    ("merge_varm", "--pivot {folder} --target= --output {out}", "--target"),
    ("mergekit_yaml", "{folder} {out}", "{folder}"),
    ("mergekit_yaml", "/dev/null {out}", "/dev/null"),
    ("plan", "--configfile {folder}", "{folder} is a folder, not a file"),
    ("plan", "--configfile /dev/null", "/dev/null is empty"),
    ("plan", "--configfile=", "--configfile: is empty"),
    ("score", "--judgments {folder} --questions {folder} --output {out}", "{folder} is a folder"),
    ("shard_dialogues", "--dialogues {folder} --output {out}", "{folder}"),
    ("show_results", "--run=", "--run: is empty"),
    ("update_readme", "--run {folder}", "{folder}"),
    # values
    ("answer", "--model {folder} --model-id m --questions {file} --output {out} --top-k 0",
     "--top-k"),
    ("answer", "--model {folder} --model-id m --questions {file} --output {out} --dtype int8",
     "--dtype"),
    ("dump_logits", "--model {folder} --dialogues {file} --output {out} --top-k 1.5", "--top-k"),
    ("dump_logits", "--model {folder} --dialogues {file} --output {out} --threads 0", "--threads"),
    ("dump_logits", "--model {folder} --dialogues {file} --output {out} --device tpu", "--device"),
    ("evaluate_tasks", "--model {folder} --task a --output {out}", "NAME:SHOTS:METRIC"),
    ("fetch_questions", "--commit main --output {out}", "--commit main"),
    ("fetch_questions", "--sha256 a=b --output {out}", "--sha256"),
    ("fuse_distributions", "--pivot-logits {file} --source {file} --output {out}", "NAME=PATH"),
    ("judge", "--judge rule --repeats -1 --answers {file} --questions {file}", "--repeats"),
    ("lock_models", "--model name --output {out}", "--model"),
    ("lock_models", "--output {out}", "--model"),
    ("make_mixture", "--seed 1 --mixture 0 --output {out}", "--mixture"),
    ("make_mixture", "--seed 1 --mixture 9 --wrong-answers nan --output {out}", "--wrong-answers"),
    ("make_mixture", "--seed 1 --mixture 9 --heldout 9 --output {out}", "heldout"),
    ("make_pretraining", "--seed 1 --name a --strong maths --output {out}", "--strong"),
    ("leaderboard", f"--scores {{file}} --task a:b:A {ROWS}", "documents|subtasks"),
    ("make_tasks", "--seed one --output {out}", "--seed"),
    ("make_world", "--seed one --output {out}", "--seed"),
    ("make_world", "--seed -1 --output {out}", "--seed: -1 is not an integer of at least 0"),
    ("make_world", "--seed 0x10 --output {out}", "--seed"),
    ("make_world", "--seed 4294967296 --output {out}", "at most 2147483647"),
    ("make_world", "--seed 1 --threads -2 --output {out}", "--threads: -2 is not"),
    ("make_world", "--seed --output {out}", "--seed: expected one argument"),
    ("make_world", "--seed 1 --questions 1 --questions 0 --output {out}", "--questions: 0"),
    ("make_world", "--seed 1 {out}", "--output"),
    ("make_mixture", "--seed 1 --mixture 1e3 --output {out}", "--mixture"),
    ("compare_released", "--released {folder} --pivot {folder} --output {out}", "NAME=PATH"),
    ("lock_models", "--model a=https://huggingface.co/a/b --output {out}", "--model"),
    ("merge_linear", "--pivot {folder} --target a={folder} --target a={file} --output {out}",
     "a is there twice"),
    ("merge_linear", f"--pivot {{folder}} {PAIR} --weight a=nan --weight b=1 --output {{out}}",
     "--weight"),
    ("plan", "--config =3", "--config"),
    ("plan", "--config trainin={{epochs:1}}", "did you mean 'training'?"),
    ("on_gpus", "1 no-such-program", "GPUs"),
    ("memory_efficiency", f"{ROWS} --fused c --source a={{folder}} --output {{out}}", "--fused"),
    ("merge_linear", f"--pivot {{folder}} {PAIR} --weight a=x --output {{out}}", "--weight"),
    ("merge_mergekit", f"--method average --pivot {{folder}} {PAIR}", "--method"),
    ("merge_mergekit", f"--method ties --density 2 --pivot {{folder}} {PAIR}", "--density"),
    ("merge_varm", "--pivot {folder} --target a --output {out}", "{folder}"),
    ("answer", "--modl {folder}", "unknown option --modl; did you mean --model?"),
    ("merge_varm", "--pivot {folder} --granulrity=layer", "did you mean --granularity?"),
    ("plan", "--configfiles {file} --confg a=b", "unknown option --configfiles"),
    ("mergekit_yaml", "{file} {out} --cudaa", "'--cudaa'"),
    ("merge_varm", f"--pivot {{folder}} {PAIR} --granularity tensor", "--granularity"),
    ("merge_varm", "--pivot {folder} --output {out}", "--target"),
    ("on_gpus", "none python", "gpus"),
    ("plan", "--config device", "--config"),
    ("plan", "--config device=tpu", "--config: device: 'tpu' is not one of cpu, cuda"),
    ("plan", "--gpus 0", "--gpus"),
    ("prepare_dialogues", "--mixture {file} --pivot-model {folder} --heldout -1", "--heldout"),
    ("shard_dialogues", "--dialogues {file} --output {out} --shards 0", "--shards"),
    ("train_target", "--pivot-model {folder} --learning-rate nan --output {out}",
     "--learning-rate"),
    ("train_target", "--pivot-model {folder} --epochs 0 --output {out}", "--epochs"),
    ("train_target", "--pivot-model {folder} --clm-weight 1.5 --output {out}", "--clm-weight"),
    ("table1", "--scores {file} --row Source --baseline b --output {out}", "--row"),
]  # fmt: skip


def test_ctrl_c_during_the_imports_is_one_line():
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program += "; from fusionchat import cli; signal.raise_signal(signal.SIGINT)"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=SCRIPTS, capture_output=True, text=True
    )
    assert run.returncode == -signal.SIGINT
    assert run.stderr == "error: stopped by SIGINT\n"


def said(program: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a wrong call prints, after checking how it ends."""
    with pytest.raises(SystemExit) as stop:
        cli.run(importlib.import_module(program).main, words)
    assert stop.value.code not in (0, None)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) <= 3
    assert "error: " in lines[-1]
    return lines[-1]


@pytest.mark.parametrize(("program", "words", "named"), CASES)
def test_a_wrong_call_is_named_in_one_line(program, words, named, tmp_path, monkeypatch, capsys):
    files = {"file": tmp_path / "notes.txt", "folder": tmp_path / "a folder", "out": "made/out"}
    files["file"].write_text("my notes\n")
    files["folder"].mkdir()
    monkeypatch.chdir(tmp_path)
    line = said(program, [word.format(**files) for word in words.split()], capsys)
    assert named.format(**files) in line
    assert sorted(tmp_path.iterdir()) == sorted([files["file"], files["folder"]])


@pytest.mark.parametrize("program", [name for name in PROGRAMS if name != "on_gpus"])
def test_an_option_that_does_not_exist_is_named(program, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert "--no-such-option" in said(program, ["--no-such-option=1"], capsys)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_says_how_a_program_is_called(program, capsys):
    code = None
    try:
        cli.run(importlib.import_module(program).main, ["--help"])
    except SystemExit as stop:
        code = stop.code
    assert not code
    said = capsys.readouterr()
    assert said.out.lower().startswith("usage: ")
    assert said.err == ""


def written_as(word: str) -> list[tuple[str, str]]:
    """Programs with an option for a new prefix or folder, by what its help says it is."""
    parsers = {name: importlib.import_module(name) for name in PROGRAMS}
    return [
        (name, action.option_strings[0])
        for name, module in parsers.items()
        for action in (module.build_parser()._actions if hasattr(module, "build_parser") else ())
        if action.dest in ("output", "figure", "output_folder") and word in action.help.split()
    ]


def test_an_ending_that_a_program_adds_itself_is_refused(capsys):
    """Or cmp.csv became cmp.csv.csv."""
    prefixes = written_as("prefix")
    assert len(prefixes) > 20
    for program, option in prefixes:
        for ending in (".csv", ".svg"):
            line = said(program, [option, f"made/cmp{ending}"], capsys)
            assert f"{option}: made/cmp{ending} is a prefix" in line
            assert f"leave out {ending}" in line
        for folder in ("made/", ".", ".."):
            assert f"{option}: {folder!r} is a folder" in said(program, [option, folder], capsys)


def test_a_folder_is_not_called_like_a_file(capsys):
    folders = [*written_as("folder"), *written_as("folder:"), *written_as("folder;")]
    for program, option in [*folders, ("shard_dialogues", "--output-folder")]:
        line = said(program, [option, "made/m.safetensors"], capsys)
        assert f"{option}: made/m.safetensors would be a folder" in line
    assert len(folders) > 12


def test_names_with_dots_remain():
    assert cli.prefix("v1.5/gpt-4.1") == Path("v1.5/gpt-4.1")
    assert cli.output_folder("Llama-3.1") == Path("Llama-3.1")
