"""The engine `milvus`: Milvus Lite in a local directory, or a cluster, through the same client.

Vectors, texts and metadata lie in one collection, which also holds the name of the space. With an
address of its own, a database or a cluster, an index changes there at once; without one, it has a
Milvus Lite database to itself, which is part of what `save` writes.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpdistill.encoder import Embeddings
from hpdistill.errors import SearchError
from hpdistill.files import clear_os_errors
from hpdistill.runtime import vectors as compact
from hpdistill.search._milvus_client import Connection, connect, copy_database, is_lite
from hpdistill.search._milvus_limits import (
    ID_BYTES,
    MOST_HITS,
    TEXT_BYTES,
    batches,
    check_document,
    check_settings,
    expressions,
)
from hpdistill.search._scratch import scratch_directory
from hpdistill.search.backend import Found, Settings
from hpdistill.search.document import Document
from hpdistill.search.space import Space

__all__ = ["MilvusBackend", "create", "load"]

_ANSWER_BYTES = 32 << 20
_PROPERTY = "hpdistill"
_DATABASE = "milvus.db"


def create(
    settings: Settings, *, space: Space, uri: str | None = None, collection: str = "hpdistill"
) -> "MilvusBackend":
    """Make an empty collection.

    Args:
        settings: `options` may hold `index_type` (FLAT, which is exact, unless told otherwise),
            `index_params`, `search_params`, and `overwrite` to drop a collection that is there.
        space: Recorded in the collection.
        uri: Path of a Milvus Lite database, which ends in `.db`, or `http(s)://host:port`; None
            is a database of its own that goes where the index is saved.
        collection: Its name.

    Raises:
        SearchError: Milvus cannot be reached, has such a collection, or cannot store this.
        UsageError: An option that there is not.
    """
    check_settings(settings, lite=uri is None or is_lite(uri))
    backend = _open(settings, uri, collection)
    try:
        backend.make(space, overwrite=bool(settings.options.get("overwrite")))
    except BaseException:
        backend.close()
        raise
    return backend


def load(
    settings: Settings, directory: Path, state: Mapping[str, Any], *, space: Space
) -> "MilvusBackend":
    """Open a collection again.

    Args:
        settings: As it was created.
        directory: What `save` wrote to.
        state: What `save` returned.
        space: That it must be of.

    Raises:
        SearchError: Milvus cannot be reached, or its collection is gone or of another space.
    """
    uri, collection = state.get("uri"), state.get("collection")
    if not isinstance(uri, str | None) or not isinstance(collection, str):
        raise SearchError(f"{directory} does not say where its Milvus collection is")
    check_settings(settings, lite=uri is None or is_lite(uri))
    if uri is not None and is_lite(uri) and not Path(uri).exists():
        raise SearchError(f"the Milvus Lite database {uri} of this index is gone")
    backend = _open(settings, uri, collection, saved=directory / _DATABASE)
    try:
        backend.check(space)
    except BaseException:
        backend.close()
        raise
    return backend


def _open(
    settings: Settings, uri: str | None, collection: str, *, saved: Path | None = None
) -> "MilvusBackend":
    """Connect to an address; without one, to a copy of what was saved, or to an empty database."""
    if uri is not None:
        return MilvusBackend(settings, connect(uri), collection)
    own = _OwnDatabase()
    try:
        if saved is not None:
            # Opened, a database writes to its files, and those of a saved index never change.
            with clear_os_errors(own.path, hint="Make room, or set TMPDIR to a place that has."):
                copy_database(saved, own.path)
        return MilvusBackend(settings, connect(str(own.path)), collection, own=own)
    except BaseException:
        own.remove()
        raise


class _OwnDatabase:
    """A place for a database that is this index's own, while it is open."""

    def __init__(self) -> None:
        directory, self.remove = scratch_directory(self)
        self.path = directory / _DATABASE


