"""Downloads from the Hugging Face Hub that are locked: a commit, and the sha256 of every file.

`HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE` work as everywhere. The hub's own download keeps
nothing of a file that was cut off, so partial files are kept here and continued.
"""

import fnmatch
import hashlib
import json
import logging
import os
import re
import time
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff
from huggingface_hub.utils import logging as hub_logging

from fusionchat.errors import UserError
from fusionchat.files import MARKER, read_json, sha256
from fusionchat.models.checkpoint import refuse_quantised

hub_logging.set_verbosity_error()  # its warnings quote whole addresses, which may hold secrets
COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
ATTEMPTS = 5
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
PICKLES = ("pytorch_model*.bin", "pytorch_model*.bin.index.json")
SUPPORT = (
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template*",
)
DATA = ("README.md", "*.parquet", "*.json", "*.jsonl", "*.csv")
NOT_OURS = ("consolidated*",)  # the weights once more, in their author's own format


def lock(
    repo: str, revision: str | None, kind: str, file: str | None = None, code: bool = False
) -> dict[str, Any]:
    """What a name means today: `{"repo", "kind", "revision", "files": {name: {sha256, size}}}`.

    `kind` is `model`, `dataset` or `space`; of the last two `file` is taken, of a data set without
    `file` its card and all data, never code; of a model the safetensors and what belongs to them,
    or, without any, the pickles for convert_checkpoint.
    With `code` a model's own modelling code is taken as well, and the entry says so.
    """
    try:
        info = HfApi().repo_info(repo, revision=revision, repo_type=kind, files_metadata=True)
    except (HfHubHTTPError, HFValidationError, httpx2.HTTPError, OSError) as error:
        raise UserError(
            f"{repo} at {revision or 'its newest revision'}: {_reason(error)}"
        ) from error
    commit = info.sha or ""
    if not COMMIT.fullmatch(commit) or (COMMIT.fullmatch(revision or "") and commit != revision):
        raise UserError(f"{repo}: the hub answers with commit {commit!r} for {revision!r}")
    entries = {entry.rfilename: entry for entry in info.siblings or []}
    choose = data_files if kind == "dataset" else chosen_files
    names = [file] if file else choose(list(entries))
    if code:
        names += sorted(name for name in entries if name.endswith(".py") and "/" not in name)
    if not names or not set(names) <= entries.keys():
        weights, data = "weights in safetensors or .bin files", "data in Parquet, JSON or CSV files"
        raise UserError(
            f"{repo} at {commit} has no {file or (data if kind == 'dataset' else weights)}"
        )
    if kind == "model" and not code and "config.json" in names:
        _refuse_foreign_architecture(repo, commit)
    files = {}
    for name in names:
        files[name] = _locked_file(repo, commit, kind, entries[name])
    runs = {"remote_code": True} if code else {}
    return {"repo": repo, "kind": kind, "revision": commit, "files": files} | runs


def _refuse_foreign_architecture(repo: str, commit: str) -> None:
    """Stop before a download that could not be loaded: modelling code that transformers lacks."""
    config = json.loads(_read(repo, commit, "model", "config.json"))
    refuse_quantised(config, f"{repo}/config.json")
    if "auto_map" not in config:
        return
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    if config.get("model_type") not in CONFIG_MAPPING_NAMES:
        raise UserError(
            f"{repo}: transformers does not know {config.get('model_type')!r}, the model brings "
            f"code of its own; read it and give the model `remote_code: {commit}` in the config"
        )


def chosen_files(names: list[str]) -> list[str]:
    """The files of a model repository that a run needs, sorted; none without weights."""

    def matching(patterns: tuple[str, ...]) -> list[str]:
        return [n for n in names if any(fnmatch.fnmatchcase(n, p) for p in patterns)]

    top = {n for n in names if "/" not in n} - set(matching(NOT_OURS))
    weights = top & set(matching(WEIGHTS)) or top & set(matching(PICKLES))
    return sorted(weights | (top & set(matching(SUPPORT)))) if weights else []


def data_files(names: list[str]) -> list[str]:
    """The files of a data set that hold data, with its card; none where code would make them."""
    data = sorted(n for n in names if any(fnmatch.fnmatchcase(n, p) for p in DATA))
    return data if data != ["README.md"] else []


def _locked_file(repo: str, commit: str, kind: str, entry: Any) -> dict[str, Any]:
    """sha256 and size: the hub knows them of large files, small ones are read."""
    if entry.lfs is not None:
        return {"sha256": entry.lfs.sha256, "size": entry.lfs.size}
    content = _read(repo, commit, kind, entry.rfilename)
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    if entry.blob_id and blob.hexdigest() != entry.blob_id:
        raise UserError(f"{repo}/{entry.rfilename}: what was sent is not what the commit holds")
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def _read(repo: str, commit: str, kind: str, name: str) -> bytes:
    try:
        url = _url(repo, commit, kind, name)
        response = http_backoff("GET", url, headers=build_hf_headers())
        hf_raise_for_status(response)
    except (httpx2.HTTPError, OSError) as error:
        raise UserError(f"{repo}/{name}: {_reason(error)}") from error
    return response.content


