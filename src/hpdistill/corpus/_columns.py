"""Choosing the columns of a table that hold the sentences."""

from collections.abc import Iterable, Sequence

from hpdistill.delimited import first_twice
from hpdistill.errors import CorpusError, UsageError

_PREFERRED = ("text", "sentence")


def choose_column(
    names: Sequence[str], column: str | None, where: str, *, parameter: str = "column"
) -> str:
    """The column to read: the one asked for, the only one, or one named text or sentence.

    Args:
        names: Those there are.
        column: The one asked for.
        where: The place, for messages.
        parameter: That asks for one.

    Raises:
        CorpusError: It is not there, or none was asked for and several could be meant.
    """
    if column is None and len(names) == 1:
        return names[0]
    for name in _PREFERRED if column is None else (column,):
        if name in names:
            return name
    there = ", ".join(names) or "none"
    if column is None:
        raise CorpusError(
            f"{where}: no column is named text or sentence; columns: {there}",
            hint=f"Choose one with `{parameter}`.",
        )
    raise CorpusError(f"{where}: no column {column!r}; columns: {there}")


def choose_columns(
    names: Sequence[str],
    wanted: Sequence[str] | None,
    where: str,
    *,
    parameter: str = "column",
) -> list[str]:
    """The columns to read, in the order they were asked for; else as `choose_column`.

    Raises:
        CorpusError: As `choose_column`.
    """
    asked: Sequence[str | None] = wanted or [None]
    return [choose_column(names, one, where, parameter=parameter) for one in asked]


def asked_columns(column: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Columns asked for by one name or several; None where none was.

    Raises:
        UsageError: One is asked for twice.
    """
    names = (column,) if isinstance(column, str) else tuple(column or ())
    if (name := first_twice(names)) is not None:
        raise UsageError(f"the column {name!r} is asked for twice")
    return names or None


def joined(parts: Sequence[str]) -> str:
    """The texts of several columns as one, with a blank between those that are not empty.

    One text alone stays as it is.
    """
    return parts[0] if len(parts) == 1 else " ".join(part for raw in parts if (part := raw.strip()))


def refuse_columns(where: str, names: Iterable[str | None]) -> None:
    """Of a place that is no table, none can be asked for.

    Raises:
        UsageError: One was.
    """
    for name in names:
        if name is not None:
            raise UsageError(f"{where} has no columns, so none is called {name!r}")


def text_value(value: object, where: str) -> str:
    """A missing value is an empty sentence; a number is a wrong column.

    Raises:
        CorpusError: The value is not text.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise CorpusError(f"{where}: expected text, not {type(value).__name__} {str(value)[:40]}")
    return value
