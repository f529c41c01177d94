"""What the tests of distillation share: a task to train on, and a run that is whole."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from tiny_runs import distill, tiny_recipe
from training_tasks import RECIPE, K, Run, StaticTask, Task

from hpdistill.distill import Distilled
from hpdistill.encoder import unit
from hpdistill.loop import TokenCache
from hpdistill.projection import fit_pca
from hpdistill.pytorch import TorchEncoder
from hpdistill.recipe import Recipe
from hpdistill.static import read_tokenizer, vocabulary_size
from hpdistill.student import build_static


@pytest.fixture(scope="module")
def task(teacher_dir: Path, student_dir: Path, sentences: Callable[..., list[str]]) -> Task:
    texts = sentences(130)
    vectors = TorchEncoder.load(str(teacher_dir), device="cpu").encode(texts)
    targets = unit(fit_pca([vectors], K).apply(vectors))
    rows = TorchEncoder.load(str(student_dir), device="cpu").tokenize(texts)
    return Task(
        student_dir,
        TokenCache(iter([rows[:100]]), max_tokens=64),
        targets[:100],
        TokenCache(iter([rows[100:]]), max_tokens=64),
        targets[100:],
    )


@pytest.fixture(scope="module")
def unbroken(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return task.run(tmp_path_factory.mktemp("unbroken"))


@pytest.fixture(scope="module")
def unbroken_dropout(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return task.run(tmp_path_factory.mktemp("unbroken"), replace(RECIPE, dropout=True))


@pytest.fixture(scope="module")
def static_task(task: Task, student_dir: Path, sentences: Callable[..., list[str]]) -> StaticTask:
    encoder = TorchEncoder(replace_student(student_dir), name="static")
    rows = encoder.tokenize(sentences(130))
    return StaticTask(
        student_dir,
        TokenCache(iter([rows[:100]]), max_tokens=64),
        task.targets,
        TokenCache(iter([rows[100:]]), max_tokens=64),
        task.validation_targets,
    )


def replace_student(student_dir: Path) -> SentenceTransformer:
    tokenizer = read_tokenizer(student_dir)
    return build_static(tokenizer, np.zeros((vocabulary_size(tokenizer), K), np.float32))


@pytest.fixture(autouse=True, scope="module")
def _small_models(_one_thread: None) -> None:
    """All that are made here."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def text_file(work: Path, sentences: Callable[..., list[str]]) -> Path:
    path = work / "sentences.txt"
    path.write_text("\n".join(sentences(300)), "utf-8")
    return path


@pytest.fixture(scope="module")
def recipe(teacher_dir: Path, student_dir: Path, text_file: Path) -> Callable[..., Recipe]:
    """`recipe(dim=16, corpus__limit=50)`: the small recipe with other choices."""

    def build(**changes: Any) -> Recipe:
        return tiny_recipe(teacher_dir, student_dir, text_file, **changes)

    return build


@pytest.fixture(scope="module")
def store(work: Path) -> Path:
    """Teacher embeddings that the tests share, so that most of them need no teacher."""
    return work / "store"


@pytest.fixture(scope="module")
def finished(work: Path, recipe: Callable[..., Recipe]) -> Distilled:
    """The small recipe distilled into `work/first`; not to be changed."""
    return distill(recipe(), work / "first")


@pytest.fixture
def run(finished: Distilled, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed."""
    return shutil.copytree(finished.model.parent, tmp_path / "run")
