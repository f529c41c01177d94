"""Exact search, HNSW and IVF-PQ: recall, speed, memory and bytes, through `hpdistill.search`.

    python benchmarks/ann.py --synthetic 5000000
    python benchmarks/ann.py --vectors FILE.npy --queries FILE.npy

Vectors are float32 rows of unit length in a .npy file, or made: clusters whose first dimensions
vary most, as after PCA. Every configuration is built in a process of its own and searched in
another, one after the other, so that peaks of memory are their own. What is set when searching
(`ef_search`, `nprobe`) is an option of `Index.load`: nothing is built twice.

Recall@10 is against exact float32. Documents that score as the tenth best does count, so that
texts that are there twice do no harm. A build stores the documents, too (ids and short texts).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from _results import command_without_paths, write
from numpy.typing import NDArray

from hpdistill.evaluate._worker import memory
from hpdistill.search import Document, Engine, Index, Kept, Precision, Space, corpus_ranges

K = 10
BLOCK = 65_536
TRAINING = 2**18
"""Vectors of the first block for ivf-pq, which is trained on them; as `hpd index` does it."""
CLUSTERS = 10_000
QUERIES = 1000
TIE = 1e-6
"""Scores so near to each other are one: sums in another order differ by as much."""
SINGLE_SECONDS = 20.0
BATCH_SECONDS = 1.0
LOOK_SECONDS = 0.1
LIMIT = (
    "checked, not RLIMIT_AS, which counts maps of files that take no memory: a process is ended "
    f"within {LOOK_SECONDS} s of its peak of resident memory (VmHWM, mapped pages that were read "
    "included) being over the limit"
)


@dataclass(frozen=True)
class Configuration:
    """An index, and what it is searched with."""

    name: str
    engine: Engine
    precision: Precision = "float32"
    keep: Kept | None = None
    rescore: tuple[int, ...] = ()
    """Besides searching without."""


CONFIGURATIONS = {
    "flat": [Configuration("flat", "flat")],
    "flat-int8": [Configuration("flat-int8+float32", "flat", "int8", "float32", (40,))],
    "flat-binary": [
        Configuration("flat-binary+int8", "flat", "binary", "int8", (100, 400)),
        Configuration("flat-binary+float32", "flat", "binary", "float32", (100, 400)),
    ],
    "hnsw": [Configuration("hnsw", "hnsw")],
    "hnsw-int8": [Configuration("hnsw-int8+float32", "hnsw", "int8", "float32", (40,))],
    "ivf-pq": [Configuration("ivf-pq+float32", "ivf-pq", "float32", "float32", (100,))],
}


def main() -> None:
    """Measure and write `results/ann.json`, again after every configuration."""
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--vectors", type=Path, help="of documents; needs --queries")
    source.add_argument("--synthetic", type=int, metavar="N", help="so many made documents")
    parser.add_argument("--queries", type=Path, help=f"vectors; the first {QUERIES:,} are used")
    parser.add_argument("--dim", type=int, default=128, help="of synthetic vectors")
    parser.add_argument("--seed", type=int, default=0, help="of synthetic vectors")
    parser.add_argument("--engines", default="flat,flat-int8,flat-binary,hnsw,ivf-pq")
    parser.add_argument("--m", type=int, default=16, help="hnsw: links a vector")
    parser.add_argument("--ef-construction", type=int, default=100, help="hnsw")
    parser.add_argument("--ef-search", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--nlist", type=int, help="ivf-pq: lists; the library's choice if left out")
    parser.add_argument("--pq-m", type=int, help="ivf-pq: bytes a vector; likewise")
    parser.add_argument("--nprobe", type=int, nargs="+", default=[16, 64, 128, 256])
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="all of them")
    parser.add_argument("--singles", type=int, default=200, help="queries searched one by one")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--memory-gib", type=float, help="end a process that takes more")
    parser.add_argument("--work", type=Path, help="directory for temporary files; needs room")
    parser.add_argument("--name", default="ann", help="of the results; '' writes none")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    if sys.argv[1:2] == ["--task"]:
        task = json.loads(sys.argv[2])
        print(json.dumps(build(**task) if task.pop("do") == "build" else search(**task)))
        return
    options = parser.parse_args()
    if (options.vectors is None) != (options.queries is None):
        parser.error("--vectors and --queries go together")
    unknown = set(options.engines.split(",")) - set(CONFIGURATIONS)
    if unknown:
        parser.error(f"--engines knows {', '.join(CONFIGURATIONS)}, not {', '.join(unknown)}")
    with tempfile.TemporaryDirectory(prefix="ann-", dir=options.work) as directory:
        measure(options, Path(directory))


def measure(options: argparse.Namespace, work: Path) -> None:
    """Every configuration in turn."""
    vectors, queries = options.vectors, options.queries
    if vectors is None:
        vectors, queries = work / "vectors.npy", work / "queries.npy"
        write_synthetic(vectors, options.synthetic, options.dim, options.seed)
        np.save(queries, held_out(QUERIES, options.dim, options.seed))
    asked = np.array(np.load(queries, mmap_mode="r")[:QUERIES], np.float32)
    np.save(work / "asked.npy", asked)
    count, dim = np.load(vectors, mmap_mode="r").shape
    print(f"{count:,} vectors of {dim} numbers", flush=True)
    started = time.perf_counter()
    tenth = exact_scores(vectors, asked)[:, -1]
    print(f"exact scores: {time.perf_counter() - started:.0f} s", flush=True)

    def recall(found: Path) -> float:
        rows = np.load(found)
        return recall_of(rows, vectors, asked, tenth)

    data = f"{count:,} documents and {len(asked):,} held-out queries of {dim} numbers: " + (
        options.vectors.name if options.vectors else f"synthetic, {CLUSTERS:,} clusters"
    )
    rows: list[dict[str, Any]] = []
    for engine in options.engines.split(","):
        for one in CONFIGURATIONS[engine]:
            rows.append(one_configuration(one, options, work, vectors, count, recall))
            figures = {
                "faiss": faiss.__version__,
                "threads": options.threads,
                "memory_limit": {"gib": options.memory_gib, "how": LIMIT},
                "rows": rows,
            }
            if options.name:
                write(options.name, data, figures, command=command_without_paths(options))
    print(f"wrote {options.name}.json" if options.name else "nothing written")


def one_configuration(
    one: Configuration,
    options: argparse.Namespace,
    work: Path,
    vectors: Path,
    count: int,
    recall: Callable[[Path], float],
) -> dict[str, Any]:
    """Build, search, and remove it again."""
    index = work / "index"
    sweep: dict[str, list[int]] = {}
    chosen: dict[str, int | None] = {}
    if one.engine == "hnsw":
        chosen = {"m": options.m, "ef_construction": options.ef_construction}
        sweep = {"ef_search": options.ef_search}
    elif one.engine == "ivf-pq":
        chosen = {"nlist": options.nlist, "pq_m": options.pq_m, "expected": count}
        sweep = {"nprobe": options.nprobe}
    given = {name: value for name, value in chosen.items() if value is not None}
    common = {"path": str(index), "threads": options.threads}
    row: dict[str, Any] = {**asdict(one), "options": given}
    del row["rescore"]
    for task in (
        {"do": "build", "vectors": str(vectors), "configuration": row, **common},
        {
            "do": "search",
            "queries": str(work / "asked.npy"),
            "sweep": sweep,
            "rescore": [None, *one.rescore],
            "singles": options.singles,
            "batch": options.batch,
            "work": str(work),
            **common,
        },
    ):
        row[task["do"]] = in_a_process(task, options.memory_gib, work)
        for found in row[task["do"]].get("rows", []):
            found["recall_at_10"] = round(recall(Path(found.pop("found"))), 4)
        print(json.dumps({"name": one.name, task["do"]: row[task["do"]]}), flush=True)
        if "failed" in row[task["do"]]:
            break
    # What a process that was ended leaves, too: its index was in a temporary directory here.
    for left in (index, *work.glob("hpdistill-index-*")):
        subprocess.run(["rm", "-rf", str(left)], check=True)
    return row


def in_a_process(task: dict[str, Any], gib: float | None, work: Path) -> dict[str, Any]:
    """What `build` or `search` returns in a fresh process, or how that failed."""
    command = [sys.executable, __file__, "--task", json.dumps(task)]
    environment = {**os.environ, "TMPDIR": str(work)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    peak = 0.0
    while process.poll() is None:
        if gib is not None:
            peak = max(peak, status_gib(process.pid, "VmHWM"))
            if peak > gib:
                process.kill()
        time.sleep(LOOK_SECONDS)
    said = process.communicate()[0]
    if gib is not None and peak > gib:
        return {"failed": f"ended at {peak:.2f} GiB of memory; the limit is {gib} GiB"}
    if process.returncode:
        return {"failed": f"exit status {process.returncode}"}
    result: dict[str, Any] = json.loads(said.splitlines()[-1])
    if gib is not None and result["peak_mb"] * 1e6 > gib * 2**30:  # in its last moment
        return {"failed": f"took {result['peak_mb']} MB of memory; the limit is {gib} GiB"}
    return result


def status_gib(process: int | str, field: str) -> float:
    """A number of /proc/PROCESS/status; 0 when the process is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text("utf-8").splitlines()
    except OSError:
        return 0.0
    values = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return int(values[0]) / 2**20 if values else 0.0


