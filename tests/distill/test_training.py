"""Training is exact: the same weights for the same choices, and the best of them."""

import json
import math
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_tasks import RECIPE, STEPS, Run, Task, assert_same

from hpdistill import loop
from hpdistill.distill import training
from hpdistill.encoder import Embeddings, unit
from hpdistill.loop import embed_tokens
from hpdistill.pytorch import intake_of


def test_training_lowers_the_loss_and_raises_fidelity(task: Task, tmp_path: Path) -> None:
    recipe = replace(RECIPE, max_steps=60, epochs=20.0, evaluate_every=20)
    run = task.run(tmp_path, recipe)
    history = run.trained.history
    assert [entry["step"] for entry in history] == [0, 20, 40, 60]
    losses = [entry["loss"] for entry in history[1:]]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.7 * losses[0]
    assert history[-1]["score"] > history[0]["score"] + 0.2
    assert run.trained.best_score == max(entry["score"] for entry in history)
    assert run.trained.best_score == pytest.approx(task.fidelity(task.outputs(run.student)))


def test_a_prefix_weight_makes_prefixes_better(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "prefixes_of", lambda dim: [2, dim])
    wanted = unit(task.targets, dim=2)

    def error(weight: float) -> float:
        recipe = replace(RECIPE, prefix_weight=weight, max_steps=20, epochs=20.0, evaluate_every=20)
        # By the number of the step: the student that comes back is the last one.
        steps = count(1)
        run = task.run(tmp_path / str(weight), recipe, validate=lambda _: float(next(steps)))
        ours = unit(embed_tokens(run.student, task.tokens, bfloat16=False), dim=2)
        return float(np.square(ours - wanted).mean())

    assert error(8.0) < 0.9 * error(0.0)


def test_what_is_returned_says_how_it_went(task: Task, unbroken: Run) -> None:
    trained = unbroken.trained
    assert trained.steps == STEPS
    assert [entry["step"] for entry in trained.history] == [0, 3, 6, 9, 12]
    assert trained.history[0]["score"] == pytest.approx(
        task.fidelity(task.outputs(task.student())), abs=1e-6
    )
    assert trained.precision == "float32"
    assert trained.seconds >= 0
    assert json.loads(json.dumps(trained.to_dict())) == trained.to_dict()
    assert not unbroken.student.training


def test_sentences_are_counted_once_each(task: Task, tmp_path: Path) -> None:
    # 100 sentences are 6 batches of 16 and one of 4.
    run = task.run(tmp_path, replace(RECIPE, max_steps=None, epochs=2.0))
    assert run.trained.steps == 14
    assert run.trained.sentences == 200


def test_the_student_ends_with_its_best_weights(task: Task, tmp_path: Path) -> None:
    seen: list[Embeddings] = []
    scores = [0.1, 0.3, 0.9, 0.2, 0.9]  # of two that are equal, the first

    def validate(outputs: Embeddings) -> float:
        seen.append(outputs.copy())
        return scores[len(seen) - 1]

    run = task.run(tmp_path, validate=validate)
    assert (run.trained.best_step, run.trained.best_score) == (6, 0.9)
    np.testing.assert_allclose(task.outputs(run.student), seen[2], atol=1e-6)
    assert np.abs(seen[2] - seen[4]).max() > 1e-3


def test_a_training_worse_than_its_start_ends_where_it_started(task: Task, tmp_path: Path) -> None:
    scores = iter([0.9, 0.3, 0.2, 0.2, 0.1])
    run = task.run(tmp_path, validate=lambda outputs: next(scores))
    assert run.trained.best_step == 0
    for name, value in task.student().state_dict().items():
        assert torch.equal(run.weights[name], value), name


def test_a_start_that_may_not_win_does_not(task: Task, tmp_path: Path) -> None:
    scores = iter([0.9, 0.3, 0.2, 0.2, 0.1])
    run = task.run(tmp_path, validate=lambda outputs: next(scores), start_may_win=False)
    assert (run.trained.best_step, run.trained.best_score) == (3, 0.3)
    assert [entry["score"] for entry in run.trained.history] == [0.9, 0.3, 0.2, 0.2, 0.1]


def test_where_nothing_is_trained_the_start_is_all_there_is(task: Task, tmp_path: Path) -> None:
    run = task.run(tmp_path, replace(RECIPE, max_steps=0), start_may_win=False)
    assert run.trained.best_step == 0
    for name, value in task.student().state_dict().items():
        assert torch.equal(run.weights[name], value), name


