"""A finished corpus on disk: two Parquet files and a summary."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hpdistill.errors import CorpusError, RunError, UsageError
from hpdistill.extras import extra
from hpdistill.files import json_hash, read_json, sha256_file

__all__ = ["SPLITS", "SUMMARY", "Copies", "Corpus", "Split", "checksums"]

Split: TypeAlias = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")
SUMMARY = "summary.json"

_BATCH = 8192
_BUFFER = 1 << 20
_MIN_VALIDATION = 3
"""Sentences that fidelity needs."""


class Copies(NamedTuple):
    """The copies of an augmented corpus, in file order."""

    originals: NDArray[np.int64]
    """Row of each one's original in the training split, shape (copies,), ascending."""
    augmenters: list[str]
    """What made each."""


class Corpus:
    """Cleaned sentences of both splits, read as a stream. Make one with `Corpus.open`.

    In an augmented corpus the training split holds the sentences as they are, then their copies.
    """

    def __init__(
        self, directory: Path, summary: dict[str, Any], kept: NDArray[np.bool_] | None = None
    ) -> None:
        self.directory = directory
        self.summary = summary
        self._kept = kept

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Open what `build_corpus` wrote.

        Raises:
            CorpusError: The directory holds no corpus, or a damaged one.
        """
        try:
            summary = read_json(directory / SUMMARY)
            corpus = cls(directory, {**summary})
            counts = {split: int(summary[split]) for split in SPLITS}
            str(summary["text_hash"])
            # Corpora of the first versions have none.
            expected = dict(summary.get("files", {}))
        except FileNotFoundError as error:
            raise CorpusError(f"{directory} holds no corpus: {SUMMARY} is missing") from error
        except (RunError, KeyError, TypeError, ValueError) as error:
            raise _damaged(directory / SUMMARY, error) from error
        for split, count in counts.items():
            path = corpus._path(split)
            with corpus._reader(split) as file:
                # Parquet has checksums of its pages, but none of their headers or of the schema.
                if path.name in expected and sha256_file(path) != expected[path.name]:
                    raise _damaged(path, f"its sha256 is not the one that {SUMMARY} names")
                if file.metadata.num_rows != count:
                    raise _damaged(
                        path,
                        f"it holds {file.metadata.num_rows} sentences, {SUMMARY} says {count}",
                    )
        return corpus

    def keeping(self, kept: NDArray[np.bool_]) -> "Corpus":
        """The same corpus without some of its copies.

        Args:
            kept: Shape (training sentences,); true for every original.
        """
        assert len(kept) == int(self.summary["train"])
        assert kept[: self.originals].all()
        return Corpus(self.directory, self.summary, kept)

    @property
    def text_hash(self) -> str:
        """Sha256 over all texts in order, and their split, in hexadecimal."""
        whole = str(self.summary["text_hash"])
        if self._kept is None:
            return whole
        return json_hash([whole, np.flatnonzero(~self._kept).tolist()])

    @property
    def originals(self) -> int:
        """Training sentences that are no copies; they come first."""
        return int(self.summary.get("originals", self.summary["train"]))

    def count(self, split: Split) -> int:
        """Number of sentences of a split."""
        if self._kept is not None and split == "train":
            return int(self._kept.sum())
        return int(self.summary[split])

    def check_held_out(self) -> None:
        """Refuse a corpus of too few sentences to measure fidelity on.

        Raises:
            CorpusError: Says how many there are, and how many must be held out.
        """
        held_out = self.count("validation")
        if held_out < _MIN_VALIDATION:
            total = self.count("train") + held_out
            raise CorpusError(
                f"{held_out} of {total} sentences are too few to hold out: "
                f"{_MIN_VALIDATION} are needed",
                hint="Add sentences: at most one in five is held out, unless they have sources of "
                "their own.",
            )

    def copies(self) -> Copies:
        """Where every copy comes from, those not kept included.

        Raises:
            CorpusError: The file is damaged.
        """
        with self._reader("train") as file:
            if self.originals == file.metadata.num_rows:
                return Copies(np.empty(0, np.int64), [])
            table = file.read(columns=["original", "augmenter"]).slice(self.originals)
        return Copies(table["original"].to_numpy(), table["augmenter"].to_pylist())

    def chunks(self, split: Split, size: int) -> Iterator[list[str]]:
        """Stream a split in file order, in memory that does not grow with the corpus.

        Args:
            split: `train` or `validation`.
            size: Sentences of every chunk but the last, and the last before the copies: the
                sentences as they are make the same chunks, whatever copies follow them.

        Raises:
            CorpusError: The file is damaged; raised when the iteration reaches the damage.
            UsageError: `size` is below 1.
        """
        if size < 1:
            raise UsageError(f"size of a chunk is {size}; allowed: 1 or more")
        return self._chunks(split, size)

    def texts(self, split: Split, limit: int | None = None) -> list[str]:
        """The first `limit` sentences of a split in file order; all of them when None.

        Raises:
            CorpusError: The file is damaged.
        """
        count = self.count(split) if limit is None else min(limit, self.count(split))
        return list(islice(chain.from_iterable(self._chunks(split, max(count, 1))), count))

    def _chunks(self, split: Split, size: int) -> Iterator[list[str]]:
        held: list[str] = []
        left = self.originals if split == "train" else self.count(split)
        for texts in self._batches(split, min(size, _BATCH)):
            held += texts
            while held and len(held) >= (taken := min(size, left)):
                yield held[:taken]
                held = held[taken:]
                left = left - taken or self.count(split)
        if held:
            yield held

    def _batches(self, split: Split, size: int) -> Iterator[list[str]]:
        done = 0
        with self._reader(split) as file:
            for batch in file.iter_batches(batch_size=size, columns=["text"]):
                texts = batch.column(0)
                if self._kept is not None and split == "train":
                    mask = self._kept[done : done + len(texts)]
                    texts = texts.filter(extra("pyarrow").array(mask))
                    done += len(mask)
                yield texts.to_pylist()

    def _path(self, split: Split) -> Path:
        return self.directory / f"{split}.parquet"

    @contextmanager
    def _reader(self, split: Split) -> Iterator[Any]:
        pa, parquet = extra("pyarrow"), extra("pyarrow.parquet")
        path = self._path(split)
        try:
            with parquet.ParquetFile(
                path, buffer_size=_BUFFER, page_checksum_verification=True
            ) as file:
                yield file
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise _damaged(path, error) from error


def checksums(directory: Path) -> dict[str, str]:
    """Sha256 of the file of every split of a corpus, in hexadecimal, by the file's name."""
    names = [f"{split}.parquet" for split in SPLITS]
    return {name: sha256_file(directory / name) for name in names}


def _damaged(path: Path, reason: object) -> CorpusError:
    return CorpusError(
        f"{path} is damaged: {str(reason).splitlines()[0]}",
        hint="Delete its directory to have the corpus built again.",
    )
