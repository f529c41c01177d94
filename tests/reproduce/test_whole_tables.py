"""Every row of both tables at the scale of trying out: made, measured, cheap."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_tables import Lab, make_lab, row_of, write_beir

from hpdistill.evaluate.retrieval import measure
from hpdistill.reproduce import load_catalogue, load_scale, tables_of, to_markdown

CATALOGUE = load_catalogue()
SCALE = load_scale("tiny")
WIDEST = {"hpd": 8, "pca": 8, "whitening": 8}


@pytest.mark.long
def test_every_row_of_both_tables(
    lab: Lab,
    sentences: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    # A fresh process for each row, whose memory nobody asks for here.
    monkeypatch.setattr(measure, "resident_mb", lambda *_: 1.0)
    published = ("sbert-base", "sroberta-large", "simcse-roberta-large")
    models = [*lab.models, *(f"{name}={lab.teacher}" for name in published)]
    write_beir(tmp_path / "beir", sentences(150, seed=9))
    result = lab.run([], tmp_path / "out", models=models, retrieval=str(tmp_path / "beir"))
    assert {row["row"] for row in result.rows} == {
        *CATALOGUE.sts.rows,
        *CATALOGUE.retrieval.rows,
    }
    for row in result.rows:
        tables = row["tables"].split(", ")
        assert row["missing"] is None
        assert row["dim"] == WIDEST.get(row["kind"], row["dim"])
        assert (row["average_present"] is not None) == ("sts" in tables), row["row"]
        assert (row["mrr10"] is not None) == ("retrieval" in tables), row["row"]
        assert row["documents"] in (None, SCALE.documents)
    sts, by_task, retrieval = tables_of(result)
    assert [row["row"] for row in sts.rows] == list(CATALOGUE.sts.rows)
    assert [row["row"] for row in by_task.rows] == list(CATALOGUE.sts.rows)
    assert {row["row"] for row in retrieval.rows} == set(CATALOGUE.retrieval.rows)
    assert "Retrieval is 10 of 10 queries over 100 of 150 documents" in to_markdown(result)


@pytest.fixture
def large(
    tmp_path: Path, teacher_dir: Path, student_dir: Path, sentences: Callable[..., list[str]]
) -> Lab:
    """Evaluation sets and text of the size that people have."""
    return make_lab(tmp_path, teacher_dir, student_dir, sentences(20_000), evaluated=6000)


@pytest.fixture
def two_threads() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("two_threads")
def test_every_row_of_sts_from_real_weights(large: Lab, tmp_path: Path):
    """A row costs less than a minute of two cores, and leaves little more than its model."""
    made = {}
    for name in CATALOGUE.sts.rows:
        started = used()
        result = large.run([name], tmp_path / "out", models=[], retrieval=str(large.retrieval))
        made[name] = row_of(result, name)
        if made[name]["missing"] is None:
            # Of processors: what else the machine does is not the row's.
            assert used() - started < 2 * 60, name
            assert made[name]["sts_pairs"] in (None, 2 * SCALE.sts_pairs)
            assert made[name]["documents"] in (None, SCALE.documents)
    missing = {name for name, row in made.items() if row["missing"] is not None}
    assert all("roberta" in name or name == "sbert-base" for name in missing)
    assert len(missing) < len(made) / 2
    models = [Path(row["model"]) for row in made.values() if row["model"] is not None]
    assert size(tmp_path / "out") < sum(map(size, models)) + 20e6


def used() -> float:
    """Seconds of all processors, by this process and those that it has ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def size(place: Path) -> int:
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
