"""One distillation from sentences to a model directory, resumable at every arrow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpdistill.corpus import Corpus, content_hashes, excluded_keys, exclusion_key
from hpdistill.distill.labels import labelled
from hpdistill.distill.measure import measure
from hpdistill.distill.model import write_model
from hpdistill.distill.parts import KEPT, kept_sentences
from hpdistill.distill.report import write_report
from hpdistill.distill.stages import (
    Member,
    base_model,
    check_corpus,
    check_models,
    corpus_inputs,
    embed,
    filter_copies,
    held_out_vectors,
    make_corpus,
    make_targets,
    members,
    train_student,
)
from hpdistill.distill.students import make_student
from hpdistill.encoder import Encoder
from hpdistill.evaluate import load_tasks
from hpdistill.export import PARITY_SENTENCES, export_model
from hpdistill.files import check_writable, json_hash
from hpdistill.machine import machine, versions
from hpdistill.manifest import Manifest, has_stage, open_run
from hpdistill.progress import Report, silent
from hpdistill.recipe import Recipe
from hpdistill.teacher import EmbeddedCorpus, encoder_identity

__all__ = ["Distilled", "distill"]

ROWS = 3
"""Raised when the report has other rows from the same inputs."""

_STAGES = ("corpus", "teacher", "targets", "student", "training", "report")
"""Of every run; some have `copies` and `export`, too."""

TOLD_APART = 4
"""Sentences whose vectors tell encoders apart."""

CODE = 9
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
    export: bool = True,
    beside: Sequence[Encoder] = (),
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
        export: End with the model's graphs for ONNX Runtime, in float32 and int8.
        beside: Other encoders to give a row in the table.
        overwrite: Replace a run of another recipe.
        report: Progress.

    Raises:
        UsageError: A value that does not fit the data, such as k over the sentences.
        CorpusError: Text that cannot be read, or not enough of it.
        WeightsError: A model that cannot be found, verified, trusted or loaded.
        StoreError: Damaged teacher embeddings, or a teacher that gives NaN.
        RunError: A directory of another recipe, a full disk.
        ExportError: The student's float32 graph disagrees with it; the model is there.
        EvaluationError: No STS data in `evaluation`.
    """
    if evaluation is not None:
        load_tasks(evaluation)  # now, not after hours of training
    teacher = members(recipe, report)
    if overwrite or not has_stage(out, "teacher"):
        # Before the run begins, whose directory would then refuse the right values.
        check_models(recipe, teacher, report)
        if store is not None and not store.is_dir():
            check_writable(store / "teacher")
    header = {
        "recipe": recipe.hash,
        "seed": recipe.seed,
        "store": str(store) if store else None,
        "evaluation": str(evaluation) if evaluation else None,
        "export": export,
        "versions": versions(),
        "machine": machine(),
    }
    with open_run(out, recipe, header, overwrite=overwrite) as manifest:
        places = store or out / "targets", evaluation
        return _Run(recipe, out, *places, export, beside, teacher, manifest, report).all()


