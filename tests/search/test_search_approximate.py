"""Graphs and lists find nearly all of the best, and never what is gone."""

import json

import numpy as np
import pytest
from vectors_for_search import clustered, documents, recall, space

from hpdistill.errors import SearchError, UsageError
from hpdistill.search import Index

VECTORS = clustered(3000)
QUERIES = clustered(50, seed=1)
CHOICES = [
    ("hnsw", "float32", None, 0.99),
    ("hnsw", "int8", "float32", 0.99),
    ("hnsw", "binary", "int8", 0.85),
    ("ivf-pq", "float32", "int8", 0.9),
    ("ivf-pq", "float32", "float32", 0.9),
]


def filled(engine, precision, keep):
    index = Index.create(space(), engine=engine, precision=precision, keep=keep)
    for start in range(0, 3000, 1000):
        index.add(documents(1000, start), VECTORS[start : start + 1000])
    return index


def rescore(keep):
    return 100 if keep else None


@pytest.mark.parametrize(("engine", "precision", "keep", "least"), CHOICES)
def test_finds_nearly_all_of_the_best(engine, precision, keep, least, tmp_path):
    exact = QUERIES @ VECTORS.T
    with filled(engine, precision, keep) as index:
        found = index.nearest(QUERIES, 10, rescore=rescore(keep))
        assert recall(found[1], exact) >= least
        if keep == "float32":
            for row, ids, values in zip(*found, exact, strict=True):
                np.testing.assert_allclose(row, values[[int(i[1:]) for i in ids]], atol=1e-6)
        index.save(tmp_path / "index")
        assert index.vector_bytes > 0
    for mmap in (True, False):
        with Index.load(tmp_path / "index", mmap=mmap) as loaded:
            again = loaded.nearest(QUERIES, 10, rescore=rescore(keep))
            assert again[1] == found[1]
            np.testing.assert_array_equal(again[0], found[0])


@pytest.mark.parametrize(("engine", "precision", "keep", "least"), CHOICES)
def test_what_is_deleted_is_not_found_nor_in_the_way(engine, precision, keep, least, tmp_path):
    gone = [f"d{i}" for i in range(0, 3000, 2)]
    left = QUERIES @ VECTORS.T
    left[:, ::2] = -np.inf
    with filled(engine, precision, keep) as index:
        assert index.delete([*gone, "nobody"]) == 1500
        assert index.delete(gone) == 0
        index.save(tmp_path / "index")
    with Index.load(tmp_path / "index") as index:
        assert len(index) == 1500
        _, ids = index.nearest(QUERIES, 10, rescore=rescore(keep))
        assert recall(ids, left) >= least - 0.03
        # What comes back under its old id is found again.
        index.add(documents(1), VECTORS[:1])
        _, ids = index.nearest(VECTORS[:1], 10, rescore=rescore(keep))
        assert "d0" in ids[0]
        assert len(index) == 1501


def test_hnsw_scores_are_inner_products():
    with filled("hnsw", "float32", None) as index:
        scores, ids = index.nearest(QUERIES, 5)
    for row, one, query in zip(scores, ids, QUERIES, strict=True):
        np.testing.assert_allclose(row, VECTORS[[int(i[1:]) for i in one]] @ query, atol=1e-6)


def test_options_change_what_is_looked_at():
    found = []
    for nprobe in (1, 64):
        options = {"nlist": 64, "nprobe": nprobe, "pq_m": 16}
        with Index.create(space(), engine="ivf-pq", keep="float32", options=options) as index:
            index.add(documents(3000), VECTORS)
            found.append(recall(index.nearest(QUERIES, 10, rescore=300)[1], QUERIES @ VECTORS.T))
    assert found[0] < found[1]
    assert found[1] > 0.99


@pytest.mark.parametrize(("engine", "option"), [("hnsw", "ef_search"), ("ivf-pq", "nprobe")])
def test_how_much_is_looked_at_may_be_chosen_for_an_index_that_is_there(engine, option, tmp_path):
    exact = QUERIES @ VECTORS.T
    with filled(engine, "float32", "float32" if engine == "ivf-pq" else None) as index:
        index.save(tmp_path)
    found = []
    for value in (1, 200):
        with Index.load(tmp_path, options={option: value}) as index:
            found.append(recall(index.nearest(QUERIES, 10)[1], exact))
    assert found[0] < found[1]
    with Index.load(tmp_path) as index:  # not changed by having been looked at
        assert option not in json.loads((tmp_path / "index.json").read_text())["options"]
    with pytest.raises(UsageError, match="no option 'm' of searching; it has"):
        Index.load(tmp_path, options={"m": 3})


def test_too_few_vectors_to_train_are_refused_and_nothing_is_left_of_them():
    with Index.create(space(), engine="ivf-pq", keep="int8") as index:
        with pytest.raises(SearchError, match=r"needs 256 or more there, not 100"):
            index.add(documents(100), VECTORS[:100])
        assert len(index) == 0
        assert index.get(["d0"]) == [None]
        index.add(documents(1000), VECTORS[:1000])
        assert index.nearest(VECTORS[:1], 1, rescore=50)[1] == [["d0"]]


def test_training_says_nothing(capfd):
    with Index.create(space(), engine="ivf-pq") as index:
        index.add(documents(300), VECTORS[:300])
    assert capfd.readouterr() == ("", "")
