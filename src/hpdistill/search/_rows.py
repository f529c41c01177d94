"""Vectors in files, row by row, at each precision: exact search, and the scores of given rows."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from hpdistill.encoder import Embeddings
from hpdistill.runtime.vectors import pack, quantize
from hpdistill.search._faiss import load_faiss, search_threads
from hpdistill.search._matrix import Matrix
from hpdistill.search._products import Products
from hpdistill.search.backend import Settings

__all__ = ["BitRows", "FloatRows", "Int8Rows", "Ranked", "Rows", "ScoredRows"]

Ranked = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Scores, best first, and rows, both of shape (queries, k)."""
_GATHERED = 1 << 24
"""Numbers of stored vectors that are brought together at once to be scored."""


class Rows(ABC):
    """Vectors in files of their own, that grow at the end and may be moved.

    Args:
        files: One array of rows a file.
        settings: How vectors are stored.
    """

    def __init__(self, files: list[Matrix], settings: Settings) -> None:
        self._files = files
        self._settings = settings

    @property
    def rows(self) -> int:
        """How many vectors there are."""
        return self._files[0].rows

    @property
    def bytes(self) -> int:
        """Bytes of the vectors, and of what searching keeps beside them."""
        return sum(file.bytes for file in self._files)

    @abstractmethod
    def add(self, vectors: Embeddings) -> None:
        """Add vectors at the end, shape (n, dim)."""

    def move(self, sources: NDArray[np.int64], targets: NDArray[np.int64]) -> None:
        """Overwrite rows by copies of others."""
        for file in self._files:
            file.move(sources, targets)

    def truncate(self, rows: int) -> None:
        """Keep the first rows only."""
        for file in self._files:
            file.truncate(rows)

    def save(self, directory: Path) -> None:
        """Write the rows to files of the same names elsewhere."""
        for file in self._files:
            file.copy(directory / file.path.name)


