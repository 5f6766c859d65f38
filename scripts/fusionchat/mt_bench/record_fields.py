"""What the fields of FastChat's records must hold: names, numbers, and who judged."""

from collections.abc import Iterable, Mapping
from typing import Any

from fusionchat.errors import UserError


def is_name(value: object) -> bool:
    """Whether a value is a text with something in it."""
    return isinstance(value, str) and bool(value.strip())


def is_number(value: object) -> bool:
    """Whether a value is a whole number from 0 that a table of scores can hold."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31


def check_names(record: Mapping[str, Any], fields: tuple[str, ...], where: str) -> None:
    """Raise `UserError` for a field that holds no name."""
    for field in fields:
        if not is_name(record[field]):
            raise UserError(f"{where}: {field} is {record[field]!r}, not a name")


def check_numbers(record: Mapping[str, Any], fields: tuple[str, ...], where: str) -> None:
    """Raise `UserError` for a field that holds no whole number."""
    for field in fields:
        if not is_number(record[field]):
            raise UserError(f"{where}: {field} is {record[field]!r}, not a whole number from 0")


def judge_name(record: Mapping[str, Any], where: str) -> str:
    """The judge of a record, which names it and its prompt in a list."""
    judge = record["judge"]
    if not isinstance(judge, list) or not judge or not is_name(judge[0]):
        raise UserError(f"{where}: judge is {judge!r}, not a list of judge and prompt")
    return str(judge[0])


def chosen_judge(judges: Iterable[str], judge: str | None, where: object) -> str:
    """The one whose judgments count of those in `where`: `judge`, which may be None if there is
    only one.
    """
    names = sorted(set(judges))
    if judge is None and len(names) > 1:
        raise UserError(f"{where} holds several judges ({', '.join(names)}); choose with --judge")
    if judge is not None and judge not in names:
        raise UserError(f"--judge {judge}: {where} holds judgments of {', '.join(names)} only")
    return judge or names[0]
