"""Lines, JSON objects and tables of text files, with errors that say where the fault is."""

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from hpdistill.delimited import delimited_rows
from hpdistill.errors import EvaluationError

__all__ = ["json_objects", "kind", "lines", "table"]


def kind(path: Path) -> str:
    """The suffix that says what a file holds, `.gz` left aside."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def lines(path: Path, *, newline: str | None = None) -> Iterator[str]:
    r"""Lines of a UTF-8 file, each with its end; gzipped if its name ends in `.gz`.

    Args:
        path: The file. A byte order mark is dropped.
        newline: As for `open`; the csv module wants an empty string.

    Raises:
        EvaluationError: It is missing, unreadable, a damaged gzip, or not UTF-8.
    """
    try:
        with _open(path) as raw, io.TextIOWrapper(raw, "utf-8-sig", newline=newline) as text:
            yield from text
    except UnicodeDecodeError as error:
        raise EvaluationError(
            f"{path} is not UTF-8: {error.reason}", hint="Convert it to UTF-8 first."
        ) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise EvaluationError(
            f"{path} is not a sound gzip file: {error}", hint="Copy or download it again."
        ) from error
    except OSError as error:
        raise EvaluationError(f"cannot read {path}: {error.strerror or error}") from error


def json_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of every line that is not blank.

    Raises:
        EvaluationError: A line is not a JSON object; names the file and the line.
    """
    for number, line in enumerate(lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            place = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            reason = getattr(error, "msg", error)
            raise EvaluationError(
                f"{path}, line {number}: not valid JSON: {reason}{place}"
            ) from error
        if not isinstance(row, dict):
            raise EvaluationError(
                f"{path}, line {number}: expected an object, not {_shown(line.strip())}"
            )
        yield number, row


def table(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of every row that is not blank.

    A `.csv` has quotes; elsewhere tabs divide, and a quote is a character like any other.

    Raises:
        EvaluationError: The file cannot be read, or is no CSV; names the line.
    """
    tabs = kind(path) != ".csv"
    text = lines(path, newline=None if tabs else "")
    yield from delimited_rows(text, path, tabs=tabs, error=EvaluationError)


def _open(path: Path) -> IO[bytes]:
    compressed = path.suffix.lower() == ".gz"
    return cast("IO[bytes]", gzip.open(path)) if compressed else path.open("rb")


def _shown(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"
