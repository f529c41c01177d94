"""The parts that no other test sees from outside."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpdistill.search import _products
from hpdistill.search._matrix import Matrix
from hpdistill.search._products import DIGIT, best_products, graph
from hpdistill.search._tiles import Tiles


@pytest.mark.parametrize("digits", [1, 2])
def test_the_graph_is_one_that_onnx_accepts(digits):
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(graph(digits))
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node].count("MatMulInteger") == digits


@pytest.mark.parametrize("queries", [1, 3, 90])
@pytest.mark.parametrize("dim", [7, 64, 2048])
@pytest.mark.parametrize("instructions", [(), ("amx_int8",)])
def test_products_are_exact(queries, dim, instructions, monkeypatch):
    monkeypatch.setattr(_products, "instructions", lambda: instructions)
    generator = np.random.default_rng(0)
    codes = generator.integers(-128, 128, (dim, 500), dtype=np.int8)
    codes[:, 0] = 127  # the largest that can come together
    codes[:, 1] = -128
    bias = generator.integers(-1000, 1000, 500, dtype=np.int32)
    first, second = generator.integers(0, 128, (2, queries, dim), dtype=np.uint8)
    first[0] = second[0] = 127
    wide = codes.astype(np.int64)
    expected = first.astype(np.int64) @ wide + bias
    best, places = best_products([first], codes, bias, 9, threads=1)
    np.testing.assert_array_equal(best, -np.sort(-expected, axis=1)[:, :9])
    np.testing.assert_array_equal(np.take_along_axis(expected, places, axis=1), best)
    if dim <= 64:
        expected = first.astype(np.int64) @ wide * DIGIT + second.astype(np.int64) @ wide + bias
        best, _ = best_products([first, second], codes, bias, 9, threads=2)
        np.testing.assert_array_equal(best, -np.sort(-expected, axis=1)[:, :9])


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.integers(0, 30)),
            st.tuples(st.just("truncate"), st.integers(0, 40)),
            st.tuples(st.just("move"), st.integers(0, 5)),
        ),
        max_size=12,
    ),
    kind=st.sampled_from(["tiles", "matrix"]),
    mmap=st.booleans(),
    seed=st.integers(0, 99),
)
def test_rows_in_a_file_are_those_of_an_array(tmp_path_factory, steps, kind, mmap, seed):
    path = tmp_path_factory.mktemp("rows") / "rows"
    generator = np.random.default_rng(seed)
    model = np.empty((0, 3), np.int8)

    def opened():
        if kind == "tiles":
            return Tiles(path, 3, len(model), mmap=mmap, tile=8)
        return Matrix(path, 3, np.int8, len(model), mmap=mmap)

    rows = opened()
    for step, number in steps:
        if step == "append":
            block = generator.integers(-128, 128, (number, 3), dtype=np.int8)
            rows.append(block)
            model = np.concatenate([model, block])
        elif step == "truncate":
            rows.truncate(number)
            model = model[:number]
        elif len(model):
            chosen = generator.permutation(len(model))
            sources, targets = chosen[:number], chosen[::-1][:number]
            rows.move(sources, targets)
            model = model.copy()
            model[targets] = model[sources]
        for check in (rows, opened()):
            assert check.rows == len(model)
            np.testing.assert_array_equal(check.take(np.arange(len(model))), model)
        if kind == "tiles":
            whole = [*rows.blocks, np.empty((3, 0), np.int8)]
            np.testing.assert_array_equal(np.concatenate(whole, axis=1).T, model)
            assert all(block.flags.c_contiguous for block in rows.blocks)
