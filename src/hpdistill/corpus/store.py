"""A finished corpus on disk: two Parquet files and a summary."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from hpdistill.corpus._extra import extra
from hpdistill.errors import CorpusError, RunError, UsageError
from hpdistill.files import read_json

__all__ = ["SPLITS", "SUMMARY", "Corpus", "Split"]

Split: TypeAlias = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")
SUMMARY = "summary.json"

_BATCH = 8192
_BUFFER = 1 << 20


class Corpus:
    """Cleaned sentences of both splits, read as a stream. Make one with `Corpus.open`."""

    def __init__(self, directory: Path, summary: dict[str, Any]) -> None:
        self.directory = directory
        self.summary = summary

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
        except FileNotFoundError as error:
            raise CorpusError(f"{directory} holds no corpus: {SUMMARY} is missing") from error
        except (RunError, KeyError, TypeError, ValueError) as error:
            raise _damaged(directory / SUMMARY, error) from error
        for split, count in counts.items():
            with corpus._reader(split) as file:
                if file.metadata.num_rows != count:
                    raise _damaged(
                        corpus._path(split),
                        f"it holds {file.metadata.num_rows} sentences, {SUMMARY} says {count}",
                    )
        return corpus

    @property
    def text_hash(self) -> str:
        """Sha256 over all texts in order, and their split, in hexadecimal."""
        return str(self.summary["text_hash"])

    def count(self, split: Split) -> int:
        """Number of sentences of a split."""
        return int(self.summary[split])

    def chunks(self, split: Split, size: int) -> Iterator[list[str]]:
        """Stream a split in file order, in memory that does not grow with the corpus.

        Args:
            split: `train` or `validation`.
            size: Sentences of every chunk but the last.

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
        return next(self._chunks(split, count), []) if count > 0 else []

    def _chunks(self, split: Split, size: int) -> Iterator[list[str]]:
        held: list[str] = []
        with self._reader(split) as file:
            for batch in file.iter_batches(batch_size=min(size, _BATCH), columns=["text"]):
                held += batch.column(0).to_pylist()
                while len(held) >= size:
                    yield held[:size]
                    held = held[size:]
        if held:
            yield held

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


def _damaged(path: Path, reason: object) -> CorpusError:
    return CorpusError(
        f"{path} is damaged: {str(reason).splitlines()[0]}",
        hint="Delete its directory to have the corpus built again.",
    )
