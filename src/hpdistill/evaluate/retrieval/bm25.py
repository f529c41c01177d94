"""What words alone find: BM25 (Robertson and Zaragoza 2009), as Lucene computes it, by bm25s."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hpdistill.extras import extra

if TYPE_CHECKING:
    from hpdistill.evaluate.retrieval.task import RetrievalTask

__all__ = ["Bm25", "bm25"]


@dataclass(frozen=True, kw_only=True)
class Bm25:
    """Rankings, and what they cost on one thread."""

    ranked: list[list[str]]
    """Document ids, best first, a list for every query; only documents that share a word with
    it, so there may be fewer than asked for, or none."""
    scores: list[list[float]]
    """Beside `ranked`, each above 0."""
    index_seconds: float
    """Of dividing the documents into words and counting them."""
    search_seconds: float
    """Of all queries, dividing them into words included."""
    index_bytes: int
    """Of the index's arrays; the list of words not included."""


def bm25(task: "RetrievalTask", k: int, *, stopwords: bool = True) -> Bm25:
    """Rank a task's documents by BM25: k1 1.5, b 0.75, no stemming, words of two letters and more.

    Args:
        task: Documents and queries, and perhaps the candidates that each query ranks: words are
            counted in the whole corpus all the same.
        k: How many documents of each query. Equal scores come in the order of the corpus, or in
            that of the candidates.
        stopwords: Leave out English stop words, as bm25s does by default.

    Raises:
        PackageError: The package bm25s is not installed.
    """
    library = extra("bm25s", "eval")
    started = time.perf_counter()
    words = _words(library, task.document_texts, stopwords)
    index = library.BM25(method="lucene", backend="numpy")
    searchable = any(words)  # bm25s fails on a corpus without a word
    if searchable:
        index.index(words, show_progress=False)
    indexed = time.perf_counter()

    found = []
    for name, query in zip(
        task.query_ids, _words(library, task.query_texts, stopwords), strict=True
    ):
        if not searchable or not query:
            found.append(_best(np.empty(0, np.float32), k))
        elif task.candidates is None:
            found.append(_best(index.get_scores(query), k))
        else:
            among = np.array([task.rows[one] for one in task.candidates[name]])
            places, scores = _best(index.get_scores(query)[among], k)
            found.append((among[places], scores))
    searched = time.perf_counter()
    return Bm25(
        ranked=[[task.document_ids[row] for row in rows] for rows, _ in found],
        scores=[scores.tolist() for _, scores in found],
        index_seconds=indexed - started,
        search_seconds=searched - indexed,
        index_bytes=_bytes(index) if searchable else 0,
    )


def _words(library: Any, texts: Sequence[str], stopwords: bool) -> list[list[str]]:  # noqa: ANN401
    words: list[list[str]] = library.tokenize(
        list(texts),
        stopwords="english" if stopwords else None,
        return_ids=False,
        show_progress=False,
    )
    return words


def _best(scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Rows and scores of the best k above 0.

    Not by bm25s's own `retrieve`: it returns documents that share no word as well, takes several
    times as long where there are many of them, and leaves the order of equal scores to chance.
    """
    rows = np.flatnonzero(scores)
    scores = scores[rows]
    if len(rows) > k:
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        rows, scores = rows[scores >= least], scores[scores >= least]
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]


def _bytes(index: Any) -> int:  # noqa: ANN401 - a bm25s.BM25
    return sum(np.asarray(index.scores[name]).nbytes for name in ("data", "indices", "indptr"))
