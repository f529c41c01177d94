"""Streams of raw sentences from every kind of source that `--sentences` takes."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpdistill.corpus import _hub, nli
from hpdistill.corpus._columns import (
    asked_columns,
    choose_columns,
    joined,
    refuse_columns,
    text_value,
)
from hpdistill.corpus._hub import is_hub
from hpdistill.corpus._lines import json_rows, lines, reading
from hpdistill.corpus._parquet import columns, parquet_rows, parquet_texts
from hpdistill.corpus._tables import FORMATS, file_format, table_header, table_rows
from hpdistill.corpus.docstrings import pydoc_sentences
from hpdistill.delimited import check_delimiter
from hpdistill.errors import CorpusError, UsageError
from hpdistill.progress import tell
from hpdistill.recipe import check_errors

__all__ = [
    "FORMATS",
    "check_column",
    "check_divided",
    "check_source",
    "check_used",
    "delimiter_note",
    "file_format",
    "files_of_source",
    "format_of_source",
    "is_hub",
    "read_rows",
    "read_source",
    "refuse_columns",
    "table_rows",
    "tell_delimiter",
]

_TABLES = (".csv", ".tsv")
_ALLNLI = ("split", "dataset", "filename", "sentence1", "sentence2", "label")


def read_source(
    source: str,
    *,
    column: str | Sequence[str] | None = None,
    encoding: str = "utf-8",
    errors: str = "strict",
    delimiter: str | None = None,
) -> Iterator[str]:
    """Stream the raw sentences of one source, in its own order; nothing is cleaned yet.

    Args:
        source: A file (`.txt`, `.jsonl`, `.csv`, `.tsv`, also with `.gz`; `.parquet`),
            `hf:DATASET[:config][:split][:column]`, `allnli[:PATH][:train|dev|test]`, or `pydoc`.
            Pairs of natural language inference give both sentences of every row: a `.tsv` with
            AllNLI's header, the `.jsonl` of the SNLI and MNLI archives, and a dataset with the
            columns `premise` and `hypothesis`. A `.tsv` has no quoting; a `.csv` has.
        column: Column of `.jsonl`, `.csv`, `.tsv`, `.parquet` and `hf:` sources. None takes the
            only column, or the one named `text` or `sentence`. The texts of several are joined,
            in the order given, with a blank between those that are not empty.
        encoding: Of text files.
        errors: What to do with bytes that are not in `encoding`: `strict`, `replace`, `ignore`.
        delimiter: What divides the columns of `.csv` and `.tsv`: one character, or `tab`. None
            looks for it in their first rows (`delimiter_note`).

    Yields:
        One string per line, row or sentence; empty ones included.

    Raises:
        CorpusError: The source is missing, of an unknown kind, damaged, or in another encoding,
            or lacks the column or names one twice. Raised when the iteration reaches the fault.
        UsageError: There is no such encoding, `errors` or delimiter.
        PackageError: The package for a format is not installed.
    """
    check_errors(errors)
    check_delimiter(delimiter)
    wanted = asked_columns(column)
    if source == "pydoc":
        return pydoc_sentences()
    if nli.is_allnli(source):
        return nli.read_nli_sentences(source, encoding=encoding, errors=errors)
    if is_hub(source):
        return _hub.read_hub(source, wanted)
    path = Path(source)
    kind = file_format(path)
    if kind == ".parquet":
        return _read_parquet(path, wanted)
    if kind == ".jsonl":
        return _read_jsonl(path, wanted, encoding, errors)
    if kind in _TABLES:
        return _read_table(path, wanted, encoding, errors, delimiter)
    return lines(path, encoding=encoding, errors=errors)


def read_rows(
    path: Path, *, encoding: str = "utf-8", errors: str = "strict", delimiter: str | None = None
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Number and fields of every row of a table: of its line, but in Parquet of the row, from 1.

    Args:
        path: A `.jsonl`, `.csv` or `.tsv` (also with `.gz`) or `.parquet`.
        encoding: As of `read_source`, as are the next two.
        errors: What to do with other bytes.
        delimiter: What divides the columns.

    Raises:
        CorpusError: It cannot be read, is damaged, or names a column twice; names the line.
    """
    kind = file_format(path)
    if kind == ".parquet":
        names = [name for name, _ in columns(path)]
        yield from enumerate(parquet_rows(path, names), start=1)
    elif kind == ".jsonl":
        for number, row in json_rows(path, lines(path, encoding=encoding, errors=errors)):
            if not isinstance(row, dict):
                raise CorpusError(f"{path}, line {number}: expected an object, not {str(row)[:40]}")
            yield number, row
    else:
        rows = table_rows(path, encoding, errors, delimiter)
        _, header = next(rows, (0, list[str]()))
        for number, fields in rows:
            yield number, dict(zip(header, fields, strict=True))


