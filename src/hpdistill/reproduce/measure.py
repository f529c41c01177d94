"""What rows are worth: STS, speed, retrieval; each measured once and kept beside the row."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from hpdistill.evaluate import (
    StsData,
    StsScores,
    evaluate_sts,
    evenly,
    sentences_per_second,
)
from hpdistill.evaluate.retrieval import (
    Entrant,
    Matrix,
    RetrievalTask,
    cached_vectors,
    measure_retrieval,
)
from hpdistill.files import json_hash, read_json, text_hash, write_json
from hpdistill.machine import available_cores, machine
from hpdistill.progress import Report
from hpdistill.pytorch import TorchEncoder, best_device
from hpdistill.reproduce.make import Made
from hpdistill.teacher import encoder_identity

__all__ = ["Bench", "Measured"]

CODE = 1
"""Raised when the same model gives other figures: old ones are then measured anew."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Figures of a row, by PyTorch in float32."""

    dim: int
    parameters: int
    sentences_per_second: float
    sts: StsScores | None
    retrieval: dict[str, Any] | None
    """A row of `measure_retrieval`, without what compares it."""


@dataclass
class Bench:
    """Measures rows one after another.

    Args:
        tasks: STS, if it is measured.
        retrieval: If it is measured.
        timed: Sentences by which the speed is measured.
        vectors: Where the vectors of the retrieval task are kept.
        report: Progress.
    """

    tasks: StsData | None
    retrieval: RetrievalTask | None
    timed: int
    vectors: Path
    report: Report
    _encoder: tuple[str, TorchEncoder] | None = field(default=None, init=False)

    def measure(self, made: Made, *, tables: tuple[str, ...]) -> Measured:
        """Measure a row, or take what was measured.

        Args:
            made: The row.
            tables: Of `sts` and `retrieval` those that it stands in.

        Raises:
            EvaluationError: It gives a vector that is not finite.
            WeightsError: It cannot be loaded.
        """
        identity = encoder_identity(made.source)
        speed = self._kept(made, "speed", [identity, self._texts_hash, _here()], self._speed)
        sts = retrieval = None
        if self.tasks is not None and "sts" in tables:
            sts = self._kept(made, "sts", [identity, self._tasks_hash], self._sts)
        if self.retrieval is not None and "retrieval" in tables:
            key = [identity, self._retrieval_hash, _here()]
            retrieval = self._kept(made, "retrieval", key, self._search)
        self._encoder = None  # before the next is loaded
        return Measured(
            dim=speed["dim"],
            parameters=speed["parameters"],
            sentences_per_second=speed["sentences_per_second"],
            sts=StsScores(model=made.name, dim=speed["dim"], precision="float32", **sts)
            if sts is not None
            else None,
            retrieval=retrieval,
        )

    def _kept(
        self, made: Made, what: str, inputs: object, work: Callable[[Made], dict[str, Any]]
    ) -> dict[str, Any]:
        path = made.directory / f"{what}-{json_hash([CODE, inputs])[:16]}.json"
        if path.is_file():
            known: dict[str, Any] = read_json(path)
            return known
        found = work(made)
        write_json(path, found)
        return found

    def _load(self, made: Made) -> TorchEncoder:
        if self._encoder is None or self._encoder[0] != made.name:
            encoder = TorchEncoder.load(made.source)
            self._encoder = (made.name, TorchEncoder(encoder.model, name=made.name))
        return self._encoder[1]

    def _speed(self, made: Made) -> dict[str, Any]:
        encoder = self._load(made)
        return {
            "dim": encoder.dim,
            "parameters": encoder.parameters,
            "sentences": len(self._texts),
            "sentences_per_second": sentences_per_second(encoder.encode, self._texts),
        }

    def _sts(self, made: Made) -> dict[str, Any]:
        assert self.tasks is not None
        scores = evaluate_sts(self._load(made), self.tasks, report=self.report)
        return {"tasks": scores.tasks, "subsets": scores.subsets}

    def _search(self, made: Made) -> dict[str, Any]:
        assert self.retrieval is not None
        encoder = self._load(made)
        identity = json_hash([encoder_identity(made.source), "torch", "float32"])
        documents, queries = (
            cached_vectors(
                encoder, texts, identity=identity, directory=self.vectors, report=self.report
            )
            for texts in (self.retrieval.document_texts, self.retrieval.query_texts)
        )
        entrant = Entrant(
            name=made.name,
            documents=documents.vectors,
            queries=queries.vectors,
            facts={"encode_s": documents.seconds, "encode_queries_s": queries.seconds},
        )
        (row,) = measure_retrieval(self.retrieval, [entrant], Matrix(), threads=available_cores())
        return {key: row[key] for key in row if key not in ("retention", "p_value")}

    @cached_property
    def _texts(self) -> list[str]:
        """What the speed is measured by: of the lengths of what is evaluated."""
        if self.tasks is not None:
            return evenly(self.tasks.sentences)[: self.timed]
        assert self.retrieval is not None
        return evenly(self.retrieval.document_texts)[: self.timed]

    @cached_property
    def _texts_hash(self) -> str:
        return text_hash(self._texts)

    @cached_property
    def _tasks_hash(self) -> str:
        assert self.tasks is not None
        return self.tasks.hash

    @cached_property
    def _retrieval_hash(self) -> str:
        task = self.retrieval
        assert task is not None
        judged = json_hash({query: dict(found) for query, found in task.relevant.items()})
        texts = (task.document_ids, task.document_texts, task.query_ids, task.query_texts)
        return json_hash([*map(text_hash, texts), judged, dict(task.own)])


def _here() -> list[Any]:
    """What a speed belongs to."""
    this = machine()
    return [this["cpu"], this["cores"], os.environ.get("OMP_NUM_THREADS"), best_device()]
