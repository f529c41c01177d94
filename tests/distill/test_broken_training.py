"""A training ends with the same weights however often it is broken off."""

import errno
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_tasks import (
    RECIPE,
    STEPS,
    Run,
    StoppedError,
    Task,
    assert_same,
    stop_at,
)

from hpdistill import loop
from hpdistill.encoder import Embeddings
from hpdistill.errors import RunError


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("step", [1, 3, 7, 12])
def test_a_broken_training_ends_like_an_unbroken_one(
    task: Task, unbroken: Run, unbroken_dropout: Run, tmp_path: Path, step: int, dropout: bool
) -> None:
    recipe = replace(RECIPE, dropout=dropout)
    with pytest.raises(StoppedError):
        task.run(tmp_path, recipe, report=stop_at(step))
    torch.manual_seed(99)  # a new process has another random state
    resumed = task.run(tmp_path, recipe)
    assert_same(resumed, unbroken_dropout if dropout else unbroken, atol=1e-6)


def test_a_training_broken_again_and_again_ends_like_an_unbroken_one(
    task: Task, unbroken_dropout: Run, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, dropout=True)
    for step in (2, 4, 5, 8, 11):
        with pytest.raises(StoppedError):
            task.run(tmp_path, recipe, report=stop_at(step))
    assert_same(task.run(tmp_path, recipe), unbroken_dropout, atol=1e-6)


def test_a_training_on_neighbours_draws_the_same_ones_after_a_break(
    task: Task, unbroken: Run, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, neighbour_weight=0.3)
    whole = task.run(tmp_path / "whole", recipe)
    with pytest.raises(AssertionError):
        assert_same(whole, unbroken, atol=1e-6)
    with pytest.raises(StoppedError):
        task.run(tmp_path / "broken", recipe, report=stop_at(7))
    torch.manual_seed(99)
    assert_same(task.run(tmp_path / "broken", recipe), whole, atol=1e-6)


@pytest.mark.parametrize("steps", [0, 3])
def test_neighbours_are_found_only_if_there_is_something_to_train(
    task: Task, tmp_path: Path, steps: int
) -> None:
    recipe = replace(RECIPE, neighbour_weight=1.0, max_steps=steps)
    first: list[str] = []
    task.run(tmp_path, recipe, report=lambda task, done, total: first.append(task))
    assert first == ["finding neighbours"] * (steps > 0) + ["training"] * steps
    again: list[str] = []
    task.run(tmp_path, recipe, report=lambda task, done, total: again.append(task))
    assert again == []


@pytest.mark.parametrize(("weight", "steps"), [(1.0, 3), (1.0, 0), (0.0, 3)])
def test_the_teacher_is_asked_for_its_vectors_once_if_it_is_to_rank(
    task: Task, tmp_path: Path, weight: float, steps: int
) -> None:
    asked: list[int] = []

    def ranking() -> Embeddings:
        asked.append(1)
        return np.asarray(task.targets[:, :3])

    recipe = replace(RECIPE, neighbour_weight=weight, max_steps=steps)
    own = task.run(tmp_path / "own", recipe)
    other = task.run(tmp_path / "other", recipe, ranking=ranking)
    assert len(asked) == (weight * steps > 0)
    if asked:
        with pytest.raises(AssertionError):
            assert_same(own, other, atol=1e-6)
    else:
        assert_same(own, other, atol=1e-6)


