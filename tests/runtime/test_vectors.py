"""Embedding precision: what comes back is what went in, to half a step or to its sign."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hpdistill.errors import UsageError
from hpdistill.runtime.vectors import dequantize, fit_ranges, pack, quantize, unpack

finite = st.floats(-10, 10, width=32)
matrices = st.tuples(st.integers(1, 20), st.integers(1, 20)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=finite)
)


def test_the_ends_of_a_range_are_the_ends_of_int8() -> None:
    ranges = np.array([[-1, 0], [1, 10]], np.float32)
    codes = quantize(np.array([[-1, 0], [1, 10], [0, 5]], np.float32), ranges)
    assert codes.dtype == np.int8
    assert codes.tolist() == [[-128, -128], [127, 127], [0, 0]]


def test_values_outside_the_range_become_its_ends() -> None:
    ranges = np.array([[-1], [1]], np.float32)
    assert quantize(np.array([[-5], [5]], np.float32), ranges).tolist() == [[-128], [127]]


def test_a_constant_dimension_is_zero_and_comes_back() -> None:
    vectors = np.array([[0.25, 1], [0.25, 2]], np.float32)
    ranges = fit_ranges(vectors)
    codes = quantize(vectors, ranges)
    assert codes[:, 0].tolist() == [0, 0]
    assert np.array_equal(dequantize(codes, ranges), vectors)


@given(matrices)
def test_int8_errs_by_half_a_step(vectors: np.ndarray) -> None:
    ranges = fit_ranges(vectors)
    back = dequantize(quantize(vectors, ranges), ranges)
    step = (ranges[1] - ranges[0]) / 255
    assert back.dtype == np.float32
    assert (np.abs(back - vectors) <= step / 2 + 1e-5).all()


@given(matrices)
def test_bits_are_signs(vectors: np.ndarray) -> None:
    bits = pack(vectors)
    dim = vectors.shape[1]
    assert bits.dtype == np.uint8
    assert bits.shape == (len(vectors), -(-dim // 8))
    assert np.array_equal(unpack(bits, dim), np.where(vectors > 0, 1, -1))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="ranges need vectors"):
        fit_ranges(np.empty((0, 3), np.float32))
    with pytest.raises(UsageError, match="not finite"):
        fit_ranges(np.array([[np.nan]], np.float32))
    with pytest.raises(UsageError, match=r"ranges of shape \(2, 4\) do not fit"):
        quantize(np.zeros((1, 3), np.float32), np.zeros((2, 4), np.float32))
    with pytest.raises(UsageError, match="do not hold 17"):
        unpack(np.zeros((1, 2), np.uint8), 17)
