"""An encoder that needs no weights."""

import re
import zlib
from collections.abc import Sequence

import numpy as np

from hpdistill.encoder import Embeddings, unit


class WordCounts:
    """A true encoder: counts of hashed words. It remembers what it was given."""

    parameters = 0

    def __init__(self, name: str = "word counts", dim: int = 64) -> None:
        self.name = name
        self.dim = dim
        self.seen: list[str] = []

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        normalize: bool = True,
        dim: int | None = None,
    ) -> Embeddings:
        self.seen += texts
        counts = np.zeros((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()):
                counts[row, zlib.crc32(word.encode()) % self.dim] += 1
        return unit(counts, dim=dim) if normalize else counts[:, :dim]