def test_a_broken_training_does_not_start_over(task: Task, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        task.run(tmp_path, report=stop_at(7))
    calls: list[int] = []
    task.run(tmp_path, report=lambda task, done, total: calls.append(done))
    assert calls == [step * 16 for step in range(7, STEPS + 1)]


@pytest.mark.parametrize("dropout", [False, True])
def test_a_finished_training_is_only_loaded(
    task: Task, unbroken: Run, unbroken_dropout: Run, tmp_path: Path, dropout: bool
) -> None:
    recipe = replace(RECIPE, dropout=dropout)
    task.run(tmp_path, recipe)

    def refuse(*args: object) -> float:
        raise AssertionError("trained or validated again")

    again = task.run(tmp_path, recipe, report=refuse, validate=refuse)
    assert_same(again, unbroken_dropout if dropout else unbroken)


@pytest.mark.parametrize("call", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("error", [StoppedError(), OSError(errno.ENOSPC, "No space left")])
def test_a_training_broken_while_it_saves_ends_like_an_unbroken_one(
    task: Task,
    unbroken: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: int,
    error: Exception,
) -> None:
    calls = 0

    def failing(original: Callable[..., None]) -> Callable[..., None]:
        def save(content: object, path: str | Path) -> None:
            nonlocal calls
            calls += 1
            if calls == call:
                Path(path).write_bytes(b"half of it")
                raise error
            original(content, path)

        return save

    with monkeypatch.context() as patch:
        for name in ("save_file", "save_model"):
            patch.setattr(loop, name, failing(getattr(loop, name)))
        expected = StoppedError if isinstance(error, StoppedError) else RunError
        with pytest.raises(expected):
            task.run(tmp_path)
    assert_same(task.run(tmp_path), unbroken, atol=1e-6)


def test_what_a_kill_left_behind_is_ignored_and_removed(
    task: Task, unbroken: Run, tmp_path: Path
) -> None:
    with pytest.raises(StoppedError):
        task.run(tmp_path, report=stop_at(7))
    for name in ("step-00000009.12345.tmp", "best-00000009.12345.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"half of it")
    assert_same(task.run(tmp_path), unbroken, atol=1e-6)
    assert not list(tmp_path.glob("*.tmp"))


def test_a_kill_before_the_tidying_leaves_nothing_for_good(
    task: Task, unbroken: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tidy, calls = loop._tidy, 0

    def killed(*args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise StoppedError
        tidy(*args)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_tidy", killed)
        with pytest.raises(StoppedError):
            task.run(tmp_path)
    assert len(list(tmp_path.glob("step-*"))) == 2
    seen: list[int] = []
    again = task.run(tmp_path, report=lambda *args: seen.append(len(list(tmp_path.glob("step-*")))))
    assert set(seen) == {1}
    assert_same(again, unbroken, atol=1e-6)


def test_a_checkpoint_that_does_not_fit_is_said_and_the_one_before_kept(
    task: Task, unbroken: Run, tmp_path: Path
) -> None:
    with pytest.raises(StoppedError):
        task.run(tmp_path, report=stop_at(4))
    before = sorted(path.name for path in tmp_path.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(RunError, match="cannot write"):
            task.run(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert_same(task.run(tmp_path), unbroken, atol=1e-6)


def test_only_the_newest_and_the_best_are_kept_and_none_is_a_pickle(
    task: Task, tmp_path: Path
) -> None:
    scores = iter([0.1, 0.3, 0.9, 0.2, 0.1])
    run = task.run(tmp_path, validate=lambda outputs: next(scores))
    assert run.trained.best_step == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best-00000006", "step-00000012"]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json"}


@pytest.mark.parametrize("step", [1, 3, 7])
def test_a_start_that_may_not_win_does_not_win_after_a_break(
    task: Task, tmp_path: Path, step: int
) -> None:
    scores = iter([0.9, 0.3, 0.2, 0.2, 0.1])
    options = {"validate": lambda outputs: next(scores), "start_may_win": False}
    with pytest.raises(StoppedError):
        task.run(tmp_path, report=stop_at(step), **options)
    assert task.run(tmp_path, **options).trained.best_step == 3


def test_a_model_with_shared_weights_is_trained_and_kept(
    task: Task, teacher_dir: Path, tmp_path: Path
) -> None:
    """T5's kind holds its word embeddings under two names."""
    from transformers import AutoTokenizer, T5Config, T5EncoderModel

    config = T5Config(vocab_size=70, d_model=24, d_kv=12, d_ff=32, num_layers=2, num_heads=2)
    T5EncoderModel(config).save_pretrained(tmp_path / "t5")
    AutoTokenizer.from_pretrained(teacher_dir).save_pretrained(tmp_path / "t5")
    t5 = replace(task, student_dir=tmp_path / "t5")
    recipe = replace(RECIPE, max_steps=6)
    whole = t5.run(tmp_path / "whole", recipe)
    with pytest.raises(StoppedError):
        t5.run(tmp_path / "broken", recipe, report=stop_at(4))
    assert_same(t5.run(tmp_path / "broken", recipe), whole, atol=1e-6)
