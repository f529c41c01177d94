"""What the stages of a run left in its directory, read again by later ones.

Every function raises RunError, in a line that says what to delete, where a part is damaged.
"""

from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from hpdistill.corpus import Split
from hpdistill.encoder import Embeddings
from hpdistill.errors import WeightsError
from hpdistill.files import reading_own
from hpdistill.projection import Projection
from hpdistill.pytorch import load_model

__all__ = [
    "KEPT",
    "kept_sentences",
    "model_of",
    "own_projection",
    "target_projection",
    "targets_of",
]

KEPT = Path("corpus") / "kept.npy"
"""Which training sentences are trained on, in a run that augments."""


def kept_sentences(run: Path) -> NDArray[np.bool_]:
    """Mask of the training sentences that are trained on, in a run that augments."""
    with _part(run / KEPT):
        kept: NDArray[np.bool_] = np.load(run / KEPT, allow_pickle=False)
    return kept


def target_projection(run: Path) -> Projection:
    """From the teacher's space to the targets'."""
    path = run / "targets" / "projection.safetensors"
    with _part(path):
        return Projection.load(path)


def targets_of(run: Path, split: Split) -> Embeddings:
    """The targets of a split, shape (n, k), rows of length 1; mapped, not read."""
    path = run / "targets" / f"{split}.npy"
    with _part(path):
        targets: Embeddings = np.load(path, mmap_mode="r", allow_pickle=False)
    return targets


def own_projection(run: Path) -> Projection:
    """The PCA of the untouched student's own vectors."""
    with _part(run / "init"):
        return Projection.load(run / "init" / "own_pca.safetensors")


def model_of(run: Path, name: str) -> SentenceTransformer:
    """A model directory: `init`, the student before its training, what is in it, or `model`."""
    part = run / Path(name).parts[0]
    with _part(part):
        return load_model(run / name)


def _part(path: Path) -> AbstractContextManager[None]:
    hint = f"Delete {path} to have it made again."
    return reading_own(path, hint, OSError, ValueError, WeightsError)
