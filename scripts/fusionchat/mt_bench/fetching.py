"""Files from the web at a locked commit, with the checksums that they must have."""

import hashlib
import logging
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from fusionchat.errors import UserError

TRIES = 4
# MT-Bench's data in FastChat's repository: our name, path there, sha256 at the locked commit.
BASE_URL = "https://raw.githubusercontent.com/lm-sys/FastChat"
COMMIT = "0e6d3e4beaab66f4d3f93db72541a4abab8af28d"
DATA = "fastchat/llm_judge/data"
PATHS = {
    "question.jsonl": f"{DATA}/mt_bench/question.jsonl",
    "judge_prompts.jsonl": f"{DATA}/judge_prompts.jsonl",
    "references.jsonl": f"{DATA}/mt_bench/reference_answer/gpt-4.jsonl",
}
CHECKSUMS = {
    "question.jsonl": "119565adbab82227089cefdb44c8d7e2cf04dc0a0ec233634c82e7d4e2a944f7",
    "judge_prompts.jsonl": "fd283293406d024f44c174b094ef48031d0687a4682fd3a56b29b138f80281b6",
    "references.jsonl": "f957a5bc977badb66885ec970e6cd08527845780313f0995764260e5777b9b3f",
}
# Where the same files lie in a local folder; FastChat's own layout is accepted as well.
LOCAL_NAMES = {
    "question.jsonl": ("question.jsonl", "mt_bench/question.jsonl"),
    "judge_prompts.jsonl": ("judge_prompts.jsonl",),
    "references.jsonl": (
        "references.jsonl",
        "reference_answer/gpt-4.jsonl",
        "mt_bench/reference_answer/gpt-4.jsonl",
    ),
}


def address(name: str, base: str = BASE_URL, commit: str = COMMIT) -> str:
    """Where one of the benchmark's files is published."""
    return f"{base}/{commit}/{PATHS[name]}"


def download(url: str, expected_sha256: str | None, first_wait: float = 1.0) -> bytes:
    """The content at a URL; a wrong checksum or an unreachable server is a `UserError`.

    Broken connections and a server's own failures are tried again, with growing pauses.
    """
    problem = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(first_wait * 2 ** (attempt - 1))
        try:
            with urllib.request.urlopen(url, timeout=60) as reply:
                data = reply.read()
            check(data, expected_sha256, url)
            return data
        except urllib.error.HTTPError as error:
            problem = f"status {error.code}"
            if error.code < 500 and error.code != 429:
                break
        except (OSError, HTTPException) as error:
            problem = str(error) or type(error).__name__
        logging.info("%s: %s", url, problem)
    raise UserError(f"{url}: cannot be downloaded ({problem})")


def check(data: bytes, expected_sha256: str | None, where: object) -> None:
    """Raise a `UserError` when the content is not the locked one."""
    actual = hashlib.sha256(data).hexdigest()
    if expected_sha256 is not None and actual != expected_sha256:
        raise UserError(
            f"{where}: has sha256 {actual}, but {expected_sha256} is locked; "
            "the file has changed or is damaged"
        )


def local_files(folder: Path) -> list[str]:
    """The benchmark's files that lie in a local folder."""
    paths = [folder / relative for names in LOCAL_NAMES.values() for relative in names]
    return [str(path) for path in paths if path.is_file()]


def read_local(folder: Path, name: str) -> bytes:
    """One of the benchmark's files from a local folder."""
    for relative in LOCAL_NAMES[name]:
        if (folder / relative).is_file():
            return (folder / relative).read_bytes()
    raise UserError(f"{folder}: holds none of {', '.join(LOCAL_NAMES[name])}")
