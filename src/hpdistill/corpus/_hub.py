"""Sentences of a dataset on the Hugging Face hub, streamed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from hpdistill.corpus._columns import choose_columns, joined, text_value
from hpdistill.errors import CorpusError, HpdError
from hpdistill.extras import extra

_PREFIX = "hf:"

PAIR = ("premise", "hypothesis")
"""Columns that are both read where none is named: those of the datasets of inference."""


def is_hub(source: str) -> bool:
    """Whether a source is a dataset of the hub."""
    return source.startswith(_PREFIX)


class HubTexts(NamedTuple):
    """A dataset, and the columns that hold its texts."""

    dataset: Any
    """A `datasets.IterableDataset`."""
    columns: list[str]
    apart: bool
    """Each column has texts of its own, as a pair has; else together they are one."""


def open_hub(source: str, wanted: Sequence[str] | None) -> HubTexts:
    """Find a dataset without downloading its rows.

    Args:
        source: `hf:DATASET[:config][:split][:column]`; an empty part is the default, `train` for
            the split. DATASET may also be a local folder of data files.
        wanted: The columns if the source names none.

    Raises:
        CorpusError: The hub cannot be reached, or there is no such dataset, config, split or
            column.
    """
    dataset, own_column = _load(source)
    with _clear_errors(source):
        columns = dataset.column_names or list(next(iter(dataset), {}))
        _check_divided(source, columns)
        # A column named for other sources does not take a pair apart.
        there = wanted is not None and set(wanted) <= set(columns)
        if not own_column and not there and set(PAIR) <= set(columns):
            return HubTexts(dataset, list(PAIR), apart=True)
        chosen = choose_columns(columns, [own_column] if own_column else wanted, source)
        return HubTexts(dataset, chosen, apart=False)


def read_hub(source: str, wanted: Sequence[str] | None) -> Iterator[str]:
    """The texts of a dataset's columns or pair, as `open_hub` finds them, in its own order."""
    dataset, chosen, apart = open_hub(source, wanted)
    with _clear_errors(source):
        for row in dataset.select_columns(chosen):
            parts = [text_value(row[name], f"{source}, column {name}") for name in chosen]
            yield from parts if apart else [joined(parts)]


def hub_rows(source: str) -> Iterator[dict[str, Any]]:
    """All columns of a dataset, as `open_hub` finds it, in its own order."""
    dataset, _ = _load(source)
    with _clear_errors(source):
        for number, row in enumerate(dataset):
            if not number:
                _check_divided(source, list(row))
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


def _check_divided(source: str, columns: Sequence[str]) -> None:
    """Refuse what `datasets`, which divides every CSV by commas, has read as one column.

    Raises:
        CorpusError: It has.
    """
    if len(columns) == 1 and any(mark in columns[0] for mark in ";\t|"):
        raise CorpusError(
            f"{source}: its only column is named {columns[0]!r}, as of a table that is not divided "
            "by commas",
            hint="Name its file in the place of the dataset.",
        )


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