def build(
    *, vectors: str, configuration: dict[str, Any], path: str, threads: int
) -> dict[str, Any]:
    """Build and save an index; runs in a process of its own."""
    faiss.omp_set_num_threads(threads)
    training = timed_training()
    stored = np.load(vectors, mmap_mode="r")
    count, dim = stored.shape
    ranges = None
    if "int8" in (configuration["precision"], configuration["keep"]):
        ranges = corpus_ranges(stored)
    del stored
    space = Space(id="b" * 64, dim=dim, model="benchmark")
    adding, start = 0.0, 0
    with Index.create(
        space,
        engine=configuration["engine"],
        precision=configuration["precision"],
        keep=configuration["keep"],
        ranges=ranges,
        options=configuration["options"],
    ) as index:
        while start < count:
            first = TRAINING if index.engine == "ivf-pq" and not start else BLOCK
            stop = min(start + first, count)
            block = rows_of(Path(vectors), start, stop)
            documents = [Document(id=str(row), text=f"text {row}") for row in range(start, stop)]
            began = time.perf_counter()
            index.add(documents, block)
            adding += time.perf_counter() - began
            print(f"{stop:,} of {count:,}: {adding:.0f} s", file=sys.stderr, flush=True)
            start = stop
        began = time.perf_counter()
        index.save(Path(path))
        saving = time.perf_counter() - began
        sizes = {file.name: file.stat().st_size for file in Path(path).rglob("*") if file.is_file()}
        return {
            "training_s": round(sum(training), 2),
            "adding_s": round(adding - sum(training), 2),
            "saving_s": round(saving, 2),
            "vector_bytes": index.vector_bytes,
            "kept_bytes": index.kept_bytes,
            "saved_bytes": sum(sizes.values()),
            "files": sizes,
            "peak_mb": memory()["peak_mb"],
            "anonymous_mb": anonymous_mb(),
        }


