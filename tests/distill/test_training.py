"""Training is exact: every sentence once an epoch, the same weights however often broken off."""

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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from hpdistill import loop
from hpdistill.distill import training
from hpdistill.distill.training import distillation_loss, train
from hpdistill.encoder import Embeddings, unit
from hpdistill.errors import RunError
from hpdistill.loop import (
    TokenCache,
    Trained,
    batches,
    embed_tokens,
    schedule,
    total_steps,
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
    precision="float32",
    evaluate_every=3,
    max_tokens=64,
).settled()

# Tokens ------------------------------------------------------------------------------------------

ids = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=9)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(ids, min_size=1, max_size=5), min_size=1, max_size=4), st.data())
def test_tokens_come_back(chunks: list[list[list[int]]], data: st.DataObject) -> None:
    cache = TokenCache(iter(chunks), max_tokens=9)
    rows = [row for chunk in chunks for row in chunk]
    assert len(cache) == len(rows)
    assert cache.rows(range(len(rows))) == rows
    assert cache.lengths.tolist() == [len(row) for row in rows]
    some = data.draw(st.lists(st.integers(0, len(rows) - 1)))
    assert cache.rows(np.array(some, np.int64)) == [rows[i] for i in some]


def test_a_cut_sentence_keeps_its_last_token() -> None:
    rows = [[2, 5, 6, 7, 8, 3], [2, 5, 3], [2, 5, 6, 3], [2, 3]]
    cache = TokenCache(iter([rows]), max_tokens=4)
    assert cache.rows(range(4)) == [[2, 5, 6, 3], [2, 5, 3], [2, 5, 6, 3], [2, 3]]
    assert cache.lengths.tolist() == [4, 3, 4, 2]
    assert TokenCache(iter([rows]), max_tokens=3).rows([0]) == [[2, 5, 3]]


# Batches -----------------------------------------------------------------------------------------


def lengths_of(count: int, *, seed: int = 0) -> NDArray[np.int32]:
    """As text has them: most short, a few at the limit."""
    generator = np.random.default_rng(seed)
    return np.clip(generator.lognormal(3, 0.8, count), 3, 128).astype(np.int32)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 700), st.integers(1, 70), st.integers(0, 2**32), st.integers(0, 50))
def test_an_epoch_holds_every_sentence_once(
    count: int, batch_size: int, seed: int, epoch: int
) -> None:
    made = batches(lengths_of(count), batch_size, seed=seed, epoch=epoch)
    assert sorted(np.concatenate(made).tolist()) == list(range(count))
    assert len(made) == math.ceil(count / batch_size)
    assert all(1 <= len(batch) <= batch_size for batch in made)
    assert sum(len(batch) < batch_size for batch in made) <= 1


def order(*, seed: int, epoch: int) -> list[list[int]]:
    return [batch.tolist() for batch in batches(lengths_of(4000), 16, seed=seed, epoch=epoch)]


def test_batches_are_decided_by_seed_and_epoch() -> None:
    assert order(seed=0, epoch=0) == order(seed=0, epoch=0)
    variants = [order(seed=s, epoch=e) for s in (0, 1) for e in (0, 1, 2)]
    assert all(one != other for i, one in enumerate(variants) for other in variants[:i])
    # Not only in another order: other sentences meet.
    met = [{frozenset(batch) for batch in variant} for variant in variants]
    assert all(not one & other for i, one in enumerate(met) for other in met[:i])


def test_little_padding_is_computed() -> None:
    lengths = lengths_of(6000)

    def padded(groups: list[NDArray[np.int64]]) -> float:
        return sum(len(g) * int(lengths[g].max()) for g in groups) / int(lengths.sum())

    assert padded(np.array_split(np.random.default_rng(0).permutation(6000), 188)) > 2
    assert padded(batches(lengths, 32, seed=0, epoch=0)) < 1.3


def test_long_and_short_sentences_are_spread_over_the_epoch() -> None:
    lengths = lengths_of(4096)
    means = [lengths[batch].mean() for batch in batches(lengths, 16, seed=0, epoch=0)]
    halves = np.mean(means[:128]), np.mean(means[128:])
    assert abs(halves[0] - halves[1]) < 0.25 * lengths.mean()


def test_a_small_corpus_does_not_meet_only_its_equals() -> None:
    lengths = lengths_of(1000)
    for batch_size in (16, 64):
        made = batches(lengths, batch_size, seed=0, epoch=0)
        spread = np.mean([np.ptp(lengths[batch]) for batch in made])
        sorted_whole = np.split(np.sort(lengths), range(batch_size, 1000, batch_size))
        assert spread > 2 * np.mean([np.ptp(batch) for batch in sorted_whole])


# Loss --------------------------------------------------------------------------------------------

OUTPUTS = torch.tensor([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]])
TARGETS = torch.tensor([[4.0, 3.0], [0.0, 1.0], [0.0, 1.0]])


@pytest.mark.parametrize("weight", [0.0, 1.0, 0.5])
def test_the_loss_is_what_is_computed_by_hand(weight: float) -> None:
    # |h - y|^2: 2 + 1 + 2; |y|^2: 25 + 1 + 1.
    # Cosines of the pairs: 0.8, 0.6, 0 against 0.6, 0.6, 1.
    relational = (2 / 2) * (0.2**2 + 0 + 1) / 3
    loss = distillation_loss(OUTPUTS, TARGETS, similarity_weight=weight)
    assert loss.item() == pytest.approx(5 / 27 + weight * relational, rel=1e-6)


