"""Which vectors can be compared: those of one space, at one width."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from hpdistill.errors import SearchError

__all__ = ["Space"]


@dataclass(frozen=True, kw_only=True)
class Space:
    """Where the vectors of an index live, and what to encode its queries with."""

    id: str
    """Identity of the space: `Encoder.space`."""
    dim: int
    """Width of the vectors: that of the model, or of a prefix."""
    model: str
    """Name or path of the model for queries; to load it again, and for messages."""
    documents: str | None = None
    """Name of what encoded the documents, when it is not `model`."""
    document_prompt: str | None = None
    """What was put before each document. None: what the model puts before texts of no role, as in
    indexes that knew of no roles."""

    def check(self, other: "Space") -> None:
        """Refuse vectors of another space or width.

        Args:
            other: Of the vectors to be compared with those here.

        Raises:
            SearchError: They cannot be compared.
        """
        if self.id != other.id:
            raise SearchError(
                f"the index is of the space of {self.model} ({self.id[:12]}), "
                f"not of {other.model} ({other.id[:12]})",
                hint="Search it with the model that it was built with, or build it again.",
            )
        if self.dim != other.dim:
            raise SearchError(
                f"the index holds vectors of {self.dim} numbers, "
                f"not of {other.dim} ({other.model})",
                hint=f"Encode with dim={self.dim}, or build the index again.",
            )

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Space":
        """From what `to_dict` gave.

        Raises:
            SearchError: Something is missing or of another type.
        """
        wanted: dict[str, Any] = {"id": str, "dim": int, "model": str}
        wanted |= dict.fromkeys(("documents", "document_prompt"), str | None)
        for field in fields(cls):
            value = values.get(field.name)
            if not isinstance(value, wanted[field.name]) or isinstance(value, bool):
                raise SearchError(f"the index names a space whose {field.name} is {value!r}")
        return cls(**{name: values.get(name) for name in wanted})  # type: ignore[arg-type]
