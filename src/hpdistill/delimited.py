"""Rows of text that tabs or, as in CSV, commas and quotes divide."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from hpdistill.errors import HpdError

__all__ = ["delimited_rows"]

csv.field_size_limit(2**31 - 1)  # not 131,072 characters: a document may be a book


def delimited_rows(
    text: Iterable[str], path: Path, *, tabs: bool, error: type[HpdError]
) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of every row.

    A blank line is a row of one empty field where the first row has one field, and none elsewhere.

    Args:
        text: Lines with their ends; of CSV, read with `newline=""`.
        path: Where they come from, for the message.
        tabs: A tab divides, and a quote is a character like any other: by the rules of CSV one
            stray quote would swallow rows up to the next.
        error: What to raise.

    Raises:
        HpdError: `error`: it is no CSV; names the line.
    """
    width = 0
    for number, row in _tabbed(text) if tabs else _quoted(text, path, error):
        if row:
            width = width or len(row)
            yield number, row
        elif width == 1:
            yield number, [""]


def _tabbed(text: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Rows; of a line of spaces, none."""
    for number, line in enumerate(text, start=1):
        row = line.rstrip("\r\n").split("\t")
        yield number, row if len(row) > 1 or row[0].strip() else []


def _quoted(
    text: Iterable[str], path: Path, error: type[HpdError]
) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(text, strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as fault:
        raise error(f"{path}, line {reader.line_num}: not valid CSV: {fault}") from fault
