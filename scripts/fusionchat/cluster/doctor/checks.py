"""Is this place ready for a run? Each check says what it found and, where it failed, the fix."""

import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fusionchat.experiment import Experiment
from fusionchat.files import read_text
from fusionchat.origins import Origins

SLOW = 2.0  # seconds for a small file


@dataclass(frozen=True)
class Finding:
    """What one check found; without a fix all is well, and a warning does not stop a run."""

    check: str
    found: str
    fix: str = ""
    warning: bool = False


def output(*command: str, seconds: float = 60) -> tuple[int, str]:
    """Exit code and text of a command; 127 where there is no such program, 124 without answer.

    A command that does not end is told to: an srun that were killed would leave its job behind.
    """
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    except FileNotFoundError:
        return 127, f"{command[0]} is not installed"
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.communicate()
        return 124, f"no answer in {seconds:.0f} s"
    return process.returncode, (out or err).strip()


def last_line(text: str) -> str:
    """The end of what a program said, which names the trouble."""
    return text.splitlines()[-1].strip() if text else "no output"


def versions(pyproject: Path) -> Iterator[Finding]:
    """Installed packages against the pinned ones that a run imports; extras are for developers.

    An environment that Snakemake made holds what its own programs import, as pinned.
    """
    if ".snakemake" in Path(sys.prefix).parts:
        yield Finding("versions", "an environment that snakemake made")
        return
    wrong = []
    for text in tomllib.loads(read_text(pyproject))["project"]["dependencies"]:
        name, _, wanted = text.partition("==")
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "missing"
        if wanted and found.partition("+")[0] != wanted:
            wrong.append(f"{name} {found} instead of {wanted}")
    fix = "install the pinned ones: pip install --editable ." if wrong else ""
    yield Finding("versions", "; ".join(wrong) or "as pinned", fix)


def file_system(folder: Path) -> Iterator[Finding]:
    """Time to write a small file durably and to list it."""
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".doctor-{os.getpid()}"
    start = time.perf_counter()
    with probe.open("wb") as stream:
        stream.write(bytes(1 << 20))
        os.fsync(stream.fileno())
    there = probe.name in os.listdir(folder)
    probe.unlink()
    seconds = time.perf_counter() - start
    bad = seconds > SLOW or not there
    fix = "raise latency-wait in the profile, or work on another file system" if bad else ""
    yield Finding("file system", f"1 MB written and listed in {seconds:.2f} s", fix)


def disk(folder: Path, needed_gb: float) -> Iterator[Finding]:
    """Free space against what the plan says, the checkpoints of trainings side by side included."""
    free = shutil.disk_usage(folder).free / 1e9
    fix = "free some, or put results/ on a larger file system" if free < needed_gb else ""
    yield Finding("disk", f"{free:,.0f} GB free, {needed_gb:,.1f} GB planned", fix)


def from_hub(experiment: Experiment, folder: Path) -> dict[str, Path]:
    """What a run takes from the hub, and where it then lies below `folder`."""
    origins = Origins(experiment)
    places = {
        f"models/{origin['repo']}": experiment.manifest(name)
        for name, origin in origins.models.items()
        if "repo" in origin
    }
    data = experiment.config["data"]
    if "repo" in data and experiment.trained:
        places[f"datasets/{data['repo']}"] = origins.mixture()
    for name, task in origins.task_data.items():
        places[f"datasets/{task['repo']}"] = origins.task_manifest(name)
    for name, origin in origins.answers.items():
        (places[f"spaces/{origin['repo']}"],) = origins.published(name)
    return _below(folder, places)


def from_web(experiment: Experiment, folder: Path) -> dict[str, Path]:
    """What a run takes from fixed addresses, and where it then lies below `folder`."""
    return _below(folder, Origins(experiment).downloads)


def _below(folder: Path, places: Mapping[str, str]) -> dict[str, Path]:
    return {name: folder / Path(path).relative_to("results") for name, path in places.items()}


