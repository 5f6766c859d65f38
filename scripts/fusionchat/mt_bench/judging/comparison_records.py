"""Files in which one judge compares models with one baseline, in whatever program's records."""

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, NamedTuple

from fusionchat.errors import UserError
from fusionchat.files import read_numbered_jsonl

Record = dict[str, Any]


class Compared(NamedTuple):
    """What a record compares (`key`, which stands in a file once), and who judged it against whom
    (`against`, the same in all records of a file).
    """

    key: Hashable
    against: Hashable


def read_comparisons(
    path: Path, check: Callable[[Record, str], Compared], maker: str
) -> list[Record]:
    """The records of a file of `maker`, each comparison once, by one judge, with one baseline.

    `check` gets a record and its place, and raises a `UserError` for one of another form. A file
    without any record is a `UserError`, too.
    """
    lines: dict[Hashable, int] = {}
    records: list[Record] = []
    against: set[Hashable] = set()
    for number, record in read_numbered_jsonl(path):
        where = f"{path}, line {number}"
        compared = check(record, where)
        first = lines.setdefault(compared.key, number)
        if first != number:
            raise UserError(f"{where}: this comparison appears twice, first in line {first}")
        against.add(compared.against)
        if len(against) > 1:
            raise UserError(f"{where}: another judge or baseline than in the first line")
        records.append(record)
    if not records:
        raise UserError(f"{path}: holds no comparisons; make it with {maker}")
    return records
