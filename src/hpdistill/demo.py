"""The main job on what every machine has: mpnet, minilm, and Python's documentation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpdistill.corpus import pydoc_passages
from hpdistill.encoder import Encoder
from hpdistill.recipe import CorpusRecipe, HeadRecipe, Recipe, TrainingRecipe, WeightedModel
from hpdistill.runtime import Encoder as RuntimeEncoder
from hpdistill.search import Document, Index, Space

if TYPE_CHECKING:
    from hpdistill.pytorch import TorchEncoder

__all__ = [
    "QUESTIONS",
    "Answer",
    "answer",
    "answer_from",
    "demo_passages",
    "demo_recipe",
    "index_passages",
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
TOP = 3
"""Answers to a question."""
_AGAIN = 50
"""Best of the int8 vectors that the float32 vectors rank again."""


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
        At most `limit` pairs of different names, shared evenly among what was found, in a fixed
        order.
    """
    # Of several definitions of one name, for several platforms say, the first one counts.
    found: dict[str, str] = {}
    for name, text in pydoc_passages(packages=LIBRARIES):
        found.setdefault(name, text)
    passages = list(found.items())
    if len(passages) <= limit:
        return passages
    chosen = np.linspace(0, len(passages) - 1, limit).astype(int)
    return [passages[index] for index in chosen]


def answer(
    encoder: Encoder,
    passages: Sequence[tuple[str, str]],
    questions: Sequence[str] = QUESTIONS,
    *,
    top: int = TOP,
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


def index_passages(model: RuntimeEncoder, passages: Sequence[tuple[str, str]], out: Path) -> Index:
    """Build an index of the passages and save it, in the place of the one that may be there.

    Args:
        model: Encodes them; `hpd search` will look for it where it lies now.
        passages: Names, which differ, and texts.
        out: Directory of the index.

    Returns:
        The index, open: int8 vectors, with float32 beside them to rank the best again.

    Raises:
        RunError: The place cannot be written, or holds something else.
    """
    space = Space(id=model.space, dim=model.dim, model=str(model.path.absolute()))
    index = Index.create(space, precision="int8", keep="float32")
    try:
        documents = [Document(id=name, text=text) for name, text in passages]
        index.add(documents, model.encode([text for _, text in passages]))
        index.save(out)
    except BaseException:
        index.close()
        raise
    return index


def answer_from(
    index: Index,
    encoder: RuntimeEncoder,
    questions: Sequence[str] = QUESTIONS,
    *,
    top: int = TOP,
) -> list[list[Answer]]:
    """The nearest passages of each question, as an index finds them."""
    found = index.search(encoder.encode(questions), top, rescore=max(top, _AGAIN))
    return [[Answer(hit.id, hit.text, hit.score) for hit in hits] for hits in found]


def load_teacher_for_search(sample: Sequence[str]) -> "TorchEncoder":
    """The teacher for `answer`, in bfloat16 if that is faster and faithful on the sample."""
    from hpdistill.pytorch import TorchEncoder, choose_precision

    encoder = TorchEncoder.load("mpnet")
    choose_precision(encoder, sample[:32])
    return encoder
