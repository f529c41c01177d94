"""Ids, texts and metadata in files beside the vectors."""

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpdistill.errors import RunError, SearchError
from hpdistill.files import clear_os_errors
from hpdistill.search._matrix import Matrix
from hpdistill.search.document import Document

__all__ = ["Documents"]

_TABLE = """CREATE TABLE IF NOT EXISTS documents (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, text TEXT NOT NULL, metadata TEXT NOT NULL
)"""
_AT_ONCE = 900
"""Values in one SQL statement: every build of SQLite takes so many."""
_MANY = 4096
"""Ids from so many on are read once each: to find those that occur again then costs less."""


class Documents:
    """Documents by number, which they get in the order they come, and by id.

    The ids are in two plain files as well, because a search turns hundreds of numbers into ids for
    every query, and the database takes longer for that than the vectors do.

    Args:
        directory: Of the files.
        state: What `save` returned; None makes the files.
        writable: Whether documents will be added or deleted.
        mmap: See `Matrix`.

    Raises:
        SearchError: The files are damaged, or cannot be read.
    """

    FILE = "documents.sqlite"

    def __init__(
        self,
        directory: Path,
        state: Mapping[str, Any] | None = None,
        *,
        writable: bool = True,
        mmap: bool = True,
    ) -> None:
        numbers, size = (state["numbers"], state["id_bytes"]) if state else (0, 0)
        self._ends = Matrix(directory / "ids.ends", 1, np.int64, numbers, mmap=mmap)
        self._ids = Matrix(directory / "ids.utf8", 1, np.uint8, size, mmap=mmap)
        self._path = directory / self.FILE
        self._using = threading.Lock()
        self._writable = writable
        mode = "rwc" if writable else "ro&immutable=1"
        with self._clear_errors():
            self._database = sqlite3.connect(
                f"{self._path.resolve().as_uri()}?mode={mode}",
                uri=True,
                check_same_thread=False,
                isolation_level=None,
            )
            if writable:
                # A file that nobody else sees and that a crash may take: only failures are undone.
                self._database.execute("PRAGMA journal_mode=MEMORY")
                self._database.execute("PRAGMA synchronous=OFF")
            if state is None:
                self._database.execute(_TABLE)

    def add(self, documents: Sequence[Document]) -> NDArray[np.int64]:
        """Store documents of new ids.

        Returns:
            Their numbers, shape (documents,).

        Raises:
            RunError: The disk is full; then none is stored.
        """
        first, size = self._ends.rows, self._ids.rows
        numbers = np.arange(first, first + len(documents))
        ids = [document.id.encode() for document in documents]
        values = zip(numbers.tolist(), documents, strict=True)
        try:
            self._ids.append(np.frombuffer(b"".join(ids), np.uint8)[:, None])
            self._ends.append(np.cumsum([len(one) for one in ids], dtype=np.int64)[:, None] + size)
            with self._clear_errors(), self._transaction():
                self._database.executemany(
                    "INSERT INTO documents VALUES (?, ?, ?, ?)",
                    (
                        (number, one.id, _valid(one.text), json.dumps(dict(one.metadata)))
                        for number, one in values
                    ),
                )
        except BaseException:
            self._ends.truncate(first)
            self._ids.truncate(size)
            raise
        return numbers

    def undo(self, numbers: NDArray[np.int64]) -> None:
        """Take back the last `add`."""
        self.delete(numbers)
        first = int(numbers[0])
        self._ids.truncate(int(self._ends.array[first - 1, 0]) if first else 0)
        self._ends.truncate(first)

    def delete(self, numbers: NDArray[np.int64]) -> None:
        """Forget documents."""
        with self._clear_errors(), self._transaction():
            self._database.executemany(
                "DELETE FROM documents WHERE number = ?", ((n,) for n in numbers.tolist())
            )

    def numbers(self, ids: Sequence[str]) -> dict[str, int]:
        """Numbers of those ids that are there."""
        return dict(self._select("id, number", ids))

    def get(self, ids: Sequence[str]) -> list[Document | None]:
        """Documents by id; None for one that is not there."""
        found = {
            row[0]: Document(id=row[0], text=row[1], metadata=json.loads(row[2]))
            for row in self._select("id, text, metadata", ids)
        }
        return [found.get(one) for one in ids]

    def ids(self, numbers: NDArray[np.int64]) -> list[str]:
        """Ids by number; of one dimension."""
        if len(numbers) < _MANY:
            return self._read_ids(numbers)
        # The queries of a batch find the same documents again and again.
        distinct, places = np.unique(numbers, return_inverse=True)
        found: list[str] = np.array(self._read_ids(distinct), object)[places].tolist()
        return found

    def _read_ids(self, numbers: NDArray[np.int64]) -> list[str]:
        ends = self._ends.array[:, 0]
        starts = np.where(numbers > 0, ends[numbers - 1], 0)
        stored = self._ids.array.data.cast("B") if self._ids.rows else memoryview(b"")
        return [
            str(stored[start:end], "utf-8", "replace")
            for start, end in zip(starts.tolist(), ends[numbers].tolist(), strict=True)
        ]

    def save(self, directory: Path) -> dict[str, Any]:
        """Write everything to files of the same names elsewhere.

        Returns:
            What the next one needs beside the files.
        """
        self._ends.copy(directory / self._ends.path.name)
        self._ids.copy(directory / self._ids.path.name)
        target = directory / self.FILE
        with clear_os_errors(target), self._using, self._clear_errors():
            target.touch()
            with closing(sqlite3.connect(target)) as copy:
                self._database.backup(copy)
        return {"numbers": self._ends.rows, "id_bytes": self._ids.rows}

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _select(self, columns: str, ids: Sequence[str]) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        wanted = [one for one in dict.fromkeys(ids) if _is_valid(one)]
        with self._using, self._clear_errors():
            for start in range(0, len(wanted), _AT_ONCE):
                part = wanted[start : start + _AT_ONCE]
                marks = ",".join("?" * len(part))
                # Column names and question marks of our own; the values are bound.
                query = f"SELECT {columns} FROM documents WHERE id IN ({marks})"  # noqa: S608
                found += self._database.execute(query, part)
        return found

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._using:
            self._database.execute("BEGIN")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if not self._writable:
                raise SearchError(f"cannot read {self._path}: {error}") from error
            raise RunError(
                f"cannot write {self._path}: {error}",
                hint="Make room, or set TMPDIR to a directory that has some, and try again.",
            ) from error
        except sqlite3.DatabaseError as error:
            raise SearchError(
                f"{self._path} is damaged: {error}", hint="Build the index again."
            ) from error


def _is_valid(text: str) -> bool:
    return text.isascii() or _valid(text) == text


def _valid(text: str) -> str:
    """The text, with halves of characters, which no file can hold, replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