def _url(repo: str, commit: str, kind: str, name: str) -> str:
    return hf_hub_url(repo, name, revision=commit, repo_type=None if kind == "model" else kind)


def read_lock(path: str | os.PathLike[str], name: str) -> dict[str, Any]:
    """One entry of a lock file; an entry that does not pin everything is a `UserError`."""
    entries = read_json(path)
    entry = entries.get(name) if isinstance(entries, dict) else None
    if not isinstance(entry, dict):
        raise UserError(f"{path} has no entry {name!r}; make it again with lock_models.py")
    lacking = sorted({"repo", "kind", "files"} - entry.keys())
    if lacking:
        raise UserError(f"{path}, {name}: {lacking[0]!r} is missing; make it with lock_models.py")
    if not COMMIT.fullmatch(str(entry.get("revision"))):
        raise UserError(f"{path}, {name}: the revision is not a commit of 40 hexadecimal digits")
    for file, facts in entry["files"].items():
        if not SHA256.fullmatch(str(facts.get("sha256"))):
            raise UserError(f"{path}, {name}: {file} has no sha256")
        if not isinstance(facts.get("size"), int):
            raise UserError(f"{path}, {name}: {file} has no size in bytes")
        if Path(file).is_absolute() or ".." in Path(file).parts:
            raise UserError(f"{path}, {name}: {file} is not a name below the folder")
    return entry


def download(entry: dict[str, Any], folder: str | os.PathLike[str]) -> list[Path]:
    """The files of a lock entry, and no others, below `folder`; what is there of them is kept."""
    folder = Path(folder)
    wanted = {folder / name for name in (*entry["files"], MARKER)}
    for path in folder.rglob("*"):
        if path.is_file() and path not in wanted and path.with_suffix("") not in wanted:
            path.unlink()  # of an earlier lock
    for name, facts in entry["files"].items():
        url = _url(entry["repo"], entry["revision"], entry["kind"], name)
        _download_file(url, folder / name, facts["size"], facts["sha256"])
    return [folder / name for name in entry["files"]]


def _download_file(url: str, path: Path, size: int, checksum: str) -> None:
    """Continue or begin one file; it gets its name only after its checksum was compared."""
    if path.exists() and sha256(path) == checksum:  # another lock may have brought it
        return
    partial = path.with_name(f"{path.name}.partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    continued = partial.exists()
    _transfer(url, partial, size)
    actual = sha256(partial)
    if actual != checksum and continued:
        logging.warning("%s: what an earlier run left is damaged; beginning again", path.name)
        partial.unlink()
        _transfer(url, partial, size)
        actual = sha256(partial)
    if actual != checksum:
        partial.unlink()
        raise UserError(
            f"{_plain(url)}: the sha256 is {actual}, but {checksum} is locked; it was changed or "
            "damaged on its way"
        )
    partial.replace(path)


def _transfer(url: str, partial: Path, size: int) -> None:
    """Bring `partial` to `size` bytes; tries again as long as every try brings something."""
    failures = 0
    while True:
        have = partial.stat().st_size if partial.exists() else 0
        if have > size:
            partial.unlink()
            have = 0
        try:
            with partial.open("ab") as stream:
                http_get(
                    url,
                    stream,
                    resume_size=have,
                    headers=build_hf_headers(),
                    expected_size=size,
                    displayed_filename=partial.stem,
                )
            return
        except (httpx2.HTTPError, OSError) as error:
            failures = failures + 1 if partial.stat().st_size <= have else 0
            if _is_final(error) or failures == ATTEMPTS:
                raise UserError(
                    f"{_plain(url)}: {_reason(error)}; run again to continue"
                ) from error
            logging.warning("%s was cut off (%s); continuing", partial.stem, _reason(error))
            time.sleep(failures)


def _is_final(error: Exception) -> bool:
    """Whether asking again cannot help: the hub refuses, or HF_HUB_OFFLINE is set."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code < 500
    return isinstance(error, OfflineModeIsEnabled)


def _reason(error: Exception) -> str:
    return _plain(" ".join(str(error).split()))[:300] or type(error).__name__


def _plain(text: str) -> str:
    """Addresses without user, password and query, which signs the addresses of large files."""
    text = re.sub(r"(https?://)[^/\s'\"]*@", r"\1", text)
    return re.sub(r"(https?://[^\s'\"?]*)\?[^\s'\"]*", r"\1", text)
