import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpdistill.errors import UsageError
from hpdistill.evaluate.retrieval import plot_retrieval
from hpdistill.evaluate.retrieval.plot import frontier

numbers = st.integers(1, 9).map(float)
points = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=12)


def row(model, precision, bytes_per_vector, mrr, **changes):
    return {
        "model": model,
        "doc_encoder": None,
        "precision": precision,
        "rescore": None,
        "bytes_per_vector": bytes_per_vector,
        "queries_per_second": 1e5 / bytes_per_vector,
        "mrr10": mrr,
        **changes,
    }


ROWS = [
    row("teacher", "float32", 3072.0, 0.6),
    row("student", "float32", 512.0, 0.55),
    row("student", "int8", 132.0, 0.549),
    row("student", "binary", 16.0, 0.4),
    row("student", "binary", 144.0, 0.53, rescore=100),
    row("student", "float32", 512.0, 0.57, doc_encoder="teacher"),
    row("BM25", None, 60.0, 0.5),
]


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_two_pictures(suffix, tmp_path):
    made = plot_retrieval(ROWS, tmp_path / f"table{suffix}")
    assert [path.name for path in made] == [f"table-bytes{suffix}", f"table-speed{suffix}"]
    assert all(path.stat().st_size > 1000 for path in made)


def test_the_legend_names_every_curve(tmp_path):
    made = plot_retrieval(ROWS, tmp_path / "table.svg")
    for path in made:
        text = path.read_text()
        for name in ("teacher", "student, documents by teacher", "BM25", "full: rescored"):
            assert f"<!-- {name} -->" in text


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"table\.gif is no picture"):
        plot_retrieval(ROWS, tmp_path / "table.gif")


@given(points, st.sampled_from(["min", "max"]))
def test_no_point_beats_one_of_the_frontier(given_points, better):
    kept = frontier(given_points, better)
    sign = 1 if better == "min" else -1
    assert kept == sorted(kept)
    assert set(kept) <= set(given_points)
    for x, y in given_points:
        # Whatever is left out is matched or beaten by one that was kept.
        assert any(sign * a <= sign * x and b >= y for a, b in kept)
    for x, y in kept:
        others = (p for p in given_points if p != (x, y))
        assert not any(sign * a <= sign * x and b >= y for a, b in others)
