"""Models of the command line, as what `hpd eval retrieval` searches with."""

import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import typer

from hpdistill.cli._models import weights_of
from hpdistill.cli.evaluate._shared import Computing, Precision, Runs, load
from hpdistill.encoder import Embeddings, Encoder, Role, prompt_of
from hpdistill.evaluate.retrieval import CachedVectors, Entrant, RetrievalTask, cached_vectors
from hpdistill.files import clear_os_errors, json_hash
from hpdistill.progress import Report
from hpdistill.runtime import ModelDirectory
from hpdistill.weights import ModelSource

if TYPE_CHECKING:
    from hpdistill.teacher.space import TeacherParts

__all__ = ["Bench"]

_SINGLE_QUERIES = 50
"""Queries encoded one at a time."""
_BLOCK = 65_536
"""Documents projected at once."""


class Bench:
    """Turns models into entrants, one at a time: no two of them need be in memory at once."""

    def __init__(
        self,
        task: RetrievalTask,
        computing: Computing,
        cache: Path | None,
        scratch: Path,
        report: Report,
    ) -> None:
        self._task = task
        self._computing = computing
        self._cache = cache
        self._scratch = scratch
        self._report = report
        self.notes: list[str] = []

    def entrants(
        self, sources: Sequence[ModelSource], doc_encoder: str | None
    ) -> Iterator[Entrant]:
        """Each model, and each distilled one with documents by its teacher."""
        asymmetric = {}
        if doc_encoder is not None:
            distilled = [one for one in sources if (one.path / "projection.safetensors").is_file()]
            if not distilled:
                raise typer.BadParameter(
                    "none of the models is a distilled one, whose teacher it could be",
                    param_hint="'--doc-encoder'",
                )
            # Of PyTorch, without which all else here can do.
            from hpdistill.teacher.space import teacher_parts

            for source in distilled:
                # Before anything is encoded: a wrong teacher is refused at once.
                asymmetric[source.path] = teacher_parts(
                    source.path, teacher=doc_encoder, report=self._report
                )
        for source in sources:
            entrant = self._symmetric(source)
            yield entrant
            if source.path in asymmetric:
                yield self._by_teacher(entrant, str(doc_encoder), asymmetric[source.path])

    def _symmetric(self, source: ModelSource) -> Entrant:
        encoder, used, identity = self._open(source, self._computing)
        documents = self._vectors(encoder, self._task.document_texts, identity, "document")
        queries = self._vectors(encoder, self._task.query_texts, identity, "query")
        return Entrant(
            name=source.name,
            documents=documents.vectors,
            queries=queries.vectors,
            facts={
                "computes_in": used,
                "parameters": encoder.parameters,
                "encode_s": documents.seconds,
                "encode_queries_s": queries.seconds,
                "encode_query_ms": 1000 * _single_seconds(encoder, self._task.query_texts),
                "query_prompt": prompt_of(encoder, "query"),
                "document_prompt": prompt_of(encoder, "document"),
            },
        )

    def _by_teacher(self, student: Entrant, name: str, parts: "TeacherParts") -> Entrant:
        half = self._computing.precision is Precision.bfloat16
        computing = Computing.of(Runs.torch, Precision.bfloat16 if half else Precision.float32)
        members, prompts = [], []
        for source in parts.sources:
            encoder, _, identity = self._open(source, computing)
            texts = self._task.document_texts
            members.append(self._vectors(encoder, texts, identity, "document"))
            prompts.append(prompt_of(encoder, "document"))
            del encoder  # before the next is loaded
        seconds = sum(member.seconds for member in members)
        return Entrant(
            name=student.name,
            doc_encoder=name,
            documents=self._projected(parts, [member.vectors for member in members]),
            queries=student.queries,
            facts={
                **student.facts,
                "encode_s": seconds,
                "document_prompt": " | ".join(filter(None, dict.fromkeys(prompts))),
            },
        )

    def _projected(self, parts: "TeacherParts", members: Sequence[Embeddings]) -> Embeddings:
        """In a file, since a corpus may not fit in memory at this width either."""
        path = self._scratch / f"{len(list(self._scratch.iterdir()))}.f32"
        shape = (len(members[0]), parts.projection.dim)
        with clear_os_errors(path), path.open("wb") as file:
            for start in range(0, shape[0], _BLOCK):
                block = [np.asarray(member[start : start + _BLOCK]) for member in members]
                file.write(np.ascontiguousarray(parts.project(block)).tobytes())
        return np.memmap(path, np.float32, mode="r", shape=shape)

    def _vectors(
        self, encoder: Encoder, texts: Sequence[str], identity: str, role: Role
    ) -> CachedVectors:
        found = cached_vectors(
            encoder,
            texts,
            identity=identity,
            role=role,
            directory=self._cache,
            report=self._report,
        )
        if found.note:
            self.notes.append(f"{found.note}; computed again")
        return found

    def _open(self, source: ModelSource, computing: Computing) -> tuple[Encoder, str, str]:
        """The encoder, the precision that it computes in, and what decides its vectors."""
        if ModelDirectory.read(source.path).is_static and computing.runs is not Runs.runtime:
            computing = Computing(Runs.runtime, None)
        computing = computing.settled(source)
        encoder, used = load(source, computing, self._report)
        weights = dict(weights_of(source.path))
        if computing.runs is Runs.torch:
            # An export beside the weights changes nothing here.
            weights = {name: sha for name, sha in weights.items() if ".onnx" not in name}
        identity = {"weights": weights, "by": str(computing.runs), "in": used}
        return encoder, used, json_hash(identity)


def _single_seconds(encoder: Encoder, texts: Sequence[str]) -> float:
    encoder.encode_query(texts[:1])
    seconds = []
    for text in texts[:_SINGLE_QUERIES]:
        started = time.perf_counter()
        encoder.encode_query([text])
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
