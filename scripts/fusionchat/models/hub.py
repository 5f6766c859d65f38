"""Downloads from the Hugging Face Hub that are locked: a commit, and the sha256 of every file.

`HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE` work as everywhere. The hub's own download keeps
nothing of a file that was cut off, so partial files are kept here and continued.
"""

import fnmatch
import hashlib
import logging
import os
import re
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers

from fusionchat.errors import UserError
from fusionchat.files import read_json, sha256

COMMIT = re.compile(r"[0-9a-f]{40}")
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
NOT_OURS = ("consolidated*",)  # the weights once more, in their author's own format


def lock(
    repo: str, revision: str | None, kind: str, file: str | None = None, code: bool = False
) -> dict[str, Any]:
    """What a name means today: `{"repo", "kind", "revision", "files": {name: {sha256, size}}}`.

    `kind` is `model` or `dataset`; of a dataset `file` is taken, of a model the safetensors and
    what belongs to them, or, where there are none, the pickled weights for convert_checkpoint.
    With `code` a model's own modelling code is taken as well, and the entry says so.
    """
    try:
        info = HfApi().repo_info(repo, revision=revision, repo_type=kind, files_metadata=True)
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        raise UserError(
            f"{repo} at {revision or 'its newest revision'}: {_reason(error)}"
        ) from error
    commit = info.sha or ""
    if not COMMIT.fullmatch(commit) or (COMMIT.fullmatch(revision or "") and commit != revision):
        raise UserError(f"{repo}: the hub answers with commit {commit!r} for {revision!r}")
    entries = {entry.rfilename: entry for entry in info.siblings or []}
    names = [file] if file else chosen_files(list(entries))
    if code:
        names += sorted(name for name in entries if name.endswith(".py") and "/" not in name)
    if not names or not set(names) <= entries.keys():
        raise UserError(
            f"{repo} at {commit} has no {file or 'weights in safetensors or .bin files'}"
        )
    files = {}
    for name in names:
        files[name] = _locked_file(repo, commit, kind, entries[name])
    runs = {"remote_code": True} if code else {}
    return {"repo": repo, "kind": kind, "revision": commit, "files": files} | runs


def chosen_files(names: list[str]) -> list[str]:
    """The files of a model repository that a run needs, sorted; none without weights."""

    def matching(patterns: tuple[str, ...]) -> list[str]:
        return [n for n in names if any(fnmatch.fnmatchcase(n, p) for p in patterns)]

    top = {n for n in names if "/" not in n} - set(matching(NOT_OURS))
    weights = top & set(matching(WEIGHTS)) or top & set(matching(PICKLES))
    return sorted(weights | (top & set(matching(SUPPORT)))) if weights else []


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
    from huggingface_hub.utils import get_session, hf_raise_for_status

    try:
        response = get_session().get(_url(repo, commit, kind, name), headers=build_hf_headers())
        hf_raise_for_status(response)
    except (httpx2.HTTPError, OSError) as error:
        raise UserError(f"{repo}/{name}: {_reason(error)}") from error
    return response.content


def _url(repo: str, commit: str, kind: str, name: str) -> str:
    return hf_hub_url(repo, name, revision=commit, repo_type=None if kind == "model" else kind)


def read_lock(path: str | os.PathLike[str], name: str) -> dict[str, Any]:
    """One entry of a lock file; an entry that does not pin everything is a `UserError`."""
    entries = read_json(path)
    if name not in entries:
        raise UserError(f"{path} has no entry {name!r}; make it again with lock_models.py")
    entry = entries[name]
    if not COMMIT.fullmatch(str(entry.get("revision"))):
        raise UserError(f"{path}, {name}: the revision is not a commit of 40 hexadecimal digits")
    for file, facts in entry["files"].items():
        if not re.fullmatch("[0-9a-f]{64}", str(facts.get("sha256"))):
            raise UserError(f"{path}, {name}: {file} has no sha256")
        if Path(file).is_absolute() or ".." in Path(file).parts:
            raise UserError(f"{path}, {name}: {file} is not a name below the folder")
    return entry


def download(entry: dict[str, Any], folder: str | os.PathLike[str]) -> list[Path]:
    """The files of a lock entry, below `folder`; what an earlier run has got is kept."""
    paths = []
    for name, facts in entry["files"].items():
        url = _url(entry["repo"], entry["revision"], entry["kind"], name)
        paths.append(Path(folder) / name)
        _download_file(url, paths[-1], facts["size"], facts["sha256"])
    return paths


def _download_file(url: str, path: Path, size: int, checksum: str) -> None:
    """Continue or begin one file; it gets its name only after its checksum was compared."""
    if path.exists():
        return
    partial = path.with_name(f"{path.name}.partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    continued = partial.exists()
    _transfer(url, partial, size)
    found = sha256(partial)
    if found != checksum and continued:
        logging.warning("%s: what an earlier run left is damaged; beginning again", path.name)
        partial.unlink()
        _transfer(url, partial, size)
        found = sha256(partial)
    if found != checksum:
        partial.unlink()
        raise UserError(
            f"{url}: the sha256 is {found}, but {checksum} is locked; the file was changed or "
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
            refused = isinstance(error, HfHubHTTPError)
            failures = failures + 1 if partial.stat().st_size <= have else 0
            if refused or failures == ATTEMPTS:
                raise UserError(f"{url}: {_reason(error)}; run again to continue") from error
            logging.warning("%s was cut off (%s); continuing", partial.stem, _reason(error))


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
