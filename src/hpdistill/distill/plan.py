"""What a distillation would take: its texts are read and its parts timed, and nothing is kept."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, compress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from hpdistill.corpus import Corpus, build_corpus, even_mask
from hpdistill.distill.neighbours import KEPT, POOL, nearest
from hpdistill.distill.stages import (
    Member,
    base_model,
    check_corpus,
    check_models,
    members,
    named,
)
from hpdistill.distill.training import train
from hpdistill.encoder import Embeddings, unit
from hpdistill.evaluate import load_tasks
from hpdistill.files import check_writable
from hpdistill.loop import TokenCache, total_steps
from hpdistill.manifest import check_owner
from hpdistill.progress import Report, silent
from hpdistill.pytorch import TorchEncoder, choose_precision, intake_of
from hpdistill.recipe import Recipe, SettledTraining
from hpdistill.static import read_tokenizer
from hpdistill.student import build_static, build_student, pooled_backbone

__all__ = ["Plan", "plan"]

_SAMPLE = 128
"""Texts, spread evenly over the corpus, by which encoders are timed."""
_STEPS = 6
"""Of the training, the first half of which only warms up."""
_ROWS_OF_REPORT = 5
"""Models of the student's size that the report embeds the same texts with."""
_TABLE = 4096
"""Sentences whose neighbours are looked up, for the time of one."""


@dataclass(frozen=True)
class Plan:
    """What a distillation would take on this machine."""

    texts: dict[str, int]
    """Read, trained on, held out, and how many were dropped by each reason."""
    steps: int
    """Of the optimiser."""
    batch_size: int
    rows: list[dict[str, Any]]
    """Of each stage: `stage`, `seconds`, `bytes` that stay on the disk."""

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return float(sum(row["seconds"] for row in self.rows))

    @property
    def bytes(self) -> int:
        """Of all stages."""
        return int(sum(row["bytes"] for row in self.rows))


