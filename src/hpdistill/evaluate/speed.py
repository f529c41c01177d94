"""Speed: models and back ends side by side, each in a process of its own, in one run.

Machines are noisy, and two runs an hour apart compare the hours. Contenders therefore take turns
(A B A B), and a ratio is formed within a round and then summarised: its median, and its spread.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from hpdistill import errors
from hpdistill.errors import EvaluationError, HpdError, UsageError
from hpdistill.machine import available_cores
from hpdistill.progress import Report, silent

__all__ = ["Contender", "Speeds", "Workload", "measure_speed", "summarise"]

_WORKER = (sys.executable, "-P", "-m", "hpdistill.evaluate._serve")
_FEW = 8
"""A timing never covers fewer texts, if the batch has as many: one slow text is no rate."""
_MOST = 200_000
_TASK = "measuring speed"


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A model on a back end."""

    model: str
    """What rows and messages call it."""
    backend: str
    path: Path
    command: Sequence[str] = _WORKER
    """What starts its process; it must answer as `hpdistill.evaluate._worker` does."""
    environment: Mapping[str, str] | None = None
    """Added to this process's."""

    @property
    def label(self) -> str:
        """Model and back end."""
        return f"{self.model} ({self.backend})"


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Texts that are encoded at once."""

    key: str
    """Prefix of its keys in a row; empty for the one that the row's main figures are of."""
    texts: Sequence[str]
    """Taken from the beginning, and over again when an encoder is faster than there are texts."""
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """What `measure_speed` found; contenders are counted in the order given, from 0."""

    rows: list[dict[str, Any]]
    """One a contender, flat."""
    rates: Mapping[str, Sequence[Sequence[float]]]
    """Sentences a second by workload, contender and round."""
    medians: Sequence[Sequence[float]]
    """Milliseconds of the median query by contender and round."""

    def compare(self, own: int, other: int, key: str = "") -> dict[str, float]:
        """How many times as fast as another a contender is on a workload; see `summarise`."""
        return summarise(self.rates[key][other], self.rates[key][own])

    def compare_latency(self, own: int, other: int) -> dict[str, float]:
        """How many times lower than another's a contender's median latency is."""
        own_rates, other_rates = (
            [1 / median for median in self.medians[index]] for index in (own, other)
        )
        return summarise(other_rates, own_rates)


def measure_speed(
    contenders: Sequence[Contender],
    workloads: Sequence[Workload],
    *,
    rounds: int = 5,
    seconds: float = 0.5,
    queries: int = 100,
    threads: int | None = None,
    sts: Path | None = None,
    report: Report = silent,
) -> Speeds:
    """Measure contenders side by side; the first is what the others' ratios refer to.

    All are loaded, one after the other, and kept. In every round and for every workload each has
    its turn, of about `seconds`; how many texts that takes was tried before. Queries are texts
    of the first workload, encoded one by one.

    Args:
        contenders: At least one.
        workloads: At least one; the first has an empty key.
        rounds: Turns of each contender.
        seconds: Of work in one turn. A turn is at least 8 texts, however long they take.
        queries: Single queries in one turn.
        threads: Of each process; None: all cores that this process may use.
        sts: Also score each contender on the STS data in this folder.
        report: Progress.

    Returns:
        The rounds, and a flat row a contender: `model, backend, precision, sentences_per_second,
        ratio, ratio_min, ratio_max, p50_ms, p95_ms, p99_ms, latency_ratio, latency_ratio_min,
        latency_ratio_max, load_s, file_mb, parameters, dim, max_tokens, rss_mb, peak_mb, threads,
        rounds`; for every other workload `KEY_sentences_per_second, KEY_ratio, KEY_ratio_min,
        KEY_ratio_max`; with `sts` the keys of `hpd eval sts`, too.

        Rates and ratios are medians over the rounds, percentiles are over all queries.
        `latency_ratio` says how many times lower than the first's the median query is; `load_s`
        includes the import of the libraries; `rss_mb` is resident in the contender's process
        after all encoding, `peak_mb` the most that ever was; `file_mb` are weights or graph.

    Raises:
        UsageError: Less than one round, query or thread, or more threads than cores.
        HpdError: A contender cannot be loaded, or fails.
    """
    limit = available_cores()
    threads = limit if threads is None else threads
    for what, number in (("rounds", rounds), ("queries", queries), ("threads", threads)):
        if number < 1:
            raise UsageError(f"{what} is {number}; at least 1 is needed")
    if threads > limit:
        raise UsageError(f"threads is {threads}; this process may use {limit} cores")
    total = len(contenders) * (1 + len(workloads) + rounds * (len(workloads) + 1))
    with ExitStack() as stack:
        step = _Steps(report, total)
        workers = []
        for contender in contenders:
            workers.append(stack.enter_context(_Process.started(contender, threads)))
            step()
        counts = _calibrate(workers, workloads, seconds, step)
        rates, latencies = _run(workers, workloads, counts, rounds, queries, step)
        memory = [worker.ask("memory") for worker in workers]
        scores: list[dict[str, Any]] = [{} for _ in workers]
        if sts is not None:
            scores = [worker.ask("sts", report, data=str(sts)) for worker in workers]
    medians = [[statistics.median(turn) for turn in turns] for turns in latencies]
    by_key = {workload.key: own for workload, own in zip(workloads, rates, strict=True)}
    speeds = Speeds(rows=[], rates=by_key, medians=medians)
    for index, worker in enumerate(workers):
        row: dict[str, Any] = {"model": contenders[index].model}
        row |= _row(speeds, index, worker.facts, latencies[index])
        row |= memory[index] | {"threads": threads, "rounds": rounds}
        for key in list(by_key)[1:]:
            row[f"{key}_sentences_per_second"] = round(statistics.median(by_key[key][index]), 1)
            row |= {f"{key}_{name}": n for name, n in speeds.compare(index, 0, key).items()}
        # An STS row names its model and precision, too, as it knows them.
        row |= {name: n for name, n in scores[index].items() if name not in {*row, "retention"}}
        speeds.rows.append(row)
    return speeds


