"""Integer inner products and the best of them, by NumKong: it has the kernels for it."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from hpdistill.extras import extra
from hpdistill.search._matrix import Matrix

if TYPE_CHECKING:
    import numkong

__all__ = ["Products", "check_numkong"]

BLOCK = 65_536
"""Rows that are multiplied together."""
MOST_PACKED = 1 << 30
"""Bytes of packed blocks in memory; of the others, codes are read where they lie."""
_TOGETHER = 32
"""Queries that are multiplied together: their products with a block take 8 MB."""
_DEPTH = 64
"""Products that are compared by their largest first."""
_LOWEST = int(np.iinfo(np.int32).min)
_FEW_BLOCKS = 4
"""One query over fewer of them is answered sooner than other threads have woken."""


def check_numkong() -> None:
    """Do nothing if it is installed.

    Raises:
        UsageError: It is not.
    """
    extra("numkong", "search", task="exact search of int8 vectors")


class Products:
    """Products of int8 queries with rows of codes, and which of them are large.

    The kernels want codes arranged in their own way. What is arranged at the first search is kept,
    up to `MOST_PACKED` bytes, until the rows change.

    Args:
        codes: Rows of int8; changed by others, who then call `forget`.
    """

    def __init__(self, codes: Matrix) -> None:
        self._codes = codes
        self._packed: dict[int, numkong.PackedMatrix] = {}

    def forget(self, rows: NDArray[np.int64]) -> None:
        """Some rows have changed, or are new, or gone."""
        for block in np.unique(rows // BLOCK).tolist():
            self._packed.pop(block, None)

    def close_to_best(
        self, queries: NDArray[np.int8], k: int, slack: NDArray[np.int64], *, threads: int
    ) -> list[NDArray[np.int64]]:
        """For each query the rows whose product is the k-th largest less slack, or larger.

        Args:
            queries: Shape (m, dim).
            k: At most as many as there are rows.
            slack: Shape (m,), none negative.
            threads: That may be used.

        Returns:
            For each query k rows or more, in no order.
        """
        blocks = range(-(-self._codes.rows // BLOCK))
        if len(queries) == 1 and len(blocks) >= _FEW_BLOCKS:
            shares = [blocks[start::threads] for start in range(min(threads, len(blocks)))]
            best = _Best(k, int(slack[0]))
            found = _each(lambda share: self._scan(queries, k, slack, share), shares, threads)
            for [part] in found:
                best.add(*part.all())
            return [best.all()[0]]
        step = max(1, min(_TOGETHER, -(-len(queries) // threads)))
        parts = [slice(start, start + step) for start in range(0, len(queries), step)]
        found = _each(
            lambda part: self._scan(queries[part], k, slack[part], blocks), parts, threads
        )
        return [best.all()[0] for some in found for best in some]

    def _scan(
        self, queries: NDArray[np.int8], k: int, slack: NDArray[np.int64], blocks: range
    ) -> list["_Best"]:
        """What is close to the best in some blocks, for each query."""
        best = [_Best(k, one) for one in slack.tolist()]
        for number in blocks:
            products = self._of_block(queries, number)
            groups = _groups_of(products)
            largest = groups.max(axis=1)
            if number == blocks[0] and k <= products.shape[1]:
                # k products of this block are a floor under the k best of all.
                some = largest if k <= largest.shape[1] else products
                kth = np.partition(some, some.shape[1] - k, axis=1)[:, some.shape[1] - k]
                for one, product in zip(best, kth.tolist(), strict=True):
                    one.raise_floor(product)
            floors = np.array([one.floor for one in best], np.int32)
            asked, group = np.nonzero(largest >= floors[:, None])
            values = groups[asked, :, group]
            hit, place = np.nonzero(values >= floors[asked, None])
            rows = place * groups.shape[2] + group[hit] + number * BLOCK
            ends = np.searchsorted(asked[hit], np.arange(len(best) + 1)).tolist()
            values = values[hit, place]
            for one, start, end in zip(best, ends, ends[1:], strict=False):
                if end > start:
                    one.add(rows[start:end], values[start:end])
        return best

    def _of_block(self, queries: NDArray[np.int8], number: int) -> NDArray[np.int32]:
        """Products with every row of a block, shape (m, rows of the block), contiguous."""
        import numkong

        codes = self._codes.array[number * BLOCK : (number + 1) * BLOCK]
        if (number + 1) * BLOCK * self._codes.width > MOST_PACKED:
            columns = numkong.dots_packed(codes, numkong.dots_pack(queries))
            return np.ascontiguousarray(np.asarray(columns).T)
        packed = self._packed.get(number)
        if packed is None:
            # Two threads may both do it: they get the same.
            packed = self._packed[number] = numkong.dots_pack(codes)
        return np.asarray(numkong.dots_packed(queries, packed))


def _groups_of(products: NDArray[np.int32]) -> NDArray[np.int32]:
    """A view of shape (m, depth, groups), in which the second axis is a group.

    Most groups hold nothing large: their maxima, a pass at the speed of memory, say so.
    """
    width = products.shape[1]
    depth = 1 if width % _DEPTH else _DEPTH
    return products.reshape(len(products), depth, width // depth)


class _Best:
    """The rows of one query that are close to the best so far."""

    def __init__(self, k: int, slack: int) -> None:
        self.floor = _LOWEST
        """Smaller products are not wanted any more."""
        self._k = k
        self._slack = slack
        self._rows: list[NDArray[np.int64]] = []
        self._products: list[NDArray[np.int32]] = []
        self._settle_at = 4 * k + 4096

    def raise_floor(self, kth: int) -> None:
        """There are k products of this size or larger."""
        self.floor = max(self.floor, kth - self._slack)

    def add(self, rows: NDArray[np.int64], products: NDArray[np.int32]) -> None:
        """More of them."""
        self._rows.append(rows)
        self._products.append(products)
        if sum(map(len, self._rows)) > self._settle_at:
            # So that what is kept does not grow with the index; unless they are all the same.
            self._settle_at = max(self._settle_at, 2 * len(self.all()[0]))

    def all(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Rows and products."""
        rows, products = np.concatenate(self._rows), np.concatenate(self._products)
        if len(products) > self._k:
            self.raise_floor(int(np.partition(products, -self._k)[-self._k]))
            close = products >= self.floor
            rows, products = rows[close], products[close]
        self._rows, self._products = [rows], [products]
        return rows, products


_Part = TypeVar("_Part")
_Result = TypeVar("_Result")


def _each(
    work: Callable[[_Part], _Result], parts: Sequence[_Part], threads: int
) -> Iterable[_Result]:
    """Results for parts, in their order; by several threads where there are several parts."""
    if len(parts) < 2 or threads < 2:
        return map(work, parts)
    return _pool(threads, os.getpid()).map(work, parts)


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:  # noqa: ARG001
    """The threads of a process: a forked child has none of its parent's."""
    return ThreadPoolExecutor(threads, thread_name_prefix="hpdistill-products")
