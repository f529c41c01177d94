"""Killed while it saves, and searched by eight threads while it changes: is an index ever wrong?

    python benchmarks/index_stress.py --kills 100 --seconds 60

A process adds a document and saves, over and over, until it is killed (SIGKILL) at a random
moment; what is on disk must load and be the index of before the save or of after it, whole. Then
eight threads search while one adds pairs of documents, deletes them and saves: every answer must
be of before a change or of after it. A wrong answer is an id with another document's text or
score, a hit that is gone, half of a pair, or hits of two turns; of exact engines, besides, any
answer but the best documents. HNSW may miss some; what it misses is counted apart.

Everything is in a temporary directory; processes that are killed leave copies there.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from _results import command_without_paths, write
from ann import BLOCK, anonymous_mb, held_out, synthetic
from numpy.typing import NDArray

from hpdistill.evaluate._worker import memory
from hpdistill.files import is_temporary, read_json
from hpdistill.runtime.vectors import dequantize, fit_ranges, quantize
from hpdistill.search import Document, Engine, Hit, Index, Precision, Space

K = 10
POOL = 256
"""Vectors of documents that come and go."""
THREADS = 8
WARM_SECONDS = 10.0
SCORE = 1e-4
"""Sums in another order differ by less."""
MISSED = 0.05
"""Of documents that HNSW may not find by their own vectors."""
FAULTS = 10
NEWER, OLDER, OTHER = "left_a_half_written_generation", "left_an_older_generation", "left_a_file"
LEFT = (NEWER, OLDER, OTHER)
ENGINES: dict[str, tuple[Engine, Precision]] = {
    "flat float32": ("flat", "float32"),
    "flat int8": ("flat", "int8"),
    "hnsw": ("hnsw", "float32"),
}


def main() -> None:
    """Measure and write `results/index-stress.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="of each engine")
    parser.add_argument("--window", type=float, default=0.5, help="seconds a process has at most")
    parser.add_argument("--seconds", type=float, default=60.0, help="of searching, each engine")
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--work", type=Path, help="directory for temporary files")
    parser.add_argument("--name", default="index-stress", help="of the results; '' writes none")
    if sys.argv[1:2] == ["--task"]:
        task = json.loads(sys.argv[2])
        if task.pop("do") == "save":
            save_on(**task)
        else:
            print(json.dumps(hammer(**task)))
        return
    options = parser.parse_args()
    kills, searches = [], []
    for label in ENGINES:
        with tempfile.TemporaryDirectory(prefix="stress-", dir=options.work) as directory:
            kills.append(kill(label, options, Path(directory)))
            print(kills[-1], flush=True)
            task = {"do": "search", "label": label, "path": f"{directory}/searched"}
            task |= {name: getattr(options, name) for name in ("seconds", "documents", "dim")}
            done = subprocess.run(
                task_command(task),
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "TMPDIR": directory},
            )
            searches.append(json.loads(done.stdout))
            print(searches[-1], flush=True)
    figures = {"faiss": faiss.__version__, "kills": kills, "searches": searches}
    data = f"{options.documents:,} synthetic documents of {options.dim} numbers, in clusters"
    command = command_without_paths(options)
    print(write(options.name, data, figures, command=command) if options.name else "not written")


def task_command(task: dict[str, Any]) -> list[str]:
    """This script, doing one thing."""
    return [sys.executable, __file__, "--task", json.dumps(task)]


def make(label: str, vectors: NDArray[np.float32]) -> Index:
    """An index of so many documents."""
    engine, precision = ENGINES[label]
    index = Index.create(
        Space(id="c" * 64, dim=vectors.shape[1], model="benchmark"),
        engine=engine,
        precision=precision,
        ranges=fit_ranges(vectors) if precision == "int8" else None,
    )
    index.add([document(f"d{row}") for row in range(len(vectors))], vectors)
    return index


def document(name: str) -> Document:
    """One whose text tells its id."""
    return Document(id=name, text=f"text {name}", metadata={"name": name})


@cache
def coming(dim: int) -> NDArray[np.float32]:
    """Vectors of documents that are added to be saved; more than there is time for."""
    return next(synthetic(BLOCK, dim, 0, part=2))


# ---------------------------------------------------------------------------------------- kills


@dataclass
class Killed:
    """What a killed process has said: numbers of documents."""

    begun: int
    """In the last save that it began."""
    finished: int
    """In the last one that returned."""

    @property
    def saving(self) -> bool:
        """Whether it was killed during a save."""
        return self.begun > self.finished


def save_on(*, path: str, dim: int) -> None:
    """Add and save without end; runs in a process of its own."""
    index = Index.load(Path(path))
    count = len(index)
    vectors = coming(dim)
    print("ready", flush=True)
    while True:
        index.add([document(f"d{count}")], vectors[count : count + 1])
        count += 1
        say(f"save {count}")
        index.save(Path(path))
        say(f"saved {count}")


def say(line: str) -> None:
    """In one write: a process that is killed has said all of it or nothing."""
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


def kill(label: str, options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Kill so many processes, and look at what each has left."""
    path, generator = work / "saved", random.Random(0)  # noqa: S311 - no secret
    vectors = np.concatenate(list(synthetic(options.documents, options.dim, 0)))
    with make(label, vectors) as index:
        index.save(path)
    counts: Counter[str] = Counter()
    faults: list[str] = []
    count, missed = options.documents, 0
    before: set[tuple[str, str]] = set()
    for _ in range(options.kills):
        killed = kill_once(path, options, work, count, generator.uniform(0, options.window))
        counts["during_save" if killed.saving else "between_saves"] += 1
        counts["saves_finished"] += killed.finished - count
        # What an earlier one has left stays until the next save begins.
        fresh, before = leftovers(path) - before, leftovers(path)
        counts.update({kind for _name, kind in fresh})
        try:
            with Index.load(path) as index:
                now = len(index)
                fault, lost = look_at(index, label, options)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            faults.append(f"does not load: {type(error).__name__}: {error}")
            break
        missed += lost
        if fault:
            faults.append(fault)
        if now == killed.finished:
            counts["old_after_a_kill_in_a_save"] += killed.saving
        elif now == killed.begun:
            counts["new_after_a_kill_in_a_save"] += 1
        else:
            faults.append(f"{now} documents; {killed.finished} were saved, {killed.begun} begun")
        count = now
    with Index.load(path) as index:
        index.save(path)
    return {
        "engine": label,
        "kills": options.kills,
        **{name: counts[name] for name in ("during_save", "between_saves", *LEFT)},
        **{f"{one}_index": counts[f"{one}_after_a_kill_in_a_save"] for one in ("old", "new")},
        "saves_finished": counts["saves_finished"],
        "documents": count,
        "wrong": len(faults),
        "faults": faults[:FAULTS],
        "not_found_by_their_vectors": missed,
        # One generation and index.json; and copies of processes that had no time to remove them.
        "left_after_one_more_save": len([one for one in path.iterdir() if not is_temporary(one)]),
        "temporary_copies_left": len(list(work.glob("hpdistill-index-*"))),
    }


def kill_once(
    path: Path, options: argparse.Namespace, work: Path, count: int, seconds: float
) -> Killed:
    """Start a process that saves, and kill it after so long."""
    process = subprocess.Popen(
        task_command({"do": "save", "path": str(path), "dim": options.dim}),
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(work)},
    )
    assert process.stdout is not None
    said = process.stdout.readline()
    if said != "ready\n":
        raise RuntimeError(f"the process that saves said {said!r}, and ended {process.wait()}")
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    lines = [line.split() for line in process.stdout.read().splitlines()]
    process.stdout.close()
    if process.wait() != -signal.SIGKILL:
        raise RuntimeError(f"the process that saves ended by itself: {process.returncode}")
    last = {what: int(number) for what, number in lines}
    return Killed(begun=last.get("save", count), finished=last.get("saved", count))


def leftovers(path: Path) -> set[tuple[str, str]]:
    """Names of what index.json does not name, and which of `LEFT` they are."""
    named = f"generation-{read_json(path / 'index.json')['generation']:06d}"
    found = set()
    for name in {one.name for one in path.iterdir()} - {named, "index.json"}:
        kind = NEWER if name > named else OLDER
        found.add((name, kind if name.startswith("generation-") else OTHER))
    return found


def look_at(index: Index, label: str, options: argparse.Namespace) -> tuple[str, int]:
    """What is wrong with an index on disk, if anything, and how many documents HNSW misses."""
    count = len(index)
    names = [f"d{number}" for number in range(count)]
    for name, found in zip(names, index.get(names), strict=True):
        if found is None or found != document(name):
            return f"of {count} documents, {name} is {found}", 0
    first = synthetic(options.documents, options.dim, 0)
    later = coming(options.dim)[options.documents : count]
    ids = index.nearest(np.concatenate([*first, later]), 1)[1]
    lost = sum(name != found for name, [found] in zip(names, ids, strict=True))
    if lost > (MISSED * count if label == "hnsw" else 0):
        return f"of {count} documents, {lost} are not found by their vectors", lost
    return "", lost


# ------------------------------------------------------------------------------------- searches


class Referee:
    """Knows every score, and so what an answer may be."""

    def __init__(self, label: str, base: NDArray[np.float32], pool: NDArray[np.float32]) -> None:
        self._exact = label != "hnsw"
        self.queries = np.concatenate([base, pool])
        self._documents = len(base)
        stored = self.queries
        if ENGINES[label][1] == "int8":
            ranges = fit_ranges(base)
            stored = dequantize(quantize(stored, ranges), ranges)
        self._scores = self.queries @ stored.T
        self._best = -np.sort(-self._scores[:, : len(base)], axis=1)[:, :K]

    def judge(self, row: int, hits: list[Hit]) -> tuple[str, bool]:
        """What is wrong with the answer to a query; and whether the graph missed something."""
        for hit in hits:
            if hit.text != f"text {hit.id}" or hit.metadata != {"name": hit.id}:
                return f"{hit.id} has the text {hit.text!r}", False
            if abs(hit.score - self._scores[row, self._column(hit.id)]) > SCORE:
                return f"{hit.id} has a score that is not its own, {hit.score}", False
        if len({hit.id for hit in hits}) < len(hits):
            return "a document came twice", False
        pair = [place for place, hit in enumerate(hits) if hit.id.startswith("p")]
        turns = {hits[place].id.split(".")[0] for place in pair}
        if len(turns) > 1:
            return f"documents of different turns: {sorted(turns)}", False
        # Both have one vector, so that one alone can only be the last: the other is the next.
        half = len(pair) == 1 and pair[0] != K - 1
        found = [hit.score for hit in hits if not hit.id.startswith("p")]
        best = self._best[row, : K - len(pair)]
        short = len(hits) < K
        worse = short or bool(np.abs(np.array(found) - best).max(initial=0) > SCORE)
        if not self._exact:
            return "", half or worse
        if half:
            return f"half of the pair {hits[pair[0]].id}", False
        if short:
            return f"{len(hits)} hits", False
        return ("not the best documents" if worse else ""), False

    def _column(self, name: str) -> int:
        if name.startswith("d"):
            return int(name[1:])
        return self._documents + turn_of(name) % POOL


def turn_of(name: str) -> int:
    """Of the id of one of a pair, `p17.a`."""
    return int(name[1:].split(".")[0])


def hammer(*, label: str, path: str, seconds: float, documents: int, dim: int) -> dict[str, Any]:
    """Search by many threads while one changes; runs in a process of its own."""
    base = np.concatenate(list(synthetic(documents, dim, 0)))
    pool = held_out(POOL, dim, 0)
    referee = Referee(label, base, pool)
    counts: Counter[str] = Counter()
    faults: list[str] = []
    lock, stop = threading.Lock(), threading.Event()
    turn = saves = 0
    with make(label, base) as index:

        def search(seed: int) -> None:
            generator = random.Random(seed)  # noqa: S311 - no secret
            while not stop.is_set():
                # One of the base, and the pair that is there about now.
                rows = [generator.randrange(documents), documents + turn % POOL]
                try:
                    answers = index.search(referee.queries[rows], K)
                    judged = [
                        referee.judge(row, hits) for row, hits in zip(rows, answers, strict=True)
                    ]
                    count = len(index)
                except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
                    with lock:
                        counts["exceptions"] += 1
                        faults.append(f"{type(error).__name__}: {error}")
                    continue
                wrong = [fault for fault, _ in judged if fault]
                if count not in (documents, documents + 2):
                    wrong.append(f"{count} documents")
                with lock:
                    counts["answers"] += len(answers)
                    counts["wrong"] += len(wrong)
                    counts["missed"] += sum(missed for _, missed in judged)
                    counts["pairs"] += any(hit.id.startswith("p") for hit in answers[1])
                    faults.extend(wrong)

        threads = [threading.Thread(target=search, args=(seed,)) for seed in range(THREADS)]
        for thread in threads:
            thread.start()
        started = time.monotonic()
        warm: dict[str, Any] | None = None
        try:
            while (gone := time.monotonic() - started) < seconds:
                if warm is None and gone >= min(WARM_SECONDS, seconds / 2):
                    warm = measured(turn)
                ids = [f"p{turn}.a", f"p{turn}.b"]
                index.add([document(one) for one in ids], np.repeat(pool[[turn % POOL]], 2, axis=0))
                if turn % 5 == 0:
                    index.save(Path(path))
                    saves += 1
                time.sleep(0.001)  # lets searches find the pair, too
                if index.delete(ids) != 2:
                    faults.append(f"turn {turn}: the pair was not there to be deleted")
                    counts["wrong_changes"] += 1
                turn += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            faults.append(f"while changing: {type(error).__name__}: {error}")
            counts["exceptions"] += 1
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        end = measured(turn)
        warm = warm or end
        vector_bytes = index.vector_bytes
    with Index.load(Path(path)) as saved:
        if len(saved) != documents + 2:
            faults.append(f"what was saved last has {len(saved)} documents")
            counts["wrong_changes"] += 1
    return {
        "engine": label,
        "threads": THREADS,
        "seconds": seconds,
        "searches": counts["answers"],
        "changes": 2 * turn,
        "saves": saves,
        "answers_with_a_pair": counts["pairs"],
        "wrong": counts["wrong"] + counts["wrong_changes"],
        "exceptions": counts["exceptions"],
        "faults": faults[:FAULTS],
        # The graph of HNSW keeps what was deleted: it grows, and finds less.
        "missed_some": counts["missed"],
        "vector_bytes": vector_bytes,
        "warm": warm,
        "end": end,
        "growth_mib": {
            name: round((end[f"{name}_mb"] - warm[f"{name}_mb"]) * 1e6 / 2**20, 1)
            for name in ("rss", "anonymous")
        },
    }


def measured(turn: int) -> dict[str, Any]:
    """Memory of this process, after so many turns."""
    return {"turns": turn, "rss_mb": memory()["rss_mb"], "anonymous_mb": anonymous_mb()}


if __name__ == "__main__":
    main()
