"""The contrastive loss is the paper's, and a batch too large for memory has the same gradients."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from hpdistill.baselines.contrast import Contrast
from hpdistill.loop import TokenCache
from hpdistill.pytorch import TorchEncoder
from hpdistill.recipe import HeadRecipe
from hpdistill.student import build_student

Sentences = Callable[..., list[str]]
BATCH = np.array([4, 0, 7, 2, 9])


@pytest.fixture
def model(student_dir: Path) -> SentenceTransformer:
    return build_student(str(student_dir), 8, HeadRecipe(), seed=0).eval()


@pytest.fixture(scope="module")
def columns(sentences: Sentences) -> list[list[str]]:
    texts = sentences(30)
    return [texts[:10], texts[10:20], texts[20:]]


def contrast(
    model: SentenceTransformer, columns: list[list[str]], tokens_at_once: int | None = None
) -> Contrast:
    encoder = TorchEncoder(model, name="model")
    caches = [TokenCache(iter([encoder.tokenize(c)]), max_tokens=64) for c in columns]
    return Contrast(model, caches, temperature=0.05, bfloat16=False, tokens_at_once=tokens_at_once)


def gradients(model: SentenceTransformer) -> list[torch.Tensor]:
    found = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
    model.zero_grad(set_to_none=True)
    return found


def by_hand(vectors: list[NDArray[np.float32]]) -> float:
    """Equation 5 of Gao et al. 2021, and without negatives equation 1; one example at a time."""
    anchors, *others = ([row / np.linalg.norm(row) for row in part] for part in vectors)
    losses = []
    for i, anchor in enumerate(anchors):
        terms = [np.exp(anchor @ row / 0.05) for part in others for row in part]
        losses.append(-np.log(terms[i] / sum(terms)))
    return float(np.mean(losses))


@pytest.mark.parametrize("count", [2, 3])
def test_the_loss_is_what_is_computed_by_hand(
    model: SentenceTransformer, columns: list[list[str]], count: int
) -> None:
    encoder = TorchEncoder(model, name="model")
    vectors = [encoder.encode([c[i] for i in BATCH]).astype(np.float64) for c in columns[:count]]
    (loss,) = contrast(model, columns[:count])(BATCH)
    assert loss == pytest.approx(by_hand(vectors), rel=1e-4)


def test_the_gradient_is_that_of_the_loss(
    model: SentenceTransformer, columns: list[list[str]]
) -> None:
    step = contrast(model, columns)
    bias = model[2].linear.bias
    list(step(BATCH))
    expected = bias.grad.clone()
    for place in range(2):
        losses = []
        for shift in (1e-2, -1e-2):
            with torch.no_grad():
                bias[place] += shift
            losses += list(step(BATCH))
            with torch.no_grad():
                bias[place] -= shift
        assert (losses[0] - losses[1]) / 2e-2 == pytest.approx(float(expected[place]), rel=0.02)


@pytest.mark.parametrize("tokens", [1, 20, 60])
def test_a_batch_in_parts_has_the_gradients_of_the_whole(
    model: SentenceTransformer, columns: list[list[str]], tokens: int
) -> None:
    (whole,) = contrast(model, columns, 10_000)(BATCH)
    expected = gradients(model)
    (parts,) = contrast(model, columns, tokens)(BATCH)
    assert parts == pytest.approx(whole, rel=1e-5)
    for one, other in zip(gradients(model), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_second_pass_drops_out_what_the_first_did(
    model: SentenceTransformer, columns: list[list[str]]
) -> None:
    model.train()
    step = contrast(model, columns, 40)
    torch.manual_seed(5)
    (loss,) = step(BATCH)
    found, after = gradients(model), torch.rand(1)
    # The same parts, all kept for one backward pass.
    step._tokens_at_once = 40
    rows = [row for column in step._columns for row in column.rows(BATCH)]
    lengths = np.array([len(row) for row in rows])
    order = np.argsort(-lengths, kind="stable")
    torch.manual_seed(5)
    parts = list(step._parts(order, lengths, len(BATCH)))
    assert len(parts) > 3
    outputs = torch.cat([step._forward([rows[i] for i in part]) for part in parts])
    wanted = step._of(outputs[torch.from_numpy(np.argsort(order))], len(BATCH))
    wanted.backward()
    assert loss == pytest.approx(wanted.item(), rel=1e-6)
    for one, other in zip(found, gradients(model), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert torch.equal(after, torch.rand(1))


def test_dropout_alone_tells_a_sentence_from_itself(
    model: SentenceTransformer, columns: list[list[str]]
) -> None:
    step = contrast(model, [columns[0], columns[0]])
    (alike,) = step(BATCH)
    (again,) = step(BATCH)
    assert alike == again
    model.train()
    torch.manual_seed(0)
    (one,) = step(BATCH)
    (other,) = step(BATCH)
    assert len({alike, one, other}) == 3
