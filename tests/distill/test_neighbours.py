"""Neighbours are the nearest other sentences, and a ranking is right only at the target's."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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
    found = nearest(targets, wanted, pool=1000)
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
    found = nearest(random_targets(100), 4, pool=12)
    members = set(np.linspace(0, 99, 12).astype(int).tolist())
    assert set(found.ravel().tolist()) <= members
    assert not (found == np.arange(100)[:, None]).any()
    assert all(len(set(row)) == 4 for row in found.tolist())


def test_it_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", 40)
    told: list[tuple[int, int]] = []
    Neighbours.find(random_targets(100), report=lambda _, done, total: told.append((done, total)))
    assert told == [(40, 100), (80, 100), (100, 100)]


def test_the_length_of_a_target_does_not_matter() -> None:
    targets = random_targets(50)
    stretched = targets * np.linspace(1, 9, 50, dtype=np.float32)[:, None]
    same = np.sort(nearest(targets, 5, pool=50)) == np.sort(nearest(stretched, 5, pool=50))
    assert same.all()


def test_candidates_are_the_batch_and_neighbours_of_it() -> None:
    targets = random_targets(300)
    found = Neighbours.find(targets)
    batch = np.array([7, 3, 250])
    torch.manual_seed(0)
    chosen, vectors = found.candidates(batch)
    allowed = {*batch.tolist(), *nearest(targets, 32, pool=300)[batch].ravel().tolist()}
    assert set(batch.tolist()) < set(chosen.tolist()) <= allowed
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert np.array_equal(vectors.numpy(), targets[chosen])
    # Others the next time, the same ones after the same random numbers.
    assert chosen.tolist() != found.candidates(batch)[0].tolist()
    torch.manual_seed(0)
    assert chosen.tolist() == found.candidates(batch)[0].tolist()


CANDIDATES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])


def test_the_ranking_loss_is_what_is_computed_by_hand() -> None:
    # The sentence is candidate 0. Its target's cosines to the others: 0 and 0.6; the student's,
    # whose vector is (0, 2): 1 and 0.8.
    p = math.exp(0.6) / (1 + math.exp(0.6))
    q = math.exp(0.8) / (math.exp(1) + math.exp(0.8))
    expected = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    loss = ranking_loss(
        torch.tensor([[0.0, 2.0]]), CANDIDATES[:1], CANDIDATES, torch.tensor([0]), temperature=1
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_ranking_loss_is_zero_at_the_targets_whatever_their_length() -> None:
    own = torch.arange(3)
    assert ranking_loss(3 * CANDIDATES, CANDIDATES, CANDIDATES, own).item() < 1e-6
    turned = CANDIDATES @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    assert ranking_loss(turned, CANDIDATES, CANDIDATES, own).item() > 1


def test_the_gradient_of_the_ranking_is_that_of_the_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(2, 4, 3, dtype=torch.float64, generator=generator)
    candidates = torch.cat([targets, torch.randn(5, 3, dtype=torch.float64, generator=generator)])
    outputs.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda h: ranking_loss(h, targets, candidates, torch.arange(4), temperature=0.5), (outputs,)
    )
