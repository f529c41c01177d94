"""What every command shares: the consoles, progress bars, JSON output, clean endings."""

import importlib.util
import io
import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table as Grid
from rich.text import Text

from hpdistill.extras import missing_package
from hpdistill.machine import machine, versions
from hpdistill.progress import LOGGER, Report

if TYPE_CHECKING:
    from hpdistill.evaluate import Table

out = Console()
err = Console(stderr=True)

LOG_SECONDS = 30
_ROOMY = 70
"""Characters that bars of progress need with all that is said beside them."""
_HEADING = re.compile(r"\bstage \d+ of \d+: ")
_UNBOUNDED = 10_000
"""Characters; wider than any table."""


def print_json(command: str, rows: list[dict[str, Any]]) -> None:
    """Print the one object that every `--json` prints, in UTF-8 whatever the locale is."""
    document = {"command": command, "versions": versions(), "machine": machine(), "rows": rows}
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Bytes that were no UTF-8, in an argument say, have become lone surrogates.
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def print_table(table: "Table") -> None:
    """Print a table whole: no column is cut, and no number or name is broken.

    On a terminal that is too narrow for its columns each row becomes a list of them. A pipe or a
    file gets the table as wide as it is, unless `COLUMNS` says how wide its reader is.
    """
    shown = table.to_rich()
    needed = Measurement.get(out, out.options.update(width=_UNBOUNDED), shown).minimum
    if needed <= out.width:
        out.print(shown)
    elif out.is_terminal or "COLUMNS" in os.environ:
        _print_lists(table)
    else:
        Console(file=out.file, width=needed).print(shown)


def _print_lists(table: "Table") -> None:
    """Print each row as lines of a title and a value."""
    if table.title:
        out.print(Text(table.title, style="italic"))
    for row in table.cells():
        lines = Grid.grid(padding=(0, 2, 0, 0))
        lines.add_column(no_wrap=True)
        lines.add_column(overflow="fold")
        for column, (text, best) in zip(table.columns, row, strict=True):
            lines.add_row(Text(column.title), Text(text, style="bold" if best else ""))
        out.print()
        out.print(lines)
    for note in table.notes:
        out.print()
        out.print(Text(note))


def say(console: Console, text: str) -> None:
    """Print text as it is: by words on a terminal, on one line elsewhere."""
    console.print(text, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def parse_options(given: list[str] | None) -> dict[str, Any]:
    """Options of an engine: `NAME=VALUE`, the value as JSON or else as text."""
    found: dict[str, Any] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="'--option'")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


class _RateColumn(ProgressColumn):
    """Finished units a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", style="progress.data.speed")


@contextmanager
def progress() -> Iterator[Report]:
    """Progress on standard error; gives a callback `report(task, done, total)`.

    Bars on a terminal, as many columns as fit; in a log a line now and then, and one at the end of
    each task. A task called "stage 2 of 7: teacher" is a heading. What the library logs meanwhile
    is printed above them.
    """
    with _logged():
        if err.is_terminal:
            with _bars() as report:
                yield report
        else:
            yield _Log()


@contextmanager
def _logged() -> Iterator[None]:
    handler = _Lines()
    level = LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.setLevel(level)
        LOGGER.removeHandler(handler)


class _Lines(logging.Handler):
    """Each record as a line on standard error, the same one only once."""

    def __init__(self) -> None:
        super().__init__()
        self._printed: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() in self._printed:
            return
        self._printed.add(record.getMessage())
        err.print(record.getMessage(), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _bars() -> Iterator[Report]:
    columns: list[ProgressColumn] = [
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    if err.width < _ROOMY:
        del columns[1], columns[2:4]  # the bar, the rate and the time spent
    bars = Progress(*columns, console=err, speed_estimate_period=60, expand=err.width >= _ROOMY)
    tasks: dict[str, TaskID] = {}

    def report(task: str, done: int, total: int) -> None:
        if _HEADING.search(task):
            bars.print(Text(task, style="bold"))
            return
        if task not in tasks:
            tasks[task] = bars.add_task(task, total=total or None, completed=done)
        elif done < next(bar.completed for bar in bars.tasks if bar.id == tasks[task]):
            bars.reset(tasks[task])  # of several models, the next one
        bars.update(tasks[task], completed=done, total=total or None)

    with bars:
        yield report


def in_steps(report: Report, batch_size: int) -> Report:
    """Progress of a training in its steps, where it is reported in examples."""

    def told(task: str, done: int, total: int) -> None:
        if task == "training":
            report("training steps", done // batch_size, total // batch_size)
        else:
            report(task, done, total)

    return told


class _Log:
    """Progress for a file or a pipe."""

    def __init__(self) -> None:
        self._started: dict[str, tuple[float, int]] = {}
        self._done: dict[str, int] = {}
        self._finished: set[str] = set()
        self._last = time.monotonic()

    def __call__(self, task: str, done: int, total: int) -> None:
        if _HEADING.search(task):
            err.print(task, highlight=False, markup=False)
            return
        now = time.monotonic()
        if done < self._done.get(task, 0):  # of several models, the next one
            del self._started[task]
            self._finished.discard(task)
        self._done[task] = done
        started, before = self._started.setdefault(task, (now, done))
        if total and done >= total:
            if task not in self._finished:
                self._finished.add(task)
                err.print(f"{task}: {done:,}, {now - started:.0f} s", highlight=False, markup=False)
        elif now - self._last >= LOG_SECONDS and done > before:
            self._last = now
            rate = (done - before) / (now - started)
            left = f" of {total:,}, {(total - done) / rate / 60:.1f} min left" if total else ""
            err.print(f"{task}: {done:,}{left}, {rate:,.0f}/s", highlight=False, markup=False)


def require_train_extra() -> None:
    """Say what to install where PyTorch and its friends are missing.

    Raises:
        UsageError: Names the missing package.
    """
    for module in ("torch", "transformers", "sentence_transformers", "pyarrow", "scipy"):
        if importlib.util.find_spec(module) is None:
            raise missing_package(module, task="this command")
