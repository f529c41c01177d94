"""What became of the texts of every source."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hpdistill.recipe import CorpusRecipe

REASONS = ("empty", "too_short", "too_long", "duplicate", "excluded", "not_sampled")
"""Why a sentence is dropped, in the order of the checks: it counts under the first that holds."""


@dataclass(kw_only=True)
class SourceSummary:
    """What one source gave."""

    source: str
    read: int = 0
    """Texts in the source."""
    split: int = 0
    """Of those, too long to stay whole."""
    parts: int = 0
    """What they were split into, in all; each is then kept or dropped like a text of its own."""
    kept: int = 0
    """Texts and parts in the corpus."""
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    """Texts and parts not in the corpus, by reason: see `REASONS`."""


@dataclass(frozen=True, kw_only=True)
class CorpusSummary:
    """What `build_corpus` wrote, what it split, and what it dropped and why."""

    sources: tuple[SourceSummary, ...]
    train: int
    validation: int
    text_hash: str
    """Sha256 over all texts in order, and their split, in hexadecimal."""
    files: dict[str, str]
    """Sha256 of each file, in hexadecimal, by its name."""

    @property
    def read(self) -> int:
        """Texts in all sources."""
        return sum(source.read for source in self.sources)

    @property
    def dropped(self) -> dict[str, int]:
        """Texts and parts not in the corpus, by reason."""
        return total_dropped(self.sources)

    @property
    def counts(self) -> dict[str, Any]:
        """`read`, `split`, `parts`, `kept`, and `dropped` by reason."""
        return counts_of(self.sources)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; the content of `summary.json`."""
        return {
            "train": self.train,
            "validation": self.validation,
            "text_hash": self.text_hash,
            "files": self.files,
            **self.counts,
            "sources": [asdict(source) for source in self.sources],
        }


def total_dropped(sources: Sequence[SourceSummary]) -> dict[str, int]:
    """Dropped texts of all sources, by reason."""
    return {reason: sum(source.dropped[reason] for source in sources) for reason in REASONS}


def counts_of(sources: Sequence[SourceSummary]) -> dict[str, Any]:
    """Of all sources together: `read`, `split`, `parts`, `kept`, and `dropped` by reason."""
    counts: dict[str, Any] = {
        name: sum(getattr(source, name) for source in sources)
        for name in ("read", "split", "parts", "kept")
    }
    return {**counts, "dropped": total_dropped(sources)}


def described(counts: dict[str, Any], recipe: CorpusRecipe) -> str:
    """In a line, what became of the texts that were read.

    Args:
        counts: As `counts_of` gives them, of this version or an earlier one.
        recipe: How they were cleaned and split.
    """
    reasons = {
        "empty": "empty",
        "too_short": f"of fewer than {recipe.min_words:,} words",
        "too_long": f"of more than {recipe.max_words:,} words",
        "duplicate": "equal to one before",
        "excluded": "in the evaluation data",
        "not_sampled": "left out of the sample",
    }
    dropped = [
        f"{count:,} {reasons[reason]}" for reason, count in counts["dropped"].items() if count
    ]
    line = f"{counts['read']:,} texts read"
    if counts.get("split"):
        line += (
            f", {counts['split']:,} of them of more than {recipe.max_words:,} words and split into "
            f"{counts['parts']:,} {recipe.split}"
        )
    line += f"; {counts['kept']:,} kept, {sum(counts['dropped'].values()):,} dropped"
    return f"{line}: {', '.join(dropped)}" if dropped else line
