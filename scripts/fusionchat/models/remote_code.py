"""Whether a model folder brings code of its own that may be run."""

import os
from pathlib import Path

from fusionchat.files import MANIFEST, read_json


def runs_code(folder: str | os.PathLike[str]) -> bool:
    """Whether the folder's modelling code was fetched at a commit that the config names."""
    manifest = Path(folder) / MANIFEST
    return manifest.is_file() and read_json(manifest).get("remote_code") is True
