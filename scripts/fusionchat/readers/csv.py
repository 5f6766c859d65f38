"""CSV files with a header: a file of another kind is one line that names it."""

import csv
import io
import os
from collections.abc import Callable
from typing import TypeVar

from fusionchat.errors import UserError
from fusionchat.files import read_text

T = TypeVar("T")


def read_csv(
    path: str | os.PathLike[str],
    parse: Callable[[dict[str, str]], T],
    what: str,
    delimiter: str = ",",
) -> list[T]:
    """What `parse` makes of each row, a mapping from columns to texts.

    A column that `parse` asks for in vain or that is there twice, a text that it cannot convert
    and a file without rows are a `UserError`: the file is not `what`.
    """
    stream = io.StringIO(read_text(path), newline="")
    try:
        table = csv.DictReader(stream, delimiter=delimiter)
        names = list(table.fieldnames or ())
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(f"{path} has two columns {twice[0]!r}; leave one of them out")
        rows = [parse(row) for row in table]
    except KeyError as error:
        raise UserError(f"{path} is not {what}: it has no column {error}") from error
    except (ValueError, TypeError, csv.Error) as error:
        raise UserError(f"{path} is not {what}: {error}") from error
    if not rows:
        raise UserError(f"{path} is not {what}: it has no rows")
    return rows
