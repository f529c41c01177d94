"""A corpus to an index: read, embedded, stored; killed at any moment, the same call goes on.

INDEX                     absent, or the old one, until all is done
INDEX.unfinished/         gone when it is
    documents.jsonl       the corpus, read through once and found in order
    vectors.npy[.part]    its vectors, written block by block
    vectors.json          of what they are, once they are all there
    collection.json       where this work has made a collection of Milvus
"""

import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from hpdistill.encoder import Embeddings
from hpdistill.errors import CorpusError, RunError, SearchError
from hpdistill.files import (
    alone_in,
    atomic_path,
    is_temporary,
    make_directory,
    read_json,
    remove_leftovers,
    text_hash,
    write_json,
)
from hpdistill.notices import Notices
from hpdistill.progress import Report, silent
from hpdistill.search._approximate import trained_lists
from hpdistill.search._disk import check_place
from hpdistill.search.backend import Engine, Settings
from hpdistill.search.document import Document
from hpdistill.search.index import Index
from hpdistill.search.space import Space
from hpdistill.vectorfile import open_vectors

__all__ = [
    "Built",
    "Row",
    "build_index",
    "check_new_index",
    "check_place",
    "check_trainable",
    "create_index",
    "has_embedded",
]

_BLOCK = 8192
_OURS = (
    ".lock",
    "collection.json",
    "documents.jsonl",
    "vectors.json",
    "vectors.npy",
    "vectors.npy.part",
)
_TRAINING = 2**18
"""Vectors of the first block for ivf-pq, which is trained on them."""

