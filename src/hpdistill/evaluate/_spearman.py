"""Spearman's rank correlation, in NumPy so that the base install can evaluate."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["spearman"]


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Spearman's rank correlation; ties share the mean of their ranks.

    Args:
        first: Shape (n,), finite numbers.
        second: Shape (n,), finite numbers.

    Returns:
        -1 to 1; 0 when either side is constant, because it then ranks nothing.
    """
    left, right = _centred_ranks(np.asarray(first)), _centred_ranks(np.asarray(second))
    scale = np.sqrt((left @ left) * (right @ right))
    return float(left @ right / scale) if scale > 0 else 0.0


def _centred_ranks(values: NDArray[np.generic]) -> NDArray[np.float64]:
    order = np.argsort(values)
    ordered = values[order]
    # Runs of equal values start where a value differs from the one before it.
    differs = np.ones(len(values), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=differs[1:])
    starts = np.flatnonzero(differs)
    ends = np.append(starts[1:], len(values))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat((starts + ends - len(values)) / 2, ends - starts)
    return ranks
