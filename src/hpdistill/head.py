"""The student's head in closed form: a linear map from the untrained backbone to the targets."""

import numpy as np
from numpy.typing import NDArray

from hpdistill.encoder import unit
from hpdistill.projection import fit_pca

__all__ = ["ridge", "rotated_pca"]


def ridge(
    inputs: NDArray[np.float32], targets: NDArray[np.float32], *, strength: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Least squares with a bias and a penalty: the W, b that minimise |X W^T + b - Y|^2 + l |W|^2.

    Args:
        inputs: X, shape (n, width).
        targets: Y, shape (n, k).
        strength: The penalty l as a multiple of n times the mean variance of X's columns.

    Returns:
        W of shape (k, width) and b of shape (k,), float32.
    """
    mean_x = inputs.mean(axis=0, dtype=np.float64)
    mean_y = targets.mean(axis=0, dtype=np.float64)
    x, y = inputs - mean_x, targets - mean_y
    gram = x.T @ x
    penalty = strength * np.trace(gram) / len(gram)
    # Least squares rather than a solver: a constant input dimension makes this singular.
    weight = np.linalg.lstsq(gram + penalty * np.eye(len(gram)), x.T @ y, rcond=None)[0].T
    bias = mean_y - weight @ mean_x
    return weight.astype(np.float32), bias.astype(np.float32)


def rotated_pca(inputs: NDArray[np.float32], targets: NDArray[np.float32]) -> NDArray[np.float32]:
    """The inputs' own PCA, turned and scaled to come nearest to the targets.

    The orthogonal Procrustes problem (Schönemann 1966) with a scale: similarities after it are
    those of the PCA alone, whatever the targets are.

    Args:
        inputs: X, shape (n, width).
        targets: Y, shape (n, k).

    Returns:
        W of shape (k, width), float32: s R^T P, where the rows of P are the first components, at
        most `width` and n of them, that `fit_pca` finds in the directions of X's rows, and R and s
        minimise |s X P^T R - Y|^2 over matrices R of orthonormal rows and over scales s.
    """
    kept = min(*inputs.shape, targets.shape[1])
    components = fit_pca([unit(inputs)], kept).components  # (kept, width)
    own = inputs @ components.T  # (n, kept)
    left, values, right = np.linalg.svd(own.T @ targets, full_matrices=False)
    scale = values.sum() / max(np.square(own).sum(), np.finfo(np.float32).tiny)
    weight: NDArray[np.float32] = (scale * components.T @ left @ right).T.astype(np.float32)
    return weight
