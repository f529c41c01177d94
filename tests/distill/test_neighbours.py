"""Neighbours are the nearest other sentences, and a ranking is right only at the target's."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from hpdistill.distill import neighbours
from hpdistill.distill.neighbours import Neighbours, nearest, ranking_loss
from hpdistill.encoder import Embeddings, unit


def random_targets(count: int, k: int = 6, seed: int = 0) -> Embeddings:
    generator = np.random.default_rng(seed)
    return unit(generator.standard_normal((count, k)).astype(np.float32))


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 80), st.integers(1, 12), st.integers(0, 99))
def test_the_nearest_are_those_of_a_full_sort(count: int, wanted: int, seed: int) -> None:
    targets = random_targets(count, seed=seed)
    found = nearest(targets, wanted, kept=99, pool=1000)
    scores = targets @ targets.T
    np.fill_diagonal(scores, -np.inf)
    width = min(wanted, count - 1)
    assert found.shape == (count, width)
    expected = np.sort(scores, axis=1)[:, ::-1][:, :width]
    reached = np.sort(np.take_along_axis(scores, found, axis=1), axis=1)[:, ::-1]
    np.testing.assert_allclose(reached, expected, atol=1e-6)


def test_neighbours_come_from_the_pool_and_never_are_the_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", 16)
    found = nearest(random_targets(100), 4, kept=99, pool=12)
    members = set(np.linspace(0, 99, 12).astype(int).tolist())
    assert set(found.ravel().tolist()) <= members
    assert not (found == np.arange(100)[:, None]).any()
    assert all(len(set(row)) == 4 for row in found.tolist())


def test_of_many_neighbours_some_are_kept_from_the_nearest_to_the_last() -> None:
    targets = random_targets(200)
    scores = targets @ targets.T
    np.fill_diagonal(scores, -np.inf)
    ranked = np.argsort(-scores, axis=1)
    few = nearest(targets, 100, kept=4, pool=200)
    np.testing.assert_array_equal(few, ranked[:, [0, 33, 66, 99]])


def test_it_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", 40)
    told: list[tuple[int, int]] = []
    Neighbours.find(
        random_targets(100), count=32, report=lambda _, done, total: told.append((done, total))
    )
    assert told == [(40, 100), (80, 100), (100, 100)]


def test_the_length_of_a_target_does_not_matter() -> None:
    targets = random_targets(50)
    stretched = targets * np.linspace(1, 9, 50, dtype=np.float32)[:, None]
    same = np.sort(nearest(targets, 5, kept=99, pool=50)) == np.sort(
        nearest(stretched, 5, kept=99, pool=50)
    )
    assert same.all()


def rows_in(targets: Embeddings, vectors: torch.Tensor) -> list[int]:
    """Which targets some vectors are."""
    distances = np.abs(targets[None] - vectors.numpy()[:, None]).max(axis=2)
    assert (distances.min(axis=1) == 0).all()
    return distances.argmin(axis=1).tolist()


def test_candidates_are_the_batch_and_neighbours_of_it() -> None:
    targets = random_targets(300)
    found = Neighbours.find(targets, count=32)
    batch = np.array([7, 3, 250])
    torch.manual_seed(0)
    chosen = rows_in(targets, found.candidates(batch).vectors)
    allowed = {*batch.tolist(), *nearest(targets, 32, kept=99, pool=300)[batch].ravel().tolist()}
    assert set(batch.tolist()) < set(chosen) <= allowed
    assert chosen == sorted(set(chosen))
    # Others the next time, the same ones after the same random numbers.
    assert chosen != rows_in(targets, found.candidates(batch).vectors)
    torch.manual_seed(0)
    assert chosen == rows_in(targets, found.candidates(batch).vectors)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_candidates_are_as_like_as_the_teacher_says(dtype: type) -> None:
    targets, teacher = random_targets(300), random_targets(300, k=11, seed=1).astype(dtype)
    batch = np.array([7, 3, 250])
    drawn = Neighbours.find(targets, teacher, count=32).candidates(batch)
    chosen = rows_in(targets, drawn.vectors)
    assert np.array(chosen)[drawn.own.numpy()].tolist() == batch.tolist()
    right = teacher[batch].astype(np.float32) @ teacher[chosen].astype(np.float32).T
    np.testing.assert_allclose(
        drawn.cosines.numpy(), right, atol=1e-6 if dtype is np.float32 else 1e-3
    )


def test_without_a_teacher_the_targets_say_how_like_candidates_are() -> None:
    targets = random_targets(300)
    stretched = targets * np.linspace(1, 9, 300, dtype=np.float32)[:, None]
    drawn = Neighbours.find(stretched, count=32).candidates(np.array([7, 3, 250]))
    vectors = unit(drawn.vectors.numpy())
    np.testing.assert_allclose(drawn.cosines.numpy(), targets[[7, 3, 250]] @ vectors.T, atol=1e-6)


CANDIDATES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
COSINES = CANDIDATES @ CANDIDATES.T


def test_the_ranking_loss_is_what_is_computed_by_hand() -> None:
    # The sentence is candidate 0. The right cosines to the others: 0 and 0.6; those of the
    # student, whose vector is (0, 2): 1 and 0.8.
    p = math.exp(0.6) / (1 + math.exp(0.6))
    q = math.exp(0.8) / (math.exp(1) + math.exp(0.8))
    expected = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    loss = ranking_loss(
        torch.tensor([[0.0, 2.0]]), CANDIDATES, COSINES[:1], torch.tensor([0]), temperature=1
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_ranking_loss_is_zero_at_the_targets_whatever_their_length() -> None:
    own = torch.arange(3)
    assert ranking_loss(3 * CANDIDATES, CANDIDATES, COSINES, own).item() < 1e-6
    turned = CANDIDATES @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    assert ranking_loss(turned, CANDIDATES, COSINES, own).item() > 1


def test_the_gradient_of_the_ranking_is_that_of_the_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(2, 4, 3, dtype=torch.float64, generator=generator)
    candidates = torch.cat([targets, torch.randn(5, 3, dtype=torch.float64, generator=generator)])
    outputs.requires_grad_()
    cosines = normalize(targets) @ normalize(candidates).T
    assert torch.autograd.gradcheck(
        lambda h: ranking_loss(h, candidates, cosines, torch.arange(4), temperature=0.5), (outputs,)
    )
