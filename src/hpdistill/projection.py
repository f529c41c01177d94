"""The projection: a linear map from the teacher's width to k, fitted by PCA or by whitening.

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

__all__ = ["Covariance", "Projection", "check_dim", "fit_pca", "fit_whitening"]

LEAST_VARIANCE = 1e-10
"""Relative to the largest: along less, float32 vectors differ by rounding alone."""


@dataclass(frozen=True)
class Projection:
    """A fitted linear map; rows of `components` are ordered by the variance they explain."""

    components: NDArray[np.float32]
    """Shape (k, width), orthogonal rows: of length 1, or divided by some power of the standard
    deviation along them: `fit_pca` says which, and a whitening divides by all of it."""
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


def fit_pca(
    shards: Iterable[Embeddings], dim: int, *, centred: bool = False, whitening: float = 0.0
) -> Projection:
    """Fit PCA on embeddings that come in shards; exact, in one pass.

    Components are found on centred data in either case; `centred` says how they are applied.

    Partly whitened, component i is divided by (s_i / s_1)^whitening, s being standard deviations:
    what lies between PCA (0) and a whitening (1). Without it, the first few components decide most
    of each similarity and most of a squared error.

    Args:
        shards: Arrays of shape (n_i, width), float32; at least `dim` vectors in all.
        dim: Number k of components.
        centred: Whether `Projection.apply` subtracts the mean.
        whitening: Power of the standard deviations, 0 to 1.

    Returns:
        The projection; the sign of each component makes its largest entry positive.

    Raises:
        UsageError: k is larger than the width or than the number of vectors, or not positive;
            `whitening` is out of range.
    """
    if not 0 <= whitening <= 1:
        raise UsageError(f"whitening is {whitening}; allowed: 0 to 1")
    covariance = _covariance(shards, dim)
    values, vectors = np.linalg.eigh(covariance.matrix)  # ascending
    components = _signed(vectors[:, ::-1][:, :dim].T)  # (k, width)
    if whitening > 0:
        # Where nothing varies, there is nothing to make larger but rounding.
        largest = max(values[-1], np.finfo(np.float64).tiny)
        relative = np.maximum(values[::-1][:dim] / largest, LEAST_VARIANCE)
        components /= relative[:, None] ** (whitening / 2)
    return Projection(
        components=np.ascontiguousarray(components, dtype=np.float32),
        mean=covariance.mean.astype(np.float32),
        explained_variance=np.maximum(values[::-1][:dim], 0).astype(np.float32),
        total_variance=float(np.trace(covariance.matrix)),
        centred=centred,
    )


def fit_whitening(shards: Iterable[Embeddings], dim: int) -> Projection:
    """Fit a whitening on embeddings that come in shards; exact, in one pass.

    Su et al. 2021, "Whitening Sentence Representations", algorithm 1: with mean m and covariance
    U diag(s) U^T, singular values descending, a vector x becomes (x - m) W with W the first k
    columns of U diag(1/sqrt(s)). Over the embeddings it was fitted on, the result has mean 0 and
    the identity as its covariance.

    Args:
        shards: Arrays of shape (n_i, width), float32; more than `dim` vectors in all.
        dim: Number k of columns kept.

    Returns:
        The projection, centred; the sign of each component makes its largest entry positive.

    Raises:
        UsageError: k is larger than the width, not positive, or larger than the number of
            directions in which the embeddings differ.
    """
    covariance = _covariance(shards, dim)
    matrix = covariance.matrix
    directions, values, _ = np.linalg.svd(matrix, hermitian=True)  # descending
    spanned = int((values > LEAST_VARIANCE * values[0]).sum())
    if dim > spanned:
        raise UsageError(
            f"dim {dim} cannot be whitened: these {covariance.count:,} embeddings differ in "
            f"{spanned} directions only",
            hint="Give more sentences, or a smaller `dim`.",
        )
    components = _signed(directions[:, :dim].T) / np.sqrt(values[:dim])[:, None]  # (k, width)
    return Projection(
        components=np.ascontiguousarray(components, dtype=np.float32),
        mean=covariance.mean.astype(np.float32),
        explained_variance=values[:dim].astype(np.float32),
        total_variance=float(np.trace(matrix)),
        centred=True,
    )


def _covariance(shards: Iterable[Embeddings], dim: int) -> Covariance:
    covariance: Covariance | None = None
    for shard in shards:
        covariance = covariance or Covariance(shard.shape[1])
        covariance.add(shard)
    if covariance is None:
        raise UsageError("no embeddings to fit a projection on")
    check_dim(dim, width=covariance.width, sentences=covariance.count)
    return covariance


def _signed(components: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows whose largest entry is positive: a decomposition leaves their signs to chance."""
    largest = components[np.arange(len(components)), np.abs(components).argmax(axis=1)]
    return np.asarray(components * np.sign(largest)[:, None])


def check_dim(dim: int, *, width: int, sentences: int | None = None) -> None:
    """Refuse a k that PCA cannot give.

    Args:
        dim: k.
        width: Of what is projected.
        sentences: It is fitted on; None: not known yet.

    Raises:
        UsageError: Names k and the largest k allowed.
    """
    if dim < 1:
        raise UsageError(f"dim is {dim}; allowed: 1 to {width}")
    if dim > width:
        raise UsageError(f"dim {dim} is larger than the teacher's width; allowed: 1 to {width}")
    if sentences is not None and dim > sentences:
        raise UsageError(
            f"dim {dim} needs at least {dim} training sentences, and there are {sentences}",
            hint="Give more sentences, or a smaller `dim`.",
        )
