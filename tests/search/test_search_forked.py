"""A server that forks its workers: each searches the index as its parent did."""

import subprocess
import sys

import pytest

SEARCH = """
import os, sys
import numpy as np
from hpdistill import Document, Index, Space
from hpdistill.search import search_threads
engine, precision = sys.argv[1:]
vectors = np.random.default_rng(0).normal(size=(3000, 64)).astype(np.float32)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
index = Index.create(Space(id="0" * 64, dim=64, model="m"), engine=engine, precision=precision)
index.add([Document(id=str(row), text="x") for row in range(3000)], vectors)
def found():
    return [[hit.id for hit in hits] for hits in index.search(vectors[:200], 5)]
with search_threads(4):
    first = found()
    child = os.fork()
    if child == 0:
        os._exit(found() != first)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize(
    ("engine", "precision"),
    [("flat", "float32"), ("flat", "int8"), ("flat", "binary"), ("hnsw", "float32")],
)
def test_a_forked_child_searches_its_parents_index(engine: str, precision: str) -> None:
    line = [sys.executable, "-c", SEARCH, engine, precision]
    assert subprocess.run(line, timeout=60, check=False).returncode == 0
