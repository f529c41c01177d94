"""Embeddings in fewer bytes: int8 by ranges fitted for each dimension, and one bit a dimension."""

import numpy as np
from numpy.typing import NDArray

from hpdistill.encoder import Embeddings
from hpdistill.errors import UsageError

__all__ = ["dequantize", "fit_ranges", "pack", "quantize", "unpack"]

_STEPS = 255
_NO_RANGE = 1e-30
"""A span below this is rounding, and its inverse would overflow."""


def fit_ranges(vectors: Embeddings) -> NDArray[np.float32]:
    """The lowest and the highest value of each dimension.

    Args:
        vectors: Shape (n, dim), float32, finite: unit vectors of text like that to come.

    Returns:
        Shape (2, dim), float32: row 0 the lowest values, row 1 the highest.

    Raises:
        UsageError: There is no vector, or a value is not finite.
    """
    if vectors.ndim != 2 or len(vectors) == 0:
        raise UsageError(f"ranges need vectors of shape (1 or more, dim), not {vectors.shape}")
    ranges = np.stack([vectors.min(axis=0), vectors.max(axis=0)]).astype(np.float32)
    if not np.isfinite(ranges).all():
        raise UsageError("ranges cannot be fitted to vectors that are not finite")
    return ranges


def quantize(vectors: Embeddings, ranges: NDArray[np.float32]) -> NDArray[np.int8]:
    """Cut vectors to int8: a dimension's lowest value is -128, its highest 127.

    Values outside the range become its nearest end. A dimension without a range (one value only)
    is 0 everywhere, so that it adds nothing to a dot product of codes.

    Args:
        vectors: Shape (n, dim), float32.
        ranges: Shape (2, dim), from `fit_ranges`.

    Returns:
        Shape (n, dim), int8.

    Raises:
        UsageError: The shapes do not fit each other.
    """
    low, span = _low_and_span(vectors, ranges)
    flat = span < _NO_RANGE
    codes = vectors - low
    codes *= _STEPS / np.where(flat, 1, span)
    np.rint(codes, out=codes)
    codes -= 128
    np.clip(codes, -128, 127, out=codes)
    codes[:, flat] = 0
    return codes.astype(np.int8)


def dequantize(codes: NDArray[np.int8], ranges: NDArray[np.float32]) -> Embeddings:
    """Undo `quantize`, to half a step (a 510th of the range) for values within the range.

    Args:
        codes: Shape (n, dim), int8.
        ranges: Those that `quantize` was given, shape (2, dim).

    Returns:
        Shape (n, dim), float32.

    Raises:
        UsageError: The shapes do not fit each other.
    """
    low, span = _low_and_span(codes, ranges)
    vectors = codes.astype(np.float32)
    vectors += 128
    vectors *= span / np.float32(_STEPS)
    vectors += low
    return vectors


def pack(vectors: Embeddings) -> NDArray[np.uint8]:
    """One bit a dimension: whether it is above zero.

    Args:
        vectors: Shape (n, dim), float32.

    Returns:
        Shape (n, ceil(dim / 8)), uint8; the first dimension is the highest bit of the first byte,
        and bits beyond `dim` are 0.
    """
    return np.packbits(vectors > 0, axis=1)


def unpack(bits: NDArray[np.uint8], dim: int) -> Embeddings:
    """Signs from bits.

    Args:
        bits: Shape (n, ceil(dim / 8)), uint8, from `pack`.
        dim: How many dimensions were packed.

    Returns:
        Shape (n, dim), float32, of +1 and -1.

    Raises:
        UsageError: So many dimensions do not take so many bytes.
    """
    if bits.ndim != 2 or bits.shape[1] != -(-dim // 8):
        raise UsageError(f"bits of shape {bits.shape} do not hold {dim} dimensions each")
    return np.unpackbits(bits, axis=1, count=dim).astype(np.float32) * 2 - 1


def _low_and_span(
    values: NDArray[np.float32] | NDArray[np.int8], ranges: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if values.ndim != 2 or ranges.shape != (2, values.shape[1]):
        raise UsageError(f"ranges of shape {ranges.shape} do not fit vectors of {values.shape}")
    return ranges[0], ranges[1] - ranges[0]
