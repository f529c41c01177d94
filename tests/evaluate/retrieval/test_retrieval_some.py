"""Some queries of a retrieval task over some of its documents."""

from hypothesis import given
from hypothesis import strategies as st
from retrieval_data import make_task

from hpdistill.evaluate.retrieval import score

DOCUMENTS = [f"d{n}" for n in range(40)]
RELEVANT = {f"q{n}": {f"d{2 * n}": 1, f"d{2 * n + 1}": 2} for n in range(8)}


@given(st.integers(1, 60), st.integers(1, 12))
def test_some_queries_keep_their_answers(documents: int, queries: int) -> None:
    task = make_task(RELEVANT, documents=DOCUMENTS, own={"q0": "d39", "q7": "d38"})
    some = task.at_most(documents=documents, queries=queries)
    assert len(some.query_ids) == len(some.query_texts) == min(queries, 8)
    assert some.relevant == {query: RELEVANT[query] for query in some.query_ids}
    assert some.own == {query: one for query, one in task.own.items() if query in some.query_ids}
    needed = {one for found in some.relevant.values() for one in found} | set(some.own.values())
    assert needed <= set(some.document_ids)
    assert len(some.document_ids) == max(len(needed), min(documents, 40))
    # In the order of the corpus, each with its own text.
    assert list(some.document_ids) == [one for one in DOCUMENTS if one in some.rows]
    assert list(some.document_texts) == list(some.document_ids)


def test_a_ranking_of_some_is_scored_like_any() -> None:
    task = make_task(RELEVANT, documents=DOCUMENTS).at_most(documents=6, queries=2)
    assert list(task.query_ids) == ["q0", "q7"]
    perfect = [[f"d{2 * n + 1}", f"d{2 * n}"] for n in (0, 7)]
    assert score(task, perfect)["ndcg10"].tolist() == [1, 1]


def test_a_task_that_is_no_larger_stays_as_it_is() -> None:
    task = make_task(RELEVANT, documents=DOCUMENTS)
    assert task.at_most(documents=40, queries=8) == task
