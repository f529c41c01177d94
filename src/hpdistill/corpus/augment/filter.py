"""Which copies are worth keeping, and why the others go."""

from collections.abc import Collection, Sequence

import numpy as np

from hpdistill.corpus.cleaning import clean, exclusion_key
from hpdistill.encoder import Encoder

__all__ = ["REASONS", "Judge", "fault"]

REASONS = ("none", "not_sentence", "unchanged", "excluded", "duplicate", "dissimilar")
"""Why a sentence has no copy, in the order of the checks: none was made, or it was dropped."""

_SHORTEST, _LONGEST = 0.5, 2.0
_LETTERS = 0.5
_REPEATS = 3


def fault(original: str, copy: str, excluded: Collection[bytes] = frozenset()) -> str | None:
    """Why a copy is to be dropped, as far as the two texts tell; None if it is good.

    Args:
        original: A cleaned sentence.
        copy: What an augmenter made of it, cleaned.
        excluded: What `exclusion_key` gives for sentences that must not be trained on.

    Returns:
        `not_sentence`: no words, of another length, mostly signs, or stammering; `unchanged`: the
        same but for case and punctuation; `excluded`.

    >>> fault("A dog runs.", "a dog runs")
    'unchanged'
    """
    if not _is_sentence(original, copy):
        return "not_sentence"
    key = exclusion_key(copy)
    if key == exclusion_key(original):
        return "unchanged"
    return "excluded" if key in excluded else None


def _is_sentence(original: str, copy: str) -> bool:
    words = copy.split()
    length = len(original.split())
    # A word or two may become one or four; long texts become neither half nor twice as long.
    if not words or not _SHORTEST * (length - 1) <= len(words) <= _LONGEST * (length + 1):
        return False
    if copy != clean(copy) or "\ufffd" in copy:
        return False
    letters = sum(map(str.isalpha, copy))
    if letters < _LETTERS * len(copy.replace(" ", "")) and letters < sum(
        map(str.isalpha, original)
    ):
        return False
    lowered = copy.lower().split()
    repeats = zip(*(lowered[start:] for start in range(_REPEATS)), strict=False)
    stammers = any(len(set(group)) == 1 for group in repeats)
    return not stammers


class Judge:
    """An encoder that says whether a copy still means what its original does.

    Args:
        encoder: The teacher.
        threshold: The least cosine.
    """

    def __init__(self, encoder: Encoder, threshold: float) -> None:
        self.encoder = encoder
        self.threshold = threshold

    def similarities(self, originals: Sequence[str], copies: Sequence[str]) -> list[float]:
        """Cosine of every copy to its original."""
        vectors = self.encoder.encode([*originals, *copies])
        pairs = vectors[: len(originals)] * vectors[len(originals) :]
        return [float(value) for value in np.sum(pairs, axis=1)]
