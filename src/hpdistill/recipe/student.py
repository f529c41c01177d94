"""What a student is made from, as a person writes it."""

from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

from hpdistill.errors import UsageError
from hpdistill.recipe.shape import Shape

__all__ = ["PoolingMode", "StudentSpec"]

PoolingMode: TypeAlias = Literal[
    "mean", "cls", "lasttoken", "max", "mean_sqrt_len_tokens", "weightedmean"
]
"""How the vectors of a text's tokens become one, in the words of sentence-transformers."""


@dataclass(frozen=True)
class StudentSpec:
    """Where a student's backbone comes from: a model, some layers of it, or one cut to a shape.

    A static student has none; of its model it takes the tokenizer.
    """

    model: str
    """Empty: the teacher's first encoder."""
    layers: tuple[int, ...] | None = None
    static: bool = False
    shape: Shape | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `MODEL`, `layers:MODEL:0,2,4`, `shape:layers=4,width=312`, `static[:MODEL]`.

        Raises:
            UsageError: The layers are not a list of rising numbers, a shape is not understood, or
                a model is missing.
        """
        kind, colon, model = text.partition(":")
        if kind == "static":
            if colon and not model:
                raise UsageError(f"student {text!r} names no model; allowed: static, static:MODEL")
            return cls(model, static=True)
        if kind == "shape" and colon:
            model, shape = Shape.parse(model)
            return cls(model, shape=shape)
        if not text.startswith("layers:"):
            return cls(text)
        model, colon, numbers = text.removeprefix("layers:").rpartition(":")
        try:
            layers = tuple(int(number) for number in numbers.split(","))
        except ValueError:
            layers = ()
        if (
            not colon
            or not model
            or not layers
            or list(layers) != sorted(set(layers))
            or layers[0] < 0
        ):
            raise UsageError(
                f"student {text!r} is not understood; allowed: MODEL, or layers:MODEL:0,2,4 "
                "with layer numbers in rising order"
            )
        return cls(model, layers)
