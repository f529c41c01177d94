"""Tables of what students keep: at STS, in fidelity, and in closed form."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from _cells import (
    TASK_NAMES,
    TASKS,
    over_seeds,
    pick,
    rounded,
    rows_of,
    share,
    table,
    with_spread,
)
from _results import read


def students() -> str:
    """Sizes, speed and quality of the students, against their teacher."""
    six, three = rows_of("distill-minilm-128"), rows_of("distill-minilm3-128-reach")
    seeds, three_seeds = rows_of("sts-minilm-128-reach"), rows_of("sts-minilm3-128-reach")
    parameters = pick(six, model="minilm, distilled", backend="torch")["parameters"]
    distilled = {**seeds[0], "parameters": parameters}
    int8 = pick(rows_of("int8-sts"), precision="int8")
    static = pick(rows_of("distill-static-128"), model="static, distilled")
    static_scores = pick(rows_of("static"), arm="all")["tests"]["by_seed"].values()
    teacher = six[0]["average_present"]
    # Those of the distillations were taken beside other work.
    speeds = rows_of("speed")
    in_float32 = {"backend": "sentence-transformers", "precision": "float32"}
    in_int8 = {"backend": "onnx", "precision": "int8"}

    def line(
        name: str,
        row: dict[str, Any],
        timed: dict[str, Any] | None = None,
        *,
        bold: bool = False,
        scores: Sequence[float] = (),
    ) -> list[str]:
        strong = "**{}**" if bold else "{}"
        scores = scores or [row["average_present"]]
        return [
            strong.format(name),
            str(row["dim"]),
            str(4 * row["dim"]),
            f"{row['parameters'] / 1e6:.1f} M",
            "" if timed is None else rounded(timed["sentences_per_second"]),
            strong.format(with_spread(scores, digits=2)),
            strong.format(share(statistics.fmean(scores) / teacher)),
        ]

    return table(
        ["", "width", "bytes a vector", "parameters", "sentences/s", "STS", "of the teacher"],
        [
            line("teacher, `mpnet`", six[0], pick(speeds, model="teacher", **in_float32)),
            line(
                "`minilm` cut to 128 by its own PCA, no distillation",
                pick(six, model="minilm, own PCA-128"),
            ),
            line(
                "`minilm` distilled to 128",
                distilled,
                pick(speeds, model="student", **in_float32),
                bold=True,
                scores=[row["average_present"] for row in seeds],
            ),
            line(
                "the same on ONNX Runtime in int8",
                {**int8, "parameters": parameters},
                pick(speeds, model="student", **in_int8),
            ),
            line(
                "static student, no transformer",
                static,
                pick(rows_of("speed-static"), model="RUNS/static-assist2/model"),
                scores=list(static_scores),
            ),
            line(
                "3 of its 6 layers, own PCA, no distillation",
                pick(three, model="layers:minilm:0,2,4, own PCA-128"),
            ),
            line(
                "3 of its 6 layers, distilled to 128",
                pick(three, model="layers:minilm:0,2,4, distilled", backend="torch"),
                bold=True,
                scores=[row["average_present"] for row in three_seeds],
            ),
            line(
                "4 layers of 312 numbers cut from `minilm`, distilled to 128",
                pick(
                    rows_of("distill-narrow4-128-reach"),
                    model="shape:layers=4,width=312,heads=12,ffn=1200,from=minilm, distilled",
                    backend="torch",
                ),
                bold=True,
            ),
        ],
    )


def reproduced() -> str:
    """The paper's STS table as `hpd reproduce --scale cpu` made it here."""
    rows = {row["row"]: row for row in rows_of("reproduce-cpu")}
    teacher = rows["all-mpnet-base-v2"]["average_present"]
    lines = []
    for name, title in REPRODUCED.items():
        if name not in rows:
            continue
        row = rows[name]
        scores = [f"{row[task]:.2f}" for task in (*TASKS, "average_present")]
        size = [str(row["dim"]), f"{row['parameters'] / 1e6:.1f} M"]
        lines.append([title, *size, *scores, share(row["average_present"] / teacher)])
    heads = ["", "width", "parameters", *TASK_NAMES, "mean", "of `mpnet`"]
    return table(heads, lines)


REPRODUCED = {
    "all-mpnet-base-v2": "`mpnet`",
    "all-mpnet-base-v2-pca-128": "`mpnet`, PCA-128",
    "simcse-mpnet": "`mpnet`, SimCSE",
    "simcse-mpnet-pca-128": "`mpnet`, SimCSE, PCA-128",
    "all-minilm-l6-v2": "`minilm`, untouched",
    "all-minilm-l6-v2-pca-128": "`minilm`, PCA-128",
    "simcse-minilm": "`minilm`, SimCSE",
    "simcse-minilm-projection-128": "+ Projection-128",
    "simcse-minilm-whitening-128": "+ Whitening-128",
    "hpd-minilm-128-from-all-mpnet-base-v2": "`minilm`, HPD-128",
    "hpd-minilm-128-from-all-mpnet-base-v2-ours": "`minilm`, HPD-128, our recipe",
    "hpd-minilm-128-from-simcse-mpnet-ours": "the same from `mpnet` with SimCSE",
    "simcse-tinybert": "`minilm` cut to 4 layers of 312, SimCSE",
    "simcse-tinybert-projection-128": "+ Projection-128",
    "simcse-tinybert-whitening-128": "+ Whitening-128",
    "hpd-tinybert-128-from-all-mpnet-base-v2": "`minilm` cut to 4 layers of 312, HPD-128",
    "hpd-tinybert-128-from-all-mpnet-base-v2-ours": "the same by our recipe",
}
"""Rows of the table in its order, and what they are made from here."""


