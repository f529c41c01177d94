"""Resident memory of an index in use, measured in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from hpdistill.encoder import Embeddings
from hpdistill.errors import EvaluationError

__all__ = ["resident_mb"]


def resident_mb(index: Path, queries: Embeddings, k: int, rescore: int | None) -> float:
    """Resident memory that loading a saved index (memory-mapped) and searching it add, in 10^6 B.

    Args:
        index: Its directory.
        queries: Shape (m, dim), float32: searched together.
        k: Hits of each.
        rescore: As for `Index.search`.

    Raises:
        EvaluationError: The process failed.
    """
    file = index.with_name("queries.npy")
    np.save(file, queries)
    done = subprocess.run(  # noqa: S603 - this very interpreter
        [sys.executable, "-m", __name__, str(index), str(file), str(k), json.dumps(rescore)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise EvaluationError(f"the process that measures memory failed: {last}")
    return float(done.stdout)


def _main(index: str, queries: str, k: str, rescore: str) -> None:
    # What every search needs, whatever the index: imported before the first reading.
    import faiss as _  # noqa: F401
    import onnxruntime as __  # noqa: F401
    import psutil

    from hpdistill.search import Index

    asked = np.load(queries)
    process = psutil.Process()
    before = process.memory_info().rss
    with Index.load(Path(index)) as opened:
        opened.nearest(asked, int(k), rescore=json.loads(rescore))
        print((process.memory_info().rss - before) / 1e6)  # noqa: T201 - to the parent process


if __name__ == "__main__":
    _main(*sys.argv[1:])
