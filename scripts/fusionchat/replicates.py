"""Names of models that are trained several times: `clm`, and `clm-seed2` for its second seed."""

import re

FIRST = 1
_NAME = re.compile(r"(?P<base>.+)-seed(?P<seed>[2-9]|[1-9][0-9]+)")


def replicate_name(base: str, seed: int) -> str:
    """The name of a model's replicate with this training seed; the first has the plain name."""
    return base if seed == FIRST else f"{base}-seed{seed}"


def split_replicate(name: str) -> tuple[str, int]:
    """The model that a name belongs to, and its training seed."""
    match = _NAME.fullmatch(name)
    return (match["base"], int(match["seed"])) if match else (name, FIRST)
