"""The matrix: which rows there are, that their figures are right, and what compares them."""

import numpy as np
import pytest
import pytrec_eval
from retrieval_data import make_task

from hpdistill.encoder import unit
from hpdistill.errors import SearchError, UsageError
from hpdistill.evaluate.retrieval import (
    Entrant,
    Matrix,
    measure_bm25,
    measure_retrieval,
    score,
)
from hpdistill.evaluate.retrieval import measure as module

WIDTH, DOCUMENTS, QUERIES = 32, 400, 40


def vectors(count, *, seed):
    """Unit vectors whose first numbers vary most, as after PCA."""
    scale = np.linspace(2, 0.3, WIDTH)
    return unit((np.random.default_rng(seed).standard_normal((count, WIDTH)) * scale).astype("f"))


BASE = vectors(DOCUMENTS, seed=0)
TASK = make_task(
    {f"q{i}": {f"d{i}": 1, f"d{i + QUERIES}": 1} for i in range(QUERIES)},
    documents=[f"d{i}" for i in range(DOCUMENTS)],
)


def entrant(name="good", noise=0.4, **changes):
    """Queries near one of their two documents."""
    asked = unit(BASE[:QUERIES] + noise * vectors(QUERIES, seed=1))
    return Entrant(**{"name": name, "documents": BASE, "queries": asked, **changes})


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "_ROUNDS", 1)
    monkeypatch.setattr(module, "_SINGLE_QUERIES", 3)
    # A process of its own for each row takes a second; one test below has it.
    monkeypatch.setattr(module, "resident_mb", lambda *_: 1.0)


def measured(*entrants, **matrix):
    return measure_retrieval(TASK, entrants, Matrix(**matrix), threads=1)


def reference(queries, dim):
    """Ranked by a product of all with all."""
    scores = unit(queries, dim=dim) @ unit(BASE, dim=dim).T
    best = np.argsort(-scores, axis=1)[:, :100]
    return score(TASK, [[f"d{row}" for row in rows] for rows in best])


@pytest.mark.parametrize("dim", [WIDTH, 8])
def test_figures_are_those_of_a_product_of_all_with_all(dim):
    row = next(row for row in measured(entrant(), dims=[8]) if row["dim"] == dim)
    expected = reference(entrant().queries, dim)
    assert {name: row[name] for name in expected} == pytest.approx(
        {name: values.mean() for name, values in expected.items()}
    )
    assert row["mrr10_low"] <= row["mrr10"] <= row["mrr10_high"]


def candidates_of(count):
    """A task whose queries rank so many documents each; not always the relevant ones."""
    chance = np.random.default_rng(2)
    return make_task(
        TASK.relevant,
        documents=TASK.document_ids,
        candidates={
            query: [f"d{row}" for row in chance.permutation(QUERIES * 3)[:count]]
            for query in TASK.query_ids
        },
    )


@pytest.mark.parametrize("dim", [WIDTH, 8])
def test_candidates_are_what_is_ranked_as_trec_eval_scores_it(dim):
    task = candidates_of(50)
    rows = measure_retrieval(task, [entrant()], Matrix(dims=[8]), threads=1)
    row = next(row for row in rows if row["dim"] == dim)
    queries, base = unit(entrant().queries, dim=dim), unit(BASE, dim=dim)
    run = {
        query: {one: float(vector @ base[task.rows[one]]) for one in task.candidates[query]}
        for query, vector in zip(task.query_ids, queries, strict=True)
    }
    judged = {query: dict(grades) for query, grades in task.relevant.items()}
    measures = {"map": "map", "ndcg10": "ndcg_cut_10", "recall10": "recall_10"}
    scored = pytrec_eval.RelevanceEvaluator(judged, set(measures.values())).evaluate(run)
    expected = {
        name: np.mean([scored[query][measure] for query in run])
        for name, measure in measures.items()
    }
    assert {name: row[name] for name in measures} == pytest.approx(expected)
    assert 0 < expected["map"] < 1
    assert row["candidates"] == 50 * QUERIES
    assert row["documents"] == DOCUMENTS
    assert measure_retrieval(TASK, [entrant()], Matrix(), threads=1)[0]["map"] != row["map"]


def test_candidates_are_ranked_by_every_kind_of_vector():
    task = candidates_of(120)
    exact, *others = measure_retrieval(
        task,
        [entrant()],
        Matrix(precisions=["float32", "int8", "binary"], rescore=100),
        threads=1,
    )
    assert [(row["precision"], row["rescore"]) for row in others] == [
        ("int8", None),
        ("int8", 100),
        ("binary", None),
        ("binary", 100),
    ]
    for row in others:
        assert row["mrr10"] == pytest.approx(exact["mrr10"], abs=0.25)
        assert row["candidates"] == 120 * QUERIES
    # All 120 are candidates, and those that another query has are none: recall is bounded.
    assert max(row["recall100"] for row in [exact, *others]) <= 1
    assert measure_bm25(task, exact)["candidates"] == 120 * QUERIES


def test_an_engine_that_finds_some_of_a_corpus_ranks_no_candidates():
    with pytest.raises(UsageError, match="engine is flat, hnsw; allowed: flat"):
        measure_retrieval(
            candidates_of(5), [entrant()], Matrix(engines=["flat", "hnsw"]), threads=1
        )


