"""Every sentence once an epoch, tokens as they came, and a rate that rises and falls."""

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hpdistill import loop
from hpdistill.loop import TokenCache, batches, schedule, total_steps
from hpdistill.recipe import TrainingRecipe

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


# Random numbers ----------------------------------------------------------------------------------


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
