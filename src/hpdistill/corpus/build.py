"""Sources to a corpus: read, clean, drop, draw the splits, write; in bounded memory.

One pass reads the sources and spools what survives the cleaning; only 8-byte digests of it
stay in memory. Their order decides what is sampled and held out, and a second pass over the
spool writes the two splits.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hpdistill.corpus._extra import extra
from hpdistill.corpus.cleaning import DIGEST_BYTES, clean, exclusion_key, text_digest
from hpdistill.corpus.exclusion import excluded_keys
from hpdistill.corpus.readers import check_source, read_source
from hpdistill.corpus.store import SPLITS, SUMMARY
from hpdistill.errors import CorpusError
from hpdistill.files import write_json
from hpdistill.progress import Report, silent
from hpdistill.recipe import CorpusRecipe

__all__ = ["REASONS", "CorpusSummary", "SourceSummary", "build_corpus", "read_clean"]

REASONS = ("empty", "too_short", "too_long", "duplicate", "excluded", "not_sampled")
"""Why a sentence is dropped, in the order of the checks: it counts under the first that holds."""
MIN_SENTENCES = 10
VALIDATION_SHARE = 5
"""At most one sentence in so many is held out."""

_REPORT_EVERY = 20_000
_ROW_GROUP = 65_536
# A batch of texts is one Arrow string array, which holds 2 GiB at most.
_BATCH_CHARACTERS = 1 << 26


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

    @property
    def read(self) -> int:
        """Sentences in all sources."""
        return sum(source.read for source in self.sources)

    @property
    def dropped(self) -> dict[str, int]:
        """Sentences not in the corpus, by reason."""
        return _total_dropped(self.sources)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; the content of `summary.json`."""
        return {
            "train": self.train,
            "validation": self.validation,
            "text_hash": self.text_hash,
            "read": self.read,
            "kept": self.train + self.validation,
            "dropped": self.dropped,
            "sources": [asdict(source) for source in self.sources],
        }