def test_every_setting_has_a_row_and_the_whole_width_comes_first():
    rows = measured(
        entrant(),
        dims=[8, 64, 16, WIDTH],
        precisions=["float32", "int8", "binary"],
        engines=["flat", "hnsw"],
        rescore=100,
    )
    assert [row["dim"] for row in rows] == [WIDTH] * 10 + [16] * 10 + [8] * 10
    assert [(r["engine"], r["precision"], r["keep"], r["rescore"]) for r in rows[:5]] == [
        ("flat", "float32", None, None),
        ("flat", "int8", None, None),
        ("flat", "int8", "float32", 100),
        ("flat", "binary", None, None),
        ("flat", "binary", "int8", 100),
    ]
    assert {row["engine"] for row in rows[5:10]} == {"hnsw"}


def test_lists_take_whole_vectors_only():
    settings = Matrix(engines=["ivf-pq"], precisions=["int8", "binary"], rescore=100).settings(8)
    assert [(s.precision, s.keep) for s in settings] == [("float32", None), ("float32", "float32")]


def test_bytes_are_those_of_the_precision():
    rows = measured(entrant(), precisions=["float32", "int8", "binary"], rescore=100)
    stored = [(row["vector_bytes"] / DOCUMENTS, row["kept_bytes"] / DOCUMENTS) for row in rows]
    assert stored == [(128, 0), (32, 0), (32, 128), (4, 0), (4, 32)]
    assert [row["bytes_per_vector"] for row in rows] == [sum(pair) for pair in stored]
    assert all(row["index_bytes"] >= row["vector_bytes"] + row["kept_bytes"] for row in rows)


def test_rescoring_mends_what_quantising_lost():
    float32, int8, again, binary, rescored = measured(
        entrant(noise=1.2), precisions=["float32", "int8", "binary"], rescore=200
    )
    assert binary["mrr10"] < 0.98 * float32["mrr10"] < rescored["mrr10"]
    # Of fewer than 1,000 vectors the ranges, and so the steps, are made wider.
    assert int8["mrr10"] == pytest.approx(float32["mrr10"], abs=0.03)
    assert again["mrr10"] == pytest.approx(float32["mrr10"])


def test_others_are_compared_with_the_first_row():
    rows = measured(entrant(), entrant(), entrant("bad", noise=2.5))
    assert [row["model"] for row in rows] == ["good", "good", "bad"]
    first, same, bad = rows
    assert (first["retention"], first["p_value"]) == (1.0, None)
    assert (same["retention"], same["p_value"]) == (1.0, 1.0)
    assert bad["retention"] == pytest.approx(bad["mrr10"] / first["mrr10"])
    assert bad["p_value"] < 0.001


def test_facts_of_an_entrant_are_in_its_rows():
    given = {"encode_s": 1.5, "computes_in": "float32"}
    row = measured(entrant(facts=given, doc_encoder="teacher"))[0]
    assert given.items() <= row.items()
    assert row["doc_encoder"] == "teacher"


def test_entrants_are_taken_one_at_a_time():
    seen = []

    def entrants():
        for name in ("one", "two"):
            seen.append(name)
            yield entrant(name)

    def report(task, done, total):
        assert len(seen) == min(done, 2)

    assert len(measure_retrieval(TASK, entrants(), Matrix(), threads=1, report=report)) == 2


def test_times_are_positive_and_consistent():
    row = measured(entrant())[0]
    assert row["queries_per_second"] == pytest.approx(QUERIES / row["search_s"])
    assert 0 < row["query_ms"] < 1000
    assert row["build_s"] > 0


def test_a_query_s_own_document_is_no_answer():
    task = make_task(
        {"d0": {"d1": 1}}, documents=[f"d{i}" for i in range(DOCUMENTS)], own={"d0": "d0"}
    )
    near = unit(BASE[:1] + 0.1 * vectors(1, seed=3))
    documents = np.concatenate([BASE[:1], near, BASE[2:]])
    found = measure_retrieval(
        task, [Entrant(name="m", documents=documents, queries=BASE[:1])], Matrix(), threads=1
    )
    assert found[0]["mrr10"] == 1


def test_fewer_documents_than_answers_that_count():
    task = make_task({"q": {"d1": 1}}, documents=["d0", "d1", "d2"])
    few = Entrant(name="m", documents=BASE[:3], queries=BASE[1:2])
    for row in measure_retrieval(
        task, [few], Matrix(precisions=["float32", "int8", "binary"], rescore=100), threads=1
    ):
        assert row["mrr10"] == 1


def test_too_small_a_rescoring_is_refused():
    with pytest.raises(UsageError, match="rescore is 20; 100 answers count"):
        Matrix(rescore=20)


def test_too_few_documents_for_an_engine_are_refused_before_another_is_measured():
    done = []
    few = make_task({"q": {"d0": 1}}, documents=[f"d{i}" for i in range(200)])
    one = Entrant(name="few", documents=BASE[:200], queries=BASE[:1])
    matrix = Matrix(engines=["flat", "ivf-pq"])
    with pytest.raises(SearchError, match=r"ivf-pq .* needs 256 or more there, not 200"):
        measure_retrieval(few, [one], matrix, threads=1, report=lambda *seen: done.append(seen))
    assert done == []


def test_bm25_is_compared_with_a_row():
    task = make_task(
        {"q": {"a": 1}},
        documents={"a": "green apples", "b": "red pears", "c": "blue plums"},
        queries={"q": "who sells green apples"},
    )
    row = measure_bm25(task, {"mrr10": 0.5})
    assert (row["model"], row["mrr10"], row["retention"]) == ("BM25", 1.0, 2.0)
    assert row["vector_bytes"] > 0
    assert measure_bm25(task, {"mrr10": 0.0})["retention"] is None


def test_resident_memory_is_that_of_a_fresh_process(monkeypatch):
    from hpdistill.evaluate.retrieval._resident import resident_mb

    monkeypatch.setattr(module, "resident_mb", resident_mb)
    row = measured(entrant())[0]
    assert 0 < row["rss_mb"] < 500