def summarise(first: Sequence[float], own: Sequence[float]) -> dict[str, float]:
    """How many times the first a contender is, round by round: `ratio, ratio_min, ratio_max`.

    Args:
        first: Figures of the first contender, one a round.
        own: Those of another in the same rounds.
    """
    ratios = [mine / theirs for mine, theirs in zip(own, first, strict=True)]
    return {
        "ratio": round(statistics.median(ratios), 3),
        "ratio_min": round(min(ratios), 3),
        "ratio_max": round(max(ratios), 3),
    }


class _Steps:
    def __init__(self, report: Report, total: int) -> None:
        self._report = report
        self._total = total
        self._done = 0

    def __call__(self) -> None:
        self._done += 1
        self._report(_TASK, self._done, self._total)


class _Process:
    """The process of one contender, and the facts it told when it had loaded."""

    def __init__(self, contender: Contender, process: subprocess.Popen[str], log: Path) -> None:
        self.contender = contender
        self._process = process
        self._log = log
        self.facts: dict[str, Any] = {}

    @classmethod
    @contextmanager
    def started(cls, contender: Contender, threads: int) -> Iterator[Self]:
        """Start it and load the model; the process ends with the block."""
        limits = ("OMP", "OPENBLAS", "MKL", "RAYON")
        environment = {
            **os.environ,
            **{f"{library}_NUM_THREADS": str(threads) for library in limits},
            "HF_HUB_OFFLINE": "1",  # the model is here; nothing is to be asked or waited for
            "PYTHONIOENCODING": "utf-8",
            **(contender.environment or {}),
        }
        with tempfile.TemporaryDirectory(prefix="hpdistill-speed-") as scratch:
            log = Path(scratch) / "stderr"
            with (
                log.open("wb") as errors_to,
                subprocess.Popen(  # noqa: S603 - an interpreter and a module of ours
                    contender.command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors_to,
                    encoding="utf-8",
                    env=environment,
                ) as process,
            ):
                worker = cls(contender, process, log)
                try:
                    worker.facts = worker.ask(
                        "load",
                        backend=contender.backend,
                        name=contender.model,
                        path=str(contender.path),
                        threads=threads,
                    )
                    yield worker
                finally:
                    # It holds nothing that a kill could lose, and must not outlive an error.
                    process.kill()

    def ask(self, do: str, report: Report = silent, /, **request: object) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            HpdError: What the contender raised, under its own class if that is one of ours.
            EvaluationError: The process died.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            with suppress(BrokenPipeError):
                self._process.stdin.close()  # or Popen would try to write the rest, and fail
            raise self._died() from None
        for line in self._process.stdout:
            answer: dict[str, Any] = json.loads(line)
            if "progress" in answer:
                report(*answer["progress"])
            elif "error" in answer:
                raise self._failed(answer)
            else:
                return answer
        raise self._died()

    def encode(self, workload: Workload, count: int) -> float:
        """Seconds that so many texts take."""
        answer = self.ask("encode", key=workload.key, count=count, batch_size=workload.batch_size)
        return float(answer["seconds"])

    def _failed(self, answer: dict[str, Any]) -> HpdError:
        kind = getattr(errors, answer["kind"], None)
        if isinstance(kind, type) and issubclass(kind, HpdError):
            return kind(answer["error"], hint=answer["hint"])
        return EvaluationError(f"{self.contender.label}: {answer['kind']}: {answer['error']}")

    def _died(self) -> EvaluationError:
        code = self._process.wait()
        said = self._log.read_text("utf-8", "replace").strip().splitlines()
        why = f"signal {-code}" if code < 0 else f"code {code}"
        return EvaluationError(
            f"the process of {self.contender.label} ended with {why}"
            + (f": {said[-1].strip()}" if said else ""),
            hint="Killed by signal 9 it usually ran out of memory." if code == -9 else "",
        )