def test_the_loss_is_zero_at_the_targets_alone() -> None:
    targets = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    assert distillation_loss(targets, targets, similarity_weight=1).item() < 1e-10
    # Twice as long: no cosine is wrong, and the squared error is that of all of it.
    twice = distillation_loss(2 * targets, targets, similarity_weight=1)
    assert twice.item() == pytest.approx(1, rel=1e-5)
    assert distillation_loss(0 * targets, targets, similarity_weight=0).item() == 1


def test_the_squared_error_means_the_same_for_every_k() -> None:
    generator = torch.Generator().manual_seed(0)
    targets, error = torch.randn(2, 9, 6, generator=generator)
    small = distillation_loss(targets + error, targets, similarity_weight=0)
    # Twice the dimensions and another scale, the same relative error.
    wide, wide_error = torch.cat([targets, targets], 1) * 10, torch.cat([error, error], 1) * 10
    large = distillation_loss(wide + wide_error, wide, similarity_weight=0)
    assert small.item() == pytest.approx(large.item(), rel=1e-5)


@pytest.mark.parametrize("k", [16, 64, 256])
def test_an_isotropic_error_weighs_as_much_in_both_terms(k: int) -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(256, k, generator=generator)
    outputs = targets + 0.1 * torch.randn(256, k, generator=generator)
    first = distillation_loss(outputs, targets, similarity_weight=0).item()
    both = distillation_loss(outputs, targets, similarity_weight=1).item()
    assert first == pytest.approx(0.01, rel=0.05)
    assert both == pytest.approx(2 * first, rel=0.1)


def test_the_gradient_is_that_of_the_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(2, 5, 4, dtype=torch.float64, generator=generator)
    outputs.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda h: distillation_loss(h, targets, similarity_weight=0.7), (outputs,)
    )


def test_a_prefix_is_compared_like_a_whole_vector() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(2, 9, 8, generator=generator)

    def loss(dim: int) -> float:
        cut = distillation_loss(outputs[:, :dim], targets[:, :dim], similarity_weight=0.5)
        return cut.item()

    both = distillation_loss(
        outputs, targets, similarity_weight=0.5, prefixes=(2, 4), prefix_weight=3
    )
    assert both.item() == pytest.approx(loss(8) + 3 * (loss(2) + loss(4)) / 2, rel=1e-6)
    none = distillation_loss(
        outputs, targets, similarity_weight=0.5, prefixes=(2, 4), prefix_weight=0
    )
    assert none.item() == loss(8)


def test_a_batch_of_one_has_no_pairs() -> None:
    loss = distillation_loss(OUTPUTS[:1], TARGETS[:1], similarity_weight=1)
    assert loss.item() == pytest.approx(2 / 25)


def test_a_zero_output_has_a_finite_gradient() -> None:
    outputs = torch.zeros(3, 2, requires_grad=True)
    distillation_loss(outputs, TARGETS, similarity_weight=1).backward()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()


# Steps and learning rate -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epochs", "max_steps", "sentences", "steps"),
    [
        (2.0, None, 128, 4),
        (2.0, None, 129, 6),
        (1.0, None, 1, 1),
        (0.5, None, 640, 5),
        (0.01, None, 640, 1),
        (0.0, None, 640, 0),
        (2.0, 3, 640, 3),
        (2.0, 0, 640, 0),
        (1.0, 1000, 640, 10),
        (1.1, None, 640, 11),  # 1.1 * 10 is a little more than 11 in binary
        (0.3, None, 640, 3),
    ],
)
def test_steps_are_counted(
    epochs: float, max_steps: int | None, sentences: int, steps: int
) -> None:
    recipe = TrainingRecipe(epochs=epochs, max_steps=max_steps, batch_size=64).settled()
    assert total_steps(recipe, sentences) == steps


def test_the_rate_rises_and_falls_to_zero() -> None:
    rates = [schedule(step, 10, 0.2) for step in range(11)]
    assert rates == pytest.approx([0.5, 1, *(1 - i / 8 for i in range(9))])
    assert rates[-1] == 0


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 2000), st.floats(0, 1, exclude_max=True))
def test_the_rate_is_in_bounds_for_any_training(steps: int, warmup: float) -> None:
    rates = np.array([schedule(step, steps, warmup) for step in range(steps)])
    assert ((rates > 0) & (rates <= 1)).all()
    assert rates.max() == 1
    assert schedule(steps, steps, warmup) == 0
    peak = int(rates.argmax())
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) <= 0).all()
    assert peak <= max(1, round(warmup * steps))


# Training ----------------------------------------------------------------------------------------


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


def test_random_states_of_a_device_go_into_checkpoints_and_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = {"cuda": torch.tensor([1, 2, 3], dtype=torch.uint8)}
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: held["cuda"].clone())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: held.update(cuda=state))
    torch.manual_seed(5)
    tensors = loop.random_states(torch.device("cuda"))
    expected = torch.rand(3)
    held["cuda"] = torch.zeros(3, dtype=torch.uint8)
    loop.set_random_states(tensors, torch.device("cuda"))
    assert held["cuda"].tolist() == [1, 2, 3]
    assert torch.equal(torch.rand(3), expected)
    assert tensors == {}  # what is left is the optimiser's
    # A checkpoint of a processor goes on with a device, and the other way round.
    loop.set_random_states(loop.random_states(torch.device("cpu")), torch.device("cuda"))
    both = loop.random_states(torch.device("cuda"))
    loop.set_random_states(both, torch.device("cpu"))
    assert both == {}


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
