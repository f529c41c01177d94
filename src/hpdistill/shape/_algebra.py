"""Least squares in closed form, from sums over tokens."""

from dataclasses import dataclass, field

import torch

__all__ = ["LineFit", "Moments", "low_rank"]

SMALLEST = 1e-12
"""A variance below it counts as none."""


@dataclass
class Moments:
    """Sums over pairs (x, y) that linear regression needs, in float64."""

    width: int
    target_width: int = 0
    """0 if only x is of interest."""
    count: int = 0
    _x: torch.Tensor = field(init=False)
    _y: torch.Tensor = field(init=False)
    _xx: torch.Tensor = field(init=False)
    _xy: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        self._x = torch.zeros(self.width, dtype=torch.float64)
        self._y = torch.zeros(self.target_width, dtype=torch.float64)
        self._xx = torch.zeros(self.width, self.width, dtype=torch.float64)
        self._xy = torch.zeros(self.width, self.target_width, dtype=torch.float64)

    def add(self, x: torch.Tensor, y: torch.Tensor | None = None) -> None:
        """Take in n pairs, shapes (n, width) and (n, target width), float32."""
        self.count += len(x)
        self._x += x.sum(0)
        # The products in float32, their sum over batches in float64: half the time.
        self._xx += x.T @ x
        if y is not None:
            self._y += y.sum(0)
            self._xy += x.T @ y

    @property
    def mean(self) -> torch.Tensor:
        """Of x, shape (width,), float64."""
        return self._x / max(self.count, 1)

    @property
    def second(self) -> torch.Tensor:
        """Mean of x x^T, shape (width, width), float64."""
        return self._xx / max(self.count, 1)

    @property
    def covariance(self) -> torch.Tensor:
        """Of x, shape (width, width), float64."""
        return self.second - torch.outer(self.mean, self.mean)

    def solve(self, prior: torch.Tensor, *, strength: float) -> tuple[torch.Tensor, torch.Tensor]:
        """The W, b that minimise the mean of |x W^T + b - y|^2, plus l |W - prior|^2.

        Args:
            prior: What W is without data, shape (target width, width), float64.
            strength: The penalty l as a multiple of the mean variance of x's dimensions.

        Returns:
            W of shape (target width, width) and b of shape (target width,), float64.
        """
        count = max(self.count, 1)
        mean_y = self._y / count
        gram = self.covariance
        cross = self._xy / count - torch.outer(self.mean, mean_y)
        penalty = strength * float(gram.trace()) / self.width + SMALLEST
        gram.diagonal().add_(penalty)
        weight = torch.linalg.solve(gram, cross + penalty * prior.T).T
        return weight, mean_y - weight @ self.mean


@dataclass
class LineFit:
    """Of each dimension on its own, the a and b that minimise |a u + b - z|^2."""

    width: int
    _count: int = 0
    _sums: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        self._sums = torch.zeros(4, self.width, dtype=torch.float64)

    def add(self, u: torch.Tensor, z: torch.Tensor) -> None:
        """Take in n pairs, each of shape (n, width)."""
        self._count += len(u)
        u, z = u.double(), z.double()
        self._sums += torch.stack([u.sum(0), z.sum(0), (u * u).sum(0), (u * z).sum(0)])

    def solve(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The a and b, each of shape (width,), float64; a is 1 where u does not vary."""
        u, z, uu, uz = self._sums / max(self._count, 1)
        variance = uu - u * u
        varies = variance > SMALLEST
        gain = torch.where(varies, (uz - u * z) / variance.clamp(min=SMALLEST), 1.0)
        return gain, z - gain * u


def low_rank(
    left: torch.Tensor, right: torch.Tensor, rank: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The A, B of `rank` columns with X A (Y B)^T nearest to X Y^T, in the Frobenius norm.

    With S = X^T X and T = Y^T Y, the singular values of S^1/2 T^1/2 are those of X Y^T, found
    without it: A = S^-1/2 U s^1/2 and B = T^-1/2 V s^1/2 (Eckart and Young 1936).

    Args:
        left: X^T X, shape (w, w), float64.
        right: Y^T Y, shape (w, w), float64.
        rank: At most w.

    Returns:
        A and B, each of shape (w, rank), float64.
    """
    left_root, left_inverse = _roots(left)
    right_root, right_inverse = _roots(right)
    u, s, vt = torch.linalg.svd(left_root @ right_root)
    scale = s[:rank].sqrt()
    return left_inverse @ u[:, :rank] * scale, right_inverse @ vt[:rank].T * scale


def _roots(gram: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A matrix's square root and the inverse of it."""
    values, vectors = torch.linalg.eigh(gram)
    root = values.clamp(min=0).sqrt()
    # Directions without energy stay out of the inverse.
    inverse = torch.where(values > values.max() * SMALLEST, 1 / root, 0.0)
    return vectors * root @ vectors.T, vectors * inverse @ vectors.T
