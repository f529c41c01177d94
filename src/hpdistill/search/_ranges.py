"""Ranges for int8 from the vectors that happen to come first."""

import math

import numpy as np
from numpy.typing import NDArray

from hpdistill.encoder import Embeddings
from hpdistill.runtime.vectors import fit_ranges

__all__ = ["first_ranges"]

_ENOUGH = 1000


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
