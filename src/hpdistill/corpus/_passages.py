"""Long texts in parts: how many words a text has, and where it is cut."""

import math
import re
from collections.abc import Iterator
from typing import Literal

from hpdistill.corpus.cleaning import clean
from hpdistill.extras import extra

__all__ = ["count_words", "parts_of"]

# Scripts whose words no spaces part: of Chinese and Japanese each character counts as a word, as
# text processors count, of Thai, Lao, Burmese and Khmer every few letters do.
_CHARACTERS = "\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff"
_CHARACTERS += "\uff66-\uff9f\U0001b000-\U0001b16f\U00020000-\U0003ffff"
_LETTERS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_MARKS = "\u3000-\u3004\u3008-\u303f\uff01-\uff20\uff3b-\uff40\uff5b-\uff65"
_UNSPACED = re.compile(f"[{_CHARACTERS}{_LETTERS}]")
_WORD = re.compile(f"[{_CHARACTERS}][{_MARKS}]*|[{_LETTERS}]{{1,5}}|[^\\s{_CHARACTERS}{_LETTERS}]+")


def count_words(text: str) -> int:
    """Words of a cleaned text, at least one; scripts without spaces count, too.

    >>> count_words("not a word more"), count_words("今天天气很好。")
    (4, 6)
    """
    if text.isascii() or not _UNSPACED.search(text):
        return text.count(" ") + 1
    return sum(1 for _ in _WORD.finditer(text))


def parts_of(text: str, most: int, split: Literal["passages", "sentences"]) -> list[str]:
    """Cut a long text; but for white space the parts laid end to end are the whole text.

    Args:
        text: As its source has it: its line ends tell paragraphs.
        most: Words of a part.
        split: `sentences`: each is a part. `passages`: sentences are taken together, in passages
            of about equal length.

    Returns:
        Cleaned parts of at most `most` words. A sentence with more words is cut between two of
        them.

    Raises:
        UsageError: The `train` extra is not installed.
    """
    lines = "\n".join(map(clean, text.splitlines()))
    # Any language: the marks of all are known to it; English adds its abbreviations.
    sentences: list[str] = extra("sentencex").segment("en", lines)
    pieces = [piece for sentence in sentences for piece in _cut(sentence, most)]
    return list(filter(None, map(clean, pieces if split == "sentences" else _joined(pieces, most))))


def _joined(pieces: list[str], most: int) -> Iterator[str]:
    total = sum(map(_words, pieces))
    enough = math.ceil(total / math.ceil(total / most)) if total else most
    held, words = "", 0
    for piece in pieces:
        more = _words(piece)
        if words and words + more > most:
            yield held
            held, words = "", 0
        held, words = held + piece, words + more
        if words >= enough:
            yield held
            held, words = "", 0
    yield held


def _words(text: str) -> int:
    return count_words(joined) if (joined := " ".join(text.split())) else 0


def _cut(sentence: str, most: int) -> Iterator[str]:
    words = _words(sentence)
    if words <= most:
        yield sentence
        return
    # Equal parts: none is a rest of two words.
    size = math.ceil(words / math.ceil(words / most))
    starts = [word.start() for word in _WORD.finditer(sentence)][::size]
    starts[0] = 0
    for start, end in zip(starts, [*starts[1:], len(sentence)], strict=True):
        yield sentence[start:end]
