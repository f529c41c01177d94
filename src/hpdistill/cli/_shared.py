"""What every command shares: the consoles, progress bars, JSON output, clean endings."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from hpdistill.errors import UsageError
from hpdistill.machine import machine, versions
from hpdistill.progress import Report

out = Console()
err = Console(stderr=True)


def print_json(command: str, rows: list[dict[str, Any]]) -> None:
    """Print the one object that every `--json` prints."""
    document = {"command": command, "versions": versions(), "machine": machine(), "rows": rows}
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


class _RateColumn(ProgressColumn):
    """Finished units a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        unit = task.fields.get("unit", "")
        return Text(f"{speed:,.0f} {unit}/s" if speed else "", style="progress.data.speed")


@contextmanager
def progress() -> Iterator[Report]:
    """Progress bars on standard error; gives a callback `report(task, done, total)`.

    A task of unknown length has total 0. Without a terminal, one line a task at its end.
    """
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        speed_estimate_period=60,
        disable=not err.is_terminal,
    )
    tasks: dict[str, Any] = {}

    def report(task: str, done: int, total: int) -> None:
        if task not in tasks:
            tasks[task] = bars.add_task(task, total=total or None, completed=done)
        bars.update(tasks[task], completed=done, total=total or None)
        if total and done >= total and not err.is_terminal and tasks[task] is not None:
            err.print(f"{task}: {done:,}")

    with bars:
        yield report


def require_train_extra() -> None:
    """Say what to install where PyTorch and its friends are missing.

    Raises:
        UsageError: Names the missing package.
    """
    for module in ("torch", "transformers", "sentence_transformers", "pyarrow", "scipy"):
        if importlib.util.find_spec(module) is None:
            raise UsageError(
                f"this command needs the package {module}, which is not installed",
                hint="pip install 'hpdistill[train]'",
            )
