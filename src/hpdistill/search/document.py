"""What goes into an index, and what comes out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Document", "Hit"]


@dataclass(frozen=True, kw_only=True)
class Document:
    """Something to be found."""

    id: str
    """Unique in an index."""
    text: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Whatever JSON can hold."""


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A document that was found."""

    id: str
    score: float
    """Inner product of the unit vectors of query and document, as far as the precision allows."""
    text: str
    metadata: Mapping[str, Any]
