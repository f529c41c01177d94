"""Streams of raw sentences from every kind of source that `--sentences` takes."""

import csv
from collections.abc import Iterator
from pathlib import Path

from hpdistill.corpus import _hub
from hpdistill.corpus._columns import choose_column, text_value
from hpdistill.corpus._lines import json_rows, lines, reading
from hpdistill.corpus._parquet import columns, parquet_texts
from hpdistill.corpus.docstrings import pydoc_sentences
from hpdistill.errors import CorpusError

__all__ = ["FORMATS", "check_source", "file_format", "read_source", "table_rows"]

FORMATS = (".txt", ".jsonl", ".parquet", ".csv", ".tsv")
"""File formats by suffix; each but `.parquet` also with `.gz` behind it."""

_ALLNLI = ("split", "dataset", "filename", "sentence1", "sentence2", "label")


def read_source(
    source: str, *, column: str | None = None, encoding: str = "utf-8", errors: str = "strict"
) -> Iterator[str]:
    """Stream the raw sentences of one source, in its own order; nothing is cleaned yet.

    Args:
        source: A file (`.txt`, `.jsonl`, `.csv`, `.tsv`, also with `.gz`; `.parquet`),
            `hf:DATASET[:config][:split][:column]`, or `pydoc`. A `.tsv` with AllNLI's header
            gives both sentences of every row. A `.tsv` has no quoting; a `.csv` has.
        column: Column of `.jsonl`, `.csv`, `.tsv`, `.parquet` and `hf:` sources. None takes the
            only column, or the one named `text` or `sentence`.
        encoding: Of text files.
        errors: What to do with bytes that are not in `encoding`: `strict`, `replace`, `ignore`.

    Yields:
        One string per line, row or sentence; empty ones included.

    Raises:
        CorpusError: The source is missing, of an unknown kind, damaged, or in another encoding,
            or lacks the column. Raised when the iteration reaches the fault.
        UsageError: There is no such encoding, or the `train` extra is not installed.
    """
    if source == "pydoc":
        return pydoc_sentences()
    if source.startswith(_hub.PREFIX):
        return _hub.read_hub(source, column)
    path = Path(source)
    kind = file_format(path)
    if kind == ".parquet":
        return _read_parquet(path, column)
    if kind == ".jsonl":
        return _read_jsonl(path, column, encoding, errors)
    if kind in (".csv", ".tsv"):
        return _read_table(path, column, encoding, errors)
    return lines(path, encoding=encoding, errors=errors)


def check_source(source: str, *, column: str | None = None) -> None:
    """Refuse a source that cannot be read, before an hour is spent on those before it.

    Raises:
        CorpusError: A file is missing, a directory, or of an unknown format; the hub has no such
            dataset, or cannot be reached.
    """
    if source == "pydoc":
        return
    if source.startswith(_hub.PREFIX):
        _hub.open_hub(source, column)
        return
    path = Path(source)
    with reading(path), path.open("rb"):
        pass
    file_format(path)


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
        hint=f"Allowed: {', '.join(FORMATS)} (text formats also with .gz), hf:DATASET, pydoc.",
    )


def _read_jsonl(path: Path, column: str | None, encoding: str, errors: str) -> Iterator[str]:
    chosen = ""
    for number, row in json_rows(path, lines(path, encoding=encoding, errors=errors)):
        if isinstance(row, str):
            yield row
            continue
        if not isinstance(row, dict):
            raise CorpusError(f"{path}, line {number}: expected an object, not {str(row)[:40]}")
        if chosen not in row:
            chosen = choose_column(list(row), column, f"{path}, line {number}")
        yield text_value(row[chosen], f"{path}, line {number}, {chosen}")


def _read_table(path: Path, column: str | None, encoding: str, errors: str) -> Iterator[str]:
    rows = table_rows(path, encoding, errors)
    _, header = next(rows, (0, []))
    if not header:
        return
    if tuple(header) == _ALLNLI:
        indices = [_ALLNLI.index("sentence1"), _ALLNLI.index("sentence2")]
    else:
        indices = [header.index(choose_column(header, column, str(path)))]
    for _, row in rows:
        for index in indices:
            yield row[index]


def table_rows(path: Path, encoding: str, errors: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of every row of a `.csv` or `.tsv` that is not blank.

    The first row is the header.

    Raises:
        CorpusError: A row has more or fewer fields than the header, or the file cannot be read.
    """
    width = 0
    for number, row in _rows(path, encoding, errors):
        width = width or len(row)
        if len(row) != width:
            raise CorpusError(
                f"{path}, line {number}: {len(row)} fields, the header has {width}",
                hint="A .csv quotes a field that holds commas; a .tsv field holds no tabs.",
            )
        yield number, row


def _rows(path: Path, encoding: str, errors: str) -> Iterator[tuple[int, list[str]]]:
    text = lines(path, encoding=encoding, errors=errors, newline="")
    if file_format(path) == ".tsv":
        # Not the csv module's quotes: one stray quote would swallow rows up to the next.
        for number, line in enumerate(text, start=1):
            if line.strip():
                yield number, line.rstrip("\r\n").split("\t")
        return
    reader = csv.reader(text, strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise CorpusError(f"{path}, line {reader.line_num}: not valid CSV: {error}") from error


def _read_parquet(path: Path, column: str | None) -> Iterator[str]:
    names = [name for name, _ in columns(path)]
    yield from parquet_texts(path, choose_column(names, column, str(path)))
