"""Vectors in clusters, as those of text are, and what exact search finds among them."""

import numpy as np

from hpdistill.runtime.vectors import dequantize, pack, quantize
from hpdistill.search import Document, Space


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clustered(count, dim=32, *, seed=0, clusters=100):
    """The first numbers vary most, as after PCA."""
    scale = np.linspace(2, 0.5, dim)
    centres = np.random.default_rng(0).standard_normal((clusters, dim))
    generator = np.random.default_rng(seed)
    chosen = centres[generator.integers(0, clusters, count)]
    return unit((chosen + 0.4 * generator.standard_normal((count, dim))) * scale)


def documents(count, start=0):
    return [
        Document(id=f"d{i}", text=f"text {i}", metadata={"number": i})
        for i in range(start, start + count)
    ]


def space(dim=32, **changes):
    return Space(**{"id": "a" * 64, "dim": dim, "model": "student", **changes})


def products(queries, vectors, precision, ranges=None):
    """Scores of every vector for every query: the reference."""
    if precision == "float32":
        return queries @ vectors.T
    if precision == "int8":
        return queries @ dequantize(quantize(vectors, ranges), ranges).T
    differing = np.unpackbits(pack(queries)[:, None] ^ pack(vectors)[None], axis=2).sum(axis=2)
    return 1 - 2 * differing / vectors.shape[1]


def recall(ids, scores):
    """How many of the best of the reference were found."""
    k = len(ids[0])
    best = np.argsort(-scores, axis=1)[:, :k]
    found = [len({f"d{i}" for i in row} & set(one)) for row, one in zip(best, ids, strict=True)]
    return sum(found) / (k * len(ids))
