"""Rows of delimited text files, and which format a file is in."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from hpdistill import delimited
from hpdistill.corpus._lines import lines
from hpdistill.errors import CorpusError

__all__ = ["FORMATS", "file_format", "table_header", "table_rows"]

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


def table_rows(
    path: Path, encoding: str, errors: str, delimiter: str | None = None
) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of every row of a `.csv` or `.tsv`; the first is the header.

    Args:
        path: The file.
        encoding: Of its bytes.
        errors: What to do with bytes that are not in it.
        delimiter: What divides the columns; None looks for it (`delimited.table_rows`).

    Raises:
        CorpusError: What divides the columns cannot be told, the header names one twice, a row has
            more or fewer fields than it, or the file cannot be read.
    """
    text = lines(path, encoding=encoding, errors=errors, newline="")
    yield from delimited.table_rows(
        text, path, quotes=_has_quotes(path), error=CorpusError, delimiter=delimiter
    )


def table_header(
    path: Path, encoding: str, errors: str, delimiter: str | None = None
) -> delimited.Header:
    """What divides the columns of a `.csv` or `.tsv`, and their names; as `table_rows`."""
    with closing(lines(path, encoding=encoding, errors=errors, newline="")) as text:
        return delimited.header_of(
            text, path, quotes=_has_quotes(path), error=CorpusError, delimiter=delimiter
        )


def _has_quotes(path: Path) -> bool:
    """Whether a table in text is one by the rules of CSV."""
    return file_format(path) == ".csv"