def plan(
    recipe: Recipe,
    out: Path,
    *,
    store: Path | None = None,
    evaluation: Path | None = None,
    export: bool = True,
    overwrite: bool = False,
    report: Report = silent,
) -> Plan:
    """Say what `distill` with the same arguments would take, and refuse what it would refuse.

    The texts are read as they would be, into a temporary folder. The encoders, and some steps of
    the training, are timed on a sample. Embeddings that `store` or an interrupted run has are not
    looked for: with them it takes less. Copies of `recipe.augment` are not made, and not counted.

    Args:
        recipe: As of `distill`.
        out: As there; nothing is written there.
        store: As there.
        evaluation: As there.
        export: As there.
        overwrite: As there.
        report: Progress.

    Raises:
        UsageError: As `distill`.
        CorpusError: As `distill`.
        WeightsError: As `distill`.
        RunError: As `distill`, as far as it can be told before.
        EvaluationError: As `distill`.
    """
    judged = load_tasks(evaluation).sentences if evaluation is not None else ()
    check_owner(out, recipe, overwrite=overwrite)
    for place in (out / "corpus", *([store / "teacher"] if store else [])):
        check_writable(place)
    teacher = members(recipe, report)
    check_models(recipe, teacher, report)
    choices = recipe.training.settled(static=recipe.student_spec.static)
    with tempfile.TemporaryDirectory(prefix="hpdistill-plan-") as scratch:
        folder = Path(scratch) / "corpus"
        folder.mkdir()
        started = time.perf_counter()
        summary = build_corpus(recipe.corpus, folder, seed=recipe.seed, report=report).to_dict()
        reading = time.perf_counter() - started
        corpus = Corpus.open(folder)
        check_corpus(recipe, corpus)
        written = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        size = _Size.of(corpus, judged)
        rows: list[dict[str, Any]] = [{"stage": "corpus", "seconds": reading, "bytes": written}]
        sample = list(compress(_texts(corpus), even_mask(size.train, _SAMPLE)))
        width, embedding, judging = 0, 0.0, 0.0
        for number, member in enumerate(teacher, start=1):
            report("timing the teacher", number - 1, len(teacher))
            timed = _time_teacher(recipe, member, sample)
            width += timed.width
            embedding += timed.loading + timed.each(size.characters)
            # Of held-out sentences there are vectors; the anchor is no row of the table.
            judging += timed.each(size.judged) if member in named(teacher) else 0.0
            report("timing the teacher", number, len(teacher))
        count = size.train + size.held_out
        rows.append({"stage": "teacher", "seconds": embedding, "bytes": 4 * width * count})
        rows.append(_targets(recipe, width, count))
        student = _student(recipe, sample, report)
        encoder = _timed(lambda texts: _outputs(student, texts), sample)
        weights = 4 * sum(weight.numel() for weight in student.parameters())
        part = min(1.0, recipe.head.ridge_sentences / size.train)
        rows.append(
            {"stage": "student", "seconds": encoder.each(part * size.characters), "bytes": weights}
        )
        steps = total_steps(choices, size.train)
        step = _time_step(student, sample, choices, recipe, Path(scratch), report) if steps else 0.0
        validations = 1 + -(-steps // choices.evaluate_every)
        training = steps * step + validations * encoder.each(size.held_out_characters)
        if choices.neighbour_weight > 0 and steps:
            training += _time_neighbours(recipe, choices, size.train)
        # The model, its best and its newest checkpoint with two moments of each weight; and while
        # it ranks by the teacher, the teacher's vectors in two bytes a number.
        by_teacher = choices.neighbour_weight > 0 and choices.ranking == "teacher"
        held = 5 * weights + (2 * width * size.train if by_teacher and steps else 0)
        rows.append({"stage": "training", "seconds": training, "bytes": held})
        embedded_again = encoder.each(size.held_out_characters + size.judged)
        if export:
            rows.append(
                {"stage": "export", "seconds": 2 * embedded_again, "bytes": 5 * weights // 4}
            )
        rows.append(
            {
                "stage": "report",
                "seconds": judging + _ROWS_OF_REPORT * embedded_again,
                "bytes": 2**20,
            }
        )
    return Plan(
        texts={
            "read": int(summary["read"]),
            "train": size.train,
            "validation": size.held_out,
            **{reason: n for reason, n in summary["dropped"].items() if n},
        },
        steps=steps,
        batch_size=choices.batch_size,
        rows=[{**row, "seconds": round(row["seconds"], 1)} for row in rows],
    )


@dataclass(frozen=True)
class _Size:
    """Of a corpus, in texts and in characters."""

    train: int
    held_out: int
    characters: int
    """Of both splits."""
    held_out_characters: int
    judged: int
    """Characters of the sentences of the evaluation."""

    @classmethod
    def of(cls, corpus: Corpus, judged: Sequence[str]) -> "_Size":
        held_out = sum(map(len, corpus.texts("validation")))
        return cls(
            train=corpus.count("train"),
            held_out=corpus.count("validation"),
            characters=held_out + sum(map(len, _texts(corpus))),
            held_out_characters=held_out,
            judged=sum(map(len, judged)),
        )


@dataclass(frozen=True)
class _Timed:
    """How fast an encoder is."""

    seconds_a_character: float
    loading: float = 0.0
    width: int = 0

    def each(self, characters: float) -> float:
        """Seconds for so many characters."""
        return self.seconds_a_character * characters


def _texts(corpus: Corpus) -> Iterator[str]:
    return chain.from_iterable(corpus.chunks("train", 8192))


def _timed(work: Callable[[Sequence[str]], object], sample: Sequence[str]) -> _Timed:
    work(sample[:16])  # the first call allocates
    started = time.perf_counter()
    work(sample)
    return _Timed((time.perf_counter() - started) / max(1, sum(map(len, sample))))


def _time_teacher(recipe: Recipe, member: Member, sample: Sequence[str]) -> _Timed:
    """In the precision that it would be embedded in; the trial of it counts as loading."""
    started = time.perf_counter()
    encoder = TorchEncoder.load(member.source)
    if recipe.teacher.precision == "auto":
        choose_precision(encoder, sample[:64])
    else:
        encoder.set_precision(recipe.teacher.precision)
    loading = time.perf_counter() - started
    return replace(_timed(encoder.encode, sample), loading=loading, width=encoder.dim)


def _targets(recipe: Recipe, width: int, count: int) -> dict[str, Any]:
    """The covariance of the teacher's vectors decides the time of their PCA."""
    some = np.ones((1024, width), np.float32)
    some.T @ some
    started = time.perf_counter()
    some.T @ some
    seconds = (time.perf_counter() - started) * count / len(some)
    return {"stage": "targets", "seconds": seconds, "bytes": 4 * recipe.dim * count}


def _student(recipe: Recipe, sample: Sequence[str], report: Report) -> SentenceTransformer:
    """One of its size, untrained."""
    if recipe.student_spec.static:
        tokenizer = read_tokenizer(base_model(recipe, report).path)
        tokenizer.no_truncation()
        rows = tokenizer.get_vocab_size() + (recipe.static.add_words or 0)
        return build_static(tokenizer, np.ones((rows, recipe.dim), np.float32))
    return build_student(
        recipe.student,
        recipe.dim,
        recipe.head,
        seed=recipe.seed,
        pooling=recipe.pooling,
        texts=sample,
        report=report,
    )


def _outputs(student: SentenceTransformer, sample: Sequence[str]) -> Embeddings:
    if len(student) > 2:
        return pooled_backbone(student, sample)
    return TorchEncoder(student, name="student").encode(sample)


def _time_step(
    student: SentenceTransformer,
    sample: Sequence[str],
    choices: SettledTraining,
    recipe: Recipe,
    scratch: Path,
    report: Report,
) -> float:
    """Seconds of a step on sentences like those to come, the mean of a few."""
    encoder = TorchEncoder(student, name="student")
    half = _STEPS // 2
    rows = encoder.tokenize(list(sample) * -(-half * choices.batch_size // len(sample)))
    rows = rows[: half * choices.batch_size]
    limit = min(choices.max_tokens, intake_of(student).max_tokens)
    tokens = TokenCache(iter([rows]), max_tokens=limit)
    targets = unit(np.random.default_rng(0).normal(size=(len(rows), recipe.dim)).astype(np.float32))
    times: list[float] = []

    def clock(task: str, done: int, total: int) -> None:
        if task == "training":
            times.append(time.perf_counter())
            report("timing steps", done, total)

    train(
        student,
        tokens,
        targets,
        lambda _: 0.0,
        TokenCache(iter([rows[:10]]), max_tokens=limit),
        recipe=replace(choices, epochs=2.0, max_steps=_STEPS, evaluate_every=10 * _STEPS),
        seed=recipe.seed,
        directory=scratch / "checkpoints",
        report=clock,
    )
    return (times[-1] - times[half - 1]) / half


def _time_neighbours(recipe: Recipe, choices: SettledTraining, count: int) -> float:
    """Seconds of looking up the neighbours of so many sentences."""
    rows = min(count, _TABLE)
    table = np.random.default_rng(0).normal(size=(rows, recipe.dim)).astype(np.float32)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    started = time.perf_counter()
    nearest(table, choices.neighbours, kept=KEPT, pool=POOL, device=device)
    seconds = time.perf_counter() - started
    return seconds * (count / rows) * (min(POOL, count) / rows)
