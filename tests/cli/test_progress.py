"""Progress in a log: a line now and then, and one at the end of each task."""

import io
from itertools import count

import pytest
from rich.console import Console

from hpdistill.cli import _shared
from hpdistill.progress import Report


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Standard error as a file, and a clock that every look at it moves on by a minute."""
    file = io.StringIO()
    monkeypatch.setattr(_shared, "err", Console(file=file, width=200))
    minutes = count()
    monkeypatch.setattr(_shared.time, "monotonic", lambda: 60.0 * next(minutes))
    return file


def run(report: Report, *, total: int = 600) -> None:
    for done in (100, 400, 600):
        report("training", done, total)


def test_a_task_says_how_fast_it_is_and_when_it_ends(log: io.StringIO) -> None:
    with _shared.progress() as report:
        run(report)
    assert log.getvalue().splitlines() == [
        "training: 400 of 600, 0.7 min left, 5/s",
        "training: 600, 120 s",
    ]


def test_the_same_task_of_the_next_model_is_timed_anew(log: io.StringIO) -> None:
    with _shared.progress() as report:
        run(report)
        report("embedding", 1, 1)
        run(report)
    lines = log.getvalue().splitlines()
    assert lines[-2:] == lines[:2]


def test_what_is_said_again_at_its_end_is_said_once(log: io.StringIO) -> None:
    with _shared.progress() as report:
        run(report)
        report("training", 600, 600)
    assert log.getvalue().count("training: 600,") == 1
