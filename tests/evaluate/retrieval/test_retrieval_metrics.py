"""Metrics against known answers and a reference; the interval and the test against their laws."""

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from retrieval_data import make_task

from hpdistill.errors import UsageError
from hpdistill.evaluate.retrieval import METRICS, RetrievalTask, interval, paired_p, score


def reference(relevant: dict[str, int], ranked: list[str]) -> dict[str, float]:
    """The metrics' definitions, one query, as written in any textbook."""
    gains = np.array([relevant.get(document, 0) for document in ranked[:100]] + [0] * 100)
    hits = gains > 0
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    discounts = 1 / np.log2(np.arange(2, 12))
    ideal = np.array([*sorted(relevant.values(), reverse=True), *[0] * 10])[:10]
    first = int(np.argmax(hits))
    found = {f"recall{k}": hits[:k].sum() / len(relevant) for k in (1, 10, 100)}
    return found | {
        "mrr10": 1 / (first + 1) if hits[:10].any() else 0.0,
        "ndcg10": float((gains[:10] * discounts).sum() / (ideal * discounts).sum()),
        "map": float((precision * hits)[:100].sum() / len(relevant)),
    }


def test_known_answers() -> None:
    task = make_task(
        {"a": {"d1": 1}, "b": {"d1": 2, "d2": 1}, "c": {"d3": 1}},
        documents=[f"d{number}" for number in range(1, 30)],
    )
    filler = [f"d{number}" for number in range(10, 20)]
    found = score(task, [["d9", "d1"], ["d2", "d9", "d1"], [*filler, "d3"]])
    assert found.keys() == set(METRICS)
    expected = {
        "mrr10": [1 / 2, 1, 0],
        "recall1": [0, 1 / 2, 0],
        "recall10": [1, 1, 0],
        "recall100": [1, 1, 1],
        "ndcg10": [1 / math.log2(3), (1 + 2 / 2) / (2 + 1 / math.log2(3)), 0],
        "map": [1 / 2, (1 + 2 / 3) / 2, 1 / 11],
    }
    for name, values in expected.items():
        assert found[name].dtype == np.float64
        np.testing.assert_allclose(found[name], values, err_msg=name)


@given(st.integers(0, 2**32 - 1))
def test_agrees_with_the_definitions(seed: int) -> None:
    generator = np.random.default_rng(seed)
    documents = [f"d{number}" for number in range(150)]
    relevant = {
        f"q{query}": {
            documents[row]: int(generator.integers(1, 4))
            for row in generator.choice(150, size=generator.integers(1, 30), replace=False)
        }
        for query in range(3)
    }
    ranked = [
        [documents[row] for row in generator.permutation(150)[: generator.integers(0, 151)]]
        for _ in relevant
    ]
    found = score(make_task(relevant, documents=documents), ranked)
    for query, (grades, ranking) in enumerate(zip(relevant.values(), ranked, strict=True)):
        for name, value in reference(grades, ranking).items():
            assert found[name][query] == pytest.approx(value, abs=1e-6), name


@given(st.lists(st.text(min_size=1), min_size=2, max_size=20, unique=True))
def test_the_order_given_is_the_ranking_whatever_the_ids(documents: list[str]) -> None:
    """trec_eval by itself would break ties by id, and know no ids with odd characters."""
    for wanted, document in enumerate(documents):
        task = make_task({"q\0 \ud800": {document: 1}}, documents=documents)
        rank = score(task, [documents])["map"][0]
        assert rank == pytest.approx(1 / (wanted + 1))


def test_a_query_without_answers_scores_nothing() -> None:
    task = make_task({"a": {"d": 1}, "b": {"d": 1}}, documents=["d", "e"])
    for values in score(task, [[], ["", "d"]]).values():
        assert values.tolist() == [0, 1]


def test_the_querys_own_document_takes_no_place() -> None:
    task = make_task({"a": {"d": 1}}, documents=["a", "d"], own={"a": "a"})
    assert score(task, [["a", "d"]])["recall1"].tolist() == [1]


def test_refuses_a_document_named_twice() -> None:
    task = make_task({"a": {"d": 1}}, documents=["d", "e"])
    with pytest.raises(UsageError, match="query a names a document twice"):
        score(task, [["e", "e", "d"]])


def big_task() -> tuple[RetrievalTask, list[list[str]]]:
    documents = [f"c{number}" for number in range(20_000)]
    relevant = {f"q{query}": {documents[4 * query]: 1} for query in range(2000)}
    generator = np.random.default_rng(0)
    ranked = [
        [documents[row] for row in generator.choice(20_000, 100, replace=False)] for _ in relevant
    ]
    return make_task(relevant, documents=documents), ranked


def test_scores_thousands_of_queries_in_about_a_second() -> None:
    task, ranked = big_task()
    started = time.process_time()
    score(task, ranked)
    assert time.process_time() - started < 3


def draw(generator: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Something like reciprocal ranks: lumps, far from a bell curve."""
    return generator.choice([0, 0.1, 0.25, 0.5, 1], p=[0.3, 0.1, 0.1, 0.2, 0.3], size=size)


def test_the_interval_holds_the_true_mean_about_95_times_in_100() -> None:
    generator = np.random.default_rng(1)
    true = 0.3 * 0 + 0.1 * 0.1 + 0.1 * 0.25 + 0.2 * 0.5 + 0.3
    held = 0
    for trial in range(300):
        low, high = interval(draw(generator, 150), seed=trial, resamples=500)
        held += low <= true <= high
    assert 0.91 < held / 300 < 0.985


def test_the_interval_is_that_of_the_normal_law_for_many_queries() -> None:
    values = draw(np.random.default_rng(2), 1000)
    low, high = interval(values)
    error = 1.96 * values.std() / math.sqrt(len(values))
    assert low == pytest.approx(values.mean() - error, abs=0.08 * error)
    assert high == pytest.approx(values.mean() + error, abs=0.08 * error)
    assert interval(values) == (low, high)
    assert interval(values, seed=1) != (low, high)
    assert interval([0.25] * 7) == (0.25, 0.25)


def test_identical_systems_are_not_different() -> None:
    values = draw(np.random.default_rng(3), 500)
    assert paired_p(values, values) == 1


def test_a_clear_difference_is_significant_in_both_directions() -> None:
    generator = np.random.default_rng(4)
    values = draw(generator, 500)
    better = np.clip(values + generator.choice([0, 0.2], size=500), 0, 1)
    assert paired_p(values, better) == paired_p(better, values) == 1 / 10_001


@pytest.mark.parametrize("size", [2, 5, 9])
def test_p_is_the_share_of_all_exchanges_where_they_can_be_counted(size: int) -> None:
    generator = np.random.default_rng(size)
    differences = generator.choice([0.1, -0.1, 0.5, 0.3], size=size)
    signs = np.array(np.meshgrid(*[[-1, 1]] * size)).reshape(size, -1)
    exact = (np.abs(signs.T @ differences) >= abs(differences.sum()) - 1e-12).mean()
    assert paired_p(differences, np.zeros(size)) == pytest.approx(exact, abs=0.02)


def test_p_is_uniform_where_there_is_no_difference() -> None:
    generator = np.random.default_rng(5)
    found = np.array(
        [
            paired_p(draw(generator, 100), draw(generator, 100), seed=trial, resamples=500)
            for trial in range(300)
        ]
    )
    assert 0.02 < (found < 0.05).mean() < 0.09
    assert 0.4 < (found < 0.5).mean() < 0.6
