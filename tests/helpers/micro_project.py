"""The project in a folder of its own with the micro configuration, for tests that run snakemake."""

import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import yaml
from forked_python import forked_python
from forked_snakemake import run_snakemake
from program_host import AS_ON_MACOS

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    "Snakefile",
    "config.yaml",
    "rules",
    "scripts",
    "schemas",
    "envs",
    "profiles",
    "slurm",
    "configs",
    "resources",
)

NAMED_TARGETS = ("all", "total", "logits", "aligned", "targets", "merges", "table1", "table2")
NAMED_TARGETS += ("figures",)

# A laptop of others: a path with a space, an apostrophe and letters that are not Latin, nothing
# that only Linux has, no home (nobody makes a folder below /proc, so neither HOME nor its caches
# can be written).
ODD = "it's my fusión 模型"
ELSEWHERE = {"PYTHONPATH": str(AS_ON_MACOS), "HOME": "/proc/nowhere", "LC_ALL": "C"}

AT_THE_START = {"PYTHONPATH", "HOME", "LC_ALL"}  # variables that Python reads when it starts

# Half of a small model's job is imports, for which a second core is of no use.
SIDE_BY_SIDE = ("--cores", "2", "--set-threads")
SIDE_BY_SIDE += tuple(
    f"{rule}=1" for rule in ("dump_logits", "train_target", "answer", "measure_nll")
)


@dataclass(frozen=True)
class Project:
    """A copy of the project with the micro configuration as `config.yaml`."""

    folder: Path

    def environment(self) -> dict[str, str]:
        """The environment of snakemake: this interpreter's packages."""
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
        }

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        """Start snakemake in the project's folder, `more` added to its environment."""
        return subprocess.Popen(
            [Path(sys.executable).parent / "snakemake", *arguments],
            cwd=self.folder,
            env=self.environment() | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def snakemake(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run snakemake to its end, `more` added to its environment."""
        if AT_THE_START.isdisjoint(more):
            return subprocess.CompletedProcess(
                arguments, *run_snakemake(self.folder, arguments, self.environment() | more)
            )
        process = self.start(*arguments, **more)
        out, err = process.communicate()
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def make(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """`snakemake`, with the programs in forks of one process, which spares their imports."""
        start = {name: more[name] for name in AT_THE_START & more.keys()}
        path = f"{forked_python(**start)}:{self.environment()['PATH']}"
        return self.snakemake(*arguments, **more, PATH=path)

    def planned(self, *arguments: str) -> Counter[str]:
        """Jobs by rule that a dry run plans, local bookkeeping targets left out."""
        run = self.snakemake("--dry-run", *arguments)
        assert run.returncode == 0, run.stdout + run.stderr
        return job_counts(run.stdout + run.stderr)

    @property
    def results(self) -> Path:
        """Where the micro run's files are."""
        return self.folder / "results" / "micro"


def job_counts(text: str) -> Counter[str]:
    """The table of jobs that snakemake prints, without the named targets and the total."""
    counts: Counter[str] = Counter()
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("job ") and line.split() == ["job", "count"]:
            counts.clear()
            next(lines)
            for row in lines:
                if not row.strip():
                    break
                rule, count = row.split()
                counts[rule] = int(count)
    for name in NAMED_TARGETS:
        counts.pop(name, None)
    return counts


def copy_project(folder: Path) -> Project:
    """The project's own files, with the micro configuration in place of the demo's."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            # With the compiled loops, 20 CPU seconds of numba; nothing half written.
            ignore = shutil.ignore_patterns("*.pyc*", "*.tmp.*", "*.egg-info")
            shutil.copytree(source, folder / part, ignore=ignore)
        elif source.exists():
            shutil.copy2(source, folder / part)
    shutil.copy2(ROOT / "tests" / "workflow" / "micro.yaml", folder / "config.yaml")
    return Project(folder)


def planned_command(project: Project, name: str, config: dict, output: str) -> str:
    """The shell command of the job that makes a file, in a dry run of an edited configuration."""
    (project.folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    run = project.snakemake("--configfile", f"{name}.yaml", "-n", "-p", output)
    assert run.returncode == 0, run.stderr
    return (run.stdout + run.stderr).rpartition("--output")[0].rpartition("\n")[2]
