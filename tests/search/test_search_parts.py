"""The parts that no other test sees from outside."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpdistill.search import Document, _products
from hpdistill.search._documents import Documents
from hpdistill.search._matrix import Matrix
from hpdistill.search._products import Products


def matrix(path, rows):
    made = Matrix(path, rows.shape[1], np.int8)
    made.append(rows)
    return made


@pytest.mark.parametrize("most_packed", [0, 300 * 64, 1 << 30])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("queries", [1, 3, 90])
@pytest.mark.parametrize("dim", [7, 64, 1030])
def test_products_close_to_the_best_are_exact(
    tmp_path, monkeypatch, queries, dim, threads, most_packed
):
    monkeypatch.setattr(_products, "BLOCK", 128)
    monkeypatch.setattr(_products, "MOST_PACKED", most_packed)
    generator = np.random.default_rng(0)
    codes = generator.integers(-128, 128, (700, dim), dtype=np.int8)
    codes[0], codes[1] = 127, -128  # the largest that can come together
    asked = generator.integers(-127, 128, (queries, dim), dtype=np.int8)
    asked[0] = 127
    expected = asked.astype(np.int64) @ codes.T.astype(np.int64)
    products = Products(matrix(tmp_path / "codes", codes))
    for k, share in [(1, 0.0), (9, 0.1), (200, 0.02), (700, 0.0)]:
        slack = (share * expected.max(axis=1)).astype(np.int64)
        found = products.close_to_best(asked, k, slack, threads=threads)
        floor = np.sort(expected, axis=1)[:, -k] - slack
        for rows, values, least in zip(found, expected, floor, strict=True):
            np.testing.assert_array_equal(np.sort(rows), np.flatnonzero(values >= least))


def test_of_many_equal_rows_all_are_close(tmp_path, monkeypatch):
    monkeypatch.setattr(_products, "BLOCK", 1000)
    products = Products(matrix(tmp_path / "codes", np.ones((20_000, 8), np.int8)))
    [rows] = products.close_to_best(np.ones((1, 8), np.int8), 3, np.zeros(1, np.int64), threads=2)
    np.testing.assert_array_equal(np.sort(rows), np.arange(20_000))


def test_changed_rows_are_multiplied_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(_products, "BLOCK", 4)
    codes = matrix(tmp_path / "codes", np.zeros((10, 2), np.int8))
    products = Products(codes)
    asked, slack = np.ones((1, 2), np.int8), np.zeros(1, np.int64)

    def best():
        return products.close_to_best(asked, 1, slack, threads=1)[0].tolist()

    assert len(best()) == 10
    codes.append(np.full((1, 2), 5, np.int8))
    products.forget(np.array([10]))
    assert best() == [10]
    codes.move(np.array([10]), np.array([3]))
    products.forget(np.array([3]))
    assert sorted(best()) == [3, 10]


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.integers(0, 30)),
            st.tuples(st.just("truncate"), st.integers(0, 40)),
            st.tuples(st.just("move"), st.integers(0, 5)),
        ),
        max_size=12,
    ),
    mmap=st.booleans(),
    seed=st.integers(0, 99),
)
def test_rows_in_a_file_are_those_of_an_array(tmp_path_factory, steps, mmap, seed):
    path = tmp_path_factory.mktemp("rows") / "rows"
    generator = np.random.default_rng(seed)
    model = np.empty((0, 3), np.int8)

    def opened():
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


@pytest.mark.parametrize("count", [0, 1, 4095, 4096, 9000])
def test_ids_of_many_hits_are_in_their_order(tmp_path, count):
    ids = ["", "é", *(f"document {number}" for number in range(50))]
    documents = Documents(tmp_path)
    documents.add([Document(id=one, text="") for one in ids])
    numbers = np.random.default_rng(0).integers(0, len(ids), count)
    assert documents.ids(numbers) == [ids[number] for number in numbers]
    documents.close()
