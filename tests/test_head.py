"""Closed forms of the head: ridge regression, and a rotation that keeps similarities."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hpdistill.head import ridge, rotated_pca


def regression(
    count: int = 200, width: int = 6, k: int = 3, *, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=(count, width)) * [1, 2, 3, 1, 0.5, 1][:width] + 2
    targets = inputs @ generator.normal(size=(width, k)) + generator.normal(size=(count, k))
    return inputs.astype(np.float32), targets.astype(np.float32)


def test_without_a_penalty_ridge_is_least_squares() -> None:
    inputs, targets = regression()
    augmented = np.hstack([inputs, np.ones((len(inputs), 1))]).astype(np.float64)
    solution, *_ = np.linalg.lstsq(augmented, targets, rcond=None)
    weight, bias = ridge(inputs, targets, strength=0)
    assert (weight.dtype, bias.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(weight, solution[:-1].T, atol=1e-5)
    np.testing.assert_allclose(bias, solution[-1], atol=1e-5)


@pytest.mark.parametrize("strength", [1e-3, 0.1, 10.0])
def test_ridge_is_least_squares_with_penalty_rows(strength: float) -> None:
    inputs, targets = regression()
    count, width = inputs.shape
    # A penalty l on the weights is a row sqrt(l) e_i with target 0 for each of them.
    penalty = strength * count * inputs.astype(np.float64).var(axis=0).mean()
    top = np.hstack([inputs, np.ones((count, 1))])
    bottom = np.hstack([np.sqrt(penalty) * np.eye(width), np.zeros((width, 1))])
    wanted = np.vstack([targets, np.zeros((width, targets.shape[1]))])
    solution, *_ = np.linalg.lstsq(np.vstack([top, bottom]), wanted, rcond=None)
    weight, bias = ridge(inputs, targets, strength=strength)
    np.testing.assert_allclose(weight, solution[:-1].T, atol=1e-4)
    np.testing.assert_allclose(bias, solution[-1], atol=1e-4)


def test_weights_shrink_as_the_penalty_grows() -> None:
    inputs, targets = regression()
    norms = [np.linalg.norm(ridge(inputs, targets, strength=s)[0]) for s in (0, 0.01, 1, 100)]
    assert all(one > other for one, other in itertools.pairwise(norms))


def test_the_bias_is_not_penalised() -> None:
    inputs, targets = regression()
    weight, bias = ridge(inputs, targets + 100, strength=1e6)
    assert np.abs(weight).max() < 1e-3
    np.testing.assert_allclose(bias, targets.mean(axis=0) + 100, rtol=1e-3)
    # Shifting the targets shifts the bias alone.
    one, other = ridge(inputs, targets, strength=0.1), ridge(inputs, targets + 5, strength=0.1)
    np.testing.assert_allclose(one[0], other[0], atol=1e-5)
    np.testing.assert_allclose(one[1] + 5, other[1], atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 100))
def test_the_penalty_is_relative_to_the_inputs(scale: float) -> None:
    inputs, targets = regression()
    weight, _ = ridge(inputs, targets, strength=0.1)
    scaled, _ = ridge(inputs * np.float32(scale), targets, strength=0.1)
    np.testing.assert_allclose(scaled * scale, weight, rtol=1e-3, atol=1e-4)


def test_a_constant_dimension_does_no_harm() -> None:
    inputs, targets = regression()
    constant = np.hstack([inputs, np.full((len(inputs), 1), 0.5, np.float32)])
    for strength in (0.0, 1e-3):
        weight, bias = ridge(constant, targets, strength=strength)
        assert np.isfinite(weight).all()
        plain, plain_bias = ridge(inputs, targets, strength=0)
        np.testing.assert_allclose(
            constant @ weight.T + bias, inputs @ plain.T + plain_bias, atol=0.05
        )


def test_fewer_sentences_than_dimensions_do_no_harm() -> None:
    inputs, targets = regression(4)
    for strength in (0.0, 1e-3):
        weight, bias = ridge(inputs, targets, strength=strength)
        assert np.abs(weight).max() < 1e3
        np.testing.assert_allclose(inputs @ weight.T + bias, targets, atol=0.1)


def test_all_inputs_alike_give_the_mean() -> None:
    _, targets = regression()
    weight, bias = ridge(np.ones((200, 6), np.float32), targets, strength=1e-3)
    np.testing.assert_allclose(weight.sum(axis=1) + bias, targets.mean(axis=0), atol=1e-4)


def turned(width: int, k: int) -> NDArray[np.float64]:
    """Some matrix of orthonormal rows, or columns where it is narrower than high."""
    square = np.linalg.qr(np.random.default_rng(1).normal(size=(max(width, k),) * 2))[0]
    return square[:width, :k]


def own_pca(inputs: NDArray[np.float32], k: int) -> NDArray[np.float64]:
    """Reference: components of the inputs' directions, found centred and applied as they are."""
    directions = inputs.astype(np.float64)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    directions -= directions.mean(axis=0)
    return inputs @ np.linalg.svd(directions, full_matrices=False)[2][:k].T


def cosines(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    rows = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return rows @ rows.T


@pytest.mark.parametrize("k", [3, 6, 10])
def test_a_rotation_keeps_the_similarities_of_the_own_pca(k: int) -> None:
    inputs, targets = regression(k=k)
    weight = rotated_pca(inputs, targets)
    assert (weight.shape, weight.dtype) == ((k, 6), np.float32)
    kept = own_pca(inputs, min(k, 6))
    np.testing.assert_allclose(cosines(inputs @ weight.T), cosines(kept), atol=1e-4)


@pytest.mark.parametrize("k", [3, 6, 10])
def test_targets_that_are_a_rotation_of_the_own_pca_are_reached(k: int) -> None:
    inputs, _ = regression()
    kept = own_pca(inputs, min(k, 6))
    targets = 0.3 * kept @ turned(kept.shape[1], k)
    reached = inputs @ rotated_pca(inputs, targets.astype(np.float32)).T
    np.testing.assert_allclose(reached, targets, atol=1e-4)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 10))
@settings(max_examples=50, deadline=None)
def test_no_other_rotation_or_scale_comes_nearer(seed: int, scale: float) -> None:
    inputs, targets = regression()
    error = np.square(inputs @ rotated_pca(inputs, targets).T - targets).sum()
    other = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    assert error <= np.square(scale * own_pca(inputs, 3) @ other - targets).sum() * (1 + 1e-5)


def test_a_rotation_is_there_for_fewer_sentences_than_dimensions() -> None:
    inputs, targets = regression(4)
    assert np.isfinite(rotated_pca(inputs, targets)).all()
    assert not rotated_pca(np.zeros_like(inputs), targets).any()
