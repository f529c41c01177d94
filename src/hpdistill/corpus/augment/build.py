"""From the choices of a recipe to augmenters."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hpdistill.corpus.augment.apertium import ApertiumTranslator
from hpdistill.corpus.augment.backtranslate import BackTranslator, Translator
from hpdistill.corpus.augment.copies import Augmenter
from hpdistill.corpus.augment.marian import MarianTranslator
from hpdistill.corpus.augment.thesaurus import find_thesaurus
from hpdistill.corpus.augment.wordnet import WordNetAugmenter
from hpdistill.progress import Report, silent
from hpdistill.recipe import AugmentRecipe

__all__ = ["open_augmenter"]

ENGLISH = {"apertium": "eng", "marian": "en"}
PIVOT = {"apertium": "spa", "marian": "es"}


@contextmanager
def open_augmenter(
    method: str, recipe: AugmentRecipe, *, seed: int, report: Report = silent
) -> Iterator[Augmenter]:
    """Make the augmenter of a method; its processes end with the block.

    Args:
        method: One of `recipe.methods`.
        recipe: The choices.
        seed: Of the substitution.
        report: Progress of fetching a model.

    Raises:
        AugmentError: No WordNet, or no such language pair, is installed.
        WeightsError: A Marian model cannot be found or is not to be trusted.
        PackageError: An extra is not installed.
    """
    augmenter: Augmenter
    if method == "wordnet":
        augmenter = WordNetAugmenter(
            find_thesaurus(recipe.dictionary), share=recipe.share, senses=recipe.senses, seed=seed
        )
    else:
        augmenter = BackTranslator(*_translators(recipe, report))
    try:
        yield augmenter
    finally:
        with suppress(OSError):
            augmenter.close()


def _translators(recipe: AugmentRecipe, report: Report) -> tuple[Translator, Translator]:
    english = ENGLISH[recipe.translator]
    pivot = recipe.language or PIVOT[recipe.translator]
    if recipe.translator == "apertium":
        return ApertiumTranslator(english, pivot), ApertiumTranslator(pivot, english)
    there, back = recipe.models or (
        f"Helsinki-NLP/opus-mt-{english}-{pivot}",
        f"Helsinki-NLP/opus-mt-{pivot}-{english}",
    )
    return MarianTranslator(there, report=report), MarianTranslator(back, report=report)
