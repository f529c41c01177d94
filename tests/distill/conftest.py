"""The task that the tests of training share, and its unbroken runs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from training_tasks import RECIPE, K, Run, StaticTask, Task

from hpdistill.encoder import unit
from hpdistill.loop import TokenCache
from hpdistill.projection import fit_pca
from hpdistill.pytorch import TorchEncoder
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
