"""Retrieval measured: tasks from anywhere, rankings scored, vectors cached, BM25 beside them."""

from hpdistill.evaluate.retrieval.bm25 import Bm25, bm25
from hpdistill.evaluate.retrieval.cache import CachedVectors, cached_vectors
from hpdistill.evaluate.retrieval.load import load_retrieval
from hpdistill.evaluate.retrieval.measure import (
    Entrant,
    Matrix,
    Setting,
    measure_bm25,
    measure_retrieval,
)
from hpdistill.evaluate.retrieval.metrics import DEPTH, METRICS, interval, paired_p, score
from hpdistill.evaluate.retrieval.plot import plot_retrieval
from hpdistill.evaluate.retrieval.task import RetrievalTask

__all__ = [
    "DEPTH",
    "METRICS",
    "Bm25",
    "CachedVectors",
    "Entrant",
    "Matrix",
    "RetrievalTask",
    "Setting",
    "bm25",
    "cached_vectors",
    "interval",
    "load_retrieval",
    "measure_bm25",
    "measure_retrieval",
    "paired_p",
    "plot_retrieval",
    "score",
]