class MilvusBackend:
    """A collection of Milvus; see `backend.Backend`."""

    def __init__(
        self,
        settings: Settings,
        connection: Connection,
        collection: str,
        *,
        own: _OwnDatabase | None = None,
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._collection = collection
        self._own = own
        self._binary = settings.precision == "binary"
        # What stored vectors are scored by a second time.
        self._best = "kept" if settings.keep else "vector"

    def make(self, space: Space, *, overwrite: bool) -> None:
        """Make the collection.

        Raises:
            SearchError: It is there already.
        """
        if self._call("has_collection"):
            if not overwrite:
                raise SearchError(
                    f"Milvus at {self._connection.uri} has a collection {self._collection} already",
                    hint="Give another `collection`, or `overwrite=True`.",
                )
            self._call("drop_collection")
        from pymilvus import DataType, MilvusClient

        # Lite forgets the description; a cluster may forbid properties it does not know.
        record = json.dumps({**space.to_dict(), **self._kind()}, ensure_ascii=False)
        schema = MilvusClient.create_schema(
            auto_id=False, enable_dynamic_field=False, description=record
        )
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=ID_BYTES)
        schema.add_field("text", DataType.VARCHAR, max_length=TEXT_BYTES)
        schema.add_field("metadata", DataType.JSON)
        options = self._settings.options
        index = MilvusClient.prepare_index_params()
        prefix = "BIN_" if self._binary else ""
        # Milvus counts bits in whole bytes; the last ones are 0 in documents and queries.
        dim = self._row_bytes * 8 if self._binary else self._settings.dim
        kind = DataType.BINARY_VECTOR if self._binary else DataType.FLOAT_VECTOR
        schema.add_field("vector", kind, dim=dim)
        index.add_index(
            "vector",
            index_type=options.get("index_type", f"{prefix}FLAT"),
            metric_type=self._metric,
            params=dict(options.get("index_params", {})),
        )
        if self._settings.keep:
            # No vector field: Milvus loads none without an index, and these are never searched.
            schema.add_field(
                "kept",
                DataType.ARRAY,
                element_type=DataType.FLOAT,
                max_capacity=self._settings.dim,
            )
        self._call(
            "create_collection",
            schema=schema,
            index_params=index,
            properties={_PROPERTY: record},
            consistency_level="Strong",
        )

    def check(self, space: Space) -> None:
        """Compare the collection with what it should be.

        Raises:
            SearchError: It is gone, was made by another program, or is of another space or kind.
        """
        where = f"the collection {self._collection} of Milvus at {self._connection.uri}"
        if not self._call("has_collection"):
            raise SearchError(f"{where} is gone")
        described = self._call("describe_collection")
        record = described.get("properties", {}).get(_PROPERTY) or described.get("description")
        try:
            found = json.loads(record or "")
            theirs = Space.from_dict(found)
        except (ValueError, TypeError, AttributeError, SearchError) as error:
            raise SearchError(f"{where} was not made by hpdistill") from error
        space.check(theirs)
        kind = {key: found.get(key) for key in self._kind()}
        if kind != self._kind():
            raise SearchError(f"{where} holds {kind}, where the index says {self._kind()}")
        self._call("load_collection")

    def add(self, documents: Sequence[Document], vectors: Embeddings) -> None:
        """Store documents; none of them if one cannot be."""
        for document in documents:
            check_document(document)
        done: list[str] = []
        try:
            for places in batches(documents, self._settings.dim):
                self._call("insert", [self._row(documents[i], vectors[i]) for i in places])
                done += [documents[i].id for i in places]
        except BaseException:
            if done:
                self.delete(done)
            raise

    def delete(self, ids: Sequence[str]) -> int:
        """Remove documents; returns how many were there."""
        # Milvus would count what it was asked to delete, there or not.
        known = self.known(ids)
        for expression in expressions(known):
            self._call("delete", filter=expression)
        return len(known)

    def search(self, queries: Embeddings, k: int, rescore: int | None) -> Found:
        """Find the best documents for each query; see `Backend.search`."""
        wanted = max(k, rescore or 0)
        if wanted > MOST_HITS and self.count() > MOST_HITS:
            raise SearchError(f"{wanted:,} hits are asked for; Milvus gives at most {MOST_HITS:,}")
        wanted = min(wanted, MOST_HITS)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        ids = [[""] * k for _ in queries]
        width = self._settings.dim * 4 if rescore is not None else 0
        step = max(1, min(1000, _ANSWER_BYTES // (wanted * (width + 64))))
        for start in range(0, len(queries), step):
            block = queries[start : start + step]
            answers = self._call(
                "search",
                data=[row.tobytes() for row in compact.pack(block)] if self._binary else block,
                limit=wanted,
                anns_field="vector",
                search_params={
                    "metric_type": self._metric,
                    "params": dict(self._settings.options.get("search_params", {})),
                },
                output_fields=[] if rescore is None else [self._best],
            )
            for place, (query, hits) in enumerate(zip(block, answers, strict=True), start=start):
                found = self._scored(query, hits, again=rescore is not None)[:k]
                scores[place, : len(found)] = [score for score, _ in found]
                ids[place][: len(found)] = [name for _, name in found]
        return scores, ids

    def get(self, ids: Sequence[str]) -> list[Document | None]:
        """Documents by their ids; None for one that is not there."""
        found = {
            row["id"]: Document(id=row["id"], text=row["text"], metadata=row["metadata"])
            for row in self._query(ids, ["id", "text", "metadata"])
        }
        return [found.get(name) for name in ids]

    def known(self, ids: Sequence[str]) -> list[str]:
        """Those ids that are there already."""
        there = {row["id"] for row in self._query(ids, ["id"])}
        return [name for name in dict.fromkeys(ids) if name in there]

    def count(self) -> int:
        """How many documents there are."""
        (row,) = self._call("query", filter="", output_fields=["count(*)"])
        return int(row["count(*)"])

    def save(self, directory: Path) -> Mapping[str, Any]:
        """Write the database that is this index's own, or say where its collection is."""
        self._call("flush")
        if self._own is None:
            return {"uri": self._connection.uri, "collection": self._collection}
        with clear_os_errors(directory):
            copy_database(self._own.path, directory / _DATABASE)
        return {"uri": None, "collection": self._collection}

    def close(self) -> None:
        """Let go of the connection, and of a database of its own."""
        self._connection.close()
        if self._own is not None:
            self._own.remove()

    @property
    def vector_bytes(self) -> int:
        """Of the vectors alone: what an index of Milvus takes is its own affair."""
        return self.count() * self._row_bytes

    @property
    def kept_bytes(self) -> int:
        """Of the vectors kept beside them."""
        return self.count() * self._settings.dim * 4 if self._settings.keep else 0

    @property
    def _row_bytes(self) -> int:
        return -(-self._settings.dim // 8) if self._binary else self._settings.dim * 4

    @property
    def _metric(self) -> str:
        return "HAMMING" if self._binary else "IP"

    def _kind(self) -> dict[str, Any]:
        return {"precision": self._settings.precision, "keep": self._settings.keep}

    def _row(self, document: Document, vector: Embeddings) -> dict[str, Any]:
        row = {"id": document.id, "text": document.text, "metadata": dict(document.metadata)}
        row["vector"] = compact.pack(vector[None])[0].tobytes() if self._binary else vector
        return row | ({"kept": vector.tolist()} if self._settings.keep else {})

    def _scored(
        self, query: Embeddings, hits: Sequence[Mapping[str, Any]], *, again: bool
    ) -> list[tuple[float, str]]:
        """Scores and ids, best first."""
        names = [hit["id"] for hit in hits]
        dim = self._settings.dim
        if not hits:
            return []
        if not again:
            values = [float(hit["distance"]) for hit in hits]
            return [
                (1 - 2 * v / dim if self._binary else v, n)
                for v, n in zip(values, names, strict=True)
            ]
        stored = [hit["entity"][self._best] for hit in hits]
        found = np.asarray(stored, np.float32) @ query  # (hits,)
        return [(float(found[i]), names[i]) for i in np.argsort(-found, kind="stable")]

    def _query(self, ids: Sequence[str], fields: list[str]) -> Iterator[Mapping[str, Any]]:
        for expression in expressions(ids):
            yield from self._call("query", filter=expression, output_fields=fields)

    def _call(self, method: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        return self._connection.call(method, self._collection, *arguments, **options)