def test_a_score_that_is_no_number_is_not_the_best(task: Task, tmp_path: Path) -> None:
    scores = iter([math.nan, 0.3, math.nan, 0.2, 0.1])
    run = task.run(tmp_path / "some", validate=lambda outputs: next(scores))
    assert (run.trained.best_step, run.trained.best_score) == (3, 0.3)


def test_without_any_score_the_student_is_still_there(task: Task, tmp_path: Path) -> None:
    run = task.run(tmp_path, replace(RECIPE, max_steps=3), validate=lambda outputs: math.nan)
    assert np.isfinite(task.outputs(run.student)).all()


@pytest.mark.parametrize("dropout", [False, True])
def test_two_trainings_are_equal_bit_for_bit(
    task: Task, unbroken: Run, unbroken_dropout: Run, tmp_path: Path, dropout: bool
) -> None:
    torch.manual_seed(99)
    again = task.run(tmp_path, replace(RECIPE, dropout=dropout))
    assert_same(again, unbroken_dropout if dropout else unbroken)


def test_another_seed_gives_other_weights(
    task: Task, unbroken: Run, unbroken_dropout: Run, tmp_path: Path
) -> None:
    other = task.run(tmp_path, seed=1)
    for one in (unbroken, unbroken_dropout):
        assert np.abs(task.outputs(other.student) - task.outputs(one.student)).max() > 1e-4
    difference = task.outputs(unbroken.student) - task.outputs(unbroken_dropout.student)
    assert np.abs(difference).max() > 1e-4


def test_no_steps_leave_the_weights_alone(task: Task, tmp_path: Path) -> None:
    run = task.run(tmp_path, replace(RECIPE, max_steps=0))
    for name, value in task.student().state_dict().items():
        assert torch.equal(run.weights[name], value), name
    assert (run.trained.steps, run.trained.best_step, run.trained.sentences) == (0, 0, 0)
    assert [entry["step"] for entry in run.trained.history] == [0]


def test_targets_may_lie_on_disk(task: Task, unbroken: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "targets.npy", task.targets)
    mapped = np.load(tmp_path / "targets.npy", mmap_mode="r")
    assert_same(replace(task, targets=mapped).run(tmp_path / "run"), unbroken)


def test_bfloat16_trains_nearly_the_same(task: Task, unbroken: Run, tmp_path: Path) -> None:
    run = task.run(tmp_path, replace(RECIPE, precision="bfloat16"))
    assert run.trained.precision == "bfloat16 autocast"
    assert {value.dtype for value in run.student.parameters()} == {torch.float32}
    ours, theirs = (unit(task.outputs(one.student)) for one in (run, unbroken))
    assert (ours * theirs).sum(axis=1).min() > 0.98
    assert not np.array_equal(ours, theirs)


@pytest.mark.parametrize(("precision", "expected"), [("auto", True), ("float32", False)])
def test_bfloat16_is_used_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch,
    precision: Any,
    expected: bool,
) -> None:
    recipe = replace(RECIPE, precision=precision)
    monkeypatch.setattr(loop, "has_bfloat16", lambda device: True)
    assert loop.use_bfloat16(recipe, "cpu") is expected
    monkeypatch.setattr(loop, "has_bfloat16", lambda device: False)
    assert loop.use_bfloat16(recipe, "cpu") is False


def test_progress_counts_to_the_end(task: Task, tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    task.run(tmp_path, report=lambda *call: calls.append(call))
    assert {(name, total) for name, _, total in calls} == {("training", STEPS * 16)}
    assert [done for _, done, _ in calls] == [step * 16 for step in range(1, STEPS + 1)]


def test_a_batch_of_long_sentences_is_cut_into_equal_parts_that_fit(task: Task) -> None:
    intake = intake_of(task.student())
    lengths = np.concatenate([np.full(128, 60), np.full(50, 3)]).astype(np.int32)
    parts = training.split_long(np.arange(128), lengths, intake)
    assert [len(part) for part in parts] == [64, 64]
    assert max(map(len, parts)) * intake.padded(60) <= intake.tokens_at_once
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(128))
    assert len(training.split_long(np.arange(128, 178), lengths, intake)) == 1
