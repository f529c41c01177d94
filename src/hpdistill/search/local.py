"""The engines of one machine: vectors and documents in files of this process.

An index that changes works on files in a temporary directory (under TMPDIR), so that neither
building nor searching needs memory for all vectors at once; graphs and lists alone are in memory.
One that was loaded reads the saved files where they are, and copies them at its first change.
"""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from hpdistill.encoder import Embeddings
from hpdistill.errors import SearchError
from hpdistill.files import clear_os_errors
from hpdistill.search._approximate import Approximate, check_options
from hpdistill.search._documents import Documents
from hpdistill.search._faiss import load_faiss
from hpdistill.search._matrix import Matrix
from hpdistill.search._products import check_numkong
from hpdistill.search._rows import (
    BitRows,
    FloatRows,
    Int8Rows,
    Ranked,
    Rows,
    ScoredRows,
)
from hpdistill.search._scratch import scratch_directory
from hpdistill.search.backend import Engine, Found, Settings
from hpdistill.search.document import Document

__all__ = ["LocalBackend", "create", "load"]

_BATCH = 1024
"""Queries that are searched together, so that what is found for them fits in memory."""


def create(settings: Settings, engine: Engine) -> "LocalBackend":
    """An empty one.

    Raises:
        UsageError: The engine has no such option.
        PackageError: What it needs is not installed.
    """
    _check(settings, engine)
    return LocalBackend(engine, settings, None, None, mmap=True)


def load(
    settings: Settings, engine: Engine, directory: Path, state: Mapping[str, Any], *, mmap: bool
) -> "LocalBackend":
    """From what `save` wrote.

    Raises:
        SearchError: It is damaged.
        PackageError: What it needs is not installed.
    """
    _check(settings, engine)
    return LocalBackend(engine, settings, directory, state, mmap=mmap)


def _check(settings: Settings, engine: Engine) -> None:
    load_faiss()
    if engine == "flat" and settings.precision == "int8":
        check_numkong()
    check_options(engine, settings.options, settings.dim)


