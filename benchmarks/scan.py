"""Exact search at int8 and one bit against FAISS's: bytes of vectors read in a second.

    python benchmarks/scan.py --documents 68000 --dim 128
    python benchmarks/scan.py --vectors FILE.npy

FAISS is asked for rows by `index.search`; ours is `Index.nearest`, which turns rows into ids as
well. Contenders take turns, and a ratio is formed within a round. Memory and disk are warm. One
number a dimension is 4 bytes, 1 byte or 1 bit: what an exact search of them cannot but read.
Recall@10 against exact float32 is there to show that all of them search the same.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from _results import command_without_paths, write
from ann import held_out, synthetic
from numpy.typing import NDArray

from hpdistill.search import Document, Index, Precision, Space, corpus_ranges

K = 10
BATCH = 256
BLOCK = 65_536
REFERENCE = "faiss float32 flat"
Search = Callable[[NDArray[np.float32]], NDArray[np.int64]]


@dataclass(frozen=True)
class Contender:
    """Something that finds the best K rows for each query."""

    label: str
    bytes: int
    """Of all vectors, as stored."""
    search: Search


@dataclass(frozen=True)
class Mode:
    """How queries come."""

    batch: int
    threads: int

    @property
    def label(self) -> str:
        """For people."""
        queries = "one query" if self.batch == 1 else f"{self.batch} queries"
        return f"{queries}, {self.threads} thread{'s' if self.threads > 1 else ''}"


def main() -> None:
    """Measure and write `results/scan.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=68_000, help="synthetic ones")
    parser.add_argument("--dim", type=int, default=128, help="of synthetic ones")
    parser.add_argument("--vectors", type=Path, help="float32 rows of unit length, .npy")
    parser.add_argument("--queries", type=Path, help="likewise; rows of --vectors if left out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn, at least")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="all of them")
    parser.add_argument("--blas-threshold", type=int, help="FAISS's; by default 16 x dim")
    parser.add_argument("--name", default="scan", help="of the results; '' writes none")
    options = parser.parse_args()
    vectors, queries, source = data_of(options)
    # FAISS's default searches narrow vectors one query at a time, which is slower; ours sets it.
    threshold = options.blas_threshold or 16 * vectors.shape[1]
    faiss.cvar.distance_compute_blas_threshold = threshold
    contenders = [*of_faiss(vectors), *of_ours(vectors)]
    modes = [
        Mode(batch, threads) for batch in (1, BATCH) for threads in sorted({1, options.threads})
    ]
    rows = [row for mode in modes for row in compare(contenders, mode, queries, options)]
    recalls = recalls_of(contenders, queries)
    print(recalls, flush=True)
    count, dim = vectors.shape
    figures = {
        "faiss": faiss.__version__,
        # Batches of fewer queries than this are searched query by query, without BLAS.
        "faiss_blas_threshold": faiss.cvar.distance_compute_blas_threshold,
        "faiss_compiled_for": faiss.get_compile_options().strip(),
        "recall_at_10": recalls,
        "rows": rows,
    }
    data = f"{count:,} documents of {dim} numbers: {source}"
    command = command_without_paths(options)
    print(write(options.name, data, figures, command=command) if options.name else "not written")


def data_of(
    options: argparse.Namespace,
) -> tuple[NDArray[np.float32], NDArray[np.float32], str]:
    """Vectors, queries, and what they are."""
    if options.vectors is None:
        vectors = np.concatenate(list(synthetic(options.documents, options.dim, 0)))
        return vectors, held_out(BATCH, options.dim, 0), "synthetic, in clusters"
    vectors = np.ascontiguousarray(np.load(options.vectors, mmap_mode="r"), np.float32)
    if options.queries is not None:
        queries = np.array(np.load(options.queries, mmap_mode="r")[:BATCH], np.float32)
        return vectors, queries, options.vectors.name
    chosen = np.random.default_rng(0).choice(len(vectors), min(BATCH, len(vectors)), replace=False)
    return vectors, vectors[chosen], f"{options.vectors.name}, queries are some of them"


def of_faiss(vectors: NDArray[np.float32]) -> list[Contender]:
    """FAISS's exact search of float32, and of one byte a dimension."""
    count, dim = vectors.shape
    flat: Any = faiss.IndexFlatIP(dim)
    quantized: Any = faiss.IndexScalarQuantizer(
        dim, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    quantized.train(vectors)
    flat.add(vectors)
    quantized.add(vectors)
    return [
        Contender(REFERENCE, 4 * count * dim, lambda queries: flat.search(queries, K)[1]),
        Contender("faiss QT_8bit", count * dim, lambda queries: quantized.search(queries, K)[1]),
    ]


def of_ours(vectors: NDArray[np.float32]) -> list[Contender]:
    """The flat engine at each precision."""
    precisions: tuple[Precision, ...] = ("int8", "binary", "float32")
    return [one_of_ours(vectors, precision) for precision in precisions]


def one_of_ours(vectors: NDArray[np.float32], precision: Precision) -> Contender:
    """The flat engine; it is removed when the process ends."""
    count, dim = vectors.shape
    index = Index.create(
        Space(id="b" * 64, dim=dim, model="benchmark"),
        precision=precision,
        ranges=corpus_ranges(vectors) if precision == "int8" else None,
    )
    for start in range(0, count, BLOCK):
        block = vectors[start : start + BLOCK]
        rows = range(start, start + len(block))
        index.add([Document(id=str(row), text="") for row in rows], block)

    def search(queries: NDArray[np.float32]) -> NDArray[np.int64]:
        return np.array(index.nearest(queries, K)[1]).astype(np.int64)

    return Contender(f"hpdistill {precision}", index.vector_bytes, search)


def compare(
    contenders: list[Contender],
    mode: Mode,
    queries: NDArray[np.float32],
    options: argparse.Namespace,
) -> list[dict[str, Any]]:
    """Rounds of turns: a row for each contender."""
    faiss.omp_set_num_threads(mode.threads)
    seconds: dict[str, list[float]] = {one.label: [] for one in contenders}
    for number in range(options.rounds):
        for one in contenders:
            seconds[one.label].append(turn(one.search, queries, mode.batch, options.seconds))
        print(f"{mode.label}: {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    rates = {one.label: [one.bytes / each for each in seconds[one.label]] for one in contenders}
    rows = []
    for one in contenders:
        pairs = zip(rates[one.label], rates[REFERENCE], strict=True)
        ratios = [own / reference for own, reference in pairs]
        pairs = zip(seconds[REFERENCE], seconds[one.label], strict=True)
        speedups = [reference / own for reference, own in pairs]
        row = {
            "mode": mode.label,
            "batch": mode.batch,
            "threads": mode.threads,
            "contender": one.label,
            "vector_bytes": one.bytes,
            "ms_per_query": round(1000 * statistics.median(seconds[one.label]), 4),
            "gb_per_second": round(statistics.median(rates[one.label]) / 1e9, 3),
            "bytes_per_second_ratio": spread(ratios),
            "queries_per_second_ratio": spread(speedups),
        }
        print(row, flush=True)
        rows.append(row)
    return rows


def turn(search: Search, queries: NDArray[np.float32], batch: int, seconds: float) -> float:
    """Seconds a query, over a turn; single queries by their median, since others use the cores."""
    # Once before: another contender's vectors are in the caches, and threads have to wake.
    search(queries[:batch])
    taken: list[float] = []
    end = time.perf_counter() + seconds
    start = 0
    while time.perf_counter() < end or not taken:
        some = queries[start : start + batch]
        began = time.perf_counter()
        search(some)
        taken.append((time.perf_counter() - began) / len(some))
        start = (start + batch) % (len(queries) - len(queries) % batch or 1)
    return statistics.median(taken)


def spread(ratios: list[float]) -> dict[str, float]:
    """Median of rounds, and between what they were."""
    return {
        "median": round(statistics.median(ratios), 3),
        "least": round(min(ratios), 3),
        "most": round(max(ratios), 3),
    }


def recalls_of(contenders: list[Contender], queries: NDArray[np.float32]) -> dict[str, float]:
    """How many of the reference's rows each finds."""
    right = next(one for one in contenders if one.label == REFERENCE).search(queries)
    found = {}
    for one in contenders:
        pairs = zip(one.search(queries).tolist(), right.tolist(), strict=True)
        found[one.label] = round(sum(len(set(a) & set(b)) for a, b in pairs) / right.size, 4)
    return found


if __name__ == "__main__":
    main()
