"""Texts that an encoder did not read whole, or could not read: counted, and said in a line."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hpdistill.progress import caution

__all__ = ["Notices", "noticing", "shown"]

Places: TypeAlias = Sequence[int] | NDArray[np.int64]

_NAMED = 5
_SHOWN = 40

_INSTEAD: ContextVar[Mapping[int, "Notices"]] = ContextVar("_INSTEAD", default={})  # noqa: B039
"""What counts instead of an encoder's own notices, by their `id`; another thread has its own."""


@dataclass
class Found:
    """How many texts something holds of, and which are the first."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, count: int, first: Iterable[str]) -> None:
        """Count more; the names are those of the first of them."""
        self.count += count
        for name in first:
            if len(self.first) == _NAMED:
                break
            self.first.append(name)

    @property
    def named(self) -> str:
        """The first of them, to be put behind what is said of them all."""
        if not self.first:
            return ""  # they were counted by a call that was interrupted
        return f"; first: {', '.join(self.first)}" + ", ..." * (self.count > len(self.first))


@dataclass
class Notices:
    """What a user should know of the texts that an encoder was given."""

    texts: int = 0
    """How many there were."""
    cut: Found = field(default_factory=Found)
    """Of those, longer than the model reads."""
    unknown: Found = field(default_factory=Found)
    """Of those, such that most tokens are none of the model's vocabulary."""
    named: Callable[[int], str] = str
    """What to call a text, by its place among them."""
    limit: int | None = None
    """Tokens that were read of those that were cut."""
    told: bool = False
    """Whether somebody will log them."""

    def add(
        self, texts: int, cut: Places = (), unknown: Places = (), *, limit: int | None = None
    ) -> None:
        """Count the texts of a call.

        Args:
            texts: How many.
            cut: Places of those that were cut, from 0.
            unknown: Places of those that are mostly unknown.
            limit: Tokens that are read of a text.
        """
        instead = _INSTEAD.get().get(id(self))
        if instead is not None:
            instead.add(texts, cut, unknown, limit=limit)
            return
        if len(cut):
            self.limit = limit
        for found, places in ((self.cut, cut), (self.unknown, unknown)):
            found.add(
                len(places), (self.named(self.texts + int(place)) for place in places[:_NAMED])
            )
        self.texts += texts

    def extend(self, other: "Notices") -> None:
        """Count what another has counted, by its names."""
        self.texts += other.texts
        self.limit = other.limit or self.limit
        self.cut.add(other.cut.count, other.cut.first)
        self.unknown.add(other.unknown.count, other.unknown.first)

    def lines(self, name: str, max_tokens: int | None) -> list[str]:
        """In words; none where every text was read.

        Args:
            name: Of the encoder.
            max_tokens: That it reads of a text, if none was cut here.
        """
        lines = []
        if self.cut.count:
            most = self.limit or max_tokens
            limit = "what" if most is None else f"the {most:,} tokens that"
            lines.append(
                f"{self.cut.count:,} of {self.texts:,} texts are longer than {limit} {name} "
                f"reads, and were cut{self.cut.named}"
            )
        if self.unknown.count:
            lines.append(
                f"{self.unknown.count:,} of {self.texts:,} texts are mostly unknown to {name}: its "
                "vocabulary does not cover their script, and what it does not know is all alike to "
                f"it{self.unknown.named}"
            )
        return lines


@contextmanager
def noticing(
    encoder: Any,  # noqa: ANN401 - any
    named: Callable[[int], str],
    *,
    to: Notices | None = None,
) -> Iterator[Notices]:
    """Log, when the block ends, which of the texts it gave to an encoder were not read.

    Inside such a block another one of the same encoder does nothing. What other threads give to the
    encoder meanwhile is counted by the encoder itself.

    Args:
        encoder: One that has `notices`, else nothing is known.
        named: What to call a text, by its place among those of the block.
        to: Counts them, too, instead of their being logged.
    """
    found, own = Notices(named=named), getattr(encoder, "notices", None)
    counting = _INSTEAD.get()
    if own is None or own.told or id(own) in counting:
        yield found
        return
    token = _INSTEAD.set({**counting, id(own): found})
    try:
        yield found
    finally:
        _INSTEAD.reset(token)
    if to is not None:
        to.extend(found)
        return
    for line in found.lines(encoder.name, encoder.max_tokens):
        caution(line)


def shown(text: str, most: int = _SHOWN) -> str:
    """A text in quotes, if it has more characters its beginning."""
    return repr(text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}")