def timed_training() -> list[float]:
    """Seconds of every training of a FAISS IVF-PQ from now on; `Index.add` does it unasked."""
    seconds: list[float] = []
    kind: Any = faiss.IndexIVFPQ
    train = kind.train

    def timed(self: object, vectors: NDArray[np.float32]) -> None:
        started = time.perf_counter()
        train(self, vectors)
        seconds.append(time.perf_counter() - started)

    kind.train = timed
    return seconds


def anonymous_mb() -> float:
    """Memory of this process that no file backs: what the system cannot drop."""
    return round(status_gib("self", "RssAnon") * 2**30 / 1e6, 1)


def search(
    *,
    path: str,
    queries: str,
    sweep: dict[str, list[int]],
    rescore: list[int | None],
    threads: int,
    singles: int,
    batch: int,
    work: str,
) -> dict[str, Any]:
    """Search a saved index with every setting; runs in a process of its own."""
    asked = np.load(queries)
    [(option, values)] = sweep.items() if sweep else [("", [0])]
    rows: list[dict[str, Any]] = []
    loads: list[float] = []
    first_ms = 0.0
    for value in values:
        began = time.perf_counter()
        with Index.load(Path(path), options={option: value} if option else None) as index:
            loads.append(round(time.perf_counter() - began, 4))
            for depth in rescore:
                # The very first query pays for all that loading left for later.
                began = time.perf_counter()
                index.nearest(asked[:1], K, rescore=depth)
                first_ms = first_ms or round(1000 * (time.perf_counter() - began), 2)
                row: dict[str, Any] = {option: value} if option else {}
                row |= {"rescore": depth, **one_by_one(index, asked[:singles], depth)}
                row |= in_batches(index, asked, depth, threads, batch)
                found = Path(work) / f"found-{len(rows)}.npy"
                np.save(found, found_rows(index, asked, depth, batch))
                rows.append({**row, "found": str(found)})
    return {
        "load_s": loads[0],
        "loads_s": loads,
        "first_query_ms": first_ms,
        "peak_mb": memory()["peak_mb"],
        "anonymous_mb": anonymous_mb(),
        "rows": rows,
    }


