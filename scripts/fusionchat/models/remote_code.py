"""Whether a model folder brings code of its own that may be run."""

import os

from fusionchat.models.finished import read_manifest


def runs_code(folder: str | os.PathLike[str]) -> bool:
    """Whether the folder's modelling code was fetched at a commit that the config names."""
    return read_manifest(folder).get("remote_code") is True
