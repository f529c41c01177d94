"""Two pictures of a matrix: quality against bytes per vector, and against queries a second."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpdistill.evaluate.plot import check_plot, logarithmic, short_names, styles
from hpdistill.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["frontier", "plot_retrieval"]

_MARKERS = {"float32": "o", "int8": "s", "binary": "^", None: "X"}
_PICTURES = {
    "bytes": ("bytes_per_vector", "bytes per vector, those kept for rescoring included", "min"),
    "speed": ("queries_per_second", "queries a second", "max"),
}


def plot_retrieval(rows: Sequence[Mapping[str, Any]], path: Path) -> list[Path]:
    """Draw MRR@10 against bytes per vector and against queries a second, both logarithmic.

    A model has a colour, a precision a shape; full shapes are rescored. A line joins those of a
    model's points that none of its other points beats in both.

    Args:
        rows: As `measure_retrieval` gives them.
        path: `NAME.png` (or .svg, .pdf): the pictures are `NAME-bytes.png` and `NAME-speed.png`.

    Returns:
        Their paths.

    Raises:
        UsageError: An unknown kind of file.
        PackageError: matplotlib is not installed.
        RunError: The place cannot be written.
    """
    check_plot(path)
    from matplotlib.figure import Figure

    made = []
    for name, (key, label, better) in _PICTURES.items():
        figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
        _draw(figure.add_subplot(), rows, key, label, better)
        made.append(path.with_name(f"{path.stem}-{name}{path.suffix}"))
        with atomic_path(made[-1]) as temporary:
            figure.savefig(temporary, format=path.suffix.lower().removeprefix("."))
    return made


def frontier(points: Sequence[tuple[float, float]], better: str) -> list[tuple[float, float]]:
    """Points that no other beats in both coordinates.

    Args:
        points: Cost or gain, and quality.
        better: `min` if the first is a cost, `max` if it is a gain.

    Returns:
        In the order of the first coordinate.
    """
    sign = 1 if better == "min" else -1
    kept: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (sign * point[0], -point[1])):
        if not kept or y > kept[-1][1]:
            kept.append((x, y))
    return sorted(kept)


def _draw(
    axes: "Axes", rows: Sequence[Mapping[str, Any]], key: str, label: str, better: str
) -> None:
    from matplotlib.lines import Line2D

    names = [_label(row) for row in rows]
    shorts = dict(zip(names, short_names(names), strict=True))
    models = list(dict.fromkeys(names))
    colors = dict(zip(models, styles(len(models)), strict=True))
    for row, name in zip(rows, names, strict=True):
        axes.scatter(
            row[key],
            row["mrr10"],
            s=46,
            marker=_MARKERS[row["precision"]],
            facecolors=colors[name] if row["rescore"] else "white",
            edgecolors=colors[name],
            linewidths=1.2,
            zorder=3,
        )
    for name in models:
        own = [(row[key], row["mrr10"]) for row, of in zip(rows, names, strict=True) if of == name]
        axes.plot(*zip(*frontier(own, better), strict=True), color=colors[name], zorder=2)
    logarithmic(axes, [row[key] for row in rows])
    axes.set_xlabel(f"{label} (logarithmic)")
    axes.set_ylabel("MRR@10")
    handles = [Line2D([], [], color=colors[name], label=shorts[name]) for name in models]
    used = dict.fromkeys(row["precision"] for row in rows if row["precision"])
    handles += [
        Line2D(
            [], [], color="#555555", marker=_MARKERS[one], linestyle="", fillstyle="none", label=one
        )
        for one in used
    ]
    if any(row["rescore"] for row in rows):
        handles.append(
            Line2D([], [], color="#555555", marker="o", linestyle="", label="full: rescored")
        )
    axes.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.14),
        ncols=3,
        frameon=False,
        fontsize=9,
    )


def _label(row: Mapping[str, Any]) -> str:
    return (
        f"{row['model']}, documents by {row['doc_encoder']}" if row["doc_encoder"] else row["model"]
    )
