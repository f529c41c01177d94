"""Progress in a log: a line now and then, and one at the end of each task."""

import io
import re
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


def test_a_stage_is_a_heading(log: io.StringIO) -> None:
    with _shared.progress() as report:
        report("stage 2 of 7: teacher", 0, 0)
        run(report)
    assert log.getvalue().splitlines()[0] == "stage 2 of 7: teacher"


def test_a_training_is_told_in_steps(log: io.StringIO) -> None:
    with _shared.progress() as report:
        run(_shared.in_steps(report, batch_size=20))
    assert log.getvalue().splitlines()[-1] == "training steps: 30, 120 s"


@pytest.mark.parametrize("width", [40, 60, 100])
def test_bars_fit_a_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    terminal = Console(file=file, width=width, force_terminal=True, no_color=True)
    monkeypatch.setattr(_shared, "err", terminal)
    with _shared.progress() as report:
        report("stage 2 of 7: teacher", 0, 0)
        report("embedding with mpnet", 500, 1000)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    lines = [line.rstrip() for part in text.splitlines() for line in part.split("\r")]
    assert "stage 2 of 7: teacher" in lines
    assert any("embedding with mpnet" in line and "500/1000" in line for line in lines)
    assert max(map(len, lines)) <= width
