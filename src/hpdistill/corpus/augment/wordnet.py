"""Copies of sentences with some content words replaced by synonyms."""

import random
import re
from collections.abc import Sequence
from hashlib import blake2b

from hpdistill.corpus.augment._english import English, Word, replaced
from hpdistill.corpus.augment.thesaurus import Thesaurus

__all__ = ["WordNetAugmenter"]

_WORD = re.compile(r"[a-z]+(?:-[a-z]+)*")


class WordNetAugmenter:
    """Replaces a share of the content words by synonyms of the same part of speech and form.

    A copy depends on the sentence and the seed alone, not on what stands beside it.

    Args:
        thesaurus: Where synonyms come from.
        share: Of a sentence's content words; at least one is replaced.
        senses: Take synonyms of so many senses of a word, the most frequent first.
        seed: Decides which words, and by which synonyms.

    Raises:
        PackageError: The `augment` extra is not installed.
    """

    name = "wordnet"

    def __init__(
        self, thesaurus: Thesaurus, *, share: float = 0.3, senses: int = 1, seed: int = 0
    ) -> None:
        self._thesaurus = thesaurus
        self._share = share
        self._senses = senses
        self._seed = seed
        self._english: English | None = None  # loaded when it is needed: it takes seconds
        self.identity = {
            "augmenter": self.name,
            "dictionary": thesaurus.identity,
            "english": English.identity(),
            "share": share,
            "senses": senses,
            "seed": seed,
        }

    def copies(self, texts: Sequence[str]) -> list[str | None]:
        """A copy of each text; None where no word has a synonym."""
        return [self._copy(text) for text in texts]

    def close(self) -> None:
        """Nothing to release."""

    def _copy(self, text: str) -> str | None:
        self._english = self._english or English()
        words = self._english.content_words(text)
        choices = {word: found for word in words if (found := self._synonyms(word))}
        if not choices:
            return None
        digest = blake2b(f"{self._seed}\0{text}".encode(), digest_size=8).digest()
        chance = random.Random(int.from_bytes(digest))  # noqa: S311 - to be repeated, not secret
        count = min(len(choices), max(1, round(self._share * len(words))))
        chosen = sorted(chance.sample(list(choices), count))
        return replaced(text, [(word, chance.choice(choices[word])) for word in chosen])

    def _synonyms(self, word: Word) -> list[str]:
        """Single words, in the form of the one that they may replace."""
        assert self._english is not None
        found: dict[str, None] = {}
        for lemma in word.lemmas:
            for sense in self._thesaurus.senses(lemma, word.pos)[: self._senses]:
                for synonym in sense:
                    if synonym not in word.lemmas and _WORD.fullmatch(synonym):
                        form = self._english.inflected(synonym, word.tag)
                        if form is not None and form != word.text:
                            found[form] = None
        return list(found)
