"""Rows of delimited text files, and which format a file is in."""

from collections.abc import Iterator
from pathlib import Path

from hpdistill.corpus._lines import lines
from hpdistill.delimited import delimited_rows
from hpdistill.errors import CorpusError

__all__ = ["FORMATS", "file_format", "table_rows"]

FORMATS = (".txt", ".jsonl", ".parquet", ".csv", ".tsv")
"""File formats by suffix; each but `.parquet` also with `.gz` behind it."""


def file_format(path: Path) -> str:
    """Which of `FORMATS` a file is in, by its name.

    Raises:
        CorpusError: None of them; the message names those there are.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"] and suffixes[-2:] != [".parquet", ".gz"]:
        suffixes.pop()
    if suffixes and suffixes[-1] in FORMATS:
        return suffixes[-1]
    raise CorpusError(
        f"{path} is of no format that hpdistill reads",
        hint=f"Allowed: {', '.join(FORMATS)} (text formats also with .gz), hf:DATASET, allnli "
        "(to distil on), pydoc.",
    )


def table_rows(path: Path, encoding: str, errors: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of every row of a `.csv` or `.tsv`; the first is the header.

    Raises:
        CorpusError: The header names a column twice, a row has more or fewer fields than it, or
            the file cannot be read.
    """
    width = 0
    tabs = file_format(path) == ".tsv"
    text = lines(path, encoding=encoding, errors=errors, newline="")
    for number, row in delimited_rows(text, path, tabs=tabs, error=CorpusError):
        if not width:
            width = len(row)
            twice = next((name for name in row if name and row.count(name) > 1), None)
            if twice is not None:
                raise CorpusError(f"{path}: the header names the column {twice!r} twice")
        if len(row) != width:
            raise CorpusError(
                f"{path}, line {number}: {len(row)} fields, the header has {width}",
                hint="A .csv quotes a field that holds commas; a .tsv field holds no tabs.",
            )
        yield number, row
