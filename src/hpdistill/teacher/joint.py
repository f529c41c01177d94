"""A teacher of several encoders: their unit vectors side by side, each times its weight.

The cosine of two such vectors is the mean of the encoders' cosines, weighted by the squares of
the weights. With the untrained student among them, part of the target is linear in what the
student already computes, so that training starts near its end and forgets little.
"""

from collections.abc import Sequence

import numpy as np

from hpdistill.encoder import (
    Around,
    ByRole,
    Embeddings,
    Encoder,
    Role,
    check_prefix,
    encode_as,
    prompt_of,
    unit,
)
from hpdistill.progress import Report, silent
from hpdistill.projection import Projection
from hpdistill.pytorch import Precision, TorchEncoder
from hpdistill.recipe import WeightedModel
from hpdistill.teacher.store import text_hash

__all__ = ["JointEncoder", "ProjectedEncoder", "Remembering", "load_teacher", "side_by_side"]


def side_by_side(parts: Sequence[Embeddings], weights: Sequence[float]) -> Embeddings:
    """Concatenate unit vectors of the same sentences.

    Args:
        parts: Arrays of shape (n, width_i), float32, rows of length 1.
        weights: One positive number for each part.

    Returns:
        Shape (n, sum of widths), float32, rows of length 1.
    """
    scale = np.float32(1 / np.linalg.norm(weights))
    return np.hstack(
        [part * (np.float32(w) * scale) for part, w in zip(parts, weights, strict=True)]
    )


class JointEncoder(ByRole):
    """Several encoders as one; satisfies the Encoder protocol."""

    def __init__(self, encoders: Sequence[Encoder], weights: Sequence[float]) -> None:
        self._encoders = list(encoders)
        self._weights = list(weights)

    @property
    def name(self) -> str:
        """Names and weights of its encoders."""
        pairs = zip(self._encoders, self._weights, strict=True)
        return " + ".join(e.name if w == 1 else f"{e.name}:{w:g}" for e, w in pairs)

    @property
    def dim(self) -> int:
        """Sum of the widths."""
        return sum(encoder.dim for encoder in self._encoders)

    @property
    def parameters(self) -> int:
        """Weights of all encoders."""
        return sum(encoder.parameters for encoder in self._encoders)

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        normalize: bool = True,
        dim: int | None = None,
        role: Role | None = None,
    ) -> Embeddings:
        """Embed texts; always of length 1 unless cut, see `hpdistill.encoder.Encoder.encode`."""
        check_prefix(self, dim)
        parts = [
            encode_as(encoder, texts, role, batch_size=batch_size) for encoder in self._encoders
        ]
        joint = side_by_side(parts, self._weights)
        return unit(joint, dim=dim) if normalize else joint[:, :dim]

    def prompt(self, role: Role | None = None) -> str:
        """Prompts of its encoders, of each that is another; each puts its own before a text."""
        prompts = dict.fromkeys(prompt_of(encoder, role) for encoder in self._encoders)
        return " | ".join(prompt for prompt in prompts if prompt)


class ProjectedEncoder(ByRole):
    """An encoder followed by a projection: the teacher in the student's space."""

    def __init__(self, encoder: Encoder, projection: Projection, *, name: str = "") -> None:
        self._encoder = encoder
        self._projection = projection
        self._name = name or f"{encoder.name}, PCA-{projection.dim}"

    @property
    def name(self) -> str:
        """As reports call it."""
        return self._name

    @property
    def dim(self) -> int:
        """Width of the projection."""
        return self._projection.dim

    @property
    def parameters(self) -> int:
        """Weights of the encoder and of the projection."""
        return self._encoder.parameters + self._projection.components.size

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        normalize: bool = True,
        dim: int | None = None,
        role: Role | None = None,
    ) -> Embeddings:
        """Embed and project texts; see `hpdistill.encoder.Encoder.encode`."""
        check_prefix(self, dim)
        vectors = self._projection.apply(
            encode_as(self._encoder, texts, role, batch_size=batch_size)
        )
        return unit(vectors, dim=dim) if normalize else vectors[:, :dim]

    def prompt(self, role: Role | None = None) -> str:
        """Of the encoder within."""
        return prompt_of(self._encoder, role)


class Remembering(Around):
    """An encoder that keeps what it computed, so that several rows of a table cost one pass."""

    def __init__(self, inner: Encoder) -> None:
        super().__init__(inner)
        self._kept: dict[tuple[str, Role | None], Embeddings] = {}

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        normalize: bool = True,
        dim: int | None = None,
        role: Role | None = None,
    ) -> Embeddings:
        """Embed texts, or give the vectors of an earlier call with the same texts."""
        check_prefix(self, dim)
        key = text_hash(texts), role
        if key not in self._kept:
            self._kept[key] = encode_as(
                self.inner, texts, role, batch_size=batch_size, normalize=False
            )
        kept = self._kept[key]
        return unit(kept, dim=dim) if normalize else kept[:, :dim].copy()


def load_teacher(
    specs: Sequence[WeightedModel], *, precision: Precision = "float32", report: Report = silent
) -> Encoder:
    """Load a teacher's encoders.

    Raises:
        WeightsError: One of them cannot be found, verified, trusted or loaded.
    """
    encoders = [TorchEncoder.load(s.model, precision=precision, report=report) for s in specs]
    if len(encoders) == 1:
        return encoders[0]
    return JointEncoder(encoders, [spec.weight for spec in specs])
