"""The matrix: every entrant at every width, precision and engine, on one task.

Vectors are given, so that a further configuration costs its search only. Every figure of time is
taken warm, in this process, after the index was built; resident memory is that of a fresh process.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpdistill.encoder import Embeddings, unit
from hpdistill.errors import UsageError
from hpdistill.evaluate.retrieval._resident import resident_mb
from hpdistill.evaluate.retrieval.bm25 import bm25
from hpdistill.evaluate.retrieval.metrics import DEPTH, METRICS, interval, paired_p, score
from hpdistill.evaluate.retrieval.task import RetrievalTask
from hpdistill.progress import Report, silent
from hpdistill.search import (
    Document,
    Engine,
    Index,
    Kept,
    Precision,
    Space,
    corpus_ranges,
    search_threads,
    trained_lists,
)

__all__ = ["Entrant", "Matrix", "Setting", "measure_bm25", "measure_retrieval"]

_BLOCK = 2**18
"""Documents added at once: enough to train ivf-pq on, few enough for memory."""
_SINGLE_QUERIES = 200
"""Queries searched one at a time."""
_SINGLE_HITS = 10
_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """A model with the vectors of a task."""

    name: str
    """What embeds the queries."""
    doc_encoder: str | None = None
    """What embeds the documents, if that is not the same."""
    documents: Embeddings
    """Shape (documents, width), float32, rows of length 1; may be memory-mapped."""
    queries: Embeddings
    """Shape (queries, width), likewise."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further columns of its rows, such as what encoding took."""

    @property
    def width(self) -> int:
        """Of its vectors."""
        return int(self.queries.shape[1])


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How the vectors are stored and searched."""

    dim: int
    engine: Engine
    precision: Precision
    keep: Kept | None
    rescore: int | None


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """All settings that every entrant goes through."""

    dims: Sequence[int] = ()
    """Prefixes beside the whole width; those not below it are passed over."""
    engines: Sequence[Engine] = ("flat",)
    precisions: Sequence[Precision] = ("float32",)
    rescore: int | None = None
    """Search int8 and binary vectors, and by ivf-pq, also with so many candidates scored again."""
    keep: Kept | None = None
    """By what they are: by default int8 vectors for binary ones, and float32 for int8."""
    options: Mapping[Engine, Mapping[str, Any]] = field(default_factory=dict)
    """Of each engine."""

    def __post_init__(self) -> None:
        if self.rescore is not None and self.rescore < DEPTH:
            raise UsageError(
                f"rescore is {self.rescore}; {DEPTH} answers count, so give {DEPTH} or more"
            )
        if self.rescore is None and self.keep is not None:
            raise UsageError(f"keep is {self.keep}, and nothing is scored again without rescore")
        if self.rescore is not None and not any(
            setting.rescore for setting in self.settings(width=1)
        ):
            raise UsageError(
                f"rescore is {self.rescore}, and none of these vectors can be scored again by "
                "better ones: "
                + ", ".join(f"{engine} {' and '.join(self.precisions)}" for engine in self.engines),
                hint="It is for int8 and binary vectors, and for ivf-pq.",
            )

    def settings(self, width: int) -> Iterator[Setting]:
        """Those of an entrant of this width; the whole width in the first precision comes first."""
        for dim in (width, *sorted((d for d in set(self.dims) if d < width), reverse=True)):
            for engine in self.engines:
                # ivf-pq compresses in its own way.
                for precision in ("float32",) if engine == "ivf-pq" else self.precisions:
                    yield Setting(
                        dim=dim, engine=engine, precision=precision, keep=None, rescore=None
                    )
                    keep = self.keep or ("int8" if precision == "binary" else "float32")
                    inexact = precision != "float32" or engine == "ivf-pq"
                    if self.rescore and inexact and (keep != precision or engine == "ivf-pq"):
                        yield Setting(
                            dim=dim,
                            engine=engine,
                            precision=precision,
                            keep=keep,
                            rescore=self.rescore,
                        )


def measure_retrieval(
    task: RetrievalTask,
    entrants: Iterable[Entrant],
    matrix: Matrix,
    *,
    threads: int,
    report: Report = silent,
) -> list[dict[str, Any]]:
    """Measure quality, time and memory of every setting of every entrant.

    Args:
        task: What is asked.
        entrants: One after another; the first one's first row is the reference.
        matrix: The settings.
        threads: For searches that may use several. Candidates are ranked on one.
        report: Called with the number of rows measured.

    Returns:
        A flat row for each setting: `model, doc_encoder, dim, engine, precision, keep, rescore`,
        the facts of the entrant, the means of `METRICS`, and

        mrr10_low, mrr10_high: bootstrap 95% interval;
        retention: mrr10 over that of the reference;
        p_value: of a paired randomisation test of mrr10 against the reference, None for itself;
        search_s: all queries together, `DEPTH` hits each, with `threads`; the best of 3;
        search_s_1thread: the same with one thread;
        query_ms: one query at a time, 10 hits, one thread, median;
        queries_per_second: queries / search_s;
        vector_bytes, kept_bytes: of the vectors searched (and their graph or lists), and of those
        kept for rescoring; bytes_per_vector: both by the number of documents;
        index_bytes: of the saved index, ids included, texts not;
        build_s: adding the vectors; rss_mb: resident memory that loading and searching add;
        candidates: how many documents the queries rank together, where the task gives them; then
            times of search are those of ranking them, a query at a time.

    Raises:
        UsageError: The task gives candidates, and an engine does not compare all vectors.
    """
    if task.candidates is not None and set(matrix.engines) != {"flat"}:
        raise UsageError(
            f"{task.name} gives each query the documents to rank, and all of them are ranked: "
            f"engine is {', '.join(matrix.engines)}; allowed: flat"
        )
    rows: list[dict[str, Any]] = []
    reference: NDArray[np.float64] | None = None
    for entrant in entrants:
        settings = list(matrix.settings(entrant.width))
        for setting in settings:
            # All of them before the first is measured: what is refused would lose what is done.
            _created(entrant, setting, matrix.options).close()
        for setting in settings:
            row, mrr = _measure(task, entrant, setting, matrix, threads, report)
            row |= {
                "retention": 1.0 if reference is None else _ratio(mrr, reference),
                "p_value": None if reference is None else paired_p(mrr, reference),
            }
            reference = mrr if reference is None else reference
            rows.append(row)
            report("configurations", len(rows), 0)
    if rows:
        report("configurations", len(rows), len(rows))
    return rows


def measure_bm25(task: RetrievalTask, reference: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The row of the lexical baseline.

    Args:
        task: What is asked.
        reference: The row that its retention refers to.

    Raises:
        PackageError: The package bm25s is not installed.
    """
    found = bm25(task, task.depth(DEPTH))
    quality, mrr = _quality(task, found.ranked)
    count = len(task.query_ids)
    return {
        "model": "BM25",
        "doc_encoder": None,
        "query_prompt": None,
        "document_prompt": None,
        "dim": None,
        "engine": "bm25",
        "precision": None,
        "keep": None,
        "rescore": None,
        "documents": len(task.document_ids),
        "queries": count,
        "candidates": _candidate_count(task),
        **quality,
        "encode_s": 0.0,
        "encode_queries_s": 0.0,
        "search_s": found.search_seconds,
        "search_s_1thread": found.search_seconds,
        "query_ms": 1000 * found.search_seconds / count,
        "queries_per_second": count / found.search_seconds,
        "vector_bytes": found.index_bytes,
        "kept_bytes": 0,
        "bytes_per_vector": found.index_bytes / len(task.document_ids),
        "index_bytes": found.index_bytes,
        "build_s": found.index_seconds,
        "rss_mb": None,
        "retention": mrr.mean() / reference["mrr10"] if reference and reference["mrr10"] else None,
        "p_value": None,
    }


