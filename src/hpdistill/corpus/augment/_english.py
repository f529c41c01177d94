"""What replacing an English word takes: its part of speech, its forms, and whether it may go."""

import re
import warnings
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import NamedTuple

from hpdistill.extras import extra, extra_version

_TOKEN = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*|\d[\d.,]*|\S")
# What may touch a word that stands by itself; anything else makes it part of a name or of code.
_BEFORE, _AFTER = " (\"'\u201c\u2018", " .,;:!?)\"'\u201d\u2019"
_QUOTED = re.compile(
    r"\"[^\"]*(?:\"|$)|\u201c[^\u201d]*(?:\u201d|$)|``.*?(?:''|$)|"
    r"(?:(?<=\s)|^)'(?=\w).*?\w[.,!?]?'(?=[\s.,;:!?)]|$)|\u2018[^\u2019]*(?:\u2019|$)"
)
_JOINING = frozenset(
    ("of", "the", "and", "for", "in", "on", "at", "to", "de", "la", "von", "&", "-")
)
_TAGS = {"N": ("n", "NOUN"), "V": ("v", "VERB"), "J": ("a", "ADJ"), "R": ("r", "ADV")}
_CONTENT = re.compile(r"NNS?|VB[DGNPZ]?|JJ[RS]?|RB[RS]?")
# They carry tense, direction or comparison, not meaning, and have dozens of senses.
_GRAMMAR = frozenset(
    re.findall(
        r"\w+",
        "be have do will would can could may might must shall should not no so very more most too "
        "also just only even then there here now never ever still again other same such many much "
        "few own get go make take let one up down out off away back over around about along",
    )
)
_VOWEL = re.compile(r"(?!uni(?![mn])|use|usu|uti|eu|one|once)[aeiou]|hour|honest|honou?r|heir")


class Word(NamedTuple):
    """A content word that may be replaced."""

    start: int
    end: int
    text: str
    tag: str
    """Penn Treebank's."""
    pos: str
    """WordNet's: n, v, a or r."""
    lemmas: tuple[str, ...]


class English:
    """A tagger and a table of inflections.

    The tagger is TextBlob's, which has its lexicon and rules (Brill's, of the Brown corpus and the
    Penn Treebank) in text files of the package. The inflections are lemminflect's table; its
    models for words outside the table are pickles, and are never loaded.

    Raises:
        PackageError: The `augment` extra is not installed.
    """

    def __init__(self) -> None:
        inflect = extra("lemminflect", "augment")
        remembered = lru_cache(maxsize=1 << 16)  # the words of a language come again and again
        self._lemmas = remembered(partial(inflect.getLemma, lemmatize_oov=False))
        self._forms = remembered(partial(inflect.getInflection, inflect_oov=False))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # TextBlob leaves closing to chance
            self._parser = extra("textblob.en", "augment").parser
            self._tags(["warm", "up"])

    @staticmethod
    def identity() -> str:
        """What decides its answers.

        Raises:
            PackageError: The `augment` extra is not installed.
        """
        packages = ("textblob", "lemminflect")
        return ", ".join(f"{name} {extra_version(name, 'augment')}" for name in packages)

    def content_words(self, text: str) -> list[Word]:
        """Nouns, verbs, adjectives and adverbs that may be replaced, in order.

        Not in named entities: no word with a capital, and none between two of them; not in
        quotes, in code or in addresses; none whose form does not fit its tag.
        """
        tokens = list(_TOKEN.finditer(text))
        quoted = [match.span() for match in _QUOTED.finditer(text)]
        found = []
        texts = [token[0] for token in tokens]
        for number, (token, tag) in enumerate(zip(tokens, self._tags(texts), strict=True)):
            word = token[0]
            if (
                not _CONTENT.fullmatch(tag)
                or not (word.isascii() and word.isalpha() and word.islower())
                or len(word) < 3
                or not _stands_alone(text, token.start(), token.end())
                or any(start <= token.start() < end for start, end in quoted)
                or _between_capitals(texts, number)
            ):
                continue
            pos, universal = _TAGS[tag[0]]
            lemmas = tuple(
                lemma for lemma in self._lemmas(word, universal) if word in self._forms(lemma, tag)
            )
            if lemmas and _GRAMMAR.isdisjoint((word, *lemmas)):
                found.append(Word(token.start(), token.end(), word, tag, pos, lemmas))
        return found

    def inflected(self, lemma: str, tag: str) -> str | None:
        """A word in the form of a tag; None if the table has no such form."""
        forms = self._forms(lemma, tag)
        return forms[0] if forms else None

    def _tags(self, tokens: Sequence[str]) -> list[str]:
        return [tag for _, tag in self._parser.find_tags(list(tokens))]


def replaced(text: str, changes: Sequence[tuple[Word, str]]) -> str:
    """A text with words replaced, and `a` or `an` before them as they now sound.

    Args:
        text: The text.
        changes: In the order of the text.
    """
    for word, new in reversed(changes):
        before = text[: word.start]
        article = re.search(r"\b([Aa])n? $", before)
        if article:
            before = f"{before[: article.start()]}{article[1]}{'n' * _has_vowel(new)} "
        text = before + new + text[word.end :]
    return text


def _has_vowel(word: str) -> bool:
    """Whether a word sounds as if it began with a vowel, as far as its letters tell."""
    return _VOWEL.match(word) is not None


def _stands_alone(text: str, start: int, end: int) -> bool:
    before = start == 0 or text[start - 1] in _BEFORE
    after = end == len(text) or text[end] in _AFTER
    # A full stop or a colon inside of something: example.org, key:value.
    inside = end + 1 < len(text) and text[end] in ".:'\u2019" and text[end + 1].isalnum()
    return before and after and not inside


def _between_capitals(tokens: Sequence[str], number: int) -> bool:
    """Whether a word stands between two that begin with a capital, or with `of the` between."""
    return _next_is_capital(tokens[number + 1 :]) and _next_is_capital(tokens[:number][::-1])


def _next_is_capital(tokens: Sequence[str]) -> bool:
    for token in tokens:
        if token.lower() not in _JOINING or token[0].isupper():
            return token[0].isupper()
    return False
