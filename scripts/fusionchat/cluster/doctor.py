"""Is this place ready for a run? Each check says what it found and, where it failed, the fix."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PINNED = re.compile(r'^ +"([\w.-]+)==([\w.]+)",$', re.MULTILINE)
SLOW = 2.0  # seconds for a small file
PROBE = (
    "import os, torch; n = torch.cuda.device_count(); "
    "print('visible', os.environ.get('CUDA_VISIBLE_DEVICES', 'none'), 'cuda', n, "
    "'bf16', n > 0 and torch.cuda.is_bf16_supported())"
)


@dataclass(frozen=True)
class Finding:
    """What one check found; without a fix all is well."""

    check: str
    found: str
    fix: str = ""


def output(*command: str, seconds: float = 60) -> tuple[int, str]:
    """Exit code and text of a command; 127 where there is no such program."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except FileNotFoundError:
        return 127, f"{command[0]} is not installed"
    except subprocess.TimeoutExpired:
        return 124, f"no answer in {seconds:.0f} s"
    return done.returncode, (done.stdout or done.stderr).strip()


def versions(pyproject: Path) -> Iterator[Finding]:
    """Installed packages against the pinned ones."""
    wrong = []
    for name, wanted in PINNED.findall(pyproject.read_text(encoding="utf-8")):
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "missing"
        if found.partition("+")[0] != wanted and name not in ("pytest", "ruff", "snakefmt"):
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
    """Free space against what the plan says."""
    free = shutil.disk_usage(folder).free / 1e9
    fix = "free some, or put results/ on a larger file system" if free < needed_gb else ""
    yield Finding("disk", f"{free:,.0f} GB free, {needed_gb:,.1f} GB planned", fix)


def hub(repos: Mapping[str, str], models: Path) -> Iterator[Finding]:
    """The hub answers, unless every model is here already."""
    absent = [name for name in repos if not (models / name / "manifest.json").is_file()]
    if not absent:
        yield Finding("hub", "all models are here" if repos else "no model comes from the hub")
        return
    url = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    code, _ = answer_to(f"{url}/api/models/{repos[absent[0]]}", None)
    fix = (
        f"run `snakemake fetched` where {url} answers; gated repositories need HF_TOKEN"
        if code != "200"
        else ""
    )
    yield Finding("hub", f"{url} answers {code}; to fetch: {', '.join(absent)}", fix)


