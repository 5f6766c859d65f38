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

    A column that `parse` asks for in vain, a text that it cannot convert and a file without rows
    are a `UserError`: the file is not `what`.
    """
    stream = io.StringIO(read_text(path), newline="")
    try:
        rows = [parse(row) for row in csv.DictReader(stream, delimiter=delimiter)]
    except KeyError as error:
        raise UserError(f"{path} is not {what}: it has no column {error}") from error
    except (ValueError, TypeError, csv.Error) as error:
        raise UserError(f"{path} is not {what}: {error}") from error
    if not rows:
        raise UserError(f"{path} is not {what}: it has no rows")
    return rows
