"""Fixtures that several test folders share."""

import gc
import os
import shutil
from collections.abc import Callable
from pathlib import Path, PurePath

import pytest
import real_models
from filelock import FileLock
from micro_project import ELSEWHERE, ODD, Project, copy_project
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from fusionchat.files import read_json

gc.disable()  # until all is imported: the search for cycles is a fifth of the collection's time
ROOT = Path(__file__).resolve().parent.parent
# Modules of tests/unit that train, load or merge many models, draw, simulate, or start programs or
# servers: not quick.
SLOW = frozenset(
    """test_alignment_programs test_alignment_report test_templates test_doctor
    test_doctor_network test_on_gpus test_dump test_dump_logits test_import_logits
    test_real_model test_architectures test_belongings test_checkpoint_audit
    test_merge_programs test_merge_drills test_mergekit_configs test_mergekit_parity
    test_mergekit_varm test_precision test_released test_sce test_variation
    test_damaged_inputs test_hub test_load_tokenizer test_model_folder
    test_real_models test_remote_code test_token_table test_calibrate_judge
    test_judging_batches test_judging_drills test_judging_limits
    test_mt_bench_answer test_mt_bench_generation test_mt_bench_models
    test_mt_bench_judge test_server_behaviours test_any_laptop test_output_programs
    test_python_page test_wrong_invocations test_figure_layout test_figures
    test_report test_tables test_table1_numbers test_table_formats test_case_study
    test_memory_efficiency test_training_seeds test_interrupted_training
    test_checkpointing test_fused_forward test_target_folder test_train_target
    test_pretraining test_world_tokenizer test_secrets test_pairwise test_names
    test_envs test_evaluate_tasks test_leaderboard test_statistics""".split()
)

REAL = frozenset({"smollm2", "real_tokenizer"})  # fixtures of tests that are not quick, either


def quick(path: Path) -> bool:
    """Whether `-m quick` runs a module of tests."""
    return "unit" in path.parts and path.stem not in SLOW


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Spare `-m quick` the imports of what it leaves out, which take longer than its tests."""
    left_out = collection_path.suffix == ".py" and not quick(collection_path)
    return True if config.option.markexpr == "quick" and left_out else None


LONG = ("slurm", "workflow")  # folders whose tests run in one process each, and begin first
OWN = ("test_real_chat_llm", "test_small_models")  # but these have runs of their own


class SideBySide(LoadScopeScheduling):
    """SLURM's drills in one test process, what shares a workflow's run in another, else modules."""

    def _split_scope(self, nodeid: str) -> str:
        module = PurePath(nodeid.split("::")[0])
        together = module.parent.name in LONG and module.stem not in OWN
        return module.parent.name if together else str(module)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> SideBySide:
    """How `pytest -n` shares the tests out."""
    return SideBySide(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `-m quick` runs and what needs SLURM, and put the long ones first."""
    for item in items:
        if item.path.parent.name == "slurm":
            item.add_marker("slurm")
        if quick(item.path) and REAL.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("quick")
    items.sort(key=lambda item: item.path.parent.name not in LONG)


def pytest_collection_finish() -> None:
    """Look for cycles again, but never among what is imported."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def _settled() -> None:
    """Nor among what earlier modules left: what they imported, and what libraries keep."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of golden vectors; GOLDEN_DIR names another one of the same layout."""
    return Path(os.environ.get("GOLDEN_DIR", ROOT / "tests" / "golden"))


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """A folder with the real SmolLM2-135M-Instruct, or the test is skipped."""
    return real_models.smollm2()


@pytest.fixture(scope="session")
def real_tokenizer() -> Callable[[str], Path]:
    """`real_tokenizer("llama2")`: a folder with that LLM's tokenizer, or the test is skipped."""
    return real_models.real_tokenizer


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The whole DAG of the micro configuration, run to its end once for all test processes.

    The run is made as on another machine; what tests do with it afterwards is done as on this one.
    """
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "finished"
    folder.mkdir(exist_ok=True)
    done = folder / "done"
    with FileLock(folder / "lock"):
        if not done.exists():
            shutil.rmtree(folder / ODD, ignore_errors=True)
            project = copy_project(folder / ODD)
            run = project.make("--cores", "2", **ELSEWHERE)
            assert run.returncode == 0, run.stdout + run.stderr
            done.touch()
    return Project(folder / ODD)


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished run that a test may change."""
    shutil.copytree(finished.folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")


@pytest.fixture
def manifest_of(finished: Project):
    """Reads a manifest of the finished run."""
    return lambda name: read_json(finished.results / name / "manifest.json")
