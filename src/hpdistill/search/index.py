"""Documents by their vectors: build, change, save, load, search."""

import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hpdistill.encoder import Embeddings
from hpdistill.errors import UsageError
from hpdistill.search import _checks as checks
from hpdistill.search import _disk as disk
from hpdistill.search import local
from hpdistill.search._lock import ReadWriteLock
from hpdistill.search._ranges import first_ranges
from hpdistill.search.backend import Backend, Engine, Found, Kept, Precision, Settings
from hpdistill.search.document import Document, Hit
from hpdistill.search.space import Space

__all__ = ["Index"]


class Index:
    """Documents that are found by their vectors; made by `create` or `load`.

    Many threads may use it at once: a search sees all of a change or nothing of it.

    Example:
        >>> from hpdistill import Encoder
        >>> encoder = Encoder.load()
        >>> space = Space(id=encoder.space, dim=encoder.dim, model=encoder.name)
        >>> texts = ["a dog runs in the park", "the bank raised its interest rates"]
        >>> with Index.create(space, precision="int8") as index:
        ...     documents = [Document(id=str(i), text=text) for i, text in enumerate(texts)]
        ...     index.add(documents, encoder.encode(texts))
        ...     index.search(encoder.encode(["puppies at play"]), k=1)[0][0].text
        'a dog runs in the park'
    """

    def __init__(self, space: Space, engine: Engine, settings: Settings, backend: Backend) -> None:
        self._space = space
        self._engine: Engine = engine
        self._settings = settings
        self._backend = backend
        self._lock = ReadWriteLock()
        self._saving = threading.Lock()
        self._closed = False
        # Of each place that it was loaded from or saved to.
        self._versions: dict[Path, str] = {}

    @classmethod
    def create(
        cls,
        space: Space,
        *,
        engine: Engine = "flat",
        precision: Precision = "float32",
        keep: Kept | None = None,
        ranges: NDArray[np.float32] | None = None,
        uri: str | None = None,
        collection: str = "hpdistill",
        options: Mapping[str, Any] | None = None,
    ) -> Self:
        """Make an empty index.

        Args:
            space: Of the vectors to come.
            engine: `flat` is exact. `hnsw` and `ivf-pq` find most of the best in less time.
                `milvus` is a server of its own, or a file through Milvus Lite.
            precision: Of the vectors that are searched.
            keep: Better vectors to keep beside those, so that `search` can rescore.
            ranges: For int8, shape (2, dim): of the model, or of vectors like those to come. By
                default they are fitted on the first block that is added.
            uri: For milvus: a local path, or `http://host:port`; by default a file in the index.
            collection: For milvus: name of the collection.
            options: The engine's own. hnsw: m, ef_construction, ef_search. ivf-pq: nlist, nprobe,
                pq_m, and expected, the number of vectors to come.

        Raises:
            UsageError: A choice is none, or choices do not fit each other; or a package is missing.
            SearchError: Milvus cannot be reached.
        """
        checks.check_choices(engine, precision, keep)
        if uri is not None and engine != "milvus":
            raise UsageError(f"the engine {engine} has no uri; it was given {uri!r}")
        settings = Settings(
            dim=space.dim,
            precision=precision,
            keep=keep,
            ranges=None if ranges is None else checks.checked_ranges(ranges, space.dim),
            options=dict(options or {}),
        )
        backend: Backend
        if engine == "milvus":
            from hpdistill.search import milvus

            backend = milvus.create(settings, space=space, uri=uri, collection=collection)
        else:
            backend = local.create(settings, engine)
        return cls(space, engine, settings, backend)

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        space: Space | None = None,
        mmap: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> Self:
        """Open an index that `save` wrote.

        Args:
            path: Its directory.
            space: That of the queries to come; refused unless it is that of the index.
            mmap: Read vectors from the files while searching; False reads them into memory.
            options: Of searching, in the place of those it was created with: ef_search (hnsw),
                nprobe (ivf-pq), search_params (milvus).

        Raises:
            SearchError: There is none, it is damaged, or of another space.
            UsageError: A package is missing, or the engine has no such option of searching.
        """
        path = Path(path)
        saved, backend, version = disk.open_index(
            path, space=space, mmap=mmap, options=options or {}
        )
        index = cls(saved.space, saved.engine, saved.settings, backend)
        index._versions[path.resolve()] = version
        return index

    @property
    def space(self) -> Space:
        """Of the vectors."""
        return self._space

    @property
    def engine(self) -> Engine:
        """What searches."""
        return self._engine

    @property
    def precision(self) -> Precision:
        """Of the vectors that are searched."""
        return self._settings.precision

    @property
    def keep(self) -> Kept | None:
        """Of the vectors kept beside those."""
        return self._settings.keep

    @property
    def vector_bytes(self) -> int:
        """Bytes of the vectors that are searched, with their graph or lists if they have any."""
        with self._reading():
            return self._backend.vector_bytes

    @property
    def kept_bytes(self) -> int:
        """Bytes of the vectors kept beside those."""
        with self._reading():
            return self._backend.kept_bytes

    def __len__(self) -> int:
        with self._reading():
            return self._backend.count()

    def add(self, documents: Sequence[Document], vectors: Embeddings) -> None:
        """Add documents; all of them, or none when there is an error.

        Vectors go to a file: blocks may add up to more than memory. A block of thousands is added
        faster than as many blocks of one.

        Args:
            documents: Of ids that are not in the index.
            vectors: Shape (documents, dim), float32, of unit length.

        Raises:
            UsageError: Shapes or numbers are wrong, an id is used twice in the block, or metadata
                is no JSON.
            SearchError: An id is in the index already, or ivf-pq has too few vectors to train.
            RunError: The disk is full.
        """
        vectors = checks.checked_vectors(vectors, self._space.dim, "documents")
        checks.check_documents(documents, len(vectors))
        if not documents:
            return
        ids = [document.id for document in documents]
        with self._writing():
            checks.check_new(self._backend.known(ids))
            fitted = self._settings.ranges is None and "int8" in (self.precision, self.keep)
            if fitted:
                self._settings.ranges = first_ranges(vectors)
            try:
                self._backend.add(documents, vectors)
            except BaseException:
                if fitted:
                    self._settings.ranges = None
                raise

    def delete(self, ids: Iterable[str]) -> int:
        """Remove documents; ids that are not there are passed over.

        The graphs and lists of hnsw and ivf-pq keep a deleted vector and pass over it: build such
        an index again when most of it was deleted.

        Returns:
            How many were there.

        Raises:
            UsageError: `ids` is a single text, or one of them is no text.
        """
        wanted = list(dict.fromkeys(checks.checked_ids(ids)))
        with self._writing():
            return self._backend.delete(wanted)

    def search(
        self, queries: Embeddings, k: int = 10, *, rescore: int | None = None
    ) -> list[list[Hit]]:
        """Find the best documents for each query.

        Args:
            queries: Shape (queries, dim), float32, of unit length.
            k: Hits for each query; there are fewer when the index holds fewer.
            rescore: Let the kept vectors rank the best so many of the first pass again.

        Returns:
            Hits for each query, best first.

        Raises:
            UsageError: Shapes, numbers or `k` are wrong, or there is nothing to rescore with.
        """
        queries = self._checked(queries, k, rescore)
        with self._reading():
            # No larger arrays than there can be hits.
            scores, ids = self._found(queries, min(k, max(1, self._backend.count())), rescore)
            wanted = list(dict.fromkeys(one for row in ids for one in row if one))
            found = dict(zip(wanted, self._backend.get(wanted), strict=True))
        return [
            [
                Hit(id=hit.id, score=score, text=hit.text, metadata=hit.metadata)
                for one, score in zip(row_ids, row_scores, strict=True)
                if one and (hit := found[one]) is not None
            ]
            for row_ids, row_scores in zip(ids, scores.tolist(), strict=True)
        ]

    def nearest(self, queries: Embeddings, k: int, *, rescore: int | None = None) -> Found:
        """Like `search`, with nothing but scores and ids.

        Returns:
            Scores, shape (queries, k), and k ids for each query, best first. Where there are fewer
            documents than k, the rest is -inf and empty.

        Raises:
            UsageError: Shapes, numbers or `k` are wrong, or there is nothing to rescore with.
        """
        queries = self._checked(queries, k, rescore)
        with self._reading():
            return self._found(queries, k, rescore)

    def get(self, ids: Sequence[str]) -> list[Document | None]:
        """Documents by their ids; None for one that is not there.

        Raises:
            UsageError: `ids` is a single text, or one of them is no text.
        """
        ids = checks.checked_ids(ids)
        with self._reading():
            return self._backend.get(ids)

    def check_unchanged(self, path: Path) -> None:
        """Refuse to go on with an index on disk that is not as it was loaded or saved.

        Raises:
            RunError: Another process has saved to `path` since.
        """
        path = Path(path)
        disk.check_version(path, self._versions.get(path.resolve()))

    def save(self, path: Path) -> None:
        """Write the index to a directory, in the place of the one that may be there.

        Killed at any moment, it leaves the old one or the new one.

        Raises:
            RunError: The disk is full, the place cannot be written, it holds something else, or
                the index there was loaded from it or saved to it before, and another process has
                changed it since.
        """
        path = Path(path)
        with self._saving, self._reading():
            saved = disk.Saved(
                space=self._space,
                engine=self._engine,
                settings=self._settings,
                count=self._backend.count(),
            )
            place = path.resolve()
            token, known = secrets.token_hex(8), self._versions.get(place)
            try:
                disk.save_index(path, saved, self._backend, known=known, token=token)
            finally:
                if (version := disk.version_of(path, token)) is not None:
                    self._versions[place] = version

    def close(self) -> None:
        """Let go of files and connections; the index cannot be used any more."""
        with self._lock.writing():
            if self._closed:
                return
            self._closed = True
            self._backend.close()
            # Whoever keeps a closed index should not keep the disk space of its maps.
            del self._backend

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock.reading():
            self._check_open()
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock.writing():
            self._check_open()
            yield

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the index is closed", hint="Load it again.")

    def _checked(self, queries: Embeddings, k: int, rescore: int | None) -> Embeddings:
        checks.check_depth(k, rescore, self._engine, self._settings)
        return checks.checked_vectors(queries, self._space.dim, "queries")

    def _found(self, queries: Embeddings, k: int, rescore: int | None) -> Found:
        if not len(queries):
            return np.empty((0, k), np.float32), []
        # FAISS takes no integers of NumPy.
        return self._backend.search(queries, int(k), rescore and int(rescore))
