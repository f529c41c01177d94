"""A table of token vectors is trained like any other student."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training_tasks import RECIPE, StaticTask, StoppedError, Task, assert_same, stop_at

from hpdistill.distill import training
from hpdistill.loop import TokenCache
from hpdistill.pytorch import intake_of


def test_a_static_student_is_trained_by_the_same_loop(
    static_task: StaticTask, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, max_steps=60, epochs=20.0, evaluate_every=20, learning_rate=0.05)
    run = static_task.run(tmp_path, recipe)
    history = run.trained.history
    assert history[-1]["loss"] < 0.9 * history[1]["loss"]
    assert history[-1]["score"] > history[0]["score"] + 0.2


@pytest.mark.parametrize("step", [1, 7, 12])
def test_a_broken_training_of_a_static_student_ends_like_an_unbroken_one(
    static_task: StaticTask, tmp_path: Path, step: int
) -> None:
    unbroken = static_task.run(tmp_path / "unbroken")
    with pytest.raises(StoppedError):
        static_task.run(tmp_path / "broken", report=stop_at(step))
    assert_same(static_task.run(tmp_path / "broken"), unbroken, atol=1e-6)


def test_only_the_direction_of_a_mean_of_token_vectors_is_taught(static_task: StaticTask) -> None:
    outputs = static_task.outputs(static_task.student())
    np.testing.assert_allclose(np.linalg.norm(outputs, axis=1), 1, atol=1e-5)


def test_a_large_batch_of_a_static_student_is_one_batch(
    static_task: StaticTask, task: Task
) -> None:
    lengths, batch = np.full(2000, 30, np.int32), np.arange(1024)
    assert len(training.split_long(batch, lengths, intake_of(static_task.student()))) == 1
    assert len(training.split_long(batch, lengths, intake_of(task.student()))) > 1


def test_texts_without_tokens_can_be_trained_on(static_task: StaticTask, tmp_path: Path) -> None:
    empty = TokenCache(iter([[[] for _ in range(100)]]), max_tokens=64)
    held_out = TokenCache(iter([[[] for _ in range(30)]]), max_tokens=64)
    silent_task = replace(static_task, tokens=empty, validation_tokens=held_out)
    run = silent_task.run(tmp_path, replace(RECIPE, max_steps=3))
    assert np.isfinite(static_task.outputs(run.student)).all()
