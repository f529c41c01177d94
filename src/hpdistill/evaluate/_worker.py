"""One contender in a process of its own: what it costs to load, to hold and to run.

Only in a fresh process are the time to load and the memory a model's own. The process answers
requests, a JSON object a line, on standard input and output, so that contenders take turns and
nothing but their work is timed. Other interpreters can run it, too: beyond the standard library
it needs only what the package `hpdistill.evaluate` imports, NumPy.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Loaded", "serve"]

_PROGRESS_SECONDS = 0.5


class Encode(Protocol):
    """Encodes texts; what it returns is not looked at."""

    def __call__(self, texts: Sequence[str], *, batch_size: int) -> object:
        """Encode all texts before returning."""
        ...


@dataclass(frozen=True)
class Loaded:
    """What a back end made of a model."""

    encode: Encode
    facts: Callable[[], dict[str, Any]]
    """For the row, and not timed: `backend, precision, dim, parameters, max_tokens, file_mb`."""
    encoder: Any = None
    """Satisfies `hpdistill.encoder.Encoder`; None where quality is not to be measured."""


Load = Callable[[str, str, Path, int], Loaded]
"""Loads (backend, name, path, threads)."""


def serve(load: Load) -> None:
    """Answer requests until standard input ends; an error is an answer, too."""
    # Libraries print; the protocol's own channel must stay clean.
    with os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1) as channel:
        os.dup2(2, 1)

        def send(answer: dict[str, Any]) -> None:
            channel.write(json.dumps(answer) + "\n")

        worker = _Worker(load, send)
        for line in sys.stdin:
            request = json.loads(line)
            try:
                answer = getattr(worker, f"do_{request.pop('do')}")(**request)
            except Exception as error:  # noqa: BLE001 - the parent raises it
                text = " ".join(str(error).split())
                hint = str(getattr(error, "hint", ""))
                answer = {"error": text, "kind": type(error).__name__, "hint": hint}
            send(answer)


class _Worker:
    def __init__(self, load: Load, send: Callable[[dict[str, Any]], None]) -> None:
        self._load = load
        self._send = send
        self._texts: dict[str, list[str]] = {}
        self._loaded: Loaded

    def do_load(self, *, backend: str, name: str, path: str, threads: int) -> dict[str, Any]:
        """Load the model and let it answer once."""
        if hasattr(os, "sched_setaffinity"):
            # Not every library has a setting for its threads, and none can get round this one.
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        started = time.perf_counter()
        self._loaded = self._load(backend, name, Path(path), threads)
        seconds = time.perf_counter() - started
        self._loaded.encode(["A first text."], batch_size=1)
        return {"load_s": seconds, **self._loaded.facts()}

    def do_texts(self, *, key: str, texts: list[str]) -> dict[str, Any]:
        """Keep texts for later."""
        self._texts[key] = texts
        return {}

    def do_encode(self, *, key: str, count: int, batch_size: int) -> dict[str, Any]:
        """Time the encoding of so many texts at once."""
        pool = self._texts[key]
        texts = [pool[index % len(pool)] for index in range(count)]
        started = time.perf_counter()
        self._loaded.encode(texts, batch_size=batch_size)
        return {"seconds": time.perf_counter() - started}

    def do_queries(self, *, key: str, count: int) -> dict[str, Any]:
        """Time the encoding of so many texts, one by one."""
        pool = self._texts[key]
        milliseconds = []
        for index in range(count):
            text = [pool[index % len(pool)]]
            started = time.perf_counter()
            self._loaded.encode(text, batch_size=1)
            milliseconds.append(1000 * (time.perf_counter() - started))
        return {"milliseconds": milliseconds}

    def do_memory(self) -> dict[str, Any]:
        """What this process holds, and the most it ever held."""
        return memory()

    def do_sts(self, *, data: str) -> dict[str, Any]:
        """Score the loaded model."""
        from hpdistill.evaluate.sts import evaluate_sts, load_tasks

        last = 0.0

        def report(task: str, done: int, total: int) -> None:
            nonlocal last
            if done >= total or time.monotonic() - last > _PROGRESS_SECONDS:
                last = time.monotonic()
                self._send({"progress": [task, done, total]})

        scores = evaluate_sts(self._loaded.encoder, load_tasks(Path(data)), report=report)
        return scores.row()


def memory() -> dict[str, Any]:
    """Resident memory of this process, and its peak, in MB (10^6 bytes); None where unknown.

    Pages of memory-mapped weights count once they were read, as a system's monitor shows it.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        fields = dict(line.split(":", 1) for line in status.read_text("utf-8").splitlines())
        # Not getrusage(): its peak survives exec, so it can be that of the parent.
        resident, peak = (int(fields[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))
        return {"rss_mb": round(resident / 1e6, 1), "peak_mb": round(peak / 1e6, 1)}
    try:
        import psutil
    except ImportError:
        return {"rss_mb": None, "peak_mb": None}
    used = psutil.Process().memory_info()
    return {
        "rss_mb": round(used.rss / 1e6, 1),
        "peak_mb": round(getattr(used, "peak_wset", used.rss) / 1e6, 1),
    }
