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
from hpdistill.search._products import DIGIT, best_products
from hpdistill.search._tiles import Tiles
from hpdistill.search.backend import Settings

__all__ = ["BitRows", "FloatRows", "Int8Rows", "Int8Tiles", "Ranked", "Rows", "ScoredRows"]

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

    def __init__(self, files: list[Matrix | Tiles], settings: Settings) -> None:
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
    """Vectors at one byte a dimension, to be scored where another pass has found them."""

    def __init__(
        self, directory: Path, name: str, settings: Settings, rows: int = 0, *, mmap: bool = True
    ) -> None:
        self._codes = Matrix(directory / f"{name}.i8", settings.dim, np.int8, rows, mmap=mmap)
        super().__init__([self._codes], settings)

    def add(self, vectors: Embeddings) -> None:
        """Add vectors at the end, shape (n, dim)."""
        self._codes.append(quantize(vectors, ranges_of(self._settings)))

    def score(self, queries: Embeddings, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Inner products with some rows for each query; see `ScoredRows`."""
        weights, constants = fold(queries, ranges_of(self._settings))
        return _gathered_products(weights, self._codes, rows) + constants[:, None]


class Int8Tiles(ScoredRows):
    """Vectors at one byte a dimension, to be searched exactly by integer products.

    The query, too, is cut to integers to find candidates; these are scored by the query as it is.
    What rounding the query can change in a score is bounded, so that it is known whether a row
    outside the candidates could be among the best: then more candidates are taken.
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
        self._codes = Tiles(directory / f"{name}.tiles", settings.dim, rows, mmap=mmap)
        # Of each row's codes: what the shift of the query's numbers adds to a product.
        self._sums = Matrix(directory / f"{name}.sums", 1, np.int32, rows, mmap=mmap)
        self.longest = longest
        """No row of codes has a larger norm."""
        super().__init__([self._codes, self._sums], settings)

    def add(self, vectors: Embeddings) -> None:
        """Add vectors at the end, shape (n, dim)."""
        codes = quantize(vectors, ranges_of(self._settings))
        wide = codes.astype(np.int32)
        self.longest = max(self.longest, float(np.sqrt((wide * wide).sum(axis=1).max())))
        self._codes.append(codes)
        self._sums.append(wide.sum(axis=1, keepdims=True))

    def score(self, queries: Embeddings, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Inner products with some rows for each query; see `ScoredRows`."""
        weights, constants = fold(queries, ranges_of(self._settings))
        return _gathered_products(weights, self._codes, rows) + constants[:, None]

    def search(self, queries: Embeddings, k: int) -> Ranked:
        """The k best rows for each query; k at most `rows`."""
        weights, constants = fold(queries, ranges_of(self._settings))
        scores = np.empty((len(queries), k), np.float32)
        rows = np.empty((len(queries), k), np.int64)
        left = np.arange(len(queries))
        digits = 1 if k <= _FEW or self._settings.dim > _WIDEST else 2
        # More candidates cost little; not being certain of them costs a search of two digits.
        wanted = k + (64 + 3 * k if digits == 1 else 16)
        while len(left):
            wanted = min(wanted, self.rows)
            candidates, others = self._candidates(weights[left], wanted, digits)
            exact = _gathered_products(weights[left], self._codes, candidates)
            order = np.argsort(-exact, axis=1, kind="stable")[:, :k]
            scores[left] = np.take_along_axis(exact, order, axis=1)
            rows[left] = np.take_along_axis(candidates, order, axis=1)
            left = left[scores[left, -1] < others] if wanted < self.rows else left[:0]
            if digits == 1 and self._settings.dim <= _WIDEST:
                digits = 2
            else:
                wanted *= 8
        return scores + constants[:, None], rows

    def _candidates(
        self, weights: NDArray[np.float32], wanted: int, digits: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows of shape (m, wanted), and for each query what no other row's score exceeds."""
        pieces, steps, rounding = _in_digits(weights, digits)
        shift = -_SHIFT * (1 if digits == 1 else DIGIT + 1)
        threads = load_faiss().omp_get_max_threads()
        best = np.empty((len(weights), 0), np.int32)
        rows = np.empty((len(weights), 0), np.int64)
        start = 0
        for block in self._codes.blocks:
            end = start + block.shape[1]
            bias = self._sums.array[start:end, 0] * np.int32(shift)
            found, places = best_products(
                pieces, block, bias, min(wanted, end - start), threads=threads
            )
            best = np.concatenate([best, found], axis=1)
            rows = np.concatenate([rows, places + start], axis=1)
            if best.shape[1] > wanted:
                kept = np.argpartition(-best, wanted - 1, axis=1)[:, :wanted]
                best = np.take_along_axis(best, kept, axis=1)
                rows = np.take_along_axis(rows, kept, axis=1)
            start = end
        return rows, best.min(axis=1) * steps + rounding * self.longest


_TOGETHER = 16
"""Float32 queries that are searched by a product of matrices."""
_LARGEST = 63
_SHIFT = 64
"""Makes whole numbers from -63 to 63 positive, as the products take them."""
_FEW = 32
"""Hits up to so many are found for certain with queries of one digit, most of the time."""
_WIDEST = 2048
"""Products of two digits of wider vectors would not fit into 32 bits."""


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


def _in_digits(
    weights: NDArray[np.float32], digits: int
) -> tuple[list[NDArray[np.uint8]], NDArray[np.float32], NDArray[np.float32]]:
    """Weights of shape (m, dim) cut to one or two digits, as `best_products` takes them.

    Returns:
        The digits, each of shape (m, dim); what a product of 1 is worth, shape (m,); and the norm
        of what rounding took away, shape (m,).
    """
    steps = np.maximum(np.abs(weights).max(axis=1), np.finfo(np.float32).tiny) / _LARGEST
    rest = weights / steps[:, None]
    pieces = []
    worth = steps
    for digit in range(digits):
        if digit:
            rest, worth = rest * DIGIT, worth / DIGIT
        whole = np.rint(rest)
        rest -= whole
        pieces.append((whole + _SHIFT).astype(np.uint8))
    return pieces, worth, np.linalg.norm(rest, axis=1) * worth


def bit_scores(differing: NDArray[np.int32], dim: int) -> NDArray[np.float32]:
    """Inner products of sign vectors of unit length, from how many signs differ."""
    return (1 - differing * np.float32(2 / dim)).astype(np.float32, copy=False)


def _gathered_products(
    weights: NDArray[np.float32], stored: Matrix | Tiles, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Inner products of each query with rows of its own; shapes (m, dim), (m, r): (m, r)."""
    out = np.empty(rows.shape, np.float32)
    for part in _slices(len(rows), max(1, _GATHERED // max(1, rows.shape[1] * weights.shape[1]))):
        values = stored.take(rows[part]).astype(np.float32, copy=False)
        out[part] = np.matmul(values, weights[part, :, None])[..., 0]
    return out


def _slices(count: int, step: int) -> Iterator[slice]:
    return (slice(start, start + step) for start in range(0, count, step))