def one_by_one(
    index: Index, asked: NDArray[np.float32], rescore: int | None
) -> dict[str, float | int]:
    """Single queries on one thread."""
    faiss.omp_set_num_threads(1)
    index.nearest(asked[:1], K, rescore=rescore)
    milliseconds = []
    end = time.perf_counter() + SINGLE_SECONDS
    for row in range(len(asked)):
        started = time.perf_counter()
        index.nearest(asked[row : row + 1], K, rescore=rescore)
        now = time.perf_counter()
        milliseconds.append(1000 * (now - started))
        if now > end:
            break
    return {
        "singles": len(milliseconds),
        "ms_p50": round(float(np.median(milliseconds)), 4),
        "ms_p95": round(float(np.quantile(milliseconds, 0.95)), 4),
        "single_qps": round(1000 * len(milliseconds) / sum(milliseconds), 1),
    }


def in_batches(
    index: Index, asked: NDArray[np.float32], rescore: int | None, threads: int, batch: int
) -> dict[str, float]:
    """Queries together, on all threads."""
    faiss.omp_set_num_threads(threads)
    index.nearest(asked[:batch], K, rescore=rescore)
    started, done = time.perf_counter(), 0
    while (seconds := time.perf_counter() - started) < BATCH_SECONDS:
        start = done % len(asked)
        done += len(index.nearest(asked[start : start + batch], K, rescore=rescore)[1])
    return {"batch_qps": round(done / seconds, 1)}


def found_rows(
    index: Index, asked: NDArray[np.float32], rescore: int | None, batch: int
) -> NDArray[np.int64]:
    """Rows of documents, shape (queries, K), -1 where none was found."""
    ids: list[list[str]] = []
    for start in range(0, len(asked), batch):
        ids += index.nearest(asked[start : start + batch], K, rescore=rescore)[1]
    return np.array([[int(one) if one else -1 for one in row] for row in ids], np.int64)


def exact_scores(vectors: Path, asked: NDArray[np.float32]) -> NDArray[np.float32]:
    """The K best scores of each query, best first; in blocks, so that any number fits."""
    count = len(np.load(vectors, mmap_mode="r"))
    best = np.full((len(asked), K), -np.inf, np.float32)
    for start in range(0, count, BLOCK):
        block = rows_of(vectors, start, min(start + BLOCK, count))
        scores, _rows = faiss.knn(asked, block, min(K, len(block)), faiss.METRIC_INNER_PRODUCT)
        best = -np.sort(-np.concatenate([best, scores], axis=1), axis=1)[:, :K]
    return best


def recall_of(
    rows: NDArray[np.int64],
    vectors: Path,
    asked: NDArray[np.float32],
    tenth: NDArray[np.float32],
) -> float:
    """The part of found documents, each once, that score as high as the tenth best or higher."""
    stored = np.load(vectors, mmap_mode="r")
    right = 0
    for row, query, least in zip(rows, asked, tenth, strict=True):
        there = np.unique(row[row >= 0])
        right += int(np.count_nonzero(stored[there] @ query >= least - TIE))
    return right / rows.size


def rows_of(path: Path, start: int, stop: int) -> NDArray[np.float32]:
    """A copy of some rows of a file; mapped anew, so that no pages of it stay in memory."""
    return np.array(np.load(path, mmap_mode="r")[start:stop], np.float32)


def synthetic(count: int, dim: int, seed: int, *, part: int = 0) -> Iterator[NDArray[np.float32]]:
    """Blocks of unit vectors in clusters, whose first numbers vary most, as after PCA.

    Args:
        count: Of all blocks together.
        dim: Width.
        seed: Of the clusters.
        part: Another one gives other vectors of the same clusters.
    """
    # As fast as the variances of sentence embeddings fall off after PCA, roughly.
    scale = (np.arange(1, dim + 1) ** -0.25).astype(np.float32)
    centres = np.random.default_rng(seed).standard_normal((CLUSTERS, dim), np.float32)
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        generator = np.random.default_rng([seed, part, start])
        block = generator.standard_normal((size, dim), np.float32)
        block *= np.float32(0.6)
        block += centres[generator.integers(0, CLUSTERS, size)]
        block *= scale
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        yield block


def held_out(count: int, dim: int, seed: int) -> NDArray[np.float32]:
    """Queries of the clusters of `synthetic`."""
    return np.concatenate(list(synthetic(count, dim, seed, part=1)))


def write_synthetic(path: Path, count: int, dim: int, seed: int) -> None:
    """A .npy file of synthetic vectors, block by block."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (count, dim)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in synthetic(count, dim, seed):
            file.write(block.tobytes())


if __name__ == "__main__":
    main()
