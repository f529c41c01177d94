"""Sentences in other words: synonyms from WordNet, translation there and back, and a filter.

Importing this package imports neither transformers nor torch nor nltk.
"""

from hpdistill.corpus.augment.add import add_copies
from hpdistill.corpus.augment.apertium import ApertiumTranslator, installed_pairs
from hpdistill.corpus.augment.backtranslate import BackTranslator, Translator
from hpdistill.corpus.augment.build import open_augmenter
from hpdistill.corpus.augment.copies import (
    Augmenter,
    CopiesSummary,
    check_copies_output,
    read_copies,
    write_copies,
)
from hpdistill.corpus.augment.filter import REASONS, Judge, fault
from hpdistill.corpus.augment.marian import MarianTranslator
from hpdistill.corpus.augment.thesaurus import Thesaurus, find_thesaurus
from hpdistill.corpus.augment.wordnet import WordNetAugmenter

__all__ = [
    "REASONS",
    "ApertiumTranslator",
    "Augmenter",
    "BackTranslator",
    "CopiesSummary",
    "Judge",
    "MarianTranslator",
    "Thesaurus",
    "Translator",
    "WordNetAugmenter",
    "add_copies",
    "check_copies_output",
    "fault",
    "find_thesaurus",
    "installed_pairs",
    "open_augmenter",
    "read_copies",
    "write_copies",
]
