"""The table of a static model in int8: a quarter of the bytes to ship."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from hpdistill.files import atomic_path, read_json
from hpdistill.runtime import STATIC_INT8, read_table

__all__ = ["quantise_table", "write_static_int8"]


def write_static_int8(directory: Path) -> None:
    """Write `STATIC_INT8` beside the table of a static model."""
    modules = read_json(directory / "modules.json")
    table = read_table(directory / modules[0]["path"] / "model.safetensors", compact=False)
    codes, scale = quantise_table(table)
    with atomic_path(directory / modules[0]["path"] / STATIC_INT8) as temporary:
        save_file({"codes": codes, "scale": scale}, temporary)


def quantise_table(
    table: NDArray[np.float32],
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round a table of token vectors to int8, with one scale a dimension.

    Args:
        table: Shape (vocabulary, dim), float32.

    Returns:
        Codes of shape (vocabulary, dim), int8, and scale of shape (dim,), float32: the table is
        about codes * scale, and the mean of rows is scale times the mean of codes.
    """
    scale = np.maximum(np.abs(table).max(axis=0), np.finfo(np.float32).tiny) / 127
    codes = np.rint(table / scale).astype(np.int8)
    return codes, scale.astype(np.float32)
