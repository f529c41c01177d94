"""Sources to a corpus: read, clean, drop, draw the splits, write; in bounded memory.

One pass reads the sources and spools what survives the cleaning; only 8-byte digests of it
stay in memory. Their order decides what is sampled and held out, and a second pass over the
spool writes the two splits.
"""

from pathlib import Path
from typing import Any

from hpdistill.corpus._draw import Draw
from hpdistill.corpus._stream import CleanStream
from hpdistill.corpus._summary import (
    CorpusSummary,
    SourceSummary,
    counts_of,
    described,
    total_dropped,
)
from hpdistill.corpus._writing import write_splits, write_spool
from hpdistill.corpus.store import SUMMARY, checksums
from hpdistill.errors import CorpusError
from hpdistill.files import write_json
from hpdistill.progress import Report, silent, tell
from hpdistill.recipe import CorpusRecipe

__all__ = ["build_corpus", "read_clean", "read_clean_counting"]

MIN_SENTENCES = 10
VALIDATION_SHARE = 5
"""At most one sentence in so many is held out."""


def build_corpus(
    recipe: CorpusRecipe, out: Path, *, seed: int, report: Report = silent
) -> CorpusSummary:
    """Read, clean, de-duplicate and split sentences into Parquet files.

    Texts of more than `max_words` are cut to passages or sentences as the recipe's `split` says;
    the others are kept whole. What became of them all is logged in a line.

    Writes `train.parquet`, `validation.parquet` (columns `text`, string, and `source`,
    dictionary of strings) and `summary.json`. Sentences keep the order of the sources. Sample
    and validation split are drawn by a seeded hash of the text: the same sources and seed give
    the same files, and a sentence does not move between splits when the sources are reordered.
    Where the recipe has `validation_sources`, the validation split is drawn from those alone.

    Args:
        recipe: Which sentences, and how they are cleaned and split.
        out: An existing, empty directory; the caller makes it appear atomically.
        seed: Decides the sample and the split.
        report: Called with the number of sentences read, then of those written.

    Returns:
        What was written and dropped.

    Raises:
        CorpusError: A source or an exclusion cannot be read, or fewer than 10 sentences are left.
        UsageError: Unknown encoding.
        PackageError: The `train` extra is not installed.
    """
    stream = CleanStream(recipe, seed, report)
    spool = out / "spool.arrow"
    try:
        total = write_spool(stream, spool)
        draw = _draw(stream, recipe)
        text_hash = write_splits(stream, draw, spool, total, out, report)
    finally:
        spool.unlink(missing_ok=True)
    summary = CorpusSummary(
        sources=tuple(stream.sources),
        train=draw.kept - draw.validation,
        validation=draw.validation,
        text_hash=text_hash,
        files=checksums(out),
    )
    write_json(out / SUMMARY, summary.to_dict())
    tell(f"{described(summary.to_dict(), recipe)}; {draw.validation:,} of those kept are held out")
    return summary


def read_clean(recipe: CorpusRecipe, *, seed: int, report: Report = silent) -> list[str]:
    """The sentences that `build_corpus` would keep, both splits together, in memory.

    Args:
        recipe: Which sentences, and how they are cleaned; `validation` changes nothing.
        seed: Decides the sample when there is a `limit`.
        report: Called with the number of sentences read.

    Returns:
        Cleaned, distinct sentences in the order of the sources.

    Raises:
        CorpusError: A source or an exclusion cannot be read, or fewer than 10 sentences are left.
        UsageError: Unknown encoding.
        PackageError: The `train` extra is not installed.
    """
    return read_clean_counting(recipe, seed=seed, report=report)[0]


def read_clean_counting(
    recipe: CorpusRecipe, *, seed: int, report: Report = silent
) -> tuple[list[str], dict[str, Any]]:
    """What `read_clean` gives, and what became of all that was read.

    Returns:
        The sentences; and `read`, `split`, `parts`, `kept`, and `dropped` by reason, as in the
        summary of a corpus.
    """
    stream = CleanStream(recipe, seed, report)
    texts = [text for text, _ in stream]
    draw = _draw(stream, recipe)
    train, held_out = draw.splits(stream.keys, 0)
    kept = [text for text, good in zip(texts, train | held_out, strict=True) if good]
    counts = {**counts_of(stream.sources), "kept": len(kept)}
    counts["dropped"]["not_sampled"] = len(texts) - len(kept)
    tell(described(counts, recipe))
    return kept, counts


def _draw(stream: CleanStream, recipe: CorpusRecipe) -> Draw:
    """Decide the splits once the stream has ended, if there is enough to split."""
    total = len(stream.keys) if stream.boundary is None else stream.boundary
    kept = min(total, recipe.limit or total)
    if kept < MIN_SENTENCES:
        raise _too_few(stream.sources[: len(recipe.sources)], kept)
    if stream.boundary is not None:
        own = len(stream.keys) - stream.boundary
        if not own:
            raise CorpusError(
                f"no sentence of {', '.join(recipe.validation_sources or ())} can be held out: "
                "none is left that is not trained on, too"
            )
        return Draw.apart(stream.keys, stream.boundary, kept, min(recipe.validation, own))
    return Draw.of(stream.keys, kept, min(recipe.validation, kept // VALIDATION_SHARE))


def _too_few(sources: list[SourceSummary], kept: int) -> CorpusError:
    names = ", ".join(source.source for source in sources[:3])
    if len(sources) > 3:
        names += f" and {len(sources) - 3} more"
    # A text that was split counts as its parts.
    read = sum(source.read - source.split + source.parts for source in sources)
    if not read:
        return CorpusError(f"there are no sentences in {names}")
    reasons = ", ".join(
        f"{count:,} {reason.replace('_', ' ')}"
        for reason, count in total_dropped(sources).items()
        if count
    )
    why = f" (dropped: {reasons})" if reasons else ""
    return CorpusError(
        f"{kept} of {read:,} sentences in {names} are left{why}; "
        f"at least {MIN_SENTENCES} are needed",
        hint="Add sentences, or loosen min_words, max_words, split or exclude.",
    )
