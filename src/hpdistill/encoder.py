"""What everything that turns texts into vectors has in common."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hpdistill.errors import UsageError

__all__ = ["Embeddings", "Encoder", "check_prefix", "unit"]

Embeddings: TypeAlias = NDArray[np.float32]
"""Row-major matrix of shape (sentences, width), float32."""


@runtime_checkable
class Encoder(Protocol):
    """A teacher, a student, a teacher with its projection, a runtime: texts in, vectors out."""

    @property
    def name(self) -> str:
        """How reports call this encoder."""
        ...

    @property
    def dim(self) -> int:
        """Width of the vectors that `encode` returns by default."""
        ...

    @property
    def parameters(self) -> int:
        """Number of weights, for reports."""
        ...

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        normalize: bool = True,
        dim: int | None = None,
    ) -> Embeddings:
        """Embed texts.

        Args:
            texts: Any number of strings, empty ones included.
            batch_size: Sentences of typical length that are computed at once; a hint.
            normalize: Scale each vector to length 1 (after cutting it to `dim`).
            dim: Keep only the first `dim` numbers of each vector.

        Returns:
            Array of shape (len(texts), dim), float32, rows in the order of `texts`.
        """
        ...


def check_prefix(encoder: Encoder, dim: int | None) -> None:
    """Refuse a width that an encoder does not have.

    Raises:
        UsageError: Names the encoder and the widths allowed.
    """
    if dim is not None and not 1 <= dim <= encoder.dim:
        raise UsageError(f"dim is {dim}; {encoder.name} allows 1 to {encoder.dim}")


def unit(vectors: Embeddings, *, dim: int | None = None) -> Embeddings:
    """Cut vectors to their first `dim` numbers and scale each to length 1.

    A zero vector stays zero.

    Args:
        vectors: Shape (n, width), float32.
        dim: Width to keep; all of it when None.

    Returns:
        Shape (n, dim), float32; a new array.
    """
    cut: Embeddings = vectors[:, :dim].astype(np.float32)
    norms = np.linalg.norm(cut, axis=1, keepdims=True)
    np.divide(cut, norms, out=cut, where=norms > 0)
    return cut
