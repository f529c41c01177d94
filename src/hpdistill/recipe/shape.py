"""What shape a student is to have, as a person writes it and as a backbone allows it."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from hpdistill.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MODEL_TYPES", "Shape", "Sizes"]

MODEL_TYPES = ("bert", "mpnet", "roberta", "xlm-roberta")
"""`model_type` of the backbones whose shape can be changed."""

DEFAULT_SOURCE = "minilm"

ALLOWED = "from=MODEL, layers=4 (or layers=0+2+4+5), width=312, heads=12, ffn=1200"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """A shape with nothing left to choose."""

    layers: tuple[int, ...]
    """Which layers of the source, in rising order."""
    width: int
    heads: int
    ffn: int

    @property
    def head_width(self) -> int:
        """Directions of one attention head."""
        return self.width // self.heads


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Layers, width, heads and feed-forward width; what is None stays as in the source."""

    layers: int | tuple[int, ...] | None = None
    """How many, spread evenly over the source's, or which."""
    width: int | None = None
    heads: int | None = None
    ffn: int | None = None

    @classmethod
    def parse(cls, text: str) -> tuple[str, Self]:
        """Read `layers=4,width=312,heads=12,ffn=1200,from=MODEL`, every key optional.

        Returns:
            The model it is made from, and the shape.

        Raises:
            UsageError: An unknown or repeated key, or a value that is no number above 0.
        """
        readers: dict[str, Callable[[str], Any]] = {
            "from": str,
            "layers": _layers,
            "width": _count,
            "heads": _count,
            "ffn": _count,
        }
        found: dict[str, Any] = {}
        # A comma that no key follows belongs to a path.
        for part in filter(None, re.split(r",(?=[^,=]*=)", text)):
            key, _, value = part.partition("=")
            key = key.strip()
            if key not in readers or key in found:
                fault = "is given twice" if key in found else "is not known"
                raise UsageError(f"shape: {key!r} {fault}; allowed: {ALLOWED}")
            try:
                found[key] = readers[key](value.strip())
            except ValueError as error:
                raise UsageError(f"shape: {key} is {value!r}; allowed: {error}") from None
        model = found.pop("from", DEFAULT_SOURCE)
        if not model:
            raise UsageError(f"shape: from names no model; allowed: {ALLOWED}")
        return model, cls(**found)

    def settle(self, config: Any) -> Sizes:  # noqa: ANN401 - transformers' configurations
        """The sizes of a student made from a backbone of this configuration.

        Raises:
            UsageError: The architecture is not one of `MODEL_TYPES`, a size is larger than the
                source's, a layer does not exist, or the heads do not divide the width.
        """
        if config.model_type not in MODEL_TYPES or getattr(config, "is_decoder", False):
            raise UsageError(
                f"the shape of a {config.model_type} backbone cannot be changed; "
                f"allowed: encoders of type {', '.join(MODEL_TYPES)}"
            )
        limits = {
            "width": config.hidden_size,
            "heads": config.num_attention_heads,
            "ffn": config.intermediate_size,
        }
        sizes = {name: getattr(self, name) or limit for name, limit in limits.items()}
        for name, limit in limits.items():
            if sizes[name] > limit:
                raise UsageError(f"shape: {name} is {sizes[name]}; the source allows 1 to {limit}")
        width, heads = sizes["width"], sizes["heads"]
        if width % heads:
            good = [n for n in range(1, limits["heads"] + 1) if width % n == 0]
            raise UsageError(
                f"shape: width {width} is not divisible by {heads} heads; "
                f"allowed heads: {', '.join(map(str, good))}"
            )
        return Sizes(layers=self._which(config.num_hidden_layers), **sizes)

    def _which(self, total: int) -> tuple[int, ...]:
        if isinstance(self.layers, tuple):
            if self.layers[-1] >= total:
                raise UsageError(
                    f"shape: layer {self.layers[-1]} does not exist; "
                    f"the source has layers 0 to {total - 1}"
                )
            return self.layers
        count = self.layers or total
        if count > total:
            raise UsageError(f"shape: layers is {count}; the source allows 1 to {total}")
        return spread(count, total)


def spread(count: int, total: int) -> tuple[int, ...]:
    """So many layers of a stack, spread evenly, the first and the last among them.

    What falls between two layers is the upper one, which measured better than the nearer one.
    """
    return tuple(-(-i * (total - 1) // max(count - 1, 1)) for i in range(count))


def _count(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise ValueError("a whole number above 0")
    return number


def _layers(text: str) -> int | tuple[int, ...]:
    numbers = [part.strip() for part in text.split("+")]
    if len(numbers) == 1 and numbers[0] != "0":
        return _count(text)
    if not all(number.isascii() and number.isdigit() for number in numbers):
        raise ValueError("a number of layers, or which, as in 0+2+4")
    which = tuple(map(int, numbers))
    if list(which) != sorted(set(which)):
        raise ValueError("layer numbers in rising order, as in 0+2+4")
    return which
