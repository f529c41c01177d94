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

    A blank line is a row where the first row has one field, and none elsewhere. A line of tabs is
    always a row.

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
        # A line of spaces looks blank, and a .tsv has no quotes to show that it is not.
        blank = not row or (tabs and len(row) == 1 and not row[0].strip())
        if width == 1 or not blank:
            width = width or len(row)
            yield number, row or [""]


def _tabbed(text: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text, start=1):
        yield number, line.rstrip("\r\n").split("\t")


def _quoted(
    text: Iterable[str], path: Path, error: type[HpdError]
) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(text, strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as fault:
        raise error(f"{path}, line {reader.line_num}: not valid CSV: {fault}") from fault
