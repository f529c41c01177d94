"""Tables in text: what divides the columns, with quotes or without, names in the first row."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

from hpdistill.errors import HpdError, UsageError

__all__ = [
    "Header",
    "check_delimiter",
    "first_twice",
    "header_of",
    "table_rows",
]

csv.field_size_limit(2**31 - 1)  # not 131,072 characters: a document may be a book

_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
"""What may divide columns where nobody says what does."""
_SPELT = {"\\t": "\t", "tab": "\t"}
"""A tab as a shell or a TOML file can have it."""
_SNIFFED_ROWS = 100
_SNIFFED_CHARACTERS = 1 << 16

_Row = tuple[int, list[str]]


class Header:
    """What divides the columns of a table, and what they are called."""

    def __init__(self, delimiter: str, names: list[str], *, usual: bool) -> None:
        self.delimiter = delimiter
        self.names = names
        """None where the table is empty."""
        self.usual = usual
        """Whether the delimiter is that of the format: of `.csv` the comma, of `.tsv` the tab."""

    @property
    def described(self) -> str:
        """What divides the columns, in words."""
        return _NAMES.get(self.delimiter, repr(self.delimiter))


def check_delimiter(delimiter: str | None) -> str | None:
    r"""A delimiter as it was asked for: one character, or `tab` or `\t` for a tab; or None.

    Raises:
        UsageError: It is anything else.
    """
    if delimiter is None:
        return None
    character = _SPELT.get(delimiter, delimiter)
    if len(character) != 1 or character in '"\r\n\0':
        raise UsageError(
            f"delimiter is {delimiter!r}; allowed: one character such as ; or |, or tab"
        )
    return character


def first_twice(names: Iterable[str]) -> str | None:
    """The first name that is there before, if there is one."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def header_of(
    text: Iterable[str],
    path: Path,
    *,
    quotes: bool,
    error: type[HpdError],
    delimiter: str | None = None,
) -> Header:
    """What the first lines of a table say of the whole; arguments and errors as of `table_rows`."""
    return _opened(iter(text), path, quotes, delimiter, error)[0]


def table_rows(
    text: Iterable[str],
    path: Path,
    *,
    quotes: bool,
    error: type[HpdError],
    delimiter: str | None = None,
) -> Iterator[_Row]:
    """Line number and fields of every row; the first is the header.

    A blank line is a row where the header has one column, and none elsewhere. A line of nothing
    but delimiters is always a row.

    Where no delimiter is given it is the one of comma, semicolon, tab and bar that divides the
    header and all of the first rows alike. Where none does, it is the format's own: a file of one
    column has none, and its header no reason to hold one.

    Args:
        text: Lines with their ends; with quotes, read with `newline=""`.
        path: Where they come from, for messages.
        quotes: As in `.csv`, whose comma is the usual delimiter. In `.tsv`, with its tab, a quote
            is a character like any other: by the rules of CSV one stray quote would swallow rows
            up to the next.
        error: What to raise.
        delimiter: What divides the columns, if that is known.

    Raises:
        HpdError: `error`: what divides the columns cannot be told, the header names one twice, a
            row has more or fewer fields than it, or it is no CSV; names the line.
        UsageError: There is no such delimiter.
    """
    header, lines = _opened(iter(text), path, quotes, delimiter, error)
    width, begun = len(header.names), False
    hint = (
        "A .csv quotes a field that holds commas; a .tsv field holds no tabs."
        if header.usual
        else f"Its columns are divided by {header.described}; `delimiter` names another character."
    )
    for number, row in _divided(lines, header.delimiter, quotes=quotes, path=path, error=error):
        if _is_blank(row, quotes=quotes) and (width != 1 or not begun):
            continue
        begun = True
        fields = row or [""]
        if len(fields) != width:
            raise error(
                f"{path}, line {number}: {len(fields)} fields, the header has {width}", hint=hint
            )
        yield number, fields


