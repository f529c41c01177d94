"""Search: an index of documents by their vectors, on one machine or on many."""

from hpdistill.search._approximate import trained_lists
from hpdistill.search._faiss import search_threads
from hpdistill.search._ranges import corpus_ranges
from hpdistill.search.backend import Engine, Kept, Precision
from hpdistill.search.document import Document, Hit
from hpdistill.search.index import Index
from hpdistill.search.space import Space

__all__ = [
    "Document",
    "Engine",
    "Hit",
    "Index",
    "Kept",
    "Precision",
    "Space",
    "corpus_ranges",
    "search_threads",
    "trained_lists",
]
