"""Static models in NumPy: a text's vector is the mean of its tokens' vectors."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from hpdistill.encoder import Embeddings
from hpdistill.errors import WeightsError
from hpdistill.runtime._ragged import ends_of, starts_of
from hpdistill.runtime._tokens import Tokens

__all__ = ["StaticTable", "read_table"]

_BYTES_AT_ONCE = 2**19
"""Of token vectors gathered before they are summed: they should still be in the core's cache."""


class StaticTable:
    """A table of token vectors."""

    def __init__(self, table: NDArray[np.float32]) -> None:
        """Take a table.

        Args:
            table: Shape (vocabulary, dim), float32.
        """
        self._table = table
        self.rows, self.dim = table.shape
        self.parameters = table.size

    def embed(self, tokens: Tokens) -> Embeddings:
        """Average the vectors of each text's tokens.

        Args:
            tokens: Of n texts.

        Returns:
            Shape (n, dim), float32; zeros for a text without tokens.
        """
        vectors = np.zeros((len(tokens.lengths), self.dim), np.float32)
        full = tokens.lengths > 0
        lengths = tokens.lengths[full]
        means = vectors if full.all() else np.empty((len(lengths), self.dim), np.float32)
        starts, ends = starts_of(lengths), ends_of(lengths)
        most = max(1, _BYTES_AT_ONCE // (4 * self.dim))
        first = 0
        while first < len(lengths):
            last = int(np.searchsorted(ends, starts[first] + most, side="right"))
            if last == first:  # `reduceat` is slow on long rows, and they would all be in memory
                means[first] = self._sum(tokens.ids[starts[first] : ends[first]], most)
                first += 1
                continue
            # "clip" skips a check of each id; they were checked against the table at load.
            rows = self._table.take(
                tokens.ids[starts[first] : ends[last - 1]], axis=0, mode="clip"
            )  # (tokens, dim)
            np.add.reduceat(rows, starts[first:last] - starts[first], axis=0, out=means[first:last])
            first = last
        means /= lengths[:, None].astype(np.float32)
        if means is not vectors:
            vectors[full] = means
        return vectors

    def _sum(self, ids: NDArray[np.int64], most: int) -> NDArray[np.float32]:
        pieces = (ids[start : start + most] for start in range(0, len(ids), most))
        sums = [self._table.take(piece, axis=0, mode="clip").sum(axis=0) for piece in pieces]
        total: NDArray[np.float32] = np.sum(sums, axis=0, dtype=np.float32)
        return total


def read_table(file: Path, *, compact: bool) -> NDArray[np.float32]:
    """Read token vectors.

    Args:
        file: A safetensors file: `embedding.weight`, of shape (vocabulary, dim) in floats; or, as
            model2vec writes it, `embeddings` of shape (rows, dim), with `mapping` of shape
            (vocabulary,) where tokens share rows, and `weights` of that shape; if `compact`,
            `codes` of shape (vocabulary, dim) in int8 and `scale` of shape (dim,).
        compact: Which of them it holds.

    Returns:
        Shape (vocabulary, dim), float32: int8 saves disk, not memory, because summing whole
        numbers was not faster here.

    Raises:
        WeightsError: It is damaged or holds something else.
    """
    try:
        tensors = load_file(file)
        table = tensors["codes"] if compact else _one_row_a_token(tensors)
        scale = tensors["scale"] if compact else np.ones(1, np.float32)
    except KeyError as error:
        raise WeightsError(
            f"{file} has no tensor {error.args[0]!r}; it has {', '.join(sorted(tensors))}"
        ) from error
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{file} is damaged: {error}") from error
    types = ("int8",) if compact else ("float32", "float16", "float64")
    if table.ndim != 2 or 0 in table.shape or table.dtype.name not in types:
        raise WeightsError(
            f"{file} holds {table.dtype} of shape {table.shape}; expected {' or '.join(types)} "
            "of shape (vocabulary, dim)"
        )
    if compact and (scale.shape != table.shape[1:] or scale.dtype != np.float32):
        raise WeightsError(f"{file} has a scale of shape {scale.shape} for {table.shape[1]}")
    vectors = table.astype(np.float32, copy=False)
    return vectors * scale if compact else vectors


def _one_row_a_token(tensors: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """The table of token vectors, folded as sentence-transformers does it where it is model2vec's.

    Raises:
        KeyError: There is none.
    """
    if "embedding.weight" in tensors or "embeddings" not in tensors:
        return tensors["embedding.weight"]
    table = tensors["embeddings"]
    if "mapping" in tensors:
        table = table[tensors["mapping"].astype(np.int64)]
    if "weights" in tensors:
        table = table.astype(np.float32) * tensors["weights"].astype(np.float32)[:, None]
    return table
