"""Rows of evaluation data, read as corpora are, with errors of an evaluation."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpdistill.corpus._lines import lines as text_lines
from hpdistill.corpus.readers import FORMATS, delimiter_note, read_rows
from hpdistill.errors import CorpusError, EvaluationError

__all__ = ["TABLES", "divided_note", "kind", "lines", "table", "unit"]

TABLES = tuple(kind for kind in FORMATS if kind != ".txt")
"""Formats of rows with named fields; each but `.parquet` also with `.gz` behind it."""


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


def unit(path: Path) -> str:
    """What the numbers of `table` number."""
    return "row" if kind(path) == ".parquet" else "line"


def divided_note(path: Path, delimiter: str | None) -> str:
    """What was found to divide the columns, if that needs saying."""
    with _as_evaluation():
        return delimiter_note(str(path), delimiter=delimiter)


@contextmanager
def _as_evaluation() -> Iterator[None]:
    try:
        yield
    except CorpusError as error:
        # Evaluation data has no option that names its encoding.
        hint = "Convert it to UTF-8 first." if "--encoding" in error.hint else error.hint
        raise EvaluationError(str(error), hint=hint) from error