def build_corpus(
    recipe: CorpusRecipe, out: Path, *, seed: int, report: Report = silent
) -> CorpusSummary:
    """Read, clean, de-duplicate and split sentences into Parquet files.

    Writes `train.parquet`, `validation.parquet` (columns `text`, string, and `source`,
    dictionary of strings) and `summary.json`. Sentences keep the order of the sources. Sample
    and validation split are drawn by a seeded hash of the text: the same sources and seed give
    the same files, and a sentence does not move between splits when the sources are reordered.

    Args:
        recipe: Which sentences, and how they are cleaned and split.
        out: An existing, empty directory; the caller makes it appear atomically.
        seed: Decides the sample and the split.
        report: Called with the number of sentences read, then of those written.

    Returns:
        What was written and dropped.

    Raises:
        CorpusError: A source or an exclusion cannot be read, or fewer than 10 sentences are left.
        UsageError: Unknown encoding, or the `train` extra is not installed.
    """
    run = _Cleaning(recipe, seed, report)
    spool = out / "spool.arrow"
    try:
        total = _write_spool(run, spool)
        draw = _Draw.of(run, recipe)
        text_hash = _write_splits(run, draw, spool, total, out, report)
    finally:
        spool.unlink(missing_ok=True)
    summary = CorpusSummary(
        sources=tuple(run.sources),
        train=draw.kept - draw.validation,
        validation=draw.validation,
        text_hash=text_hash,
    )
    write_json(out / SUMMARY, summary.to_dict())
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
        UsageError: Unknown encoding, or the `train` extra is not installed.
    """
    run = _Cleaning(recipe, seed, report)
    texts = [text for text, _ in run]
    draw = _Draw.of(run, recipe)
    return [text for text, good in zip(texts, run.keys() <= draw.last_kept, strict=True) if good]


class _Cleaning:
    """One pass over the sources: an iterator of (text, index of its source) and its tallies."""

    def __init__(self, recipe: CorpusRecipe, seed: int, report: Report) -> None:
        for source in recipe.sources:
            check_source(source, column=recipe.column)
        self.recipe = recipe
        self.sources = [SourceSummary(source=source) for source in recipe.sources]
        self._report = report
        self._excluded = excluded_keys(recipe.exclude)
        self._salt = blake2b(str(seed).encode(), digest_size=16).digest()
        self._digests = bytearray()

    def keys(self) -> NDArray[np.uint64]:
        """Digests of the texts so far as numbers, shape (texts,): distinct, uniformly random."""
        return np.frombuffer(self._digests, dtype=f"<u{DIGEST_BYTES}")

    def __iter__(self) -> Iterator[tuple[str, int]]:
        seen: set[bytes] = set()
        done = 0
        for index, summary in enumerate(self.sources):
            dropped: Counter[str] = Counter()
            read = kept = 0
            for text in self._cleaned(summary.source):
                read += 1
                if not (done + read) % _REPORT_EVERY:
                    self._report("reading sentences", done + read, 0)
                reason = self._refuse(text)
                if reason is None:
                    digest = text_digest(text, self._salt)
                    if digest in seen:
                        reason = "duplicate"
                    else:
                        seen.add(digest)
                        if self._excluded and exclusion_key(text) in self._excluded:
                            reason = "excluded"
                if reason is not None:
                    dropped[reason] += 1
                    continue
                self._digests += digest
                kept += 1
                yield text, index
            done += read
            summary.read, summary.kept = read, kept
            summary.dropped.update(dropped)
        self._report("reading sentences", done, done)

    def _cleaned(self, source: str) -> Iterator[str]:
        recipe = self.recipe
        return map(
            clean,
            read_source(
                source, column=recipe.column, encoding=recipe.encoding, errors=recipe.errors
            ),
        )

    def _refuse(self, text: str) -> str | None:
        if not text:
            return "empty"
        words = text.count(" ") + 1
        if words < self.recipe.min_words:
            return "too_short"
        return "too_long" if words > self.recipe.max_words else None


class _Draw(NamedTuple):
    """Which texts are kept and which of them are held out: those whose keys are smallest."""

    kept: int
    validation: int
    last_kept: np.uint64
    last_validation: np.uint64

    @classmethod
    def of(cls, run: _Cleaning, recipe: CorpusRecipe) -> "_Draw":
        keys = run.keys()
        kept = min(len(keys), recipe.limit or len(keys))
        if kept < MIN_SENTENCES:
            raise _too_few(run.sources, kept)
        validation = min(recipe.validation, kept // VALIDATION_SHARE)
        ordered = np.partition(keys, (validation - 1, kept - 1))
        return cls(kept, validation, ordered[kept - 1], ordered[validation - 1])


def _write_spool(run: _Cleaning, path: Path) -> int:
    """Write all texts of the cleaning to a temporary Arrow stream; returns how many."""
    pa = extra("pyarrow")
    names = pa.array(run.recipe.sources, pa.string())
    schema = pa.schema([("text", pa.string()), ("source", pa.dictionary(pa.int32(), pa.string()))])
    total = 0
    with (
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_stream(
            sink, schema, options=pa.ipc.IpcWriteOptions(compression="lz4")
        ) as writer,
    ):
        for texts, sources in _batches(run):
            total += len(texts)
            source = pa.DictionaryArray.from_arrays(pa.array(sources, pa.int32()), names)
            batch = pa.record_batch([pa.array(texts, pa.string()), source], schema=schema)
            writer.write_batch(batch)
    return total


def _batches(run: _Cleaning) -> Iterator[tuple[list[str], list[int]]]:
    texts: list[str] = []
    sources: list[int] = []
    characters = 0
    for text, source in run:
        texts.append(text)
        sources.append(source)
        characters += len(text)
        if len(texts) == _ROW_GROUP or characters >= _BATCH_CHARACTERS:
            yield texts, sources
            texts, sources, characters = [], [], 0
    if texts:
        yield texts, sources


def _write_splits(
    run: _Cleaning, draw: _Draw, spool: Path, total: int, out: Path, report: Report
) -> str:
    """Distribute the spool to both files, correct the tallies, and hash the texts."""
    pa = extra("pyarrow")
    keys = run.keys()
    kept_of = np.zeros(len(run.sources), np.int64)
    done = 0
    with pa.OSFile(str(spool), "rb") as handle, pa.ipc.open_stream(handle) as reader:
        writers = {split: _SplitWriter(out / f"{split}.parquet", reader.schema) for split in SPLITS}
        for batch in reader:
            own = keys[done : done + len(batch)]
            held_out = own <= draw.last_validation
            kept = own <= draw.last_kept
            writers["train"].write(batch.filter(pa.array(kept & ~held_out)))
            writers["validation"].write(batch.filter(pa.array(held_out)))
            indices = batch.column("source").indices.to_numpy()
            kept_of += np.bincount(indices[kept], minlength=len(kept_of))
            done += len(batch)
            report("writing sentences", done, total)
    for summary, kept_count in zip(run.sources, kept_of.tolist(), strict=True):
        summary.dropped["not_sampled"] = summary.kept - kept_count
        summary.kept = kept_count
    hashes = {split: writer.close() for split, writer in writers.items()}
    return sha256("\n".join(f"{split} {hashes[split]}" for split in SPLITS).encode()).hexdigest()


class _SplitWriter:
    """One Parquet file in row groups of even size, and the hash of its texts."""

    def __init__(self, path: Path, schema: Any) -> None:  # noqa: ANN401 - a pyarrow schema
        self._writer = extra("pyarrow.parquet").ParquetWriter(
            path, schema, compression="zstd", use_dictionary=["source"], write_page_checksum=True
        )
        self._held: list[Any] = []
        self._rows = 0
        self._characters = 0
        self._hash = sha256()

    def write(self, batch: Any) -> None:  # noqa: ANN401 - a pyarrow record batch
        if not len(batch):
            return
        self._hash.update(
            "".join(f"{text}\n" for text in batch.column("text").to_pylist()).encode()
        )
        self._held.append(batch)
        self._rows += len(batch)
        self._characters += batch.column("text").nbytes
        if self._rows >= _ROW_GROUP or self._characters >= _BATCH_CHARACTERS:
            self._flush()

    def close(self) -> str:
        """Finish the file; returns the sha256 of its texts, each followed by a line end."""
        self._flush()
        self._writer.close()
        return self._hash.hexdigest()

    def _flush(self) -> None:
        if self._held:
            table = extra("pyarrow").Table.from_batches(self._held)
            self._writer.write_table(table, row_group_size=self._rows)
        self._held, self._rows, self._characters = [], 0, 0


def _total_dropped(sources: "list[SourceSummary] | tuple[SourceSummary, ...]") -> dict[str, int]:
    return {reason: sum(source.dropped[reason] for source in sources) for reason in REASONS}


def _too_few(sources: list[SourceSummary], kept: int) -> CorpusError:
    names = ", ".join(source.source for source in sources)
    read = sum(source.read for source in sources)
    if not read:
        return CorpusError(f"there are no sentences in {names}: nothing to read there")
    reasons = ", ".join(
        f"{count:,} {reason.replace('_', ' ')}"
        for reason, count in _total_dropped(sources).items()
        if count
    )
    why = f" (dropped: {reasons})" if reasons else ""
    return CorpusError(
        f"{kept} of {read:,} sentences in {names} are left{why}; at least {MIN_SENTENCES} are needed",
        hint="Add sentences, or loosen min_words, max_words or exclude.",
    )
