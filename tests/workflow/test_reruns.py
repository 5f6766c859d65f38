"""What a dry run plans after a change is exactly what depends on it."""

import re
import shutil
from pathlib import Path

import yaml

from fusionchat.files import read_json

TABLES = {"score": 1, "write_table1": 1}


def evaluation(models: int) -> dict[str, int]:
    """Jobs that rate so many models: answers, held-out NLL (a column of Table 1), judgments."""
    return {"answer": models, "measure_nll": models, "judge": models}


def edit_config(folder: Path, change) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    change(config)
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def test_a_finished_run_has_nothing_to_do(finished):
    run = finished.snakemake("--dry-run")
    assert run.returncode == 0
    assert "Nothing to be done" in run.stdout + run.stderr


def test_a_run_that_ends_leaves_the_locks_of_another(clone):
    """Or `snakemake check` beside a run would let a third write the same files."""
    others = clone.folder / ".snakemake" / "locks" / "0.output.lock"
    others.parent.mkdir(parents=True)
    others.write_text("results/demo/report.html\n")
    run = clone.snakemake("write_config")
    assert run.returncode == 0, run.stderr
    assert list(others.parent.iterdir()) == [others]
    run = clone.snakemake("report")
    assert run.returncode == 1
    assert "Directory cannot be locked" in run.stdout + run.stderr
    assert clone.snakemake("--unlock").returncode == 0
    assert not others.exists()


def test_a_damaged_model_is_found_whenever_snakemake_is_asked(project):
    run = project.snakemake("check")
    assert run.returncode == 0, run.stdout + run.stderr
    weights = project.results / "merged" / "varm" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    run = project.snakemake("check")
    assert run.returncode == 1
    named = "error: results/micro/merged/varm/model.safetensors was changed or cut off"
    assert named in run.stdout + run.stderr
    shutil.rmtree(weights.parent)
    assert project.snakemake("check").returncode == 0


def test_a_deleted_merge_reruns_its_branch_only(project):
    shutil.rmtree(project.results / "merged" / "ties")
    planned = project.planned("table1")
    assert planned == {"merge_mergekit": 1, **evaluation(1), **TABLES}


def test_a_changed_weight_reruns_that_merge_only(project):
    def change(config):
        config["merges"]["linear"]["targets"]["from_deep"] = 3

    edit_config(project.folder, change)
    planned = project.planned("table1")
    assert planned == {"merge_linear": 1, **evaluation(1), **TABLES}


def test_touching_programs_reruns_nothing(project):
    for file in (project.folder / "scripts").rglob("*.py"):
        file.touch()
    assert not project.planned()


def test_editing_the_merging_code_reruns_merging_and_what_follows(project):
    program = project.folder / "scripts" / "merge_varm.py"
    program.write_text(program.read_text() + "\n# edited\n")
    planned = project.planned("table1")
    assert planned == {"merge_varm": 2, **evaluation(2), **TABLES}


def test_a_fourth_source_adds_its_own_branch_and_the_merges_that_list_it(project):
    def change(config):
        config["models"]["fourth"] = dict(config["models"]["moe"])
        config["targets"]["from_fourth"] = {"sources": ["fourth"]}
        config["merges"]["varm"]["targets"]["from_fourth"] = 1

    edit_config(project.folder, change)
    planned = project.planned("table1")
    shards = 2
    assert planned == {
        "make_pretraining": 1,
        "pretrain_source": 1,
        "dump_logits": shards,
        "align_tokens": shards,
        "map_vocabulary": 1,
        "transfer_logits": shards,
        "report_alignment": 1,
        "fuse_distributions": shards,
        "train_target": 1,
        "measure_variation": 1,
        "merge_varm": 1,
        "figure_winners": 1,  # Table 1 names sources that never teach
        **evaluation(3),
        **TABLES,
    }


def test_a_wrong_config_stops_with_one_message_before_any_job(project):
    def change(config):
        config["merges"]["varm"]["granularity"] = "tensor"

    edit_config(project.folder, change)
    run = project.snakemake("table1")
    assert run.returncode == 1
    text = run.stdout + run.stderr
    assert "merges.varm.granularity: 'tensor' is not one of model, layer, module" in text
    assert "Traceback" not in text
    assert not re.search(r"^rule ", text, re.MULTILINE)


def test_merges_in_bfloat16_run_anew_and_the_report_says_what_rounding_took(project):
    def change(config):
        config["precision"] = {"merge": "bfloat16"}

    edit_config(project.folder, change)
    planned = project.planned("table1")
    merges = {"merge_linear": 2, "merge_mergekit": 1, "merge_varm": 2}
    assert planned == {**merges, **evaluation(5), **TABLES}
    run = project.make("--cores", "2")
    assert run.returncode == 0, run.stdout + run.stderr
    _, table, page = (
        (project.results / "report.html").read_text().rpartition("Rounding of the merged")
    )
    assert table
    for name in ("linear", "varm"):
        rounding = read_json(project.results / "merged" / name / "manifest.json")["rounding"]
        lost = [f"{100 * rounding['lost'][key]:.1f}%" for key in ("norm", "elements")]
        assert rounding["lost"]["norm"] > 0
        row = re.search(rf"<tr>\s*<t[dh][^>]*>{name}</t[dh]>.*?</tr>", page, re.DOTALL)
        assert row is not None
        assert "bfloat16" in row[0]
        assert all(share in row[0] for share in lost)