def ablation(name: str, *, differences: bool = False) -> Callable[[], str]:
    """The table of a grid that `ablate.py` ran."""
    return lambda: ablated(read(name), differences=differences)


def ablated(result: dict[str, Any], *, differences: bool = False) -> str:
    """The table of an ablation's figures: mean and standard deviation over the seeds.

    Args:
        result: `rows` and `beside`, as `ablate.py` writes them.
        differences: Also to the arm that all others are compared with, over seeds that both have.
    """
    shown = [figure for figure in ABLATED if any(figure in row for row in result["rows"])]
    lines = []
    for row in result.get("beside", [])[1:]:  # the first is the teacher, faithful to itself
        known = {"fidelity": row["spearman"], "overlap10": row["overlap10"]}
        figures = [f"{known[name]:.{DIGITS[name]}f}" if name in known else "" for name in shown]
        lines.append([f"no training: {row['model']}", "", *figures])
    for row in result["rows"]:
        if row["seeds"]:
            cells = [over_seeds(row.get(name), DIGITS[name], differences) for name in shown]
            lines.append([row["about"] or row["arm"], str(len(row["seeds"])), *cells])
    return table(["arm", "seeds", *(ABLATED[figure] for figure in shown)], lines)


ABLATED = {
    "fidelity": "fidelity",
    "overlap10": "nearest",
    "dev": "dev",
    "tests": "four STS tasks",
}
DIGITS = {"fidelity": 4, "overlap10": 3, "dev": 2, "tests": 2}


def heads(name: str, figures: dict[str, int]) -> Callable[[], str]:
    """The table of heads in closed form that `targets.py` made: some of its whitenings."""

    def made() -> str:
        lines = []
        for row in rows_of(name):
            if row["whitening"] in SHOWN_WHITENINGS:
                own = row["head"] == "own PCA"
                what = "the student's own PCA" if own else f"ridge, anchor {row['anchor']:g}"
                values = [
                    f"{row[f]:.{digits}f}" if f in row else "" for f, digits in figures.items()
                ]
                lines.append([what, str(row["dim"]), f"{row['whitening']:g}", *values])
        titles = [HEAD_FIGURES[figure] for figure in figures]
        return table(["head", "width", "whitening", *titles], lines)

    return made


SHOWN_WHITENINGS = (0, 0.3, 0.6)
HEAD_FIGURES = {
    "target": "fidelity of the target",
    "fidelity": "of the head",
    "dev": "dev",
    "tests": "four STS tasks",
    "mrr10": "MRR@10",
}


def whitened() -> str:
    """Students of plain and of partly whitened targets, on mixed text."""
    lines = []
    for row in rows_of("target-whitening"):
        tasks = [f"{row[t]:.2f}" for t in (*TASKS, "tests")]
        own = [f"{row['fidelity']:.4f}", f"{row['overlap10']:.3f}", f"{row['dev']:.2f}"]
        lines.append([f"{row['whitening']:g}", *own, *tasks])
    heads = ["whitening", "fidelity", "nearest", "dev", *TASK_NAMES, "mean"]
    return table(heads, lines)


def sts_by_width() -> str:
    """STS of the prefixes of students trained for them, and not."""
    rows = read("prefixes")["widths"]
    dims = sorted({row["dim"] for row in rows}, reverse=True)
    lines = []
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        cells = [
            with_spread([row["average_present"] for row in own if row["dim"] == dim], digits=2)
            for dim in dims
        ]
        lines.append([model, str(len({row["seed"] for row in own})), *cells])
    return table(["four STS tasks, numbers", "seeds", *map(str, dims)], lines)


def left_out() -> str:
    """Fidelity on each kind of text that was left out, with it and without it in training."""
    rows = rows_of("left-out")
    whole = pick(rows, arm="all")
    lines = []
    for row in rows:
        kind = row["arm"].removeprefix("without ")
        if row is whole or "kinds" not in row:
            continue
        without, start = row["kinds"], row["kinds_at_start"][kind]
        gains = {name: value - whole["kinds"][name] for name, value in without.items()}
        others = statistics.fmean(gain for name, gain in gains.items() if name != kind)
        lost = [
            whole["kinds_by_seed"][seed][kind] - by_kind[kind]
            for seed, by_kind in row["kinds_by_seed"].items()
        ]
        four = [start, without[kind], whole["kinds_at_start"][kind], whole["kinds"][kind]]
        cells = [*(f"{value:.4f}" for value in four), with_spread(lost, digits=4), f"{others:+.4f}"]
        lines.append([kind, *cells, with_spread(list(row["dev"]["by_seed"].values()), digits=2)])
    own = ["its head solved", "trained", "with it: head solved", "trained"]
    return table(["left out", *own, "lost", "other kinds", "dev"], lines)