class _FirstPass(Protocol):
    """What finds candidates."""

    @property
    def rows(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    def add(self, vectors: Embeddings) -> None: ...
    def search(self, queries: Embeddings, k: int) -> Ranked: ...
    def save(self, directory: Path) -> None: ...


class LocalBackend:
    """A `Backend` of files; made by `create` and `load`."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        directory: Path | None,
        state: Mapping[str, Any] | None,
        *,
        mmap: bool,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._own = directory is None
        self._mmap = mmap
        self._state = dict(state or {})
        # Held open: another process may save, and so remove these files, while we use them.
        self._files: dict[str, BinaryIO] = {}
        if directory is None:
            directory, self._remove = scratch_directory(self)
        else:
            self._files = {path.name: path.open("rb") for path in sorted(directory.iterdir())}
        try:
            self._open(directory, state)
        except BaseException:
            self._close_files()
            raise

    def _open(self, directory: Path, state: Mapping[str, Any] | None) -> None:
        settings, mmap = self._settings, self._mmap
        try:
            rows, longest = (0, 0.0) if state is None else (state["rows"], state["longest"])
            documents = None if state is None else state["documents"]
            self._first: _FirstPass
            if self._engine != "flat":
                # FAISS cannot change what it reads from a map.
                in_place = mmap and not self._own
                self._first = Approximate.load(
                    directory, self._engine, settings, rows, mmap=in_place
                )
            elif settings.precision == "float32":
                self._first = FloatRows(directory, "vectors", settings, rows, mmap=mmap)
            elif settings.precision == "int8":
                self._first = Int8Rows(
                    directory, "vectors", settings, rows, mmap=mmap, longest=longest
                )
            else:
                self._first = BitRows(directory, "vectors", settings, rows, mmap=mmap)
            kept = {"float32": FloatRows, "int8": Int8Rows}.get(settings.keep or "")
            self._kept = kept(directory, "kept", settings, rows, mmap=mmap) if kept else None
            # The number, in the documents, of each row of vectors; -1 where it was deleted.
            self._numbers = Matrix(directory / "numbers", 1, np.int64, rows, mmap=mmap)
            self._documents = Documents(directory, documents, writable=self._own, mmap=mmap)
        except (KeyError, TypeError) as error:
            raise SearchError(
                f"the index at {directory.parent} is damaged: its state lacks {error}"
            ) from error
        self._alive = int((self._numbers.array >= 0).sum())

    @property
    def vector_bytes(self) -> int:
        """Bytes of the vectors of the first pass, its graph or lists included."""
        return self._first.bytes

    @property
    def kept_bytes(self) -> int:
        """Bytes of the vectors kept beside them."""
        return self._kept.bytes if self._kept else 0

    def count(self) -> int:
        """How many documents there are."""
        return self._alive

    def known(self, ids: Sequence[str]) -> list[str]:
        """Those ids that are there already."""
        there = self._documents.numbers(ids)
        return [one for one in ids if one in there]

    def get(self, ids: Sequence[str]) -> list[Document | None]:
        """Documents by their ids."""
        return self._documents.get(ids)

    def add(self, documents: Sequence[Document], vectors: Embeddings) -> None:
        """Store documents whose ids are new; see `Backend`."""
        self._own_files()
        rows = self._numbers.rows
        numbers = self._documents.add(documents)
        try:
            self._numbers.append(numbers[:, None])
            if self._kept:
                self._kept.add(vectors)
            # Last, because a graph cannot take back what was added.
            self._first.add(vectors)
        except BaseException:
            with suppress(Exception):  # the first reason is the one to tell
                self._documents.undo(numbers)
            for part in self._in_rows():
                part.truncate(rows)
            raise
        self._alive += len(documents)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove documents; see `Backend`."""
        gone = np.array(sorted(self._documents.numbers(ids).values()), np.int64)
        if not len(gone):
            return 0
        self._own_files()
        self._documents.delete(gone)
        rows = np.flatnonzero(np.isin(self._numbers.array[:, 0], gone))
        if isinstance(self._first, Approximate):
            self._first.delete(rows)
            self._numbers.put(rows, -1)
        else:
            self._fill(rows)
        self._alive -= len(rows)
        return len(rows)

    def search(self, queries: Embeddings, k: int, rescore: int | None) -> Found:
        """Find the best documents for each query; see `Backend`."""
        scores = np.full((len(queries), k), -np.inf, np.float32)
        ids: list[list[str]] = []
        scorer = self._kept if rescore else None
        depth = min(max(k, rescore or 0), self._alive)
        for start in range(0, len(queries), _BATCH):
            part = queries[start : start + _BATCH]
            if depth == 0:
                ids += [[""] * k for _ in part]
                continue
            found, rows = self._first.search(part, depth)
            if scorer is not None:
                found, rows = _rank_again(scorer, part, rows)
            found, rows = found[:, :k], rows[:, :k]
            scores[start : start + len(part), : found.shape[1]] = found
            ids += self._ids(rows, k)
        return scores, ids

    def save(self, directory: Path) -> Mapping[str, Any]:
        """Write everything into an empty directory; see `Backend`."""
        if self._own:
            documents = self._documents.save(directory)
            self._first.save(directory)
            if self._kept:
                self._kept.save(directory)
            self._numbers.copy(directory / self._numbers.path.name)
            self._state = {
                "rows": self._numbers.rows,
                "longest": getattr(self._first, "longest", 0.0),
                "documents": documents,
            }
        else:
            self._copy_files(directory)
        return self._state

    def close(self) -> None:
        """Let go of the files, and remove the temporary ones."""
        self._close_files()
        self._documents.close()
        if self._own:
            self._remove()

    def _ids(self, rows: NDArray[np.int64], k: int) -> list[list[str]]:
        """Ids of rows of shape (queries, up to k), -1 at the end of some: k for each query."""
        there = rows >= 0
        numbers = self._numbers.array[:, 0][rows[there]]
        flat = self._documents.ids(numbers.astype(np.int64, copy=False))
        ids, start = [], 0
        for count in there.sum(axis=1).tolist():
            ids.append(flat[start : start + count] + [""] * (k - count))
            start += count
        return ids

    def _fill(self, gone: NDArray[np.int64]) -> None:
        """Remove rows by putting the last ones in their places: no search has to skip any."""
        rows = self._numbers.rows
        left = rows - len(gone)
        targets = gone[gone < left]
        sources = np.setdiff1d(np.arange(left, rows), gone)
        for part in self._in_rows():
            part.move(sources, targets)
            part.truncate(left)

    def _in_rows(self) -> list[Rows | Matrix]:
        parts = (self._first, self._kept, self._numbers)
        return [part for part in parts if isinstance(part, Rows | Matrix)]

    def _own_files(self) -> None:
        """Before the first change: leave the saved files for copies of them."""
        if self._own:
            return
        directory, remove = scratch_directory(self)
        try:
            self._copy_files(directory)
        except BaseException:
            remove()
            raise
        self._documents.close()
        self._own, self._remove = True, remove
        self._open(directory, self._state)
        self._close_files()

    def _copy_files(self, directory: Path) -> None:
        for name, source in self._files.items():
            with clear_os_errors(directory / name), (directory / name).open("wb") as target:
                source.seek(0)
                shutil.copyfileobj(source, target, 1 << 22)

    def _close_files(self) -> None:
        for file in self._files.values():
            file.close()
        self._files = {}


def _rank_again(scorer: ScoredRows, queries: Embeddings, rows: NDArray[np.int64]) -> Ranked:
    """Candidates with the scores of better vectors, in their order."""
    scores = scorer.score(queries, np.maximum(rows, 0))
    scores[rows < 0] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
