"""Rows of numbers in a file, read as a memory map: they may be more than fit in memory."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hpdistill.errors import SearchError
from hpdistill.files import clear_os_errors

__all__ = ["Matrix"]

_HINT = "Make room, or set TMPDIR to a directory that has some, and try again."


class Matrix:
    """Equally wide rows, one after another, without a header.

    Rows are written by system calls, not through the map: a full disk is then an error, where a
    store into mapped memory would end the process.

    Args:
        path: The file; made when it is not there.
        width: Numbers in a row.
        dtype: Of a number.
        rows: How many rows it holds.
        mmap: False reads the file into memory whenever it changes.

    Raises:
        SearchError: The file is too short for so many rows.
    """

    def __init__(
        self, path: Path, width: int, dtype: DTypeLike, rows: int = 0, *, mmap: bool = True
    ) -> None:
        self.path = path
        self.width = width
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.rows = rows
        self._mmap = mmap
        self._row_bytes = width * self.dtype.itemsize
        if rows and (not path.is_file() or path.stat().st_size < rows * self._row_bytes):
            raise SearchError(f"{path} is cut short: {rows:,} rows do not fit in it")
        self._map()

    @property
    def array(self) -> NDArray[Any]:
        """All rows, shape (rows, width); not to be written to, nor used after a change."""
        return self._array

    @property
    def bytes(self) -> int:
        """Bytes of all rows."""
        return self.rows * self._row_bytes

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Copies of some rows, shape (*rows.shape, width)."""
        return self._array[rows]

    def append(self, block: NDArray[Any]) -> None:
        """Add rows at the end, shape (n, width).

        Raises:
            RunError: The disk is full; the rows before are as they were.
        """
        self._write(block, self.rows)
        self.rows += len(block)
        self._map()

    def move(self, sources: NDArray[np.int64], targets: NDArray[np.int64]) -> None:
        """Overwrite rows by copies of others."""
        values = self.take(sources)
        for value, target in zip(values, targets.tolist(), strict=True):
            self._write(value, target)
        self._map()

    def put(self, rows: NDArray[np.int64], value: float) -> None:
        """Overwrite rows by one number."""
        for row in rows.tolist():
            self._write(np.full((1, self.width), value), row)
        self._map()

    def truncate(self, rows: int) -> None:
        """Keep the first rows only; nothing happens if there are fewer."""
        self.rows = min(rows, self.rows)
        self._map()

    def copy(self, path: Path) -> None:
        """Write the rows to another file.

        Raises:
            RunError: The disk is full or the place cannot be written.
        """
        with clear_os_errors(path, _HINT):
            if self.rows:
                shutil.copyfile(self.path, path)
                os.truncate(path, self.bytes)
            else:
                path.touch()

    def _write(self, block: NDArray[Any], row: int) -> None:
        data = np.ascontiguousarray(block, self.dtype).reshape(-1).view(np.uint8).data
        with clear_os_errors(self.path, _HINT):
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                place = row * self._row_bytes
                while data:
                    written = os.pwrite(handle, data, place)
                    data, place = data[written:], place + written
            finally:
                os.close(handle)

    def _map(self) -> None:
        if not self.rows:
            self._array: NDArray[Any] = np.empty((0, self.width), self.dtype)
            return
        mapped = np.memmap(self.path, self.dtype, mode="r", shape=(self.rows, self.width))
        # The plain array over the map: every index into a np.memmap costs microseconds more.
        self._array = np.asarray(mapped) if self._mmap else np.array(mapped)
