"""Text columns of Parquet files, streamed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpdistill.corpus._lines import reading
from hpdistill.errors import CorpusError
from hpdistill.extras import extra

_BATCH = 8192
# Lets Parquet read a row group piece by piece: one gigabyte-sized group needs no gigabyte.
_BUFFER = 1 << 20


def columns(path: Path) -> list[tuple[str, Any]]:
    """Name and Arrow type of every column.

    Raises:
        CorpusError: The file is missing or damaged.
    """
    with _opened(path) as file:
        return [(field.name, field.type) for field in file.schema_arrow]


def text_columns(path: Path) -> list[str]:
    """Names of the columns that hold text."""
    return [name for name, kind in columns(path) if is_text(kind)]


def is_text(kind: Any) -> bool:  # noqa: ANN401 - a pyarrow type
    """Whether an Arrow type is one of strings, dictionary-encoded or not."""
    types = extra("pyarrow").types
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def parquet_texts(path: Path, column: str) -> Iterator[str]:
    """The texts of one column; a missing value is an empty text.

    Raises:
        CorpusError: The file is missing or damaged, or another type than text.
    """
    with _opened(path) as file:
        kind = file.schema_arrow.field(column).type
        if not is_text(kind):
            raise CorpusError(f"{path}: column {column!r} holds {kind}, not text")
        for batch in file.iter_batches(batch_size=_BATCH, columns=[column]):
            yield from (text or "" for text in batch.column(0).to_pylist())


def parquet_rows(path: Path, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Some columns of every row, as Python values.

    Raises:
        CorpusError: The file is missing or damaged.
    """
    with _opened(path) as file:
        for batch in file.iter_batches(batch_size=_BATCH, columns=list(names)):
            yield from batch.to_pylist()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    pa, parquet = extra("pyarrow"), extra("pyarrow.parquet")
    # Not opened by Arrow: that takes no name that is not Unicode, and calls a missing file damaged.
    with reading(path), path.open("rb") as handle:
        try:
            with parquet.ParquetFile(handle, buffer_size=_BUFFER) as file:
                yield file
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            reason = str(error).splitlines()[0]
            raise CorpusError(f"{path} is not a sound Parquet file: {reason}") from error
