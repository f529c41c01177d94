"""Texts to time encoders on: of typical lengths, in an order that is fair, or of a given length."""

import random
import re
from collections.abc import Sequence
from pathlib import Path

from hpdistill.errors import CorpusError, UsageError

__all__ = ["evenly", "manual_sentences", "texts_of_tokens", "tokenizer_file"]

_SENTENCE = re.compile(r"[A-Z][A-Za-z]*(?: [\w'\"(),;:/-]+){4,60}[.!?]")
_ATTEMPTS = 20


def manual_sentences() -> list[str]:
    """About a thousand English sentences of Python's language reference.

    They come with every Python (`help()` shows them), so that speed can be measured on real
    text where there is no corpus and nothing but the base install.

    Raises:
        CorpusError: This Python was packaged without them.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise CorpusError(
            "this Python comes without the text of its manual, the default for measuring speed",
            hint="Give sentences of your own with `data=FILE`.",
        ) from error
    found: dict[str, None] = {}
    for topic in topics.values():
        for paragraph in re.split(r"\n\s*\n", topic):
            for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z\"])", " ".join(paragraph.split())):
                if _SENTENCE.fullmatch(sentence):
                    found[sentence] = None
    return list(found)


def evenly(sentences: Sequence[str], *, seed: int = 0) -> list[str]:
    """Order sentences so that every beginning of the list has the lengths of the whole.

    A slow encoder is timed on fewer sentences than a fast one. With a plain shuffle the few
    would be longer or shorter than the many by chance, and the ratio of speeds with them.

    Args:
        sentences: Any number.
        seed: Decides between sentences of equal length.

    Returns:
        The same sentences.
    """
    shuffled = random.Random(seed).sample(sentences, len(sentences))  # noqa: S311 - no secret
    by_length = sorted(shuffled, key=len)
    bits = max(1, (len(by_length) - 1).bit_length())
    # Van der Corput's sequence: reversed binary numbers fill an interval evenly, ever finer.
    order = sorted(range(len(by_length)), key=lambda rank: int(f"{rank:0{bits}b}"[::-1], 2))
    return [by_length[rank] for rank in order]


def tokenizer_file(model: Path) -> Path | None:
    """The `tokenizer.json` of a model directory, at its root or in a module's folder."""
    places = [model / "tokenizer.json", *sorted(model.glob("[0-9]_*/tokenizer.json"))]
    return next((place for place in places if place.is_file()), None)


def texts_of_tokens(
    tokenizer: Path, sentences: Sequence[str], tokens: int, count: int
) -> list[str]:
    """Join and cut sentences to texts of exactly so many tokens, special ones included.

    Args:
        tokenizer: A `tokenizer.json`.
        sentences: What to cut from, in turn.
        tokens: Of each text.
        count: How many texts; they differ as far as the sentences suffice.

    Raises:
        UsageError: So few tokens that the special ones leave no room for text.
        CorpusError: The sentences cannot be cut to that length.
    """
    from tokenizers import Tokenizer

    reader = Tokenizer.from_file(str(tokenizer))
    reader.no_truncation()
    reader.no_padding()
    room = tokens - reader.num_special_tokens_to_add(is_pair=False)
    if room < 1:
        raise UsageError(f"a length of {tokens} tokens leaves no room for text beside special ones")
    texts: list[str] = []
    start = 0
    for _ in range(_ATTEMPTS * count):
        if len(texts) == count:
            break
        joined, start = _joined(sentences, start, 12 * room)
        offsets = reader.encode(joined, add_special_tokens=False).offsets
        if len(offsets) >= room:
            text = joined[: offsets[room - 1][1]]
            # A cut inside a word may be tokenised in another way.
            if len(reader.encode(text).ids) == tokens:
                texts.append(text)
    if not texts:
        raise CorpusError(
            f"{len(sentences):,} sentences cannot be cut to {tokens} tokens by {tokenizer}"
        )
    return [texts[index % len(texts)] for index in range(count)]


def _joined(sentences: Sequence[str], start: int, characters: int) -> tuple[str, int]:
    """Sentences from `start` on, around the end, until there are enough characters."""
    parts: list[str] = []
    length = 0
    while length < characters:
        parts.append(sentences[start % len(sentences)])
        length += len(parts[-1]) + 1
        start += 1
    return " ".join(parts), start