def check_source(
    source: str,
    *,
    column: str | Sequence[str] | None = None,
    encoding: str = "utf-8",
    errors: str = "strict",
    delimiter: str | None = None,
) -> None:
    """Refuse a source that cannot be read, before an hour is spent on those before it.

    Arguments as of `read_source`.

    Raises:
        CorpusError: A file is missing, a directory, or of an unknown format; a table lacks the
            column; the hub has no such dataset, or cannot be reached.
    """
    if source == "pydoc":
        return
    wanted = asked_columns(column)
    if is_hub(source):
        _hub.open_hub(source, wanted)
        return
    for path in files_of_source(source) if nli.is_allnli(source) else [Path(source)]:
        with reading(path), path.open("rb"):
            pass
        file_format(path)
    kind = format_of_source(source)
    if kind in _TABLES:
        names = table_header(Path(source), encoding, errors, delimiter).names
        if names and tuple(names) != _ALLNLI:
            choose_columns(names, wanted, source)
    elif kind == ".parquet":
        choose_columns([name for name, _ in columns(Path(source))], wanted, source)


def tell_delimiter(
    source: str,
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
    delimiter: str | None = None,
    column: str | Sequence[str] | None = None,  # noqa: ARG001 - the whole of `CorpusRecipe.reading`
) -> None:
    """Log what was found to divide the columns of a table, if it is not what its name says.

    Arguments as of `read_source`.

    Raises:
        CorpusError: It cannot be told, or the file cannot be read.
    """
    if note := delimiter_note(source, encoding=encoding, errors=errors, delimiter=delimiter):
        tell(note)


def delimiter_note(
    source: str, *, encoding: str = "utf-8", errors: str = "strict", delimiter: str | None = None
) -> str:
    """What `tell_delimiter` logs.

    Empty for a source that is no table in text, and where the delimiter is given.

    Raises:
        CorpusError: It cannot be told, or the file cannot be read.
    """
    if delimiter is not None or format_of_source(source) not in _TABLES:
        return ""
    header = table_header(Path(source), encoding, errors)
    return "" if header.usual else f"{source}: columns are divided by {header.described}"


def check_column(source: str, column: str | Sequence[str] | None) -> None:
    """Refuse to choose columns of a source that has none to choose from.

    Sources that are read together share their `--column`s; of them those without columns are read
    as they are, and this is not asked.

    Raises:
        UsageError: There is a column, and the source is text, documentation or AllNLI.
    """
    if not _has_columns(source):
        refuse_columns(source, asked_columns(column) or ())


def check_divided(source: str, delimiter: str | None) -> None:
    """Refuse to say what divides the columns of a source that is no `.csv` or `.tsv`.

    Raises:
        UsageError: There is a delimiter, and the source is another.
    """
    if delimiter is not None and not _is_divided(source):
        raise UsageError(f"{source} is no .csv or .tsv, so it has no use for `delimiter`")


def check_used(
    sources: Sequence[str], *, column: str | Sequence[str] | None, delimiter: str | None
) -> None:
    """Refuse columns or a delimiter that none of the sources, which are read together, can use.

    Raises:
        UsageError: There are columns, and no source has any; or as `check_divided` of them all.
    """
    if not any(map(_has_columns, sources)):
        check_column(sources[0], column)
    if not any(map(_is_divided, sources)):
        check_divided(sources[0], delimiter)


def _has_columns(source: str) -> bool:
    return is_hub(source) or format_of_source(source) not in ("", ".txt")


def _is_divided(source: str) -> bool:
    return not is_hub(source) and format_of_source(source) in _TABLES


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


def _read_jsonl(
    path: Path, wanted: Sequence[str] | None, encoding: str, errors: str
) -> Iterator[str]:
    pairs = False
    for number, row in json_rows(path, lines(path, encoding=encoding, errors=errors)):
        where = f"{path}, line {number}"
        if isinstance(row, str):
            yield row
            continue
        if not isinstance(row, dict):
            raise CorpusError(f"{where}: expected an object, not {str(row)[:40]}")
        # The first object decides: a line that lacks what it has must not be read otherwise.
        if pairs or (wanted is None and nli.is_original(row)):
            pairs = True
            yield from nli.sentences_of(row, where)
            continue
        if wanted is None or not row.keys() >= set(wanted):
            wanted = choose_columns(list(row), wanted, where)
        yield joined([text_value(row[name], f"{where}, {name}") for name in wanted])


def _read_table(
    path: Path, wanted: Sequence[str] | None, encoding: str, errors: str, delimiter: str | None
) -> Iterator[str]:
    rows = table_rows(path, encoding, errors, delimiter)
    _, header = next(rows, (0, []))
    if not header:
        return
    if tuple(header) == _ALLNLI:
        for number, row in rows:
            fields = dict(zip(header, row, strict=True))
            yield from nli.sentences_of(fields, f"{path}, line {number}")
        return
    places = [header.index(name) for name in choose_columns(header, wanted, str(path))]
    for _, row in rows:
        yield joined([row[place] for place in places])


def _read_parquet(path: Path, wanted: Sequence[str] | None) -> Iterator[str]:
    names = [name for name, _ in columns(path)]
    chosen = choose_columns(names, wanted, str(path))
    yield from map(joined, parquet_texts(path, chosen))
