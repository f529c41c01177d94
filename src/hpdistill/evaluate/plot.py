"""The picture of a comparison: quality against speed, one point a model and back end."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from hpdistill.errors import UsageError
from hpdistill.extras import extra
from hpdistill.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

__all__ = [
    "SUFFIXES",
    "check_plot",
    "logarithmic",
    "plot_quality_speed",
    "short_names",
    "styles",
]

SUFFIXES = (".pdf", ".png", ".svg")

# Okabe and Ito's colours, told apart with any kind of colour vision; shapes tell them apart
# without colour.
_STYLES = (
    ("#0072B2", "o"),
    ("#D55E00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#E69F00", "v"),
    ("#56B4E9", "P"),
    ("#000000", "X"),
)
# Where a label may stand, from its point, in points: tried in this order.
_PLACES = (
    (9, 0, "left", "center"),
    (-9, 0, "right", "center"),
    (0, 9, "center", "bottom"),
    (0, -9, "center", "top"),
    (8, 11, "left", "bottom"),
    (8, -11, "left", "top"),
    (-8, 11, "right", "bottom"),
    (-8, -11, "right", "top"),
    (0, 22, "center", "bottom"),
    (0, -22, "center", "top"),
)


def check_plot(path: Path) -> None:
    """Refuse a picture that could not be drawn, before an hour is spent on its figures.

    Raises:
        UsageError: An unknown kind of file.
        PackageError: matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"{path} is no picture that can be written; allowed: {', '.join(SUFFIXES)}"
        )
    extra("matplotlib", "eval", task="a picture")


def plot_quality_speed(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw sentences a second (logarithmic) against the average of the STS tasks.

    Args:
        rows: With `model, backend, precision, sentences_per_second, average_present,
            tasks_present`.
        path: A `.png`, `.svg` or `.pdf` file; replaced if it exists.

    Raises:
        UsageError: As `check_plot`.
        RunError: The place cannot be written.
    """
    check_plot(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    labels = _draw(axes, rows)
    _place(figure, axes, labels)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lower().removeprefix("."))


def short_names(names: Sequence[str]) -> list[str]:
    """Names without the folders that paths share: as few last parts as tell all apart.

    The folder `model` of a run says nothing; the run's name takes its place.
    """
    parts = [PurePath(name).parts or (name,) for name in names]
    parts = [part[:-1] if len(part) > 2 and part[-1] == "model" else part for part in parts]
    distinct = len(set(names))
    for count in range(1, max(map(len, parts), default=1)):
        short = ["/".join(part[-count:]) for part in parts]
        if len(set(short)) == distinct:
            return short
    return list(names)


def _draw(axes: "Axes", rows: Sequence[Mapping[str, Any]]) -> "list[Annotation]":
    kinds = [f"{row['backend']} {row['precision']}" for row in rows]
    names = short_names([str(row["model"]) for row in rows])
    order = list(dict.fromkeys(kinds))
    for kind in order:
        color, marker = _STYLES[order.index(kind) % len(_STYLES)]
        own = [row for row, other in zip(rows, kinds, strict=True) if other == kind]
        axes.scatter(
            [row["sentences_per_second"] for row in own],
            [row["average_present"] for row in own],
            s=64,
            color=color,
            marker=marker,
            edgecolors="white",
            linewidths=0.8,
            label=kind,
            zorder=3,
        )
    _frame(axes, rows)
    labels = []
    for model in dict.fromkeys(names):
        points = sorted(
            (row["sentences_per_second"], row["average_present"])
            for row, name in zip(rows, names, strict=True)
            if name == model
        )
        axes.plot(*zip(*points, strict=True), color="#999999", linewidth=0.8, zorder=1)
        # Once, at the fastest point; the line leads to the model's others.
        labels.append(
            axes.annotate(
                model, points[-1], (0, 0), textcoords="offset points", fontsize=9, zorder=4
            )
        )
    return labels


def styles(count: int) -> list[str]:
    """Colours for so many things, told apart with any kind of colour vision as far as they go."""
    return [_STYLES[number % len(_STYLES)][0] for number in range(count)]


def logarithmic(axes: "Axes", values: Sequence[float]) -> None:
    """Set up a logarithmic x axis for these values, in plain numbers, and a quiet frame."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    least, most = min(values), max(values)
    axes.set_xlim(least / 2, most * 2)
    axes.margins(y=0.15)
    steps = (1, 2, 5) if most < 100 * least else (1, 3)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(color="#dddddd", linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _frame(axes: "Axes", rows: Sequence[Mapping[str, Any]]) -> None:
    logarithmic(axes, [row["sentences_per_second"] for row in rows])
    axes.set_xlabel("sentences a second (logarithmic)")
    tasks = rows[0]["tasks_present"]
    axes.set_ylabel(f"STS, 100 times Spearman, mean of {tasks} task{'s' * (tasks != 1)}")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=4, frameon=False, fontsize=9)


def _place(figure: "Figure", axes: "Axes", labels: "Sequence[Annotation]") -> None:
    """Move each label to where it covers neither a point nor another label, if there is such."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.transforms import Bbox

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    frame = axes.get_window_extent(renderer)
    radius = figure.dpi * 6 / 72
    offsets = [np.asarray(drawn.get_offsets()) for drawn in axes.collections]
    points = axes.transData.transform(np.concatenate(offsets))
    taken = [Bbox.from_extents(x - radius, y - radius, x + radius, y + radius) for x, y in points]
    for label in labels:
        best, least = None, float("inf")
        for x, y, horizontal, vertical in _PLACES:
            label.set(position=(x, y), horizontalalignment=horizontal, verticalalignment=vertical)
            box = label.get_window_extent(renderer)
            hits = sum(box.overlaps(other) for other in taken)
            outside = not (
                frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 <= frame.y1
            )
            if hits + 2 * outside < least:
                best, least = (x, y, horizontal, vertical, box), hits + 2 * outside
        assert best is not None
        x, y, horizontal, vertical, box = best
        label.set(position=(x, y), horizontalalignment=horizontal, verticalalignment=vertical)
        taken.append(box)
