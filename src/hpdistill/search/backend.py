"""What an engine does for an index. The index has checked what it gives it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hpdistill.encoder import Embeddings
from hpdistill.search.document import Document

__all__ = ["Backend", "Engine", "Found", "Kept", "Precision", "Settings"]

Engine: TypeAlias = Literal["flat", "hnsw", "ivf-pq", "milvus"]
Precision: TypeAlias = Literal["float32", "int8", "binary"]
Kept: TypeAlias = Literal["float32", "int8"]
"""Vectors beside those of the first pass, to score its best again."""
Found: TypeAlias = tuple[NDArray[np.float32], list[list[str]]]
"""Scores of shape (queries, k), best first and -inf beyond the last hit, and as many ids, of which
those beyond the last hit are empty."""


@dataclass(kw_only=True)
class Settings:
    """How vectors are stored, whatever stores them."""

    dim: int
    precision: Precision
    keep: Kept | None = None
    ranges: NDArray[np.float32] | None = None
    """For int8, shape (2, dim): set before the first vectors come, at the latest."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The engine's own; one it does not know is refused by its `create`."""


class Backend(Protocol):
    """Stored vectors and documents.

    Methods that change something are never called while another method runs; `search`, `get`,
    `known` and `count` are called by many threads at once.

    A backend's module has two functions beside its class, that the index calls:
    `create(settings, ...) -> Backend`, empty; `load(settings, directory, state, ...) -> Backend`,
    from what `save` wrote and returned.
    """

    def add(self, documents: Sequence[Document], vectors: Embeddings) -> None:
        """Store documents whose ids are new.

        Args:
            documents: One or more.
            vectors: Shape (documents, dim), float32, finite.

        Raises:
            SearchError: They cannot be stored; then none of them is.
        """

    def delete(self, ids: Sequence[str]) -> int:
        """Remove documents; ids that are not there are passed over.

        Returns:
            How many were there.
        """

    def search(self, queries: Embeddings, k: int, rescore: int | None) -> Found:
        """Find the best documents for each query.

        Scores are inner products of query and document; with binary vectors and no rescoring,
        of their signs: 1 - 2 x (bits that differ) / dim.

        Args:
            queries: Shape (queries, dim), float32, finite; of one query or more.
            k: One or more; may be larger than the number of documents.
            rescore: None, or k or more: so many of the first pass are scored again by the best
                vectors stored.

        Returns:
            Scores and ids.
        """

    def get(self, ids: Sequence[str]) -> list[Document | None]:
        """Documents by their ids; None for one that is not there."""

    def known(self, ids: Sequence[str]) -> list[str]:
        """Those ids, among the given, that are there already; in the order given."""

    def count(self) -> int:
        """How many documents there are."""

    def save(self, directory: Path) -> Mapping[str, Any]:
        """Write everything into a directory that is there and empty.

        What is in it afterwards is never changed: a backend that writes to its files while it is
        open works on a copy of them. The index syncs the files and records their sizes.

        Returns:
            What `load` needs beside the files, as JSON.

        Raises:
            RunError: The disk is full or the place cannot be written.
        """

    def close(self) -> None:
        """Let go of files and connections. Once is enough, twice does no harm."""

    @property
    def vector_bytes(self) -> int:
        """Bytes of the vectors of the first pass, its graph or lists included."""

    @property
    def kept_bytes(self) -> int:
        """Bytes of the vectors kept beside them."""
