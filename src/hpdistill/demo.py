"""The main job on what every machine has: mpnet, minilm, and Python's documentation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hpdistill.corpus import pydoc_passages
from hpdistill.encoder import Encoder
from hpdistill.recipe import CorpusRecipe, HeadRecipe, Recipe, TrainingRecipe, WeightedModel

if TYPE_CHECKING:
    from hpdistill.pytorch import TorchEncoder

__all__ = [
    "QUESTIONS",
    "Answer",
    "answer",
    "demo_passages",
    "demo_recipe",
    "load_teacher_for_search",
]

QUESTIONS = (
    "how do I remove duplicate rows",
    "split a string on a separator",
    "make a copy of a file",
)

LIBRARIES = (
    "collections",
    "csv",
    "datetime",
    "json",
    "numpy",
    "os",
    "pandas",
    "pathlib",
    "random",
    "re",
    "shutil",
    "statistics",
    "string",
    "tempfile",
    "urllib",
    "zipfile",
)
PASSAGES = 2500


@dataclass(frozen=True)
class Answer:
    """One passage found for a question."""

    name: str
    text: str
    score: float
    """Cosine, -1 to 1."""


def demo_recipe(*, sentences: int = 9000, seed: int = 0) -> Recipe:
    """Teacher `mpnet`, student `minilm` at 128, the documentation of installed packages."""
    return Recipe(
        teachers=(WeightedModel(model="mpnet"),),
        student="minilm",
        dim=128,
        seed=seed,
        corpus=CorpusRecipe(
            sources=("pydoc",), min_words=4, max_words=60, limit=sentences, validation=1000
        ),
        head=HeadRecipe(ridge_sentences=4000),
        training=TrainingRecipe(epochs=2.0, evaluate_every=84),
    )


def demo_passages(limit: int = PASSAGES) -> list[tuple[str, str]]:
    """Names and first paragraphs of public functions and classes of well-known libraries.

    Returns:
        At most `limit` pairs, shared evenly among what was found, in a fixed order.
    """
    passages = list(pydoc_passages(packages=LIBRARIES))
    if len(passages) <= limit:
        return passages
    chosen = np.linspace(0, len(passages) - 1, limit).astype(int)
    return [passages[index] for index in chosen]


def answer(
    encoder: Encoder,
    passages: Sequence[tuple[str, str]],
    questions: Sequence[str] = QUESTIONS,
    *,
    top: int = 3,
) -> list[list[Answer]]:
    """The nearest passages of each question by cosine, exact search."""
    vectors = encoder.encode([text for _, text in passages])  # (n, d)
    scores = encoder.encode(questions) @ vectors.T  # (q, n)
    result = []
    for row in scores:
        best = np.argsort(-row, kind="stable")[:top]
        found = [(passages[index], float(row[index])) for index in best]
        result.append([Answer(name, text, score) for (name, text), score in found])
    return result


def load_teacher_for_search(sample: Sequence[str]) -> "TorchEncoder":
    """The teacher for `answer`, in bfloat16 if that is faster and faithful on the sample."""
    from hpdistill.pytorch import TorchEncoder, choose_precision

    encoder = TorchEncoder.load("mpnet")
    choose_precision(encoder, sample[:32])
    return encoder