def _calibrate(
    workers: Sequence[_Process], workloads: Sequence[Workload], seconds: float, step: _Steps
) -> list[list[int]]:
    """How many texts each worker encodes in about so many seconds, by workload and worker."""
    counts = []
    for workload in workloads:
        own = []
        for worker in workers:
            worker.ask("texts", key=workload.key, texts=list(workload.texts))
            own.append(_count(worker, workload, seconds))
            step()
        counts.append(own)
    return counts


def _count(worker: _Process, workload: Workload, seconds: float) -> int:
    least = count = min(_FEW, max(1, workload.batch_size), len(workload.texts))
    worker.encode(workload, count)  # the first call allocates
    while True:
        taken = worker.encode(workload, count)
        wanted = math.ceil(count * seconds / max(taken, 1e-6))
        # A rate from a tenth of the turn is good enough; one from a single batch is not.
        if taken >= seconds / 10 or count >= _MOST:
            return max(least, min(_MOST, wanted))
        count = min(_MOST, max(2 * count, min(wanted // 4, 16 * count)))


def _run(
    workers: Sequence[_Process],
    workloads: Sequence[Workload],
    counts: Sequence[Sequence[int]],
    rounds: int,
    queries: int,
    step: _Steps,
) -> tuple[list[list[list[float]]], list[list[list[float]]]]:
    """Sentences/s by workload, worker and round, and milliseconds by worker, round and query."""
    rates: list[list[list[float]]] = [[[] for _ in workers] for _ in workloads]
    latencies: list[list[list[float]]] = [[] for _ in workers]
    for _ in range(rounds):
        for place, workload in enumerate(workloads):
            for index, worker in enumerate(workers):
                count = counts[place][index]
                rates[place][index].append(count / worker.encode(workload, count))
                step()
        for index, worker in enumerate(workers):
            answer = worker.ask("queries", key=workloads[0].key, count=queries)
            latencies[index].append(answer["milliseconds"])
            step()
    return rates, latencies


def _row(
    speeds: Speeds, index: int, facts: dict[str, Any], latencies: Sequence[Sequence[float]]
) -> dict[str, Any]:
    p50, p95, p99 = np.percentile(np.concatenate([np.asarray(t) for t in latencies]), [50, 95, 99])
    latency = speeds.compare_latency(index, 0)
    return {
        "backend": facts["backend"],
        "precision": facts["precision"],
        "sentences_per_second": round(statistics.median(speeds.rates[""][index]), 1),
        **speeds.compare(index, 0),
        "p50_ms": round(float(p50), 3),
        "p95_ms": round(float(p95), 3),
        "p99_ms": round(float(p99), 3),
        **{f"latency_{key}": value for key, value in latency.items()},
        "load_s": round(facts["load_s"], 3),
        "file_mb": facts["file_mb"],
        "parameters": facts["parameters"],
        "dim": facts["dim"],
        "max_tokens": facts["max_tokens"],
    }
