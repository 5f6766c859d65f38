"""The workflow's first stages where a laptop differs from the machines that it is developed on."""

from micro_project import copy_project
from program_host import AS_ON_MACOS

from fusionchat.files import read_json


def test_without_linux_in_an_odd_path_without_a_home_in_the_c_locale(tmp_path):
    """Nobody makes a folder below /proc, so neither HOME nor its caches can be written."""
    project = copy_project(tmp_path / "my fusión 模型" / "project")
    run = project.snakemake(
        *("--cores", "2", "results/micro/logits/pivot/0000.parquet"),
        **{"PYTHONPATH": str(AS_ON_MACOS), "HOME": "/proc/nowhere", "LC_ALL": "C"},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert read_json(project.results / "logits" / "pivot" / "0000.json")["not_finite"] == []
