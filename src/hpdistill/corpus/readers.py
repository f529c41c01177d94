"""Streams of raw sentences from every kind of source that `--sentences` takes."""

from collections.abc import Iterator
from pathlib import Path

from hpdistill.corpus import _hub, nli
from hpdistill.corpus._columns import choose_column, refuse_columns, text_value
from hpdistill.corpus._hub import is_hub
from hpdistill.corpus._lines import json_rows, lines, reading
from hpdistill.corpus._parquet import columns, parquet_texts
from hpdistill.corpus._tables import FORMATS, file_format, table_rows
from hpdistill.corpus.docstrings import pydoc_sentences
from hpdistill.errors import CorpusError
from hpdistill.recipe import check_errors

__all__ = [
    "FORMATS",
    "check_column",
    "check_source",
    "file_format",
    "files_of_source",
    "format_of_source",
    "is_hub",
    "read_source",
    "refuse_columns",
    "table_rows",
]

_ALLNLI = ("split", "dataset", "filename", "sentence1", "sentence2", "label")


def read_source(
    source: str, *, column: str | None = None, encoding: str = "utf-8", errors: str = "strict"
) -> Iterator[str]:
    """Stream the raw sentences of one source, in its own order; nothing is cleaned yet.

    Args:
        source: A file (`.txt`, `.jsonl`, `.csv`, `.tsv`, also with `.gz`; `.parquet`),
            `hf:DATASET[:config][:split][:column]`, `allnli[:PATH][:train|dev|test]`, or `pydoc`.
            Pairs of natural language inference give both sentences of every row: a `.tsv` with
            AllNLI's header, the `.jsonl` of the SNLI and MNLI archives, and a dataset with the
            columns `premise` and `hypothesis`. A `.tsv` has no quoting; a `.csv` has.
        column: Column of `.jsonl`, `.csv`, `.tsv`, `.parquet` and `hf:` sources. None takes the
            only column, or the one named `text` or `sentence`.
        encoding: Of text files.
        errors: What to do with bytes that are not in `encoding`: `strict`, `replace`, `ignore`.

    Yields:
        One string per line, row or sentence; empty ones included.

    Raises:
        CorpusError: The source is missing, of an unknown kind, damaged, or in another encoding,
            or lacks the column. Raised when the iteration reaches the fault.
        UsageError: There is no such encoding or `errors`.
        PackageError: The `train` extra is not installed.
    """
    check_errors(errors)
    if source == "pydoc":
        return pydoc_sentences()
    if nli.is_allnli(source):
        return nli.read_nli_sentences(source, encoding=encoding, errors=errors)
    if is_hub(source):
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
    if is_hub(source):
        _hub.open_hub(source, column)
        return
    for path in files_of_source(source) if nli.is_allnli(source) else [Path(source)]:
        with reading(path), path.open("rb"):
            pass
        file_format(path)


def check_column(source: str, column: str | None) -> None:
    """Refuse to choose a column of a source that has none to choose from.

    Sources that are read together share one `--column`; of them those without columns are read
    as they are, and this is not asked.

    Raises:
        UsageError: There is a column, and the source is text, documentation or AllNLI.
    """
    if not is_hub(source) and format_of_source(source) in ("", ".txt"):
        refuse_columns(source, [column])


def format_of_source(source: str) -> str:
    """Format of a file, one of `FORMATS`; empty for a source that is not named by its file.

    Raises:
        CorpusError: A file's format is unknown.
    """
    named = source == "pydoc" or nli.is_allnli(source) or is_hub(source)
    return "" if named else file_format(Path(source))


def files_of_source(source: str) -> list[Path]:
    """Files on this machine that a source is read from; none for `pydoc` and a hub's dataset.

    `allnli` without a path is fetched.

    Raises:
        CorpusError: It cannot be fetched.
    """
    if nli.is_allnli(source):
        return nli.files_of(source)
    path = Path(source)
    return [path] if path.is_file() else []


def _read_jsonl(path: Path, column: str | None, encoding: str, errors: str) -> Iterator[str]:
    pairs = False
    for number, row in json_rows(path, lines(path, encoding=encoding, errors=errors)):
        where = f"{path}, line {number}"
        if isinstance(row, str):
            yield row
            continue
        if not isinstance(row, dict):
            raise CorpusError(f"{where}: expected an object, not {str(row)[:40]}")
        # The first object decides: a line that lacks what it has must not be read otherwise.
        if pairs or (column is None and nli.is_original(row)):
            pairs = True
            yield from nli.sentences_of(row, where)
            continue
        if column is None or column not in row:
            column = choose_column(list(row), column, where)
        yield text_value(row[column], f"{where}, {column}")


def _read_table(path: Path, column: str | None, encoding: str, errors: str) -> Iterator[str]:
    rows = table_rows(path, encoding, errors)
    _, header = next(rows, (0, []))
    if not header:
        return
    if tuple(header) == _ALLNLI:
        for number, row in rows:
            fields = dict(zip(header, row, strict=True))
            yield from nli.sentences_of(fields, f"{path}, line {number}")
        return
    index = header.index(choose_column(header, column, str(path)))
    for _, row in rows:
        yield row[index]


def _read_parquet(path: Path, column: str | None) -> Iterator[str]:
    names = [name for name, _ in columns(path)]
    yield from parquet_texts(path, choose_column(names, column, str(path)))
