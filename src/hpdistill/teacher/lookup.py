"""Where a text's vector lies, among shards whose texts are known by their hashes only."""

import hashlib
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Hashes", "Lookup", "hashes_of"]

Hashes: TypeAlias = NDArray[np.uint64]
"""Of one text a row: blake2b, 128 bits, shape (n, 2)."""


def hashes_of(texts: Sequence[str]) -> Hashes:
    """A hash of each text, shape (n, 2)."""
    digests = (
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        for text in texts
    )
    return np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2)


class Lookup:
    """Finds texts in shards; 24 bytes of memory a text.

    Args:
        shards: The hashes of each shard's texts, in the order of its rows.
    """

    def __init__(self, shards: Sequence[Hashes]) -> None:
        hashes = np.concatenate([np.empty((0, 2), np.uint64), *shards])
        self._order = np.argsort(hashes[:, 0], kind="stable")
        self._hashes = hashes[self._order]
        self._starts = np.cumsum([0, *map(len, shards)])[:-1]

    def find(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The shard and the row of each text, shape (n,); -1 where it is in none.

        Of two texts that agree in their first 64 bits only one is found: the other is then
        embedded anew, never given a wrong vector.
        """
        shard = np.full(len(texts), -1, np.int64)
        row = shard.copy()
        if len(self._hashes) and len(texts):
            wanted = hashes_of(texts)
            place = np.searchsorted(self._hashes[:, 0], wanted[:, 0])
            place = np.minimum(place, len(self._hashes) - 1)
            same = (self._hashes[place] == wanted).all(axis=1)
            found = self._order[place[same]]
            shard[same] = np.searchsorted(self._starts, found, side="right") - 1
            row[same] = found - self._starts[shard[same]]
        return shard, row
