"""Documents in: texts with the ids they are found by, of every kind of source."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

from hpdistill.corpus import _hub
from hpdistill.corpus._columns import (
    asked_columns,
    choose_column,
    choose_columns,
    joined,
    refuse_columns,
    text_value,
)
from hpdistill.corpus._lines import json_rows, lines
from hpdistill.corpus._parquet import columns, parquet_rows
from hpdistill.corpus._seen import Seen
from hpdistill.corpus._tables import file_format, table_rows
from hpdistill.corpus.docstrings import pydoc_passages
from hpdistill.corpus.readers import check_divided, tell_delimiter
from hpdistill.delimited import check_delimiter
from hpdistill.errors import CorpusError

__all__ = ["DocumentReader", "DocumentRow", "read_documents"]

_IDS = ("_id", "id", "doc_id", "docid")
"""Columns that hold an id, if none was named; the first one that is there."""
_TITLE = "title"


class DocumentRow(NamedTuple):
    """A document as its source has it."""

    id: str
    text: str
    metadata: dict[str, Any]


class _Row(NamedTuple):
    """A row before anything in it is checked."""

    place: str
    """For messages: `line 7`."""
    number: int
    fields: dict[str, Any]


class DocumentReader:
    """Iterates over documents; made by `read_documents`."""

    def __init__(
        self,
        source: str,
        rows: Callable[[], Iterator[_Row]],
        columns: "_Columns",
        *,
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self.empty = 0
        """Documents without text so far; they were passed over."""
        self.first_empty = ""
        """Where the first of them is."""
        self._source = source
        self._read = rows
        self._columns = columns
        self._begin = begin
        self._documents = self._iterate()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> DocumentRow:
        return next(self._documents)

    def _iterate(self) -> Iterator[DocumentRow]:
        self._begin()
        seen = Seen()
        missing = set(self._columns.metadata)
        any_text = False
        for row in self._read():
            where = f"{self._source}, {row.place}"
            document = self._columns.document(row, where)
            missing.difference_update(document.metadata)
            if seen.add(document.id):
                self._check_new(document.id, row)
            if document.text:
                any_text = True
                yield document
                continue
            self.empty += 1
            self.first_empty = self.first_empty or where
        if missing and (any_text or self.empty):
            raise CorpusError(
                f"{self._source}: no document has {', '.join(sorted(missing))}",
                hint="Check the columns named with `metadata_columns`.",
            )
        if not any_text:
            found = f"none of {self.empty:,} documents has text" if self.empty else "no document"
            raise CorpusError(f"{self._source}: {found}")

    def _check_new(self, name: str, again: _Row) -> None:
        """Find an id of the same hash once more; only if it is the same it is a duplicate."""
        for row in self._read():
            if row.place == again.place:
                return
            if self._columns.id(row, f"{self._source}, {row.place}") == name:
                raise CorpusError(
                    f"{self._source}: the id {name!r} is given twice, in {row.place} and "
                    f"{again.place}",
                    hint="Ids must differ; `id_column` names the column they are in.",
                )


class _Columns:
    """Which fields of a row are a document's."""

    def __init__(
        self,
        id: str | None,  # noqa: A002
        text: Sequence[str] | None,
        metadata: Sequence[str],
    ) -> None:
        self._id = id
        self._text = text
        self.metadata = tuple(metadata)
        self._known: set[str] = set()
        self._texts: list[str] = []
        self._chosen: str | None = None
        self._found: str | None = id
        self._first = True

    def document(self, row: _Row, where: str) -> DocumentRow:
        """Take a row apart.

        Raises:
            CorpusError: It lacks a column, or holds no text where text should be.
        """
        fields = row.fields
        if fields.keys() != self._known:
            self._known = set(fields)
            self._texts = self._choose(list(fields), where)
        parts = [text_value(fields[name], f"{where}, {name}") for name in self._texts]
        metadata = {name: _plain(fields[name]) for name in self.metadata if name in fields}
        return DocumentRow(self.id(row, where), _encodable(joined(parts)).strip(), metadata)

    def _choose(self, names: list[str], where: str) -> list[str]:
        """The columns that make up the text."""
        if self._text is not None:
            return choose_columns(names, self._text, where, parameter="text_column")
        # Kept with the document, a column of texts is one still.
        kept = {*self.metadata} - {"text", "sentence"}
        rest = [name for name in names if name not in (*_IDS, _TITLE, self._id, *kept)]
        title = [_TITLE] if _TITLE in names and self._id != _TITLE else []
        if not rest and title:
            return title
        # Once chosen it stays: a row without it must not be read by another column.
        self._chosen = choose_column(rest, self._chosen, where, parameter="text_column")
        return [*title, self._chosen]

    def id(self, row: _Row, where: str) -> str:
        """The id of a row: that of its column, else its number.

        Raises:
            CorpusError: It is missing, or neither text nor a whole number.
        """
        name = self._id or next((name for name in _IDS if name in row.fields), None)
        if self._first:
            self._first, self._found = False, name
        if name != self._found:
            # A number in its place could be another's id, and would not be found again.
            has, had = (f"in {one}" if one else "missing" for one in (name, self._found))
            raise CorpusError(
                f"{where}: the id is {has}, and that of the documents before it is {had}",
                hint="`id_column` names a column that all of them have.",
            )
        if name is None:
            return str(row.number)
        if name not in row.fields:
            choose_column(list(row.fields), name, where)
        value = row.fields[name]
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str) or not value:
            raise CorpusError(
                f"{where}: the id ({name}) is {str(value)[:40]!r}; allowed: text, whole numbers"
            )
        return _encodable(value)