@dataclass
class _Run:
    recipe: Recipe
    out: Path
    store: Path
    evaluation: Path | None
    export: bool
    beside: Sequence[Encoder]
    teacher: list[Member]
    manifest: Manifest
    report: Report
    begun: int = 0
    """Stages, those that were complete already among them."""
    kept: NDArray[np.bool_] | None = None
    """Which training sentences are trained on; None: all."""

    def all(self) -> Distilled:
        corpus_hash = self._stage(
            "corpus",
            corpus_inputs(self.recipe, self.report),
            lambda: make_corpus(self.recipe, self.out, self.report),
            "corpus/summary.json",
        )["hash"]
        if not self.manifest.cleaned:
            # Even if nothing is left to do, so that damage does not pass for a finished run.
            self.whole = self.corpus = Corpus.open(self.out / "corpus")
        teacher = self._stage("teacher", self._teacher_inputs(corpus_hash), self._embed)
        targets_hash = self._stage(
            "targets",
            [
                self._filtered(teacher["hash"]),
                [encoder["precision"] for encoder in teacher["encoders"]],
                self.recipe.dim,
                self._section("projection"),
            ],
            lambda: make_targets(self.embedded, self.teacher, self.corpus, self.recipe, self.out),
            "targets/projection.safetensors",
            "targets/train.npy",
            "targets/validation.npy",
        )["hash"]
        base = encoder_identity(base_model(self.recipe, self.report))
        sections = self._section("head"), self._section("static")
        student_hash = self._stage(
            "student",
            [targets_hash, self.recipe.student, base, self.recipe.seed, *sections],
            lambda: make_student(
                self.recipe, self.teacher, self.embedded, self.corpus, self.out, self.report
            ),
            "init/modules.json",
        )["hash"]
        training_inputs = [student_hash, self._section("training")]
        training_hash = self._stage(
            "training",
            training_inputs,
            lambda: self._train(json_hash(training_inputs)),
            "model/modules.json",
        )["hash"]
        if self.export:
            self._stage("export", training_hash, self._export, "model/onnx/export.json")
        elif not self.manifest.is_complete("export", [CODE, training_hash]):
            self.manifest.forget("export")
        content = content_hashes([str(self.evaluation)]) if self.evaluation else {}
        tells_apart = self.beside and not self.manifest.cleaned
        few = self.corpus.texts("validation", TOLD_APART) if tells_apart else []
        # Another model may have the same name, as a new one in the package has.
        others = [[one.name, one.encode(few).round(3).tolist()] for one in self.beside]
        measured = self._stage(
            "report", [ROWS, training_hash, content, self.export, others], self._measure
        )
        rows = labelled(self.recipe, measured["rows"])
        stages = self.manifest.stages
        measured_on = {key: measured[key] for key in ("versions", "machine")}
        write_report(self.recipe, self.out, rows, stages, self.evaluation, measured_on=measured_on)
        return Distilled(self.out / "model", rows, stages)

    @cached_property
    def embedded_whole(self) -> list[EmbeddedCorpus]:
        """The teacher's embeddings; what is in the store is only looked up."""
        return embed(self.teacher, self.whole, self.recipe, self.store, self.report)

    @property
    def embedded(self) -> list[EmbeddedCorpus]:
        """Those of the sentences that are trained on, and of the validation split."""
        return [replace(encoder, kept=self.kept) for encoder in self.embedded_whole]

    def _filtered(self, teacher_hash: str) -> str:
        """Drop the copies that mean something else; the hash of the stage, if there is one."""
        augment = self.recipe.augment
        if augment is None:
            self.manifest.forget("copies")
            return teacher_hash
        found = self._stage(
            "copies",
            [teacher_hash, augment.min_similarity],
            lambda: filter_copies(
                self.embedded_whole, self.teacher, self.whole, augment.min_similarity, self.out
            ),
            str(KEPT),
        )
        if not self.manifest.cleaned:
            self.kept = kept_sentences(self.out)
            self.corpus = self.whole.keeping(self.kept)
        return str(found["hash"])

    def _stage(
        self, name: str, inputs: object, work: Callable[[], dict[str, Any]], *outputs: str
    ) -> dict[str, Any]:
        paths = [self.out / output for output in outputs]
        self.begun += 1
        count = len(_STAGES) + (self.recipe.augment is not None) + self.export
        heading = f"stage {self.begun} of {count}: {name}"

        def announced() -> dict[str, Any]:
            self.report(heading, 0, 0)
            return work()

        return self.manifest.stage(name, [CODE, inputs], announced, outputs=paths)

    def _section(self, name: str) -> object:
        return self.recipe.to_dict()[name]

    def _teacher_inputs(self, corpus_hash: str) -> object:
        identities = [
            {"encoder": encoder_identity(m.source), "weight": m.weight} for m in self.teacher
        ]
        return [corpus_hash, identities, self._section("teacher")]

    def _embed(self) -> dict[str, Any]:
        check_corpus(self.recipe, self.corpus)
        sentences = self.whole.count("train") + self.whole.count("validation")
        pairs = zip(self.teacher, self.embedded_whole, strict=True)
        return {
            "encoders": [
                {
                    "name": member.source.name,
                    "weight": member.weight,
                    "precision": encoder.precision,
                    "calibration": encoder.calibration,
                    "seconds": encoder.seconds,
                    "sentences": sentences,
                    "unread": encoder.unread(member.source.name),
                }
                for member, encoder in pairs
            ]
        }

    def _train(self, key: str) -> dict[str, Any]:
        student, trained, unread = train_student(
            self.recipe,
            lambda: self.embedded,
            self.teacher,
            self.corpus,
            self.out,
            key,
            self.report,
        )
        write_model(
            student,
            self.recipe,
            self.teacher,
            self.corpus,
            self.out,
            validation=held_out_vectors(self.embedded, self.teacher),
            trained=trained,
        )
        return {**trained.to_dict(), "unread": unread}

    def _export(self) -> dict[str, Any]:
        exported = export_model(self.out / "model", _held_out(self.corpus), report=self.report)
        return {"default": exported.default, "refused": dict(exported.refused)}

    def _measure(self) -> dict[str, Any]:
        rows = measure(
            self.recipe,
            self.teacher,
            self.embedded,
            self.corpus,
            self.out,
            store=self.store,
            evaluation=self.evaluation,
            beside=self.beside,
            report=self.report,
        )
        return {
            "rows": rows,
            "evaluation_seen": self._seen(),
            "versions": versions(),
            "machine": machine(),
        }

    def _seen(self) -> int:
        """Training sentences that are of the evaluation, which may be another than was kept out."""
        if self.evaluation is None or str(self.evaluation) in self.recipe.corpus.exclude:
            return 0
        keys = excluded_keys([self.evaluation])
        chunks = self.corpus.chunks("train", 16_384)
        return sum(exclusion_key(text) in keys for texts in chunks for text in texts)


def _held_out(corpus: Corpus) -> list[str]:
    """What an export is checked on: the validation sentences, and others if those are too few."""
    sentences = corpus.texts("validation")
    return sentences + corpus.texts("train", max(0, PARITY_SENTENCES - len(sentences)))