class ScoredRows(Rows):
    """Rows that scores can be computed from."""

    @abstractmethod
    def score(self, queries: Embeddings, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Inner products with some rows for each query.

        Args:
            queries: Shape (m, dim).
            rows: Shape (m, r).

        Returns:
            Shape (m, r).
        """


class FloatRows(ScoredRows):
    """Vectors as they are."""

    def __init__(
        self, directory: Path, name: str, settings: Settings, rows: int = 0, *, mmap: bool = True
    ) -> None:
        self._vectors = Matrix(directory / f"{name}.f32", settings.dim, np.float32, rows, mmap=mmap)
        super().__init__([self._vectors], settings)

    def add(self, vectors: Embeddings) -> None:
        """Add vectors at the end, shape (n, dim)."""
        self._vectors.append(vectors)

    def score(self, queries: Embeddings, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Inner products with some rows for each query; see `ScoredRows`."""
        return _gathered_products(queries, self._vectors, rows)

    def search(self, queries: Embeddings, k: int) -> Ranked:
        """The k best rows for each query; k at most `rows`."""
        faiss = load_faiss()
        # A product of matrices is faster from so many on. FAISS compares queries x dim with this
        # number, which is one for the whole process, and by default too high for narrow vectors.
        faiss.cvar.distance_compute_blas_threshold = _TOGETHER * self._settings.dim
        # Without the product, a thread takes whole queries; one that has none spins, and where it
        # shares a core, halves the speed of the one at work.
        threads = faiss.omp_get_max_threads()
        if len(queries) < _TOGETHER:
            threads = min(threads, max(1, len(queries)))
        with search_threads(threads):
            found = faiss.knn(queries, self._vectors.array, k, metric=faiss.METRIC_INNER_PRODUCT)
        return cast("Ranked", found)


class BitRows(Rows):
    """Signs of vectors."""

    def __init__(
        self, directory: Path, name: str, settings: Settings, rows: int = 0, *, mmap: bool = True
    ) -> None:
        width = -(-settings.dim // 8)
        self._bits = Matrix(directory / f"{name}.bits", width, np.uint8, rows, mmap=mmap)
        super().__init__([self._bits], settings)

    def add(self, vectors: Embeddings) -> None:
        """Add vectors at the end, shape (n, dim)."""
        self._bits.append(pack(vectors))

    def search(self, queries: Embeddings, k: int) -> Ranked:
        """The k best rows for each query; k at most `rows`."""
        differing, rows = load_faiss().knn_hamming(pack(queries), self._bits.array, k)
        return bit_scores(differing, self._settings.dim), rows.astype(np.int64, copy=False)


class Int8Rows(ScoredRows):
    """Vectors at one byte a dimension.

    To search them exactly, the query, too, is cut to int8, for which there are kernels. What that
    can change in a score is bounded: every row that could be among the best for the query as it is
    is then scored by it.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        settings: Settings,
        rows: int = 0,
        *,
        mmap: bool = True,
        longest: float = 0.0,
    ) -> None:
        self._codes = Matrix(directory / f"{name}.i8", settings.dim, np.int8, rows, mmap=mmap)
        self._products = Products(self._codes)
        self.longest = longest
        """No row of codes has a larger norm."""
        super().__init__([self._codes], settings)

    def add(self, vectors: Embeddings) -> None:
        """Add vectors at the end, shape (n, dim)."""
        codes = quantize(vectors, ranges_of(self._settings))
        norms = np.linalg.norm(codes.astype(np.float32), axis=1)
        self.longest = max(self.longest, float(norms.max(initial=0.0)))
        self._products.forget(np.arange(self.rows, self.rows + len(codes)))
        self._codes.append(codes)

    def move(self, sources: NDArray[np.int64], targets: NDArray[np.int64]) -> None:
        """Overwrite rows by copies of others."""
        self._products.forget(targets)
        super().move(sources, targets)

    def truncate(self, rows: int) -> None:
        """Keep the first rows only."""
        self._products.forget(np.arange(rows, self.rows))
        super().truncate(rows)

    def score(self, queries: Embeddings, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Inner products with some rows for each query; see `ScoredRows`."""
        weights, constants = fold(queries, ranges_of(self._settings))
        return _gathered_products(weights, self._codes, rows) + constants[:, None]

    def search(self, queries: Embeddings, k: int) -> Ranked:
        """The k best rows for each query; k at most `rows`."""
        weights, constants = fold(queries, ranges_of(self._settings))
        whole, lost = _to_int8(weights)
        # A product may be too small by this for one row, and too large for another.
        slack = np.ceil(2 * lost * self.longest).astype(np.int64)
        threads = load_faiss().omp_get_max_threads()
        close = self._products.close_to_best(whole, k, slack, threads=threads)
        scores = np.empty((len(queries), k), np.float32)
        rows = np.empty((len(queries), k), np.int64)
        for i, candidates in enumerate(close):
            exact = _products_of_one(weights[i], self._codes, candidates)
            order = np.argsort(-exact, kind="stable")[:k]
            scores[i], rows[i] = exact[order], candidates[order]
        return scores + constants[:, None], rows


_TOGETHER = 16
"""Float32 queries that are searched by a product of matrices."""
_LARGEST = 127


def ranges_of(settings: Settings) -> NDArray[np.float32]:
    """Those of the settings, which are there whenever vectors are."""
    assert settings.ranges is not None
    return settings.ranges


def fold(
    queries: Embeddings, ranges: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights and constants: query @ dequantize(codes) is weights @ codes + constant.

    Args:
        queries: Shape (m, dim).
        ranges: Shape (2, dim).

    Returns:
        Shapes (m, dim) and (m,).
    """
    weights = queries * ((ranges[1] - ranges[0]) / np.float32(255))
    constants = queries @ ranges[0] + 128 * weights.sum(axis=1)
    return weights, constants


def _to_int8(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Weights of shape (m, dim) as whole numbers of a step of their own, and what rounding took.

    Returns:
        Whole numbers of shape (m, dim), and norms of shape (m,), in steps.
    """
    steps = np.maximum(np.abs(weights).max(axis=1), np.finfo(np.float32).tiny) / _LARGEST
    scaled = weights / steps[:, None]
    whole = np.rint(scaled)
    return whole.astype(np.int8), np.linalg.norm(scaled - whole, axis=1)


def bit_scores(differing: NDArray[np.int32], dim: int) -> NDArray[np.float32]:
    """Inner products of sign vectors of unit length, from how many signs differ."""
    return (1 - differing * np.float32(2 / dim)).astype(np.float32, copy=False)


def _gathered_products(
    weights: NDArray[np.float32], stored: Matrix, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Inner products of each query with rows of its own; shapes (m, dim), (m, r): (m, r)."""
    out = np.empty(rows.shape, np.float32)
    for part in _slices(len(rows), max(1, _GATHERED // max(1, rows.shape[1] * weights.shape[1]))):
        values = stored.take(rows[part]).astype(np.float32, copy=False)
        out[part] = np.matmul(values, weights[part, :, None])[..., 0]
    return out


def _products_of_one(
    weights: NDArray[np.float32], stored: Matrix, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Inner products of one query with rows, however many; shapes (dim,), (r,): (r,)."""
    out = np.empty(len(rows), np.float32)
    for part in _slices(len(rows), max(1, _GATHERED // len(weights))):
        out[part] = stored.take(rows[part]).astype(np.float32) @ weights
    return out


def _slices(count: int, step: int) -> Iterator[slice]:
    return (slice(start, start + step) for start in range(0, count, step))
