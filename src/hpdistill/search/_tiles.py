"""Rows of codes as integer products want them: the first number of many rows, then the second..."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpdistill.search._matrix import Matrix

__all__ = ["TILE", "Tiles"]

TILE = 65_536
"""Rows that are turned together: the one-query product is fastest on wide tiles."""


class Tiles:
    """Rows of int8, of which every full tile is stored column by column.

    A tile takes as many bytes either way, so a row of the file's unfilled end is where a matrix
    would have it, and a tile is turned in its place when it is full.

    Args:
        path: The file; made when it is not there.
        width: Numbers in a row.
        rows: How many rows it holds.
        mmap: False reads the file into memory whenever it changes.
        tile: Rows in a tile; by default `TILE`.
    """

    def __init__(
        self, path: Path, width: int, rows: int = 0, *, mmap: bool = True, tile: int | None = None
    ) -> None:
        self._file = Matrix(path, width, np.int8, rows, mmap=mmap)
        self._tile = tile or TILE
        self._turned: list[NDArray[np.int8]] = []
        self._end: NDArray[np.int8] | None = None
        self._map()

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self._file.rows

    @property
    def bytes(self) -> int:
        """Bytes of all rows."""
        return self._file.bytes

    @property
    def blocks(self) -> list[NDArray[np.int8]]:
        """All rows in order, as matrices of shape (width, rows of the block), contiguous."""
        if self._end is None:
            array = self._file.array[len(self._turned) * self._tile :]
            # Two threads may both do it: they get the same.
            self._end = np.ascontiguousarray(array.T).astype(np.int8, copy=False)
        return [*self._turned, self._end] if self._end.shape[1] else self._turned

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.int8]:
        """Copies of some rows, shape (*rows.shape, width)."""
        out = np.empty((*rows.shape, self._file.width), np.int8)
        tiles = rows // self._tile
        for number, block in enumerate(self.blocks):
            here = tiles == number
            if here.all():
                return block[:, rows - number * self._tile].transpose(*range(1, rows.ndim + 1), 0)
            if here.any():
                out[here] = block[:, rows[here] - number * self._tile].T
        return out

    def append(self, block: NDArray[np.int8]) -> None:
        """Add rows at the end, shape (n, width).

        Raises:
            RunError: The disk is full; the rows before are as they were.
        """
        while len(block):
            room = self._tile - self.rows % self._tile
            self._file.append(block[:room])
            if len(block) >= room:
                self._turn(self.rows // self._tile - 1)
            block = block[room:]
        self._map()

    def move(self, sources: NDArray[np.int64], targets: NDArray[np.int64]) -> None:
        """Overwrite rows by copies of others."""
        values = self.take(sources)
        turned = targets < len(self._turned) * self._tile
        rows, width = self.rows, self._file.width
        # Its blocks are on the disk already, so that writing through a map cannot run out of it.
        array = np.memmap(self._file.path, np.int8, mode="r+", shape=(rows, width))
        array[targets[~turned]] = values[~turned]
        full = array[: len(self._turned) * self._tile].reshape(-1, width, self._tile)
        full[targets[turned] // self._tile, :, targets[turned] % self._tile] = values[turned]
        self._map()

    def truncate(self, rows: int) -> None:
        """Keep the first rows only; nothing happens if there are fewer."""
        rows = min(rows, self.rows)
        if rows // self._tile < self.rows // self._tile and rows % self._tile:
            self._turn(rows // self._tile, back=True)
        self._file.truncate(rows)
        self._map()

    def copy(self, path: Path) -> None:
        """Write the rows to another file.

        Raises:
            RunError: The disk is full or the place cannot be written.
        """
        self._file.copy(path)

    def _turn(self, number: int, *, back: bool = False) -> None:
        """Store a tile column by column, or back as rows."""
        size = self._tile * self._file.width
        shape = (self._file.width, self._tile) if back else (self._tile, self._file.width)
        with self._file.path.open("rb+") as handle:
            data = os.pread(handle.fileno(), size, number * size)
            turned = np.frombuffer(data, np.int8).reshape(shape).T
            handle.seek(number * size)
            handle.write(turned.tobytes())

    def _map(self) -> None:
        self._file.truncate(self.rows)  # reads again what is not mapped
        full = self.rows // self._tile
        whole = self._file.array[: full * self._tile]
        turned = whole.reshape(full, self._file.width, self._tile)
        self._turned = [tile.view(np.int8) for tile in turned]
        self._end = None
