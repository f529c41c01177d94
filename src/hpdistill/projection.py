"""The projection: a linear map from the teacher's width to k, fitted by PCA.

Zhao et al. 2022, section 3.2: with P the first k principal components of teacher embeddings
of the corpus, the target of a sentence s is P t(s). The authors' code applies P without
subtracting the mean (a bias-free linear map), so that cosines before and after compare;
the centred form P (t(s) - mean) is the textbook's. Both are here.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from hpdistill.encoder import Embeddings
from hpdistill.errors import UsageError, WeightsError
from hpdistill.files import atomic_path

__all__ = ["Covariance", "Projection", "check_dim", "fit_pca"]


@dataclass(frozen=True)
class Projection:
    """A fitted linear map; rows of `components` are ordered by the variance they explain."""

    components: NDArray[np.float32]
    """Shape (k, width), orthonormal rows."""
    mean: NDArray[np.float32]
    """Shape (width,); of the embeddings it was fitted on."""
    explained_variance: NDArray[np.float32]
    """Shape (k,); variance along each component."""
    total_variance: float
    """Variance over all dimensions of the embeddings it was fitted on."""
    centred: bool
    """Whether `apply` subtracts the mean."""

    @property
    def dim(self) -> int:
        """Width k of what `apply` returns."""
        return int(self.components.shape[0])

    @property
    def width(self) -> int:
        """Width of what `apply` takes."""
        return int(self.components.shape[1])

    @property
    def explained_share(self) -> float:
        """Share of the variance that the k components keep, 0 to 1."""
        if self.total_variance <= 0:
            return 1.0
        return min(1.0, float(self.explained_variance.sum()) / self.total_variance)

    def apply(self, vectors: Embeddings) -> Embeddings:
        """Project vectors.

        Args:
            vectors: Shape (n, width), float32.

        Returns:
            Shape (n, k), float32, not normalised.

        Raises:
            UsageError: The vectors have another width.
        """
        if vectors.shape[1] != self.width:
            raise UsageError(
                f"vectors of width {vectors.shape[1]} do not fit this projection, "
                f"which takes {self.width}"
            )
        shifted = vectors - self.mean if self.centred else vectors
        return np.asarray(shifted @ self.components.T, dtype=np.float32)

    def save(self, path: Path) -> None:
        """Write as safetensors, atomically."""
        tensors = {
            "components": self.components,
            "mean": self.mean,
            "explained_variance": self.explained_variance,
        }
        # One entry: safetensors writes several in an order that changes from run to run.
        facts = {"centred": self.centred, "total_variance": self.total_variance}
        metadata = {"projection": json.dumps(facts)}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata=metadata)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            WeightsError: The file is missing, damaged or something else.
        """
        from safetensors import safe_open

        try:
            with safe_open(path, framework="np") as handle:
                facts = json.loads((handle.metadata() or {})["projection"])
            tensors = load_file(path)
            return cls(
                components=tensors["components"],
                mean=tensors["mean"],
                explained_variance=tensors["explained_variance"],
                total_variance=float(facts["total_variance"]),
                centred=bool(facts["centred"]),
            )
        except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise WeightsError(f"{path} is not a projection of hpdistill: {error}") from error


@dataclass
class Covariance:
    """Mean and covariance of a stream of vectors, in float64 and O(width^2) memory.

    The eigenvectors of the streamed covariance are those of the whole matrix, so that PCA
    over shards is exact, not approximate.
    """

    width: int
    count: int = 0
    _sum: NDArray[np.float64] = field(init=False)
    _products: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self._sum = np.zeros(self.width, np.float64)
        self._products = np.zeros((self.width, self.width), np.float64)

    def add(self, vectors: Embeddings) -> None:
        """Take in vectors of shape (n, width)."""
        # Blocks keep the float64 copy small whatever the shard size.
        for start in range(0, len(vectors), 8192):
            block = vectors[start : start + 8192].astype(np.float64)
            self._sum += block.sum(axis=0)
            self._products += block.T @ block
        self.count += len(vectors)

    @property
    def mean(self) -> NDArray[np.float64]:
        """Shape (width,), float64."""
        return self._sum / max(self.count, 1)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Unbiased covariance, shape (width, width), float64."""
        centred = self._products - self.count * np.outer(self.mean, self.mean)
        return centred / max(self.count - 1, 1)


def fit_pca(shards: Iterable[Embeddings], dim: int, *, centred: bool = False) -> Projection:
    """Fit PCA on embeddings that come in shards; exact, in one pass.

    Components are found on centred data in either case; `centred` says how they are applied.

    Args:
        shards: Arrays of shape (n_i, width), float32; at least `dim` vectors in all.
        dim: Number k of components.
        centred: Whether `Projection.apply` subtracts the mean.

    Returns:
        The projection; the sign of each component makes its largest entry positive.

    Raises:
        UsageError: k is larger than the width or than the number of vectors, or not positive.
    """
    covariance: Covariance | None = None
    for shard in shards:
        covariance = covariance or Covariance(shard.shape[1])
        covariance.add(shard)
    if covariance is None:
        raise UsageError("no embeddings to fit a projection on")
    check_dim(dim, width=covariance.width, sentences=covariance.count)
    values, vectors = np.linalg.eigh(covariance.matrix)  # ascending
    components = vectors[:, ::-1][:, :dim].T  # (k, width)
    largest = components[np.arange(dim), np.abs(components).argmax(axis=1)]
    components = components * np.sign(largest)[:, None]
    return Projection(
        components=np.ascontiguousarray(components, dtype=np.float32),
        mean=covariance.mean.astype(np.float32),
        explained_variance=np.maximum(values[::-1][:dim], 0).astype(np.float32),
        total_variance=float(np.trace(covariance.matrix)),
        centred=centred,
    )


def check_dim(dim: int, *, width: int, sentences: int) -> None:
    """Refuse a k that PCA cannot give.

    Raises:
        UsageError: Names k and the largest k allowed.
    """
    if dim < 1:
        raise UsageError(f"dim is {dim}; allowed: 1 to {width}")
    if dim > width:
        raise UsageError(f"dim {dim} is larger than the teacher's width; allowed: 1 to {width}")
    if dim > sentences:
        raise UsageError(
            f"dim {dim} needs at least {dim} training sentences, and there are {sentences}",
            hint="Give more sentences, or a smaller --dim.",
        )
