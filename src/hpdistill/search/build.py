"""A corpus to an index: read, embedded, stored; killed at any moment, the same call goes on.

INDEX                     absent, or the old one, until all is done
INDEX.unfinished/         gone when it is
    documents.jsonl       the corpus, read through once and found in order
    vectors.npy[.part]    its vectors, written block by block
    vectors.json          of what they are, once they are all there
"""

import fcntl
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
from hpdistill.errors import CorpusError, RunError
from hpdistill.files import (
    atomic_path,
    clear_os_errors,
    make_directory,
    read_json,
    remove_leftovers,
    text_hash,
    write_json,
)
from hpdistill.progress import Report, silent
from hpdistill.search.document import Document
from hpdistill.search.index import Index
from hpdistill.vectorfile import open_vectors

__all__ = ["Built", "Row", "build_index"]

_BLOCK = 8192
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
    block: int = _BLOCK,
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
        block: Texts in a call of `encode`, and so lost at most when it is interrupted.
        overwrite: Drop what an interrupted call with another key or other texts has left.
        report: Progress.

    Returns:
        The index, open, and what it took.

    Raises:
        CorpusError: There is no document, or they cannot be read.
        RunError: The disk is full, or there are unfinished vectors of something else.
        SearchError: The index refuses a document.
    """
    work = out.with_name(f"{out.name}.unfinished")
    with _alone(work):
        remove_leftovers(work)
        count, digest = _spool(work / "documents.jsonl", rows, report)
        started = time.perf_counter()
        facts = {**key, "texts": digest}
        resumed, truncated = _embed(work, facts, count, encode, dim, block, overwrite, report)
        encoded = time.perf_counter()
        vectors: Embeddings = np.load(work / "vectors.npy", mmap_mode="r", allow_pickle=False)
        index = make(count, vectors)
        try:
            _add(index, work / "documents.jsonl", vectors, report)
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


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Keep other processes from the same work."""
    make_directory(work)
    with clear_os_errors(work), (work / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(f"another process is working in {work}") from error
        yield


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
    overwrite: bool,
    report: Report,
) -> tuple[int, int]:
    """Write the vectors that are not there yet.

    Returns:
        How many were there, and how many texts were cut.
    """
    path, done = work / "vectors.npy", work / "vectors.json"
    if path.is_file():
        before = read_json(done) if done.is_file() else {}
        if before.get("of") == facts:
            return count, int(before["truncated"])
        if done.is_file() and not overwrite:
            raise RunError(
                f"{work} holds vectors of another corpus or model",
                hint="Give another name to keep them, or --overwrite to drop them.",
            )
        path.unlink()
    done.unlink(missing_ok=True)
    # Not the texts' hash: vectors of a corpus whose end has changed are gone on with.
    key = {name: value for name, value in facts.items() if name != "texts"}
    with open_vectors(path, key, width=dim, dtype=np.float32, overwrite=overwrite) as file:
        texts = file.resume(document.text for document in _documents(work / "documents.jsonl"))
        report("encoding", file.rows, count)
        while batch := list(islice(texts, block)):
            vectors, truncated = encode(batch)
            file.append(batch, vectors, truncated=truncated)
            report("encoding", file.rows, count)
        file.finish()
        write_json(done, {"of": dict(facts), "truncated": file.truncated})
        return file.resumed, file.truncated


def _add(index: Index, documents: Path, vectors: Embeddings, report: Report) -> None:
    source = _documents(documents)
    start = 0
    while start < len(vectors):
        first = _TRAINING if index.engine == "ivf-pq" and start == 0 else _BLOCK
        batch = list(islice(source, first))
        index.add(batch, np.asarray(vectors[start : start + len(batch)]))
        start += len(batch)
        report("indexing", start, len(vectors))
