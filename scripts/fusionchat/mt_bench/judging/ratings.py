"""The rating in a judge's text."""

import math
import re
from typing import Literal, get_args

LOWEST, HIGHEST = 1, 10
RATING = re.compile(r"\[\[(\d+(?:\.\d*)?)\]\]")
BARE_RATING = re.compile(r"\[(\d+(?:\.\d*)?)\]")
NO_RATING = -1

# Which rating counts where a text holds several: FastChat takes the first; a judge that reasons in
# plain text before it decides gives its verdict last.
Rule = Literal["first", "last"]
RULES: tuple[Rule, ...] = get_args(Rule)


def parse_rating(text: str, rule: Rule = "first") -> int | float:
    """The first or last [[number]] of a text, else the first or last [number], else -1.

    With `first` as FastChat reads it; where FastChat stops with an error (a leading zero, digits of
    other scripts), the number counts.
    """
    ratings = RATING.findall(text) or BARE_RATING.findall(text)
    if not ratings:
        return NO_RATING
    return _number(ratings[0 if rule == "first" else -1])


def _number(digits: str) -> int | float:
    try:
        return float(digits) if "." in digits else int(digits)
    except ValueError:  # Python reads no whole number of more than 4,300 digits
        return math.inf


def is_valid(rating: float) -> bool:
    """Whether a rating lies on the scale that the judge was asked for, 1 to 10."""
    return LOWEST <= rating <= HIGHEST
