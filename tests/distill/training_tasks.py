"""A small student to train, targets for it, and what came of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from hpdistill.distill.training import train
from hpdistill.encoder import Embeddings, unit
from hpdistill.loop import TokenCache, Trained, embed_tokens
from hpdistill.progress import silent
from hpdistill.recipe import HeadRecipe, TrainingRecipe
from hpdistill.static import read_tokenizer, vocabulary_size
from hpdistill.student import build_static, build_student

K = 8
STEPS = 12
RECIPE = TrainingRecipe(
    max_steps=STEPS,
    batch_size=16,
    learning_rate=1e-3,
    neighbour_weight=0.0,
    precision="float32",
    evaluate_every=3,
    max_tokens=64,
).settled()


class StoppedError(Exception):
    """Stands for a kill."""


def stop_at(step: int) -> Callable[[str, int, int], None]:
    def report(task: str, done: int, total: int) -> None:
        if done >= step * RECIPE.batch_size:
            raise StoppedError

    return report


@dataclass
class Task:
    """A student to train, on targets of a teacher."""

    student_dir: Path
    tokens: TokenCache
    targets: Embeddings
    validation_tokens: TokenCache
    validation_targets: Embeddings

    def student(self) -> SentenceTransformer:
        return build_student(str(self.student_dir), K, HeadRecipe(), seed=0)

    def fidelity(self, outputs: Embeddings) -> float:
        return float((unit(outputs) * self.validation_targets).sum(axis=1).mean())

    def run(self, directory: Path, recipe: TrainingRecipe = RECIPE, **options: Any) -> "Run":
        student = self.student()
        options = {"validate": self.fidelity, "seed": 0, "report": silent} | options
        trained = train(
            student,
            self.tokens,
            self.targets,
            validation_tokens=self.validation_tokens,
            recipe=recipe,
            directory=directory,
            **options,
        )
        return Run(student, trained)

    def outputs(self, student: SentenceTransformer) -> Embeddings:
        return embed_tokens(student, self.validation_tokens, bfloat16=False)


@dataclass
class StaticTask(Task):
    """A table of token vectors to train."""

    def student(self) -> SentenceTransformer:
        tokenizer = read_tokenizer(self.student_dir)
        generator = np.random.default_rng(0)
        vectors = generator.normal(size=(vocabulary_size(tokenizer), K)).astype(np.float32)
        return build_static(tokenizer, vectors)


@dataclass
class Run:
    student: SentenceTransformer
    trained: Trained

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return self.student.state_dict()


def assert_same(one: Run, other: Run, *, atol: float = 0) -> None:
    assert one.weights.keys() == other.weights.keys()
    for name, value in one.weights.items():
        torch.testing.assert_close(value, other.weights[name], rtol=0, atol=atol)
    assert one.trained.steps == other.trained.steps
    assert one.trained.best_step == other.trained.best_step
    for mine, yours in zip(one.trained.history, other.trained.history, strict=True):
        assert mine == pytest.approx(yours, abs=atol or None)
