"""Ranges for int8: of a whole corpus, or of the vectors that happen to come first."""

import math

import numpy as np
from numpy.typing import NDArray

from hpdistill.encoder import Embeddings, unit
from hpdistill.runtime.vectors import fit_ranges

__all__ = ["corpus_ranges", "first_ranges"]

_SAMPLE = 16_384
"""Vectors of a corpus that its ranges are fitted on."""
_ENOUGH = 1000


def corpus_ranges(vectors: Embeddings, *, dim: int | None = None) -> NDArray[np.float32]:
    """Ranges of rows from all over a corpus, made wider where it is too small to show them.

    Args:
        vectors: Shape (n, width), float32, of unit length; may be memory-mapped.
        dim: Of the prefixes that will be stored; all of the width when None.

    Returns:
        Shape (2, dim).
    """
    rows = np.unique(np.linspace(0, len(vectors) - 1, min(len(vectors), _SAMPLE)).astype(int))
    return first_ranges(unit(np.asarray(vectors[rows]), dim=dim))


def first_ranges(vectors: Embeddings) -> NDArray[np.float32]:
    """The ranges of a block, made wider where it is too small to show them.

    Args:
        vectors: Shape (n, dim), float32, of unit length.

    Returns:
        Shape (2, dim).
    """
    ranges = fit_ranges(vectors)
    if len(vectors) < _ENOUGH:
        # Six standard deviations of a number of a unit vector, if all numbers vary alike; after PCA
        # the first ones vary more.
        usual = np.float32(min(1.0, 6 / math.sqrt(vectors.shape[1])))
        ranges[0] = np.minimum(ranges[0], -usual)
        ranges[1] = np.maximum(ranges[1], usual)
    return ranges
