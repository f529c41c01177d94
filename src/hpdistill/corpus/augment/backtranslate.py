"""Copies of sentences by translating them to another language and back."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from hpdistill.errors import AugmentError

__all__ = ["BackTranslator", "Translator"]

ENOUGH = 5
"""Sentences of several words that come back untouched before the translator is blamed."""


class Translator(Protocol):
    """One direction, from one language to another."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def identity(self) -> Mapping[str, object]:
        """What decides its translations, as JSON."""
        ...

    def translate(self, texts: Sequence[str]) -> list[str | None]:
        """Translations, one for each text, in order; None where a text cannot be translated.

        Raises:
            AugmentError: The translator fails altogether.
        """
        ...

    def close(self) -> None:
        """End its processes."""
        ...


class BackTranslator:
    """Two translators, there and back; an augmenter like `WordNetAugmenter`."""

    name = "backtranslate"

    def __init__(self, there: Translator, back: Translator) -> None:
        self._legs = (there, back)
        self._proven = dict.fromkeys(range(2), False)
        self.identity = {
            "augmenter": self.name,
            "there": dict(there.identity),
            "back": dict(back.identity),
        }

    def copies(self, texts: Sequence[str]) -> list[str | None]:
        """A copy of each text; None where there is none.

        Raises:
            AugmentError: A translator fails, gives more or fewer texts than it got, or gives back
                what it got.
        """
        found: list[str | None] = list(texts)
        for leg in range(2):
            there = [number for number, text in enumerate(found) if text]
            given = [text for text in found if text]
            for number, text in zip(there, self._translated(leg, given), strict=True):
                found[number] = text
        return [text and " ".join(text.split()) for text in found]

    def close(self) -> None:
        """End the translators' processes."""
        for translator in self._legs:
            translator.close()

    def _translated(self, leg: int, texts: list[str]) -> list[str | None]:
        translator = self._legs[leg]
        translations = translator.translate(texts)
        if len(translations) != len(texts):
            raise AugmentError(
                f"{translator.name} gave {len(translations):,} translations of "
                f"{len(texts):,} sentences; one for each is needed"
            )
        if not self._proven[leg]:
            # Names and numbers may stay as they are, but not all of many sentences.
            pairs = list(zip(texts, translations, strict=True))
            told = [(a, b) for a, b in pairs if b and len(a.split()) >= 3]
            self._proven[leg] = any(a.split() != b.split() for a, b in told)
            if not self._proven[leg] and len(told) >= ENOUGH:
                raise AugmentError(
                    f"{translator.name} returns its input unchanged, {len(told)} sentences of "
                    f"{len(told)}: {told[0][0][:60]!r}",
                    hint="Is this the right language? Try the translator by hand.",
                )
        return translations
