"""The loss is what is computed by hand, and means the same for every width and scale."""

import pytest
import torch

from hpdistill.distill.neighbours import Candidates, ranking_loss
from hpdistill.distill.training import distillation_loss

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


def test_a_prefix_ranks_as_whole_vectors_should() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(2, 9, 8, generator=generator)
    candidates = Candidates(
        vectors=torch.randn(20, 8, generator=generator),
        cosines=torch.rand(9, 20, generator=generator),
        own=torch.arange(9),
    )

    def part(dim: int) -> float:
        cut = outputs[:, :dim]
        squared = distillation_loss(cut, targets[:, :dim], similarity_weight=0)
        vectors, cosines, own = candidates
        return (squared + 2 * ranking_loss(cut, vectors[:, :dim], cosines, own)).item()

    def loss(prefix_weight: float) -> float:
        return distillation_loss(
            outputs,
            targets,
            candidates,
            similarity_weight=0,
            neighbour_weight=2,
            prefixes=(2, 4),
            prefix_weight=prefix_weight,
        ).item()

    assert loss(0) == pytest.approx(part(8), rel=1e-6)
    assert loss(3) == pytest.approx(part(8) + 3 * (part(2) + part(4)) / 2, rel=1e-6)


def test_a_batch_of_one_has_no_pairs() -> None:
    loss = distillation_loss(OUTPUTS[:1], TARGETS[:1], similarity_weight=1)
    assert loss.item() == pytest.approx(2 / 25)


def test_a_zero_output_has_a_finite_gradient() -> None:
    outputs = torch.zeros(3, 2, requires_grad=True)
    distillation_loss(outputs, TARGETS, similarity_weight=1).backward()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()