def _opened(
    text: Iterator[str],
    path: Path,
    quotes: bool,
    delimiter: str | None,
    error: type[HpdError],
) -> tuple[Header, Iterator[str]]:
    """The header, and all lines again."""
    head, whole = _head(text)
    delimiter, usual = check_delimiter(delimiter), "," if quotes else "\t"
    readings = {
        mark: reading
        for mark in {usual: "", **_NAMES, **({delimiter: ""} if delimiter else {})}
        if (reading := _reading(head, mark, quotes=quotes, whole=whole))
    }
    if not readings:
        return Header(delimiter or usual, [], usual=True), iter(())
    if delimiter is None:
        delimiter = _sniffed(readings, path, usual, error)
    elif delimiter != usual:
        _check_divides(readings, path, delimiter, error)
    names = readings[delimiter][0][1]
    if (name := first_twice(filter(None, names))) is not None:
        raise error(f"{path}: the header names the column {name!r} twice")
    return Header(delimiter, names, usual=delimiter == usual), chain(head, text)


def _sniffed(readings: dict[str, list[_Row]], path: Path, usual: str, error: type[HpdError]) -> str:
    several = [mark for mark, rows in readings.items() if len(rows[0][1]) > 1]
    even = [mark for mark in several if _uneven(readings[mark]) is None]
    hint = "Say what divides the columns, with `delimiter`."
    if len(even) == 1:
        return even[0]
    if even:
        both = " and by ".join(_NAMES[mark] for mark in even)
        raise error(f"{path}: the columns may be divided by {both}", hint=hint)
    # One column, whose name may hold a mark; or a row that who reads on will name.
    divided = [mark for mark in several if any(len(row) > 1 for _, row in readings[mark][1:])]
    if usual in several or not divided:
        return usual
    mark = divided[0]
    line, width = _uneven(readings[mark]) or (0, 0)
    raise error(
        f"{path}: {_NAMES[mark]} divide the header into {len(readings[mark][0][1])} columns, and "
        f"line {line} into {width}",
        hint=hint,
    )


def _check_divides(
    readings: dict[str, list[_Row]], path: Path, delimiter: str, error: type[HpdError]
) -> None:
    """Refuse to read as one column what another character divides into several."""
    if len(readings[delimiter][0][1]) > 1:
        return
    for mark, rows in readings.items():
        if len(rows[0][1]) > 1 and _uneven(rows) is None:
            raise error(
                f"{path}: the columns are divided by {_NAMES[mark]}, and its header holds no "
                f"{delimiter!r}",
                hint="`delimiter` is for all tables that are read together.",
            )


def _uneven(rows: Sequence[_Row]) -> tuple[int, int] | None:
    """Line and width of the first row that is not as wide as the header."""
    width = len(rows[0][1])
    return next(((line, len(row)) for line, row in rows if len(row) != width), None)


def _head(text: Iterator[str]) -> tuple[list[str], bool]:
    """The first lines, and whether they are all."""
    head: list[str] = []
    rows = characters = 0
    for line in text:
        head.append(line)
        rows += not line.isspace()
        characters += len(line)
        if rows == _SNIFFED_ROWS or (rows and characters > _SNIFFED_CHARACTERS):
            return head, False
    return head, True


def _reading(head: Sequence[str], mark: str, *, quotes: bool, whole: bool) -> list[_Row]:
    """The first rows, blank ones left out, if this divides them."""
    if not quotes:
        found = list(_split(head, mark))
    else:
        found = []
        reader = csv.reader(head, delimiter=mark)
        # What is no CSV is told by who reads on, strictly.
        with suppress(csv.Error):
            found.extend((reader.line_num, row) for row in reader)
        if not whole and len(found) > 1:
            found.pop()  # it may go on
    return [(number, row) for number, row in found if not _is_blank(row, quotes=quotes)]


def _is_blank(row: list[str], *, quotes: bool) -> bool:
    # A line of spaces looks blank, and a .tsv has no quotes to show that it is not.
    return not row or (not quotes and len(row) == 1 and not row[0].strip())


def _divided(
    text: Iterable[str], delimiter: str, *, quotes: bool, path: Path, error: type[HpdError]
) -> Iterator[_Row]:
    if not quotes:
        yield from _split(text, delimiter)
        return
    reader = csv.reader(text, strict=True, delimiter=delimiter)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as fault:
        raise error(f"{path}, line {reader.line_num}: not valid CSV: {fault}") from fault


def _split(text: Iterable[str], delimiter: str) -> Iterator[_Row]:
    for number, line in enumerate(text, start=1):
        yield number, line.rstrip("\r\n").split(delimiter)
