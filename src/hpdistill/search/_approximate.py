"""Graphs and inverted lists by FAISS: most of the best vectors, in a fraction of the time."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpdistill.encoder import Embeddings
from hpdistill.errors import SearchError, UsageError
from hpdistill.runtime.vectors import pack
from hpdistill.search._faiss import load_faiss, read_index, write_index
from hpdistill.search._rows import Ranked, bit_scores, ranges_of
from hpdistill.search.backend import Engine, Settings

__all__ = ["OPTIONS", "Approximate", "check_options", "trained_lists"]

OPTIONS: Mapping[str, Mapping[str, int]] = {
    "flat": {},
    "hnsw": {"m": 2**10, "ef_construction": 2**20, "ef_search": 2**30},
    "ivf-pq": {"nlist": 2**24, "nprobe": 2**24, "pq_m": 2**16, "expected": 2**40},
}
"""What each engine can be told, each a whole number of 1 up to this; beyond it FAISS fails in ways
of its own.

hnsw: `m` links a vector (32), `ef_construction` and `ef_search` candidates looked at while building
(128) and searching (64). ivf-pq: `nlist` lists (4 x the square root of `expected`, the number of
vectors to come, as far as the first block has 39 vectors for each), `nprobe` lists looked at
(2 x the square root of `nlist`), `pq_m` bytes a vector (a quarter of the dimensions, at most).
"""
_CENTROIDS = 256
"""What a byte of a product quantiser can say, and so the fewest vectors it can be trained on."""
_PER_LIST = 39
"""Vectors a list that FAISS wants for a good training."""


def check_options(engine: Engine, options: Mapping[str, Any], dim: int) -> None:
    """Refuse options that the engine does not have.

    Raises:
        UsageError: An option, or its value, is not one.
    """
    allowed = OPTIONS[engine]
    for name, value in options.items():
        if name not in allowed:
            raise UsageError(
                f"the engine {engine} has no option {name!r}; "
                f"it has {', '.join(allowed) if allowed else 'none'}"
            )
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= allowed[name]:
            most = allowed[name]
            raise UsageError(f"{name} must be a whole number of 1 to {most}, not {value!r}")
    if dim % options.get("pq_m", 1):
        raise UsageError(f"pq_m must divide the width {dim} of the vectors, not {options['pq_m']}")
    if options.get("m", 2) < 2:
        raise UsageError("m must be 2 or more, not 1")


def trained_lists(first: int, options: Mapping[str, Any]) -> int:
    """How many lists ivf-pq makes.

    Args:
        first: Vectors of the first block, on which it is trained.
        options: Of the engine.

    Raises:
        SearchError: They are too few.
    """
    expected = max(options.get("expected", 0), first)
    most = max(1, first // _PER_LIST)
    lists: int = options.get("nlist", min(max(1, round(4 * math.sqrt(expected))), most))
    needed = max(_CENTROIDS, lists)
    if first < needed:
        raise SearchError(
            f"ivf-pq is trained on the first block of vectors and needs {needed:,} or more "
            f"there, not {first:,}",
            hint="Add more at once, or use the engine flat or hnsw.",
        )
    return lists


class Approximate:
    """A FAISS index, in memory while it changes; vectors that are deleted are passed over.

    Args:
        engine: `hnsw` or `ivf-pq`.
        settings: How vectors are stored.
    """

    FILE = "vectors.faiss"
    _DELETED = "deleted.npy"

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._binary = settings.precision == "binary"
        self._index: Any = None  # made when the first vectors say how large
        self._alive = np.zeros(0, bool)

    @classmethod
    def load(
        cls, directory: Path, engine: Engine, settings: Settings, rows: int, *, mmap: bool
    ) -> "Approximate":
        """From what `save` wrote.

        Raises:
            SearchError: The files are damaged.
        """
        self = cls(engine, settings)
        if not rows:
            return self
        self._index = read_index(directory / cls.FILE, binary=self._binary, mmap=mmap)
        try:
            deleted = np.load(directory / cls._DELETED, allow_pickle=False)
            self._alive = np.ones(rows, bool)
            self._alive[deleted] = False
        except (OSError, ValueError, IndexError) as error:
            raise SearchError(f"{directory / cls._DELETED} is damaged: {error}") from error
        if self._index.ntotal != rows:
            raise SearchError(
                f"{directory / cls.FILE} holds {self._index.ntotal:,} vectors, not {rows:,}"
            )
        return self

    @property
    def rows(self) -> int:
        """How many vectors there are, the deleted included."""
        return len(self._alive)

    @property
    def bytes(self) -> int:
        """Bytes of the stored vectors with their graph or lists."""
        if self._index is None:
            return 0
        faiss, index = load_faiss(), self._index
        if self._engine == "ivf-pq":
            return int(self.rows * (index.pq.code_size + 8) + index.nlist * self._settings.dim * 4)
        links = index.hnsw.neighbors.size() * 4 + index.hnsw.offsets.size() * 8
        storage = index.storage
        if not self._binary:
            storage = faiss.downcast_index(storage)
        return int(links + self.rows * storage.code_size)

    def add(self, vectors: Embeddings) -> None:
        """Add vectors at the end, shape (n, dim); the first ones train what has to be.

        Raises:
            SearchError: There are too few to train.
        """
        if self._index is None:
            self._index = self._train(vectors) if self._engine == "ivf-pq" else self._graph()
        self._index.add(pack(vectors) if self._binary else np.ascontiguousarray(vectors))
        self._alive = np.append(self._alive, np.ones(len(vectors), bool))

    def delete(self, rows: NDArray[np.int64]) -> None:
        """Pass over these rows from now on."""
        self._alive[rows] = False

    def search(self, queries: Embeddings, k: int) -> Ranked:
        """The k best rows for each query, as far as found; -1 and -inf beyond them."""
        parameters, _kept = self._parameters(k)
        if self._binary:
            # More are looked at than wanted, or those at the edge of the candidates come in vain.
            bits, rows = self._index.search(pack(queries), k, params=parameters)
            scores = bit_scores(bits, self._settings.dim)
        else:
            scores, rows = self._index.search(np.ascontiguousarray(queries), k, params=parameters)
        scores[rows < 0] = -np.inf
        return scores, rows

    def save(self, directory: Path) -> None:
        """Write the index and what is deleted."""
        if self._index is not None:
            write_index(self._index, directory / self.FILE, binary=self._binary)
            np.save(directory / self._DELETED, np.flatnonzero(~self._alive))

    def _parameters(self, k: int) -> tuple[Any, Any]:
        """How to search, and what must live as long as that."""
        faiss, options = load_faiss(), self._settings.options
        selector, bits = None, None
        if not self._alive.all():
            bits = np.packbits(self._alive, bitorder="little")
            selector = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
        if self._engine == "ivf-pq":
            nprobe = options.get("nprobe", max(8, round(2 * math.sqrt(self._index.nlist))))
            nprobe = min(nprobe, self._index.nlist)
            return faiss.SearchParametersIVF(nprobe=nprobe, sel=selector), (selector, bits)
        wide = max(min(options.get("ef_search", 64), self.rows), k)
        return faiss.SearchParametersHNSW(efSearch=wide, sel=selector), (selector, bits)

    def _graph(self) -> Any:  # noqa: ANN401 - FAISS has no types
        faiss, options, dim = load_faiss(), self._settings.options, self._settings.dim
        links = options.get("m", 32)
        if self._binary:
            index = faiss.IndexBinaryHNSW(-(-dim // 8) * 8, links)
        elif self._settings.precision == "int8":
            kind = faiss.ScalarQuantizer.QT_8bit
            index = faiss.IndexHNSWSQ(dim, kind, links, faiss.METRIC_INNER_PRODUCT)
            index.train(ranges_of(self._settings))  # which takes the least and the largest of each
        else:
            index = faiss.IndexHNSWFlat(dim, links, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = options.get("ef_construction", 128)
        return index

    def _train(self, vectors: Embeddings) -> Any:  # noqa: ANN401 - FAISS has no types
        faiss, options, dim = load_faiss(), self._settings.options, self._settings.dim
        lists = trained_lists(len(vectors), options)
        size = options.get("pq_m", max(m for m in range(1, max(2, dim // 4 + 1)) if dim % m == 0))
        coarse = faiss.IndexFlatIP(dim)
        index = faiss.IndexIVFPQ(coarse, dim, lists, size, 8, faiss.METRIC_INNER_PRODUCT)
        coarse.this.disown()
        index.own_fields = True
        for clusters in (index.cp, index.pq.cp):
            clusters.min_points_per_centroid = 1  # checked above; FAISS warns on standard error
        index.train(np.ascontiguousarray(vectors))
        return index
