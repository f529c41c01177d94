"""Rows of evaluation data, read as corpora are, with errors of an evaluation."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpdistill.corpus._lines import lines as text_lines
from hpdistill.corpus.readers import FORMATS, delimiter_note, read_rows
from hpdistill.errors import CorpusError, EvaluationError

__all__ = [
    "TABLES",
    "divided_note",
    "kind",
    "lines",
    "pair_columns",
    "row_unit",
    "sentence_of",
    "table",
]

TABLES = tuple(kind for kind in FORMATS if kind != ".txt")
"""Formats of rows with named fields; each but `.parquet` also with `.gz` behind it."""

_SENTENCES = (
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("sentence_a", "sentence_b"),
    ("text1", "text2"),
    ("premise", "hypothesis"),
    ("anchor", "positive"),
)
"""What the columns of two sentences are called, in lower case."""


def kind(path: Path) -> str:
    """The suffix that says what a file holds, `.gz` left aside."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def lines(path: Path) -> Iterator[str]:
    """Lines of a UTF-8 file, gzipped if its name ends in `.gz`; a byte order mark is dropped.

    Raises:
        EvaluationError: It is missing, unreadable, a damaged gzip, or not UTF-8.
    """
    with _as_evaluation():
        yield from text_lines(path)


def table(path: Path, delimiter: str | None = None) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Number and fields of every row of a file in one of `TABLES`.

    Args:
        path: The file.
        delimiter: What divides the columns of `.csv` and `.tsv`; None looks for it.

    Raises:
        EvaluationError: It cannot be read, is damaged, or names a column twice; names the line.
    """
    with _as_evaluation():
        yield from read_rows(path, delimiter=delimiter)


def row_unit(path: Path) -> str:
    """What the numbers of `table` number."""
    return "row" if kind(path) == ".parquet" else "line"


def divided_note(path: Path, delimiter: str | None) -> str:
    """What was found to divide the columns, if that needs saying."""
    with _as_evaluation():
        return delimiter_note(str(path), delimiter=delimiter)


def pair_columns(
    names: Sequence[str],
    first: str | None,
    second: str | None,
    value: str | None,
    *,
    usual: Sequence[str],
    where: str,
) -> tuple[str, str, str | None]:
    """The two columns of sentences, and that of what is said of a pair, if there is one.

    Args:
        names: Of all columns.
        first: The one asked for, if one was; as are the next two.
        second: Of the other sentence.
        value: Of a label or score.
        usual: What that is usually called, in lower case.
        where: The place, for messages.

    Raises:
        EvaluationError: One is not there, or two are the same.
    """
    there = ", ".join(names)
    for wanted in filter(None, (first, second, value)):
        if wanted not in names:
            raise EvaluationError(f"{where}: no column {wanted!r}; columns: {there}")
    lower = {name.lower(): name for name in reversed(names)}
    if first is None or second is None:
        known = next((pair for pair in _SENTENCES if lower.keys() >= set(pair)), None)
        if known is None:
            raise EvaluationError(
                f"{where}: which columns hold the sentences? columns: {there}",
                hint="Name the two columns, by `first` and `second`.",
            )
        first, second = first or lower[known[0]], second or lower[known[1]]
    if value is None:
        value = next((lower[name] for name in usual if name in lower), None)
    if len({first, second, value}) < 3:
        raise EvaluationError(f"{where}: {first}, {second} and {value} must be different columns")
    return first, second, value


def sentence_of(row: Mapping[str, Any], column: str, where: str) -> str:
    """The text in a column of a row; empty where there is none.

    Raises:
        EvaluationError: It is something else.
    """
    value = row.get(column)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise EvaluationError(f"{where}: {column} is {str(value)[:40]}, expected a string")
    return value


@contextmanager
def _as_evaluation() -> Iterator[None]:
    try:
        yield
    except CorpusError as error:
        # Evaluation data has no option that names its encoding.
        coded = isinstance(error.__cause__, UnicodeError)
        hint = "Convert it to UTF-8 first." if coded else error.hint
        raise EvaluationError(str(error), hint=hint) from error
