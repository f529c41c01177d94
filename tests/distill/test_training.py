"""Training is exact: the same weights however often broken off, and the best of them."""

import errno
import json
import math
import resource
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from hpdistill import loop
from hpdistill.distill import training
from hpdistill.distill.training import train
from hpdistill.encoder import Embeddings, unit
from hpdistill.errors import RunError
from hpdistill.loop import (
    TokenCache,
    Trained,
    embed_tokens,
)
from hpdistill.progress import silent
from hpdistill.projection import fit_pca
from hpdistill.pytorch import TorchEncoder
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


def test_training_lowers_the_loss_and_raises_fidelity(task: Task, tmp_path: Path) -> None:
    recipe = replace(RECIPE, max_steps=60, epochs=20.0, evaluate_every=20)
    run = task.run(tmp_path, recipe)
    history = run.trained.history
    assert [entry["step"] for entry in history] == [0, 20, 40, 60]
    losses = [entry["loss"] for entry in history[1:]]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.7 * losses[0]
    assert history[-1]["fidelity"] > history[0]["fidelity"] + 0.2
    assert run.trained.best_score == max(entry["fidelity"] for entry in history)
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
    assert trained.history[0]["fidelity"] == pytest.approx(
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
    assert [entry["fidelity"] for entry in run.trained.history] == [0.9, 0.3, 0.2, 0.2, 0.1]


@pytest.mark.parametrize("step", [1, 3, 7])
def test_a_start_that_may_not_win_does_not_win_after_a_break(
    task: Task, tmp_path: Path, step: int
) -> None:
    scores = iter([0.9, 0.3, 0.2, 0.2, 0.1])
    options = {"validate": lambda outputs: next(scores), "start_may_win": False}
    with pytest.raises(StoppedError):
        task.run(tmp_path, report=stop_at(step), **options)
    assert task.run(tmp_path, **options).trained.best_step == 3


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


# A static student --------------------------------------------------------------------------------


@dataclass
class StaticTask(Task):
    """A table of token vectors to train."""

    def student(self) -> SentenceTransformer:
        tokenizer = read_tokenizer(self.student_dir)
        generator = np.random.default_rng(0)
        vectors = generator.normal(size=(vocabulary_size(tokenizer), K)).astype(np.float32)
        return build_static(tokenizer, vectors)


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


def test_a_static_student_is_trained_by_the_same_loop(
    static_task: StaticTask, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, max_steps=60, epochs=20.0, evaluate_every=20, learning_rate=0.05)
    run = static_task.run(tmp_path, recipe)
    history = run.trained.history
    assert history[-1]["loss"] < 0.9 * history[1]["loss"]
    assert history[-1]["fidelity"] > history[0]["fidelity"] + 0.2


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


def test_a_large_batch_of_a_static_student_is_one_batch() -> None:
    lengths = np.full(2000, 30, np.int32)
    batch = np.arange(1024)
    at_once = {"transformer": 4096, "static": 2**20}
    assert len(training.split_long(batch, lengths, at_once["static"])) == 1
    assert len(training.split_long(batch, lengths, at_once["transformer"])) > 1


def test_texts_without_tokens_can_be_trained_on(static_task: StaticTask, tmp_path: Path) -> None:
    empty = TokenCache(iter([[[] for _ in range(100)]]), max_tokens=64)
    held_out = TokenCache(iter([[[] for _ in range(30)]]), max_tokens=64)
    silent_task = replace(static_task, tokens=empty, validation_tokens=held_out)
    run = silent_task.run(tmp_path, replace(RECIPE, max_steps=3))
    assert np.isfinite(static_task.outputs(run.student)).all()