def read_documents(
    source: str,
    *,
    id_column: str | None = None,
    text_column: str | Sequence[str] | None = None,
    metadata_columns: Sequence[str] = (),
    encoding: str = "utf-8",
    errors: str = "strict",
    delimiter: str | None = None,
) -> DocumentReader:
    """Stream the documents of a source, in its own order; those without text are passed over.

    Args:
        source: A file (`.jsonl`, `.csv`, `.tsv`, `.txt`, also with `.gz`; `.parquet`), a folder of
            the BEIR layout (`corpus.jsonl`), `hf:DATASET[:config][:split][:column]`, or `pydoc`:
            what the Python packages on this machine say their modules, classes and functions are
            for.
        id_column: Of the ids, text or whole numbers. None takes `_id`, `id`, `doc_id` or `docid`,
            else the number of the line or row, from 1.
        text_column: Of the texts. None takes the only column that is left, or the one named
            `text` or `sentence`, behind that named `title` if there is one. Of several, each is
            read, a title only if it is among them. Texts are joined, in that order, with a blank
            between those that are not empty.
        metadata_columns: To be kept with each document that has them.
        encoding: Of text files.
        errors: What to do with bytes that are not in `encoding`: `strict`, `replace`, `ignore`.
        delimiter: What divides the columns of `.csv` and `.tsv`: one character, or `tab`. None
            looks for it in their first rows.

    Returns:
        Iterator that also counts what it passed over, and logs what it found to divide columns.

    Raises:
        CorpusError: The source is missing, of an unknown kind or damaged, lacks a column or names
            one twice, has an id twice, or no document with text; names the file and the line.
            Raised when the iteration reaches the fault.
        UsageError: There is no such encoding or delimiter.
        PackageError: The package for a format is not installed.
    """
    check_delimiter(delimiter)
    if not Path(source).is_dir():
        check_divided(source, delimiter)
    texts = asked_columns(text_column)
    named = (id_column, *(texts or ()), *metadata_columns)
    chosen = _Columns(id_column, texts, metadata_columns)
    if source == "pydoc":
        refuse_columns(source, named)
        return DocumentReader(source, _pydoc_rows, _Columns("id", ("text",), ()))
    if _hub.is_hub(source):
        own = source.split(":")[4:5]  # hf:DATASET:config:split:column
        chosen = _Columns(id_column, own if own and own[0] else texts, metadata_columns)
        return DocumentReader(source, lambda: _numbered("row", _hub.hub_rows(source)), chosen)
    path = _file(Path(source))
    kind = file_format(path)
    if kind == ".txt":
        refuse_columns(source, named)
    text = {"encoding": encoding, "errors": errors}
    readers: dict[str, Callable[[], Iterator[_Row]]] = {
        ".txt": lambda: _numbered("line", ({"text": line} for line in lines(path, **text))),
        ".jsonl": lambda: _json_rows(path, **text),
        ".csv": lambda: _table_rows(path, delimiter, **text),
        ".tsv": lambda: _table_rows(path, delimiter, **text),
        ".parquet": lambda: _numbered("row", parquet_rows(path, _wanted(path, texts, named))),
    }
    begin = partial(tell_delimiter, str(path), delimiter=delimiter, **text)
    return DocumentReader(str(path), readers[kind], chosen, begin=begin)


def _file(path: Path) -> Path:
    """The file of documents that a path means.

    Raises:
        CorpusError: A folder holds none.
    """
    if not path.is_dir():
        return path
    for name in ("corpus.jsonl", "corpus.jsonl.gz"):
        if (path / name).is_file():
            return path / name
    raise CorpusError(
        f"{path} is a folder without corpus.jsonl",
        hint="Name a file, or a folder of the BEIR layout.",
    )


def _json_rows(path: Path, encoding: str, errors: str) -> Iterator[_Row]:
    for number, row in json_rows(path, lines(path, encoding=encoding, errors=errors)):
        if not isinstance(row, dict | str):
            raise CorpusError(f"{path}, line {number}: expected an object, not {str(row)[:40]}")
        yield _Row(f"line {number}", number, {"text": row} if isinstance(row, str) else row)


def _table_rows(path: Path, delimiter: str | None, encoding: str, errors: str) -> Iterator[_Row]:
    rows = table_rows(path, encoding, errors, delimiter)
    _, header = next(rows, (0, []))
    for number, (line, row) in enumerate(rows, start=1):
        yield _Row(f"line {line}", number, dict(zip(header, row, strict=True)))


def _wanted(path: Path, text: Sequence[str] | None, named: Sequence[str | None]) -> list[str]:
    """Columns of a Parquet file to read: others may be vectors, larger than all the rest."""
    there = [name for name, _ in columns(path)]
    if text is not None:
        choose_columns(there, text, str(path))
    usual = (*_IDS, _TITLE, "text", "sentence") if text is None else _IDS
    wanted = [name for name in there if name in (*usual, *named)]
    known = text is not None or {"text", "sentence"} & set(wanted)
    return wanted if known else there


def _pydoc_rows() -> Iterator[_Row]:
    # Several definitions of one name, for several platforms say: the first one counts.
    seen = Seen()
    passages = ((name, text) for name, text in pydoc_passages() if not seen.add(name))
    yield from _numbered("passage", ({"id": name, "text": text} for name, text in passages))


def _numbered(unit: str, rows: Iterator[dict[str, Any]]) -> Iterator[_Row]:
    for number, row in enumerate(rows, start=1):
        yield _Row(f"{unit} {number}", number, row)


def _encodable(text: str) -> str:
    """Lone surrogates, which JSON can smuggle in, cannot be stored as UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    """A value as JSON can hold it: Parquet has dates, decimals and numbers that are none."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {_encodable(str(key)): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, int) else _encodable(str(value))
