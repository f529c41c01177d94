"""Text columns of Parquet files, streamed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpdistill.corpus._lines import reading
from hpdistill.delimited import first_twice
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
    types = _pyarrow("pyarrow").types
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def parquet_texts(path: Path, names: Sequence[str]) -> Iterator[list[str]]:
    """The texts of some columns in every row; a missing value is an empty text.

    Raises:
        CorpusError: The file is missing or damaged, or a column is of another type than text.
    """
    with _opened(path) as file:
        for name in names:
            kind = file.schema_arrow.field(name).type
            if not is_text(kind):
                raise CorpusError(f"{path}: column {name!r} holds {kind}, not text")
        for batch in file.iter_batches(batch_size=_BATCH, columns=list(names)):
            columns = [batch.column(name).to_pylist() for name in names]
            yield from ([text or "" for text in row] for row in zip(*columns, strict=True))


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
    pa, parquet = _pyarrow("pyarrow"), _pyarrow("pyarrow.parquet")
    # Not opened by Arrow: that takes no name that is not Unicode, and calls a missing file damaged.
    with reading(path), path.open("rb") as handle:
        try:
            with parquet.ParquetFile(handle, buffer_size=_BUFFER) as file:
                if (name := first_twice(file.schema_arrow.names)) is not None:
                    raise CorpusError(f"{path} names the column {name!r} twice")
                yield file
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            reason = str(error).splitlines()[0]
            raise CorpusError(f"{path} is not a sound Parquet file: {reason}") from error


def _pyarrow(module: str) -> Any:  # noqa: ANN401 - a module
    # The smallest of the extras that bring it: none of them need be of use, and this one is
    # without PyTorch.
    return extra(module, "search", task="reading Parquet")