Row = tuple[str, str, Mapping[str, Any]]
"""Id, text and metadata of a document."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """What building an index took."""

    documents: int
    resumed: int
    """Documents whose vectors were there from an interrupted call."""
    truncated: int
    """Texts that were cut."""
    encode_seconds: float
    build_seconds: float


def build_index(
    out: Path,
    rows: Iterable[Row],
    *,
    encode: Callable[[Sequence[str]], tuple[Embeddings, int]],
    key: Mapping[str, object],
    dim: int,
    make: Callable[[int, Embeddings], Index],
    check: Callable[[], None] = lambda: None,
    check_count: Callable[[int], None] = lambda _: None,
    block: int = _BLOCK,
    notices: Notices | None = None,
    overwrite: bool = False,
    report: Report = silent,
) -> tuple[Index, Built]:
    """Embed documents, add them to an index and save it; memory does not grow with the corpus.

    Args:
        out: Directory of the index.
        rows: The documents; their ids differ.
        encode: Gives unit vectors of shape (texts, dim), and how many of the texts were cut.
        key: What decides the vectors, besides the texts; flat, as JSON.
        dim: Width of the vectors.
        make: Gives the index to add to, from the number of documents and all their vectors,
            memory-mapped, of shape (documents, dim).
        check: Called first, when no other process is at the same work: refuses a place where one
            has finished since the caller looked.
        check_count: Called with the number of documents before any is embedded: refuses what
            cannot be made of so many.
        block: Texts in a call of `encode`, and so lost at most when it is interrupted.
        notices: In which `encode` counts what it did not read; is given the documents' ids.
        overwrite: Drop what an interrupted call with another key or other texts has left.
        report: Progress.

    Returns:
        The index, open, and what it took.

    Raises:
        CorpusError: There is no document, or they cannot be read.
        RunError: The disk is full, or there are unfinished vectors of something else.
        SearchError: The index refuses a document.
    """
    work = _work(out)
    with _alone(work):
        check()
        remove_leftovers(work)
        count, digest = _spool(work / "documents.jsonl", rows, report)
        check_count(count)
        started = time.perf_counter()
        facts = {**key, "texts": digest}
        notices = Notices() if notices is None else notices
        resumed, truncated = _embed(
            work, facts, count, encode, dim, block, notices, overwrite, report
        )
        encoded = time.perf_counter()
        vectors: Embeddings = np.load(work / "vectors.npy", mmap_mode="r", allow_pickle=False)
        index = make(count, vectors)
        try:
            # A collection of Milvus has at once what is added; others have it when they are saved.
            going_on = index.engine == "milvus" and resumed == count
            _add(index, work / "documents.jsonl", vectors, report, going_on=going_on)
            index.save(out)
        except BaseException:
            index.close()
            raise
        shutil.rmtree(work, ignore_errors=True)
    return index, Built(
        documents=count,
        resumed=resumed,
        truncated=truncated,
        encode_seconds=encoded - started,
        build_seconds=time.perf_counter() - encoded,
    )


def has_embedded(out: Path) -> bool:
    """Whether an interrupted call has embedded all documents, and perhaps added some.

    Args:
        out: Directory of the index.
    """
    return (_work(out) / "vectors.json").is_file()


def check_new_index(out: Path, space: Space, *, overwrite: bool, **choices: Any) -> None:  # noqa: ANN401
    """Refuse, before anything is embedded, what `create_index` would refuse after it.

    Args:
        out: As for `create_index`; so are the others.
        space: Of the vectors to come.
        overwrite: Whether a collection that is there is dropped.
        choices: Of `Index.create`.

    Raises:
        UsageError: Choices are none or do not fit each other.
        SearchError: Milvus cannot be reached, or has such a collection.
    """
    uri = choices.get("uri")
    if choices.get("engine") != "milvus":
        Index.create(space, **choices).close()
        return
    from hpdistill.search._milvus_client import connect, is_lite
    from hpdistill.search._milvus_limits import check_settings

    lite = uri is None or is_lite(uri)
    settings = Settings(
        dim=space.dim,
        precision=choices["precision"],
        keep=choices["keep"],
        options=choices["options"],
    )
    check_settings(settings, lite=lite)
    # Opening a database that is not there would make it.
    if uri is None or (lite and not Path(uri).exists()):
        return
    connection, name = connect(uri), choices["collection"]
    try:
        if overwrite or _is_own(out, uri, name) or not connection.call("has_collection", name):
            return
    finally:
        connection.close()
    raise SearchError(
        f"Milvus at {uri} has a collection {name} already",
        hint="Give another `collection`, or `overwrite=True`.",
    )


def check_trainable(count: int, engine: Engine, options: Mapping[str, Any]) -> None:
    """Refuse an engine that `build_index` could not train on so many documents.

    Raises:
        SearchError: They are too few.
    """
    if engine == "ivf-pq":
        trained_lists(min(count, _TRAINING), {"expected": count, **options})


def create_index(out: Path, space: Space, *, overwrite: bool, **choices: Any) -> Index:  # noqa: ANN401
    """Make an empty index to build at a place.

    A collection of Milvus that an interrupted call has made for the same place is dropped.

    Args:
        out: Directory of the index to come.
        space: Of the vectors to come.
        overwrite: Drop any collection of that name.
        choices: Of `Index.create`.

    Raises:
        UsageError: Choices are none or do not fit each other.
        SearchError: Milvus cannot be reached, or has such a collection.
    """
    uri = choices.get("uri")
    if choices.get("engine") != "milvus" or uri is None:
        return Index.create(space, **choices)
    if overwrite or _is_own(out, uri, choices["collection"]):
        choices["options"] = {**choices["options"], "overwrite": True}
    index = Index.create(space, **choices)
    # Only now: one that another has made is refused, and never becomes ours.
    write_json(_work(out) / "collection.json", [uri, choices["collection"]])
    return index


def _is_own(out: Path, uri: str, collection: str) -> bool:
    """Whether an interrupted call has made a collection for this index."""
    path = _work(out) / "collection.json"
    return path.is_file() and read_json(path) == [uri, collection]


def _work(out: Path) -> Path:
    out = out.absolute()  # "." has no name to put something beside
    return out.with_name(f"{out.name}.unfinished")


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Keep other processes from the same work."""
    # Refused before anything is written there: all of it is removed at the end.
    there = list(work.iterdir()) if work.is_dir() else []
    if any(path.name not in _OURS and not is_temporary(path) for path in there):
        raise RunError(f"{work} is in the way: unfinished vectors would be kept there")
    make_directory(work)
    with alone_in(work):
        try:
            yield
        finally:
            if not any(work.glob("vectors.npy*")):
                shutil.rmtree(work, ignore_errors=True)  # nothing is worth keeping


