"""What a call of `Encoder.encode` may ask for."""

from dataclasses import dataclass
from typing import Literal, get_args

from hpdistill.errors import UsageError

__all__ = ["EmbeddingPrecision", "Options", "Truncation", "TruncationWarning"]

EmbeddingPrecision = Literal["float32", "int8", "binary"]
Truncation = Literal["warn", "ignore", "error"]


class TruncationWarning(UserWarning):
    """Some texts were longer than the model reads, and their ends are not in the vectors."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The keyword arguments of `Encoder.encode`, checked as far as they need no model."""

    batch_size: int
    normalize: bool
    dim: int
    precision: EmbeddingPrecision
    truncation: Truncation

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UsageError(f"batch_size is {self.batch_size}; allowed: 1 or more")
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
