"""What everything that turns texts into vectors has in common."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hpdistill.errors import UsageError

__all__ = [
    "Around",
    "ByRole",
    "Embeddings",
    "Encoder",
    "Role",
    "check_prefix",
    "encode_as",
    "prompt_for",
    "prompt_of",
    "unit",
]

Embeddings: TypeAlias = NDArray[np.float32]
"""Row-major matrix of shape (sentences, width), float32."""

Role: TypeAlias = Literal["query", "document"]
"""What a text is to a search; decides which of a model's prompts is put before it."""

_PROMPTS: Mapping[Role, tuple[str, ...]] = {
    "query": ("query",),
    "document": ("document", "passage", "corpus"),
}
"""Names under which models keep the prompt of a role, the first of them that is there counts."""


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

    def encode_query(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        normalize: bool = True,
        dim: int | None = None,
    ) -> Embeddings:
        """Embed texts that are searched with; as `encode`, with the model's prompt for them."""
        ...

    def encode_document(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        normalize: bool = True,
        dim: int | None = None,
    ) -> Embeddings:
        """Embed texts that are searched for; as `encode`, with the model's prompt for them."""
        ...


class _TakesRole(Protocol):
    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        normalize: bool = True,
        dim: int | None = None,
        role: Role | None = None,
    ) -> Embeddings: ...


class ByRole:
    """`encode_query` and `encode_document` of an encoder whose `encode` takes a `role`."""

    def encode_query(
        self: _TakesRole,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        normalize: bool = True,
        dim: int | None = None,
    ) -> Embeddings:
        """Embed texts that are searched with; see `hpdistill.encoder.Encoder.encode_query`."""
        return self.encode(texts, batch_size=batch_size, normalize=normalize, dim=dim, role="query")

    def encode_document(
        self: _TakesRole,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        normalize: bool = True,
        dim: int | None = None,
    ) -> Embeddings:
        """Embed texts that are searched for; see `hpdistill.encoder.Encoder.encode_document`."""
        return self.encode(
            texts, batch_size=batch_size, normalize=normalize, dim=dim, role="document"
        )


def prompt_for(
    role: Role | None, prompts: Mapping[str, str | None], default_name: str | None
) -> str:
    """The prompt that `SentenceTransformer.encode`, `encode_query`, `encode_document` choose.

    Args:
        role: Of the texts; None: none, as in `encode`.
        prompts: By name, as a model has them.
        default_name: Of the prompt where no role asks for another.

    Returns:
        What is put before each text; may be empty.
    """
    # sentence-transformers gives every model these two, empty unless its files say more.
    known: dict[str, str | None] = {"query": "", "document": "", **prompts}
    for name in (*(_PROMPTS[role] if role else ()), default_name):
        if name is not None and name in known:
            return known[name] or ""
    return ""


def encode_as(
    encoder: Encoder,
    texts: Sequence[str],
    role: Role | None,
    *,
    batch_size: int = 32,
    normalize: bool = True,
    dim: int | None = None,
) -> Embeddings:
    """`encode`, `encode_query` or `encode_document` of an encoder, by a role."""
    encode = encoder.encode
    if role is not None:
        encode = encoder.encode_query if role == "query" else encoder.encode_document
    return encode(texts, batch_size=batch_size, normalize=normalize, dim=dim)


def prompt_of(encoder: object, role: Role | None) -> str:
    """The prompt that an encoder puts before texts of a role; empty for one that knows none."""
    prompt = getattr(encoder, "prompt", None)
    return str(prompt(role)) if callable(prompt) else ""


class Around(ByRole):
    """What an encoder around another one has of it: all but `encode`."""

    def __init__(self, inner: Encoder) -> None:
        self.inner = inner

    @property
    def name(self) -> str:
        """Of the encoder within."""
        return self.inner.name

    @property
    def dim(self) -> int:
        """Of the encoder within."""
        return self.inner.dim

    @property
    def parameters(self) -> int:
        """Of the encoder within."""
        return self.inner.parameters

    def prompt(self, role: Role | None = None) -> str:
        """Of the encoder within."""
        return prompt_of(self.inner, role)


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
