"""What became of the sentences of every source."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

REASONS = ("empty", "too_short", "too_long", "duplicate", "excluded", "not_sampled")
"""Why a sentence is dropped, in the order of the checks: it counts under the first that holds."""


@dataclass(kw_only=True)
class SourceSummary:
    """What one source gave."""

    source: str
    read: int = 0
    """Sentences in the source."""
    kept: int = 0
    """Of those, in the corpus."""
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    """Of those, not in the corpus, by reason: see `REASONS`."""


@dataclass(frozen=True, kw_only=True)
class CorpusSummary:
    """What `build_corpus` wrote, and what it dropped and why."""

    sources: tuple[SourceSummary, ...]
    train: int
    validation: int
    text_hash: str
    """Sha256 over all texts in order, and their split, in hexadecimal."""
    files: dict[str, str]
    """Sha256 of each file, in hexadecimal, by its name."""

    @property
    def read(self) -> int:
        """Sentences in all sources."""
        return sum(source.read for source in self.sources)

    @property
    def dropped(self) -> dict[str, int]:
        """Sentences not in the corpus, by reason."""
        return total_dropped(self.sources)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; the content of `summary.json`."""
        return {
            "train": self.train,
            "validation": self.validation,
            "text_hash": self.text_hash,
            "files": self.files,
            "read": self.read,
            "kept": self.train + self.validation,
            "dropped": self.dropped,
            "sources": [asdict(source) for source in self.sources],
        }


def total_dropped(sources: Sequence[SourceSummary]) -> dict[str, int]:
    """Dropped sentences of all sources, by reason."""
    return {reason: sum(source.dropped[reason] for source in sources) for reason in REASONS}