def web(wanted: Mapping[str, Path]) -> Iterator[Finding]:
    """The files at fixed addresses that are not here already can be had."""
    absent = [url for url, path in wanted.items() if not path.is_file()]
    with ThreadPoolExecutor(8) as pool:
        codes = dict(zip(absent, pool.map(_status, absent), strict=True))
    refused = [f"{url} {code}" for url, code in codes.items() if code != "200"]
    fix = "run `snakemake fetched` where these addresses answer" if refused else ""
    if any(codes[url] != "200" and "mt_bench" in wanted[url].parts for url in absent):
        fix += ", or set mt_bench.questions to a folder with MT-Bench's files"
    found = f"{len(absent)} to fetch" if absent else "all files are here"
    found = found if wanted else "nothing is downloaded"
    yield Finding("downloads", "; ".join([found, *refused]), fix)


def _status(url: str) -> str:
    """The status of a file that is not read, or why there is none."""
    import httpx2

    try:
        return str(httpx2.head(url, timeout=15, follow_redirects=True).status_code)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        return type(error).__name__


def hub(wanted: Mapping[str, Path]) -> Iterator[Finding]:
    """The hub gives what is not here already."""
    absent = [name for name, path in wanted.items() if not path.is_file()]
    if not absent:
        yield Finding("hub", "all files are here" if wanted else "nothing comes from the hub")
        return
    url = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    with ThreadPoolExecutor(8) as pool:  # a network that swallows requests costs one wait
        answers = pool.map(lambda n: _answer(f"{url}/api/{n}", os.environ.get("HF_TOKEN")), absent)
        codes = {name: answer[0] for name, answer in zip(absent, answers, strict=True)}
    refused = [f"{name} {code}" for name, code in codes.items() if code != "200"]
    fix = (
        f"run `snakemake fetched` where {url} answers; for 401 and 403 accept the repository's "
        "terms and set HF_TOKEN"
        if refused
        else ""
    )
    found = f"{len(absent)} to fetch" + (f"; {', '.join(refused)}" if refused else "")
    yield Finding("hub", f"{url}: {found}", fix)


def endpoints(configured: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Each judge, and each compared model behind an API, answers and serves its model."""
    for key, entry in configured.items():
        if entry.get("kind") == "rule":
            yield Finding(key, "a program, always there")
            continue
        url = f"{entry['base_url'].rstrip('/')}/models"
        code, answer = _answer(url, os.environ.get(entry["api_key_env"]))
        listed = answer.get("data")
        served = [
            str(model["id"])
            for model in (listed if isinstance(listed, list) else [])
            if isinstance(model, dict) and "id" in model
        ]
        fix = {
            "200": "" if entry["model"] in served else _not_served(entry["model"], served),
            "401": f"set {entry['api_key_env']} to a valid key",
        }.get(code, f"start it (docs/judges.md), or check {key}.base_url")
        yield Finding(key, f"{url} answers {code}", fix)


def all_endpoints(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Judges, and compared models behind an API, by their key in the configuration."""
    judges = {f"mt_bench.judges.{n}": judge for n, judge in config["mt_bench"]["judges"].items()}
    compared = config["comparisons"].items()
    return judges | {f"comparisons.{n}.api": e["api"] for n, e in compared if "api" in e}


def _not_served(model: str, served: Sequence[str]) -> str:
    some = ", ".join(served[:8]) or "nothing"
    return f"{model} is not served there; start it (docs/judges.md) or name another: {some}"


def _answer(url: str, key: str | None) -> tuple[str, dict[str, Any]]:
    """Status and JSON object of a GET request, or why there is none. The key is never shown."""
    import httpx2

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        response = httpx2.get(url, headers=headers, timeout=15, follow_redirects=True)
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:  # a key that is no header
        return type(error).__name__, {}
    try:
        content = response.json()
    except ValueError:
        content = None
    return str(response.status_code), content if isinstance(content, dict) else {}


def report(findings: Sequence[Finding]) -> str:
    """One line a finding, fixes below."""
    lines = []
    for item in findings:
        state = ("warn" if item.warning else "FAIL") if item.fix else " ok "
        lines.append(f"{state}  {item.check}: {item.found}")
        if item.fix:
            lines.append(f"      fix: {item.fix}")
    return "\n".join(lines)


def gather(*checks: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """Run the checks one after the other."""
    return [finding for check in checks for finding in check()]
