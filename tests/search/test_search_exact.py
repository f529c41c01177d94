"""The flat engine gives what NumPy gives, at every precision."""

import faiss
import numpy as np
import pytest
from vectors_for_search import clustered, documents, products, space, unit

from hpdistill.runtime.vectors import fit_ranges
from hpdistill.search import Index, _products
from hpdistill.search._faiss import search_threads

PRECISIONS = ["float32", "int8", "binary"]


@pytest.fixture
def small_blocks(monkeypatch):
    """So that a few hundred vectors fill several."""
    monkeypatch.setattr(_products, "BLOCK", 128)


def filled(vectors, precision, *, block=177, **choices):
    dim = vectors.shape[1]
    index = Index.create(space(dim), precision=precision, **choices)
    for start in range(0, len(vectors), block):
        part = vectors[start : start + block]
        index.add(documents(len(part), start), part)
    return index


def check_exact(found, reference, tolerance=2e-6):
    """The scores are the best ones, and each belongs to its id: ties may come in any order."""
    scores, ids = found
    k = scores.shape[1]
    np.testing.assert_allclose(scores, -np.sort(-reference, axis=1)[:, :k], atol=tolerance)
    for row, one, values in zip(scores, ids, reference, strict=True):
        assert len(set(one)) == k
        np.testing.assert_allclose(row, values[[int(i[1:]) for i in one]], atol=tolerance)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("dim", [16, 20, 100])
@pytest.mark.parametrize("queries", [1, 5, 150])
@pytest.mark.parametrize("k", [1, 10, 70])
def test_finds_exactly_the_best(precision, dim, queries, k):
    vectors, asked = clustered(900, dim), clustered(queries, dim, seed=1)
    ranges = fit_ranges(vectors)
    with filled(vectors, precision, ranges=ranges) as index:
        found = index.nearest(asked, k)
    assert found[0].dtype == np.float32
    check_exact(found, products(asked, vectors, precision, ranges))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_many_equal_vectors_do_not_hide_the_best(precision):
    vectors = np.repeat(clustered(3, 16), 400, axis=0)
    ranges = fit_ranges(clustered(500, 16))
    with filled(vectors, precision, ranges=ranges) as index:
        found = index.nearest(vectors[:1], 5)
    check_exact(found, products(vectors[:1], vectors, precision, ranges))


def test_a_dimension_without_a_range_adds_its_value_to_every_score():
    vectors = clustered(300, 16)
    vectors[:, 3] = 0.25
    vectors = vectors.astype(np.float32)
    ranges = fit_ranges(vectors)
    with filled(vectors, "int8", ranges=ranges) as index:
        found = index.nearest(vectors[:4], 3)
    check_exact(found, products(vectors[:4], vectors, "int8", ranges))


def test_queries_of_any_length_are_answered():
    vectors = clustered(300, 16)
    queries = np.stack([np.zeros(16), vectors[0] * 1e-30, vectors[0] * 1e6]).astype(np.float32)
    ranges = fit_ranges(vectors)
    with filled(vectors, "int8", ranges=ranges) as index:
        scores, _ = index.nearest(queries, 3)
    reference = -np.sort(-products(queries, vectors, "int8", ranges), axis=1)[:, :3]
    np.testing.assert_allclose(scores, reference, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("precision", "keep"), [("int8", "float32"), ("binary", "float32")])
def test_rescoring_gives_the_scores_of_the_kept_vectors(precision, keep):
    vectors, asked = clustered(600), clustered(20, seed=1)
    with filled(vectors, precision, keep=keep) as index:
        scores, ids = index.nearest(asked, 5, rescore=600)
        check_exact((scores, ids), asked @ vectors.T)
        assert index.kept_bytes == 600 * 32 * 4
        # Of fewer candidates it still gives the best.
        few, _ = index.nearest(asked, 5, rescore=20)
    assert (few <= scores + 1e-6).all()


def test_binary_rescored_by_int8_gives_the_order_of_int8():
    vectors, asked = clustered(600), clustered(20, seed=1)
    ranges = fit_ranges(vectors)
    with filled(vectors, "binary", keep="int8", ranges=ranges) as index:
        found = index.nearest(asked, 5, rescore=600)
    check_exact(found, products(asked, vectors, "int8", ranges))


def test_bytes_are_those_of_the_arithmetic():
    vectors = clustered(500, 128)
    sizes = []
    for precision in PRECISIONS:
        with filled(vectors, precision) as index:
            sizes.append(index.vector_bytes)
            assert index.kept_bytes == 0
    assert sizes == [500 * 512, 500 * 128, 500 * 16]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_hits_carry_text_and_metadata_and_fewer_come_from_a_small_index(precision):
    vectors = clustered(3)
    with filled(vectors, precision) as index:
        [hits] = index.search(vectors[1:2], k=10)
        assert sorted(hit.id for hit in hits) == ["d0", "d1", "d2"]
        assert all(hit.text == f"text {hit.metadata['number']}" for hit in hits)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        scores, ids = index.nearest(vectors[1:2], 5)
        assert ids[0][3:] == ["", ""]
        assert (scores[0, 3:] == -np.inf).all()
        assert np.isfinite(scores[0, :3]).all()


@pytest.mark.parametrize("engine", ["flat", "hnsw", "ivf-pq"])
def test_an_empty_index_answers_with_nothing(engine, tmp_path):
    with Index.create(space(), engine=engine) as index:
        assert len(index) == 0
        assert index.search(clustered(2)) == [[], []]
        assert index.search(clustered(2)[:0]) == []
        assert index.delete(["nobody"]) == 0
        index.add([], clustered(2)[:0])
        index.save(tmp_path / "index")
    with Index.load(tmp_path / "index") as index:
        assert index.nearest(clustered(1), 2)[1] == [["", ""]]


def test_ranges_of_a_few_first_vectors_leave_room_for_others():
    vectors = clustered(400)
    with Index.create(space(), precision="int8") as index:
        for i in range(len(vectors)):
            index.add(documents(1, i), vectors[i : i + 1])
        scores, _ = index.nearest(vectors, 1)
    assert np.abs(scores - 1).max() < 0.02


def test_texts_and_ids_may_be_any_unicode():
    texts = ["", "süß 漢字 🎈", "a\0b", "line\nline"]
    from hpdistill.search import Document

    items = [Document(id=text or "empty", text=text) for text in texts]
    items.append(Document(id="half", text="half \ud83d a character"))
    vectors = unit(np.eye(8)[: len(items)])
    with Index.create(space(8)) as index:
        index.add(items, vectors)
        assert [hits[0].id for hits in index.search(vectors, 1)] == [item.id for item in items]
        assert [d.text for d in index.get([i.id for i in items[:4]])] == texts
        assert index.get(["half"])[0].text == "half \ufffd a character"
        assert index.get(["nobody", "\ud83d"]) == [None, None]


@pytest.mark.parametrize("queries", [1, 3, 40])
def test_a_search_leaves_the_number_of_threads_as_it_was(queries):
    vectors = clustered(200, 16)
    with search_threads(3), filled(vectors, "float32") as index:
        index.nearest(vectors[:queries], 5)
        assert faiss.omp_get_max_threads() == 3
