"""Rows of different lengths, laid end to end."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ints", "ends_of", "gather", "starts_of"]

Ints = NDArray[np.int64]


def ends_of(lengths: Ints) -> Ints:
    """Where each row ends when rows of these lengths, shape (n,), are laid end to end."""
    return np.cumsum(lengths, dtype=np.int64)


def starts_of(lengths: Ints) -> Ints:
    """Where each row starts, shape (n,)."""
    return ends_of(lengths) - lengths


def gather(starts: Ints, lengths: Ints) -> Ints:
    """Positions of rows that lie anywhere, so that indexing with them lays the rows end to end.

    Args:
        starts: First position of each row, shape (n,).
        lengths: Of the rows, shape (n,).

    Returns:
        Shape (sum of lengths,).
    """
    ends = ends_of(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(total)
