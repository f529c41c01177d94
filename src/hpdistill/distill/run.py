"""One distillation from sentences to a model directory, resumable at every arrow."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpdistill.corpus import Corpus
from hpdistill.distill.manifest import Manifest, open_run
from hpdistill.distill.measure import measure
from hpdistill.distill.model import write_model
from hpdistill.distill.report import write_report
from hpdistill.distill.stages import (
    Member,
    base_model,
    corpus_inputs,
    embed,
    joint_shards,
    make_corpus,
    make_student,
    make_targets,
    members,
    train_student,
)
from hpdistill.files import json_hash
from hpdistill.machine import machine, versions
from hpdistill.progress import Report, silent
from hpdistill.recipe import Recipe
from hpdistill.teacher import EmbeddedCorpus, encoder_identity

__all__ = ["Distilled", "distill"]

CODE = 1
"""Raised when a stage computes something else from the same inputs: old stages are then redone."""


@dataclass(frozen=True)
class Distilled:
    """What a distillation leaves."""

    model: Path
    """The model directory."""
    rows: list[dict[str, Any]]
    """The measured table: the teacher, the cheap alternatives, the student."""
    stages: dict[str, dict[str, Any]]
    """Seconds, peak memory and facts of each stage."""


def distill(
    recipe: Recipe,
    out: Path,
    *,
    store: Path | None = None,
    evaluation: Path | None = None,
    overwrite: bool = False,
    report: Report = silent,
) -> Distilled:
    """Distil a student as the recipe says; the same call goes on with an interrupted run.

    Args:
        recipe: Every choice that decides the model.
        out: The run directory.
        store: Where teacher embeddings are kept; several runs may share one. None: in the run.
        evaluation: Folder of STS tasks to measure the table on. Its sentences should be among
            `recipe.corpus.exclude`.
        overwrite: Replace a run of another recipe.
        report: Progress.

    Raises:
        UsageError: A value that does not fit the data, such as k over the sentences.
        CorpusError: Text that cannot be read, or not enough of it.
        WeightsError: A model that cannot be found, verified, trusted or loaded.
        StoreError: Damaged teacher embeddings, or a teacher that gives NaN.
        RunError: A directory of another recipe, a full disk.
        EvaluationError: No STS data in `evaluation`.
    """
    teacher = members(recipe, report)
    header = {"recipe": recipe.hash, "versions": versions(), "machine": machine()}
    with open_run(out, recipe, header, overwrite=overwrite) as manifest:
        return _Run(
            recipe, out, store or out / "targets", evaluation, teacher, manifest, report
        ).all()


@dataclass
class _Run:
    recipe: Recipe
    out: Path
    store: Path
    evaluation: Path | None
    teacher: list[Member]
    manifest: Manifest
    report: Report

    def all(self) -> Distilled:
        corpus_facts = self._stage(
            "corpus",
            corpus_inputs(self.recipe),
            lambda: make_corpus(self.recipe, self.out, self.report),
        )
        corpus = Corpus.open(self.out / "corpus")
        identities = [
            {"encoder": encoder_identity(m.source), "weight": m.weight} for m in self.teacher
        ]
        embedded: list[EmbeddedCorpus] = []

        def embed_all() -> dict[str, Any]:
            embedded[:] = embed(self.teacher, corpus, self.recipe, self.store, self.report)
            return {
                "encoders": [
                    {
                        "name": member.source.name,
                        "weight": member.weight,
                        "precision": encoder.precision,
                        "calibration": encoder.calibration,
                        "seconds": encoder.seconds,
                        "sentences": corpus.count("train") + corpus.count("validation"),
                    }
                    for member, encoder in zip(self.teacher, embedded, strict=True)
                ]
            }

        teacher_inputs = [corpus_facts["hash"], identities, _section(self.recipe, "teacher")]
        teacher_facts = self._stage("teacher", teacher_inputs, embed_all)
        if not embedded:
            # Complete: this only looks the shards up, and computes what was deleted since.
            embedded = embed(self.teacher, corpus, self.recipe, self.store, self.report)
        precisions = [encoder.precision for encoder in embedded]
        target_facts = self._stage(
            "targets",
            [
                teacher_facts["hash"],
                precisions,
                self.recipe.dim,
                _section(self.recipe, "projection"),
            ],
            lambda: make_targets(embedded, self.teacher, corpus, self.recipe, self.out),
        )
        student_facts = self._stage(
            "student",
            [
                target_facts["hash"],
                self.recipe.student,
                encoder_identity(base_model(self.recipe, self.report)),
                self.recipe.seed,
                _section(self.recipe, "head"),
            ],
            lambda: make_student(self.recipe, corpus, self.out, self.report),
        )
        validation = np.concatenate(list(joint_shards(embedded, self.teacher, "validation")))

        training_inputs = [student_facts["hash"], _section(self.recipe, "training")]

        def train_and_write() -> dict[str, Any]:
            student, trained = train_student(
                self.recipe, corpus, self.out, validation, json_hash(training_inputs), self.report
            )
            write_model(
                student,
                self.recipe,
                self.teacher,
                corpus,
                self.out,
                validation=validation,
                trained=trained,
            )
            return trained.to_dict()

        training_facts = self._stage("training", training_inputs, train_and_write)
        measured = self._stage(
            "report",
            [training_facts["hash"], str(self.evaluation or "")],
            lambda: {
                "rows": measure(
                    self.recipe,
                    self.teacher,
                    embedded,
                    corpus,
                    self.out,
                    evaluation=self.evaluation,
                    report=self.report,
                )
            },
        )
        write_report(self.recipe, self.out, measured["rows"], self.manifest.stages, self.evaluation)
        return Distilled(self.out / "model", measured["rows"], self.manifest.stages)

    def _stage(
        self, name: str, inputs: object, work: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        return self.manifest.stage(name, [CODE, inputs], work)


def _section(recipe: Recipe, name: str) -> Any:  # noqa: ANN401 - JSON
    return json.loads(json.dumps(recipe.to_dict()))[name]
