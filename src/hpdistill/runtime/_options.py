"""What a call of `Encoder.encode` may ask for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self, get_args

from hpdistill.encoder import Role
from hpdistill.errors import UsageError

__all__ = ["NO_LIMIT", "EmbeddingPrecision", "Options", "Truncation", "TruncationWarning"]

EmbeddingPrecision = Literal["float32", "int8", "binary"]
Truncation = Literal["warn", "ignore", "error"]


NO_LIMIT = 10**6
"""Limits on tokens from here on mean none: transformers writes 10**30."""

_NAMED = 5


class TruncationWarning(UserWarning):
    """Some texts were longer than the model reads, and their ends are not in the vectors.

    Attributes:
        count: How many.
        total: Of how many.
        limit: Tokens that the model reads.
        first: Places of the first five of them, from 0.
    """

    count: int
    total: int
    limit: int
    first: tuple[int, ...]

    @classmethod
    def of(
        cls, name: str, cut: Sequence[int], *, total: int, limit: int, count: int | None = None
    ) -> Self:
        """The warning about a call.

        Args:
            name: Of the encoder.
            cut: Places of texts that were cut; at least the first five.
            total: Texts there were.
            limit: Tokens that the model reads.
            count: How many were cut, if `cut` does not hold all.
        """
        count = len(cut) if count is None else count
        first = tuple(int(place) for place in cut[:_NAMED])
        made = cls(
            f"{count:,} of {total:,} texts are longer than the {limit:,} tokens that {name} "
            f"reads, and were cut: {', '.join(map(str, first))}{', ...' * (count > len(first))}"
        )
        made.count, made.total, made.limit, made.first = count, total, limit, first
        return made


@dataclass(frozen=True, kw_only=True)
class Options:
    """The keyword arguments of `Encoder.encode`, checked as far as they need no model."""

    batch_size: int
    normalize: bool
    dim: int
    role: Role | None
    precision: EmbeddingPrecision
    truncation: Truncation

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UsageError(f"batch_size is {self.batch_size}; allowed: 1 or more")
        if self.role not in (None, *get_args(Role)):
            raise UsageError(f"role is {self.role!r}; allowed: query, document, None")
        for name, value, allowed in (
            ("precision", self.precision, get_args(EmbeddingPrecision)),
            ("truncation", self.truncation, get_args(Truncation)),
        ):
            if value not in allowed:
                raise UsageError(f"{name} is {value!r}; allowed: {', '.join(allowed)}")
        if self.precision == "int8" and not self.normalize:
            raise UsageError(
                "int8 embeddings with normalize=False: the ranges of int8 are those of unit vectors"
            )
