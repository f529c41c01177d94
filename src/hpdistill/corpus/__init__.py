"""Sentences in: read from many formats, cleaned, de-duplicated, split, kept as Parquet.

Importing this package imports neither pyarrow nor datasets nor torch.
"""

from hpdistill.corpus._draw import even_mask
from hpdistill.corpus._summary import CorpusSummary, SourceSummary
from hpdistill.corpus.build import build_corpus, read_clean, read_clean_counting
from hpdistill.corpus.cleaning import clean, exclusion_key
from hpdistill.corpus.contents import content_hashes
from hpdistill.corpus.docstrings import pydoc_entries, pydoc_passages, pydoc_sentences
from hpdistill.corpus.exclusion import excluded_keys
from hpdistill.corpus.nli import NliPair, Triplet, TripletSummary, read_nli, read_triplets
from hpdistill.corpus.readers import read_source
from hpdistill.corpus.store import Copies, Corpus, Split

__all__ = [
    "Copies",
    "Corpus",
    "CorpusSummary",
    "NliPair",
    "SourceSummary",
    "Split",
    "Triplet",
    "TripletSummary",
    "build_corpus",
    "clean",
    "content_hashes",
    "even_mask",
    "excluded_keys",
    "exclusion_key",
    "pydoc_entries",
    "pydoc_passages",
    "pydoc_sentences",
    "read_clean",
    "read_clean_counting",
    "read_nli",
    "read_source",
    "read_triplets",
]
