"""Sentences that must not be trained on, collected from evaluation data of any layout."""

import csv
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

from hpdistill.corpus._folder import files_below
from hpdistill.corpus._lines import json_rows, open_bytes, reading
from hpdistill.corpus._parquet import parquet_texts, text_columns
from hpdistill.corpus.cleaning import clean, exclusion_key
from hpdistill.delimited import header_of
from hpdistill.errors import CorpusError

__all__ = ["excluded_keys"]

# Which tab-separated fields of SentEval's files are sentences. The others are scores and ids.
_SENTEVAL = {
    "STS.input.*.txt": (0, 1),
    "sts-*.csv": (5, 6),
    "SICK*.txt": (1, 2),
}
# Scores beside sentences; none of their fields is one.
_SKIPPED = ("STS.gs.*", "qrels/*", "*/qrels/*")
_SUFFIXES = (".txt", ".tsv", ".csv", ".jsonl", ".parquet")


def excluded_keys(paths: Iterable[str | Path]) -> set[bytes]:
    """Normal forms of all sentences in evaluation folders and files.

    Knows SentEval's layout (`STS.input.*.txt`, `sts-*.csv`, `SICK*.txt`) and BEIR's
    (`corpus.jsonl`, `queries.jsonl`). Of any other `.jsonl` and `.parquet` every text value
    counts; of any other text file every line, every tab-separated field, and in a `.csv` every
    quoted field. All may be gzipped. Lines that are not UTF-8 are read as Latin-1.

    Args:
        paths: Folders, searched to any depth and through links for files of these kinds, and
            files of any name.

    Returns:
        What `exclusion_key` gives for each sentence after `clean`.

    Raises:
        CorpusError: A path is missing or damaged, or holds no sentence.
    """
    keys: set[bytes] = set()
    for path in map(Path, paths):
        found = {exclusion_key(text) for raw in _sentences(path) if (text := clean(raw))}
        if not found:
            raise CorpusError(
                f"nothing to exclude was found in {path}",
                hint=f"In a folder these are read, also with .gz: {', '.join(_SUFFIXES)}.",
            )
        keys |= found
    return keys


def _sentences(path: Path) -> Iterator[str]:
    if not path.is_dir():
        yield from _file_sentences(path)
        return
    for file in files_below(path):
        relative = file.relative_to(path).as_posix()
        skipped = any(fnmatch(name, p) for p in _SKIPPED for name in (file.name, relative))
        if _suffix(file) in _SUFFIXES and not skipped:
            yield from _file_sentences(file)


def _file_sentences(path: Path) -> Iterator[str]:
    name = path.name.removesuffix(".gz")
    for pattern, fields in _SENTEVAL.items():
        if fnmatch(name, pattern):
            return _fields(path, fields)
    if _suffix(path) == ".jsonl":
        return _json_texts(path)
    if _suffix(path) == ".parquet":
        return _parquet_texts(path)
    if _suffix(path) == ".csv":
        return _csv_texts(path)
    return _line_texts(path)


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _lines(path: Path) -> Iterator[str]:
    """Lines, each in UTF-8 or else Latin-1: evaluation data of SentEval's age has both."""
    with reading(path), open_bytes(path) as handle:
        for number, line in enumerate(handle):
            raw = line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line
            try:
                yield raw.decode()
            except UnicodeDecodeError:
                yield raw.decode("latin-1")


def _fields(path: Path, wanted: tuple[int, ...]) -> Iterator[str]:
    for line in _lines(path):
        fields = line.rstrip("\r\n").split("\t")
        yield from (fields[index] for index in wanted if index < len(fields))


def _line_texts(path: Path) -> Iterator[str]:
    for line in _lines(path):
        yield line
        if "\t" in line:
            yield from line.split("\t")


def _csv_texts(path: Path) -> Iterator[str]:
    yield from _line_texts(path)
    try:
        header = header_of(_lines(path), path, quotes=True, error=CorpusError)
        marks = {",", header.delimiter}
    except CorpusError:  # it need be no table, and have no header
        marks = {","}
    try:
        for mark in marks:
            for row in csv.reader(_lines(path), delimiter=mark):
                yield from row
    except csv.Error as error:
        raise CorpusError(f"{path} is not valid CSV: {error}") from error


def _json_texts(path: Path) -> Iterator[str]:
    for _, row in json_rows(path, _lines(path)):
        values = row
        if isinstance(row, dict):
            # BEIR: the document, not its id or title.
            values = row["text"] if "text" in row else list(row.values())
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, str):
                yield value


def _parquet_texts(path: Path) -> Iterator[str]:
    if names := text_columns(path):
        for texts in parquet_texts(path, names):
            yield from texts