def _measure(
    task: RetrievalTask,
    entrant: Entrant,
    setting: Setting,
    matrix: Matrix,
    threads: int,
    report: Report,
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """The row without what compares it, and the reciprocal rank of each query."""
    queries = unit(entrant.queries, dim=setting.dim)
    depth, rescore = task.depth(DEPTH), setting.rescore
    if rescore is not None:
        rescore = max(rescore, depth)
    with _built(task, entrant, setting, matrix.options) as (index, build_seconds):

        def search() -> list[list[str]]:
            return index.nearest(queries, depth, rescore=rescore)[1]

        if task.candidates is None:
            ranked = search()
            with search_threads(threads):
                many = _best_of(_ROUNDS, search)
            with search_threads(1):
                one = many if threads == 1 else _best_of(_ROUNDS, search)
                single = _query_seconds(index, queries, rescore)
        else:
            with search_threads(1):
                ranked, seconds = _rank_candidates(task, entrant, setting, queries, rescore, report)
            many = one = sum(seconds)
            single = statistics.median(seconds)
        quality, mrr = _quality(task, ranked)
        count = len(index)
        sizes = (index.vector_bytes, index.kept_bytes)
        with TemporaryDirectory(prefix="hpdistill-retrieval-") as directory:
            saved = Path(directory) / "index"
            index.save(saved)
            index_bytes = sum(file.stat().st_size for file in saved.rglob("*") if file.is_file())
            resident = resident_mb(saved, queries, depth, rescore)
    row = {
        "model": entrant.name,
        "doc_encoder": entrant.doc_encoder,
        "dim": setting.dim,
        "engine": setting.engine,
        "precision": setting.precision,
        "keep": setting.keep,
        "rescore": rescore,
        **entrant.facts,
        "documents": count,
        "queries": len(queries),
        "candidates": _candidate_count(task),
        **quality,
        "search_s": many,
        "search_s_1thread": one,
        "query_ms": 1000 * single,
        "queries_per_second": len(queries) / many,
        "vector_bytes": sizes[0],
        "kept_bytes": sizes[1],
        "bytes_per_vector": sum(sizes) / count,
        "index_bytes": index_bytes,
        "build_s": build_seconds,
        "rss_mb": resident,
    }
    return row, mrr


def _rank_candidates(
    task: RetrievalTask,
    entrant: Entrant,
    setting: Setting,
    queries: Embeddings,
    rescore: int | None,
    report: Report,
) -> tuple[list[list[str]], list[float]]:
    """The candidates of each query, best first, and the seconds that ranking them takes.

    Each query has an index of its own candidates, so that they are compared as the vectors of
    this setting are.
    """
    assert task.candidates is not None
    ranges = _ranges(entrant, setting)
    ranked, seconds = [], []
    for query, vector in zip(task.query_ids, queries, strict=True):
        ids = task.candidates[query]
        vectors = entrant.documents[[task.rows[one] for one in ids]]
        with _created(entrant, setting, {}, ranges) as index:
            index.add([Document(id=one) for one in ids], unit(vectors, dim=setting.dim))
            started = time.perf_counter()
            ranked += index.nearest(vector[None], min(DEPTH, len(ids)), rescore=rescore)[1]
            seconds.append(time.perf_counter() - started)
        report(f"{entrant.name}: ranking candidates", len(ranked), len(queries))
    return ranked, seconds


def _candidate_count(task: RetrievalTask) -> int | None:
    return None if task.candidates is None else sum(map(len, task.candidates.values()))


def _ranges(entrant: Entrant, setting: Setting) -> NDArray[np.float32] | None:
    """Of int8 vectors."""
    if "int8" not in (setting.precision, setting.keep):
        return None
    return corpus_ranges(entrant.documents, dim=setting.dim)


def _created(
    entrant: Entrant,
    setting: Setting,
    options: Mapping[Engine, Mapping[str, Any]],
    ranges: NDArray[np.float32] | None = None,
) -> Index:
    """An empty index for an entrant's documents.

    Raises:
        UsageError: Choices are none or do not fit each other.
        SearchError: The engine needs more documents.
    """
    chosen = dict(options.get(setting.engine, {}))
    if setting.engine == "ivf-pq":
        chosen.setdefault("expected", len(entrant.documents))
        # Only to refuse too few now: the index would when they are added, after other settings.
        trained_lists(min(len(entrant.documents), _BLOCK), chosen)
    return Index.create(
        Space(id="measured", dim=setting.dim, model=entrant.name),
        engine=setting.engine,
        precision=setting.precision,
        keep=setting.keep,
        ranges=ranges,
        options=chosen,
    )


@contextmanager
def _built(
    task: RetrievalTask,
    entrant: Entrant,
    setting: Setting,
    options: Mapping[Engine, Mapping[str, Any]],
) -> Iterator[tuple[Index, float]]:
    """An index of an entrant's documents, ids only, and the seconds that adding them took."""
    ranges = _ranges(entrant, setting)
    seconds = 0.0
    with _created(entrant, setting, options, ranges) as index:
        for start in range(0, len(task.document_ids), _BLOCK):
            rows = slice(start, start + _BLOCK)
            documents = [Document(id=one) for one in task.document_ids[rows]]
            vectors = unit(entrant.documents[rows], dim=setting.dim)
            started = time.perf_counter()
            index.add(documents, vectors)
            seconds += time.perf_counter() - started
        yield index, seconds


def _quality(
    task: RetrievalTask, ranked: Sequence[Sequence[str]]
) -> tuple[dict[str, float], NDArray[np.float64]]:
    """Means of the metrics and the interval of the first, and that one of each query."""
    scores = score(task, ranked)
    low, high = interval(scores["mrr10"])
    means = {name: float(scores[name].mean()) for name in METRICS}
    return {**means, "mrr10_low": low, "mrr10_high": high}, scores["mrr10"]


def _ratio(mrr: NDArray[np.float64], reference: NDArray[np.float64]) -> float | None:
    return float(mrr.mean() / reference.mean()) if reference.any() else None


def _best_of(rounds: int, work: Callable[[], object]) -> float:
    """The least seconds of several rounds: what disturbs a machine only ever adds."""
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _query_seconds(index: Index, queries: Embeddings, rescore: int | None) -> float:
    seconds = []
    for row in range(min(len(queries), _SINGLE_QUERIES)):
        started = time.perf_counter()
        index.nearest(queries[row : row + 1], min(_SINGLE_HITS, len(index)), rescore=rescore)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
