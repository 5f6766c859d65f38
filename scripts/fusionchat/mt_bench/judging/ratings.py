"""The rating in a judge's text."""

import re

LOWEST, HIGHEST = 1, 10
RATING = re.compile(r"\[\[(\d+\.?\d*)\]\]")
BARE_RATING = re.compile(r"\[(\d+\.?\d*)\]")
NO_RATING = -1


def parse_rating(text: str) -> int | float:
    """The first [[number]] of a text, else the first [number], else -1, as FastChat reads it.

    Where FastChat stops with an error (a leading zero, digits of other scripts), the number counts.
    """
    match = RATING.search(text) or BARE_RATING.search(text)
    if not match:
        return NO_RATING
    digits = match.group(1)
    return float(digits) if "." in digits else int(digits)


def is_valid(rating: float) -> bool:
    """Whether a rating lies on the scale that the judge was asked for, 1 to 10."""
    return LOWEST <= rating <= HIGHEST
