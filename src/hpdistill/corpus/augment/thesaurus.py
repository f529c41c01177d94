"""Finding a WordNet on this machine."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from hpdistill.corpus.augment._wndb import Wndb
from hpdistill.errors import AugmentError

__all__ = ["DEBIAN", "Thesaurus", "find_thesaurus"]

DEBIAN = Path("/usr/share/wordnet")
"""Where Debian's package wordnet-base puts its dictionary."""


class Thesaurus(Protocol):
    """A WordNet: senses of words, and the words of every sense."""

    @property
    def identity(self) -> str:
        """What decides its answers."""
        ...

    def senses(self, lemma: str, pos: str) -> list[list[str]]:
        """Words of each sense, the most frequent sense first.

        Args:
            lemma: In its dictionary form, lower case.
            pos: n, v, a or r.
        """
        ...


def find_thesaurus(folder: str | None = None) -> Thesaurus:
    """Open a WordNet: Debian's, else one of nltk's data, else a lexicon of the package `wn`.

    Args:
        folder: Open the dictionary of this folder instead.

    Raises:
        AugmentError: There is none, or it is damaged.
    """
    if folder is not None:
        return Wndb(Path(folder).expanduser())
    if (DEBIAN / "data.noun").is_file():
        return Wndb(DEBIAN)
    for place in _nltk_places():
        return Wndb(place)
    lexicon = _wn_lexicon()
    if lexicon is not None:
        return lexicon
    raise AugmentError(
        f"no WordNet was found: neither Debian's ({DEBIAN}), nor in nltk's data, nor an English "
        "lexicon of the package wn",
        hint="One of: apt-get install wordnet-base; python -m nltk.downloader wordnet; "
        "python -m wn download oewn:2024.",
    )


def _nltk_places() -> Iterator[Path]:
    if importlib.util.find_spec("nltk") is None:
        return
    import nltk.data

    for root in nltk.data.path:
        for name in ("wordnet", "wordnet31"):
            folder = Path(root) / "corpora" / name
            if (folder / "data.noun").is_file():
                yield folder
            elif folder.with_suffix(".zip").is_file():
                yield folder.with_suffix(".zip")


def _wn_lexicon() -> Thesaurus | None:
    if importlib.util.find_spec("wn") is None:
        return None
    import wn

    # Asking for lexicons would make an empty database.
    if not wn.config.database_path.is_file():  # type: ignore[attr-defined]
        return None
    lexicons = wn.lexicons(lang="en")
    return _Lexicon(wn.Wordnet(lexicons[0].specifier())) if lexicons else None


class _Lexicon:
    """A lexicon of the package `wn`."""

    def __init__(self, wordnet: Any) -> None:  # noqa: ANN401 - wn's, where it is installed
        self._wordnet = wordnet
        self.identity = f"wn {wordnet.lexicons()[0].specifier()}"

    def senses(self, lemma: str, pos: str) -> list[list[str]]:
        """Words of each sense, in the lexicon's order."""
        kinds = ("a", "s") if pos == "a" else (pos,)
        synsets = [s for kind in kinds for s in self._wordnet.synsets(lemma, pos=kind)]
        return [[str(word) for word in synset.lemmas()] for synset in synsets]
