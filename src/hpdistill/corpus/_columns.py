"""Choosing the column of a table that holds the sentences."""

from collections.abc import Iterable, Sequence

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
