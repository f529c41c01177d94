"""Tokenising plain English faster than the tokenizer: word by word, each word only once.

BERT's pipeline (clean, lower-case, split at spaces and punctuation, WordPiece) looks at one word
at a time, so a text's tokens are those of its words, laid end to end. For texts of printable
ASCII, splitting is a few calls of `str` methods over many texts at once, and a dictionary holds
the tokens of the words seen so far. Everything else goes through the tokenizer itself.
"""

import string
import threading
from collections.abc import Sequence
from typing import Self

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from hpdistill.runtime._ragged import Ints, ends_of, gather, starts_of

__all__ = ["WordCache"]

# Neither printable nor white space to str.split: it stands between texts and becomes a word.
_END = "\0"
_BETWEEN = f" {_END} "
_MOST_CHARACTERS = 2**20
"""Of the words remembered, each counted with what it costs besides; about 30 MB in all."""
_WORD_OVERHEAD = 16
_MOST_ADDED_TOKENS = 64


class _Words:
    """Tokens of words; only ever appended to, so it is read without a lock."""

    def __init__(self) -> None:
        self.number: dict[str, int] = {_END: 0}
        self.lengths: Ints = np.zeros(1, np.int64)
        self.starts: Ints = np.zeros(1, np.int64)
        self.ids: Ints = np.zeros(0, np.int64)
        self.characters = 0

    def add(self, words: Sequence[str], ids: Sequence[Sequence[int]]) -> None:
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        flat = np.fromiter((i for row in ids for i in row), np.int64, int(lengths.sum()))
        # The arrays before the dictionary: a reader looks a word up first.
        self.starts = np.concatenate([self.starts, len(self.ids) + starts_of(lengths)])
        self.ids = np.concatenate([self.ids, flat])
        first = len(self.lengths)
        self.lengths = np.concatenate([self.lengths, lengths])
        self.number.update(zip(words, range(first, first + len(words)), strict=True))
        self.characters += sum(map(len, words)) + _WORD_OVERHEAD * len(words)


class WordCache:
    """Token ids of texts of printable ASCII, equal to the tokenizer's own."""

    def __init__(self, tokenizer: Tokenizer, added: Sequence[str], *, lowercase: bool) -> None:
        self._tokenizer = tokenizer
        self._lowercase = lowercase
        self._added = sorted({token.lower() for token in added})
        self._words = _Words()
        self._lock = threading.Lock()

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Self | None:
        """A cache for this tokenizer; None if its words may depend on each other."""
        normalizer = tokenizer.normalizer
        added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
        if (
            not isinstance(normalizer, normalizers.BertNormalizer)
            or not normalizer.clean_text
            or not isinstance(tokenizer.pre_tokenizer, pre_tokenizers.BertPreTokenizer)
            or not isinstance(tokenizer.model, models.WordPiece)
            or len(added) > _MOST_ADDED_TOKENS
            or not all(_is_plain(token) for token in added)
        ):
            return None
        return cls(tokenizer, added, lowercase=normalizer.lowercase)

    def takes(self, texts: Sequence[str]) -> list[bool]:
        """Which of the texts `encode` may be given."""
        plain = [text.isascii() and text.isprintable() for text in texts]
        # `[SEP]` in a text is one token, which the tokenizer takes out before anything else.
        if self._has_added(_END.join(texts)):
            return [
                fits and not self._has_added(text) for fits, text in zip(plain, texts, strict=True)
            ]
        return plain

    def encode(self, texts: Sequence[str]) -> tuple[Ints, Ints]:
        """Token ids without special tokens.

        Args:
            texts: One or more, all of which `takes` allowed.

        Returns:
            Ids of all texts end to end, and the number of each text's.
        """
        joined = _BETWEEN.join(texts)
        if self._lowercase:
            joined = joined.lower()
        for mark in string.punctuation:
            # One pass a mark over all texts: several times faster than a regular expression.
            joined = joined.replace(mark, f" {mark} ")
        split = joined.split()
        words, numbers = self._numbers(split)
        lengths = words.lengths[numbers]
        ids = words.ids[gather(words.starts[numbers], lengths)]
        ends = ends_of(lengths)
        total = ends[-1:] if len(ends) else np.zeros(1, np.int64)
        return ids, np.diff(np.concatenate([ends[numbers == 0], total]), prepend=0)

    def _numbers(self, split: list[str]) -> tuple[_Words, Ints]:
        words = self._words
        try:
            return words, np.fromiter(map(words.number.__getitem__, split), np.int64, len(split))
        except KeyError:
            words = self._learn(split)
            return words, np.fromiter(map(words.number.__getitem__, split), np.int64, len(split))

    def _learn(self, split: list[str]) -> _Words:
        with self._lock:
            if self._words.characters > _MOST_CHARACTERS:
                # Whoever still reads the old words keeps them.
                self._words = _Words()
            words = self._words
            new = [word for word in dict.fromkeys(split) if word not in words.number]
            encoded = self._tokenizer.encode_batch_fast(new, add_special_tokens=False)
            words.add(new, [encoding.ids for encoding in encoded])
            return words

    def _has_added(self, text: str) -> bool:
        text = text.lower()
        return any(token in text for token in self._added)


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()
