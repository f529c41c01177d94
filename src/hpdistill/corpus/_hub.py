"""Sentences of a dataset on the Hugging Face hub, streamed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hpdistill.corpus._columns import choose_column, text_value
from hpdistill.errors import CorpusError, HpdError
from hpdistill.extras import extra

_PREFIX = "hf:"

PAIR = ("premise", "hypothesis")
"""Columns that are both read where none is named: those of the datasets of inference."""


def is_hub(source: str) -> bool:
    """Whether a source is a dataset of the hub."""
    return source.startswith(_PREFIX)


def open_hub(source: str, column: str | None) -> tuple[Any, list[str]]:
    """Find a dataset without downloading its rows.

    Args:
        source: `hf:DATASET[:config][:split][:column]`; an empty part is the default, `train` for
            the split. DATASET may also be a local folder of data files.
        column: The column if the source names none.

    Returns:
        A `datasets.IterableDataset` and the columns to read: one, or both of a pair.

    Raises:
        CorpusError: The hub cannot be reached, or there is no such dataset, config, split or
            column.
    """
    dataset, own_column = _load(source)
    with _clear_errors(source):
        columns = dataset.column_names or list(next(iter(dataset), {}))
        # A column named for other sources does not take a pair apart.
        if not own_column and column not in columns and set(PAIR) <= set(columns):
            return dataset, list(PAIR)
        return dataset, [choose_column(columns, own_column or column, source)]


def read_hub(source: str, column: str | None) -> Iterator[str]:
    """The texts of a dataset's column or pair, as `open_hub` finds it, in its own order."""
    dataset, chosen = open_hub(source, column)
    with _clear_errors(source):
        for row in dataset.select_columns(chosen):
            for name in chosen:
                yield text_value(row[name], f"{source}, column {name}")


def hub_rows(source: str) -> Iterator[dict[str, Any]]:
    """All columns of a dataset, as `open_hub` finds it, in its own order."""
    dataset, _ = _load(source)
    with _clear_errors(source):
        for row in dataset:
            yield dict(row)


def _load(source: str) -> tuple[Any, str]:
    """The dataset, and the column that the source names or an empty string."""
    parts = source.removeprefix(_PREFIX).split(":")
    if len(parts) > 4 or not parts[0]:
        raise CorpusError(f"{source} is not of the form hf:DATASET[:config][:split][:column]")
    name, config, split, own_column = (*parts, "", "", "")[:4]
    with _clear_errors(source):
        dataset = extra("datasets").load_dataset(
            name, config or None, split=split or "train", streaming=True
        )
    return dataset, own_column


@contextmanager
def _clear_errors(source: str) -> Iterator[None]:
    try:
        yield
    except HpdError:
        raise
    # Errors of requests, httpx, aiohttp, fsspec and pyarrow come through datasets as they are.
    except Exception as error:
        offline = isinstance(error, ConnectionError)
        lines = str(error).splitlines() or [type(error).__name__]
        raise CorpusError(
            f"cannot read {source}: {lines[0]}",
            hint="Check the network, or name a file instead."
            if offline
            else "The form is hf:DATASET[:config][:split][:column].",
        ) from error
