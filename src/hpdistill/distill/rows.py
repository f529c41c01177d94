"""Vectors of a whole split in one file, written as they come and mapped when they are read."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.lib.format import write_array_header_2_0
from numpy.typing import DTypeLike, NDArray

from hpdistill.files import atomic_path

__all__ = ["write_rows"]


def write_rows(
    path: Path, blocks: Iterable[NDArray[np.float32]], shape: tuple[int, int], dtype: DTypeLike
) -> None:
    """Write vectors to a .npy file, atomically, block by block.

    Args:
        path: The file.
        blocks: Arrays of shape (n_i, width).
        shape: Of all of them, (n, width).
        dtype: What they are stored as.

    Raises:
        RunError: The disk is full.
    """
    kind = np.dtype(dtype)
    # Written, not mapped: on a full disk a mapped page kills the process.
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        write_array_header_2_0(handle, {"descr": kind.str, "fortran_order": False, "shape": shape})
        for block in blocks:
            handle.write(block.astype(kind, copy=False).tobytes())