def _spool(path: Path, rows: Iterable[Row], report: Report) -> tuple[int, str]:
    """Read the corpus through, so that its faults come before the work.

    Returns:
        How many documents there are, and the hash of their texts.
    """
    count = 0

    def texts() -> Iterator[str]:
        nonlocal count
        for name, text, metadata in rows:
            line = json.dumps([name, text, dict(metadata)], ensure_ascii=False)
            file.write(line + "\n")
            count += 1
            if count % _BLOCK == 0:
                report("reading", count, 0)
            yield text

    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        digest = text_hash(texts())
    if not count:
        raise CorpusError("there is no document to index")
    report("reading", count, count)
    return count, digest


def _documents(path: Path) -> Iterator[Document]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            name, text, metadata = json.loads(line)
            yield Document(id=name, text=text, metadata=metadata)


def _embed(
    work: Path,
    facts: Mapping[str, object],
    count: int,
    encode: Callable[[Sequence[str]], tuple[Embeddings, int]],
    dim: int,
    block: int,
    notices: Notices,
    overwrite: bool,
    report: Report,
) -> tuple[int, int]:
    """Write the vectors that are not there yet.

    Returns:
        How many were there, and how many texts were cut.
    """
    path, done = work / "vectors.npy", work / "vectors.json"
    if path.is_file():
        before = _finished(path, done)
        if before.get("of") == facts:
            return count, int(before["truncated"])
        if before and not overwrite:
            raise RunError(
                f"{work} holds vectors of another corpus or model",
                hint="Give another name to keep them, or `overwrite=True` to drop them; where "
                "documents are added, remove that folder.",
            )
        path.unlink()
    done.unlink(missing_ok=True)
    # Not the texts' hash: vectors of a corpus whose end has changed are gone on with.
    key = {name: value for name, value in facts.items() if name != "texts"}
    with open_vectors(path, key, width=dim, dtype=np.float32, overwrite=overwrite) as file:
        file.resume(document.text for document in _documents(work / "documents.jsonl"))
        report("encoding", file.rows, count)
        left = islice(_documents(work / "documents.jsonl"), file.rows, None)
        while batch := list(islice(left, block)):
            notices.named = _namer([document.id for document in batch], first=notices.texts)
            texts = [document.text for document in batch]
            vectors, truncated = encode(texts)
            file.append(texts, vectors, truncated=truncated)
            report("encoding", file.rows, count)
        file.finish()
        write_json(done, {"of": dict(facts), "truncated": file.truncated})
        return file.resumed, file.truncated


def _namer(ids: Sequence[str], *, first: int) -> Callable[[int], str]:
    return lambda place: ids[place - first]


def _finished(path: Path, done: Path) -> dict[str, Any]:
    """What finished vectors are of; empty if they are not finished, or damaged."""
    try:
        np.load(path, mmap_mode="r", allow_pickle=False)
        return dict(json.loads(done.read_text("utf-8")))
    except (OSError, EOFError, ValueError, TypeError):
        return {}


def _add(
    index: Index, documents: Path, vectors: Embeddings, report: Report, *, going_on: bool
) -> None:
    source = _documents(documents)
    start = 0
    while start < len(vectors):
        first = _TRAINING if index.engine == "ivf-pq" and start == 0 else _BLOCK
        batch = list(islice(source, first))
        block = np.asarray(vectors[start : start + len(batch)])
        start += len(batch)
        if going_on:
            there = index.get([document.id for document in batch])
            left = [number for number, one in enumerate(there) if one is None]
            batch, block = [batch[number] for number in left], block[left]
        index.add(batch, block)
        report("indexing", start, len(vectors))
