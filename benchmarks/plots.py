"""Draw the pictures of docs from the results files.

    python benchmarks/plots.py

`make check` does not compare them: another version of matplotlib draws other bytes.
"""

from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from _cells import pick, rows_of
from _results import ROOT
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpdistill.evaluate.plot import logarithmic, styles

IMAGES = ROOT / "docs" / "images"


def main() -> None:
    """Write every picture; the same figures give the same bytes."""
    mpl.rcParams.update({"svg.hashsalt": "hpdistill", "svg.fonttype": "none", "font.size": 9})
    IMAGES.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        figure = Figure(figsize=(8, 4.6), layout="constrained")
        draw(figure.add_subplot())
        path = IMAGES / f"{name}.svg"
        figure.savefig(path, metadata={"Date": None})
        print(path.relative_to(ROOT))


def retrieval(axes: Axes) -> None:
    """MRR@10 against bytes a vector: first numbers of four models, then smaller numbers."""
    whitened, seeds = rows_of("retrieval-68k-whitened"), rows_of("retrieval-68k-anchor-0")
    student = [row for row in seeds if row["model"] == "student-128-anchor-0-seed-0"]
    curves = {
        "mpnet": [row for row in whitened if row["model"] == "mpnet"],
        "minilm, untouched": [row for row in whitened if row["model"] == "minilm"],
        "4 layers of 312, distilled": [
            row for row in whitened if row["model"] == "student-4-layers" and not row["doc_encoder"]
        ],
        "minilm, distilled to 128": [row for row in student if row["precision"] == "float32"],
    }
    colors = styles(len(curves))
    for (name, rows), color in zip(curves.items(), colors, strict=True):
        points = sorted((row["bytes_per_vector"], row["mrr10"]) for row in rows)
        axes.plot(*zip(*points, strict=True), color=color, marker="o", label=name, zorder=3)
    smaller = {
        "int8": pick(student, precision="int8", keep=None),
        "binary": pick(student, precision="binary", keep=None),
        "binary, best 200 again by int8": pick(student, precision="binary", keep="int8"),
    }
    for (name, row), above in zip(smaller.items(), (8, 8, -16), strict=True):
        at = (row["bytes_per_vector"], row["mrr10"])
        axes.scatter(*at, s=40, color=colors[-1], marker="D", zorder=4)
        axes.annotate(
            name, at, (0, above), textcoords="offset points", horizontalalignment="center"
        )
    logarithmic(axes, [row["bytes_per_vector"] for row in (whitened[0], smaller["binary"])])
    axes.set_xlabel("bytes a vector (logarithmic)")
    axes.set_ylabel("MRR@10 among 68,000 captions")
    axes.legend(loc="lower right", frameon=False)


def recipe(axes: Axes) -> None:
    """What each choice does to fidelity and to the development set; far ones are named."""
    rows = rows_of("mixed")
    base = pick(rows, arm="plain targets")
    blue, orange = styles(2)
    for row in rows:
        if "fidelity" not in row:
            continue
        at = (row["fidelity"]["mean"], row["dev"]["mean"])
        away = [at[0] - base["fidelity"]["mean"], at[1] - base["dev"]["mean"]]
        color, marker = (orange, "s") if row is base else (blue, "o")
        axes.scatter(*at, s=40, color=color, marker=marker, zorder=3)
        if row is base:
            axes.annotate(row["arm"], at, (0, 8), textcoords="offset points", color=color)
        elif abs(away[0]) > NEAR_FIDELITY or abs(away[1]) > NEAR_DEV:
            place = (0, 6) if row["arm"] in ABOVE else (7, -3)
            axes.annotate(row["arm"], at, place, textcoords="offset points", fontsize=8)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.15)
    axes.set_xlabel("fidelity: Spearman's correlation with the teacher's similarities, held out")
    axes.set_ylabel("STS benchmark, development set")


NEAR_FIDELITY, NEAR_DEV = 0.015, 0.25
"""Arms so near to the first one carry no name: there are too many."""
ABOVE = {"anchor 2", "anchor 2, neighbours, whitening 0.3"}
"""Arms whose name would lie on another's beside their point."""
PICTURES: dict[str, Callable[[Axes], Any]] = {"retrieval-68k": retrieval, "recipe": recipe}

if __name__ == "__main__":
    main()