def judges(configured: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Each judge's endpoint answers and knows its model."""
    for name, judge in configured.items():
        if judge["kind"] != "openai":
            yield Finding(f"judge {name}", "a program, always there")
            continue
        key = os.environ.get(judge["api_key_env"])
        code, text = answer_to(f"{judge['base_url'].rstrip('/')}/models", key)
        found = f"{judge['base_url']} answers {code}"
        if code == "200":
            served = f'"{judge["model"]}"' in text
            fix = (
                "" if served else f"{judge['model']} is not served there; start it or name another"
            )
        elif code == "401":
            fix = f"set {judge['api_key_env']} to a valid key"
        else:
            fix = f"start the judge (docs/judges.md), or check mt_bench.judges.{name}.base_url"
        yield Finding(f"judge {name}", found, fix)


def answer_to(url: str, key: str | None) -> tuple[str, str]:
    """Status and text of a GET request, or why there are none. The key is never shown."""
    import httpx2

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        reply = httpx2.get(url, headers=headers, timeout=15)
    except httpx2.HTTPError as error:
        return type(error).__name__, ""
    return str(reply.status_code), reply.text


def slurm(profile: Mapping[str, Any], gpus: int, python: str) -> Iterator[Finding]:
    """Commands, status query, account, partitions, and a short job that sees its GPUs."""
    lacking = [c for c in ("sbatch", "squeue", "scancel", "sinfo", "srun") if not shutil.which(c)]
    if lacking:
        yield Finding("SLURM", f"no {', '.join(lacking)}", "run this where jobs are submitted")
        return
    yield from _status(profile)
    yield from _places(profile)
    yield from _gpu_job(profile, gpus, python)


def _status(profile: Mapping[str, Any]) -> Iterator[Finding]:
    query = profile.get("slurm-status-command", "sacct")
    code, text = output(query, "--noheader")
    fix = (
        "" if code == 0 else "without accounting set `slurm-status-command: squeue` in the profile"
    )
    yield Finding("status query", f"{query} answers" if code == 0 else f"{query}: {text}", fix)


def _places(profile: Mapping[str, Any]) -> Iterator[Finding]:
    account = str(profile.get("default-resources", {}).get("slurm_account", ""))
    if not profile.get("slurm-no-account") and account:
        code, text = output("sacctmgr", "-nP", "show", "assoc", "format=account")
        known = code == 0 and account in text.split()
        fix = "" if known else "name one of these as slurm_account, or set slurm-no-account: true"
        listing = ", ".join(sorted(set(text.split()))) if code == 0 else text
        yield Finding("account", f"{account}: {listing if not known else 'known'}", fix)
    known_partitions = set(output("sinfo", "--noheader", "--format=%R")[1].split())
    for partition in sorted(partitions(profile)):
        known = set(partition.split(",")) <= known_partitions
        fix = "" if known else f"name one of {', '.join(sorted(known_partitions))}"
        yield Finding("partition", f"{partition}: {'known' if known else 'unknown'}", fix)


def partitions(profile: Mapping[str, Any]) -> set[str]:
    """Every partition that a profile names."""
    groups = [profile.get("default-resources", {}), *profile.get("set-resources", {}).values()]
    return {str(group["slurm_partition"]) for group in groups if "slurm_partition" in group}


def gpu_job(profile: Mapping[str, Any], gpus: int) -> list[str]:
    """The srun command line of a GPU job as the profile would submit it."""
    resources = dict(profile.get("default-resources", {}))
    resources |= profile.get("set-resources", {}).get("dump_logits", {})
    model = f"{resources['gpu_model']}:" if "gpu_model" in resources else ""
    words = ["srun", "--nodes=1", "--ntasks=1", f"--gpus={model}{gpus}", "--mem=4000", "--time=5"]
    if not profile.get("slurm-no-account") and "slurm_account" in resources:
        words.append(f"--account={resources['slurm_account']}")
    if "slurm_partition" in resources:
        words.append(f"--partition={resources['slurm_partition']}")
    return words


def _gpu_job(profile: Mapping[str, Any], gpus: int, python: str) -> Iterator[Finding]:
    if gpus == 0:
        yield Finding("GPU job", "the configuration asks for no GPU")
        return
    words = gpu_job(profile, gpus)
    code, text = output(*words, python, "-c", PROBE, seconds=600)
    found = re.search(r"visible (\S+) cuda (\d+) bf16 (\w+)", text)
    yield from _judge_gpus(" ".join(words), gpus, found if code == 0 else None, text)


def _judge_gpus(
    command: str, gpus: int, found: re.Match[str] | None, text: str
) -> Iterator[Finding]:
    if not found:
        reason = text.splitlines()[-1] if text else "no output"
        yield Finding("GPU job", f"`{command}`: {reason}", "try that line by hand")
        return
    visible = 0 if found[1] == "none" else len(found[1].split(","))
    given = "" if visible == gpus else "the partition gives no GPUs by --gpus; ask the site"
    yield Finding("GPU job", f"asked for {gpus}, sees {visible} (`{command}`)", given)
    usable = int(found[2]) == gpus and found[3] == "True"
    fix = "" if usable else "torch cannot use them: install its CUDA build, or set device: cpu"
    yield Finding("CUDA and bf16", f"torch sees {found[2]}, bf16 {found[3]}", fix)


def report(findings: Sequence[Finding]) -> str:
    """One line a finding, fixes below."""
    lines = []
    for item in findings:
        lines.append(f"{'FAIL' if item.fix else ' ok '}  {item.check}: {item.found}")
        if item.fix:
            lines.append(f"      fix: {item.fix}")
    return "\n".join(lines)


def gather(*checks: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """Run the checks one after the other."""
    return [finding for check in checks for finding in check()]
