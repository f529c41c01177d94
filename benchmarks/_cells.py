"""What the tables are put together of: rows of results files, and figures as cells."""

import statistics
from collections.abc import Sequence
from typing import Any

from _results import read

TASKS = ("STS12", "STS13", "STS14", "STSBenchmark")
"""The test tasks of which text was at hand."""
TASK_NAMES = ("STS12", "STS13", "STS14", "STS-B")


def rows_of(name: str) -> list[dict[str, Any]]:
    """The rows of a results file."""
    rows: list[dict[str, Any]] = read(name)["rows"]
    return rows


def pick(rows: Sequence[dict[str, Any]], **wanted: Any) -> dict[str, Any]:  # noqa: ANN401
    """The one row with these values."""
    [found] = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return found


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Markdown: the first column to the left, all others to the right."""
    marks = ["---", *(["---:"] * (len(heads) - 1))]
    rows = [heads, marks, *lines]
    return "\n".join(
        "|"
        + "|".join(cell if cell in marks else f" {cell} ".replace("  ", " ") for cell in row)
        + "|"
        for row in rows
    )


def share(value: float) -> str:
    """As `98.2 %`; a whole as `100 %`."""
    return "100 %" if value == 1 else f"{100 * value:.1f} %"


def rounded(speed: float) -> str:
    """Three digits of a large number are all that a busy machine gives."""
    return f"{round(speed, -3):,.0f}" if speed >= 10_000 else f"{speed:.0f}"


def over_seeds(found: dict[str, Any] | None, digits: int, differences: bool) -> str:
    """As `76.48 ± 0.14 (+0.02)`, of what there is."""
    if found is None:
        return ""
    text = f"{found['mean']:.{digits}f}"
    if found["sd"] is not None:
        text += f" ± {found['sd']:.{digits}f}"
    if differences and found["difference"] is not None:
        text += f" ({found['difference']:+.{digits}f})"
    return text


def with_spread(values: Sequence[float], *, digits: int) -> str:
    """The mean; of several seeds, as `76.48 ± 0.14`."""
    sd = statistics.stdev(values) if len(values) > 1 else None
    return over_seeds({"mean": statistics.fmean(values), "sd": sd}, digits, differences=False)
