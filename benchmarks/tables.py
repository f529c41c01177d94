"""Write the tables of README.md and of docs from the results files.

    python benchmarks/tables.py            # writes what has changed
    python benchmarks/tables.py --check    # only says whether something would change

A table lies between `<!-- table: NAME -->` and `<!-- end -->` in a Markdown file; how NAME is made
is said by a function in `TABLES`. Figures are formatted here and nowhere else.
"""

import argparse
import re
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import indent
from typing import Any

from _results import RESULTS

from hpdistill.files import read_json

ROOT = Path(__file__).parents[1]
PLACE = re.compile(r"^( *)<!-- table: ([\w-]+) -->\n.*?<!-- end -->", re.DOTALL | re.MULTILINE)
TASKS = ("STS12", "STS13", "STS14", "STSBenchmark")
"""The test tasks of which text was at hand."""
TASK_NAMES = ("STS12", "STS13", "STS14", "STS-B")


def main() -> None:
    """Rewrite every file with a table in it; with --check, exit 1 if one is not as it would be."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    stale = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = path.read_text("utf-8")
        fresh = filled(text)
        if fresh != text:
            stale.append(str(path.relative_to(ROOT)))
            if not options.check:
                path.write_text(fresh, "utf-8")
    if stale:
        print(f"{'stale' if options.check else 'written'}: {', '.join(stale)}")
    sys.exit(1 if stale and options.check else 0)


def filled(text: str) -> str:
    """A Markdown text with its tables made anew.

    Raises:
        KeyError: It names a table that `TABLES` does not have.
    """

    def made(found: re.Match[str]) -> str:
        name = found[2]
        return indent(f"<!-- table: {name} -->\n{TABLES[name]()}\n<!-- end -->", found[1])

    return PLACE.sub(made, text)


def students() -> str:
    """Sizes, speed and quality of the students, against their teacher."""
    six, three = rows_of("distill-minilm-128"), rows_of("distill-minilm3-128-longer")
    seeds = rows_of("sts-minilm-128")
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
            ),
            line(
                "4 layers of 312 numbers cut from `minilm`, distilled to 128",
                pick(
                    rows_of("distill-narrow4-128"),
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
    return lambda: ablated(read_json(RESULTS / f"{name}.json"), differences=differences)


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


ABLATED = {
    "fidelity": "fidelity",
    "overlap10": "nearest",
    "dev": "dev",
    "tests": "four STS tasks",
}
DIGITS = {"fidelity": 4, "overlap10": 3, "dev": 2, "tests": 2}


def search_by_loss() -> str:
    """MRR@10 of students that differ in how they were trained, whole and cut to prefixes."""
    result = read_json(RESULTS / "retrieval-20k-loss.json")
    found = {(row["model"], row["dim"]): row["mrr10"] for row in result["rows"]}
    lines = []
    for name, title in SEARCHED.items():
        fidelity = result["fidelity"].get(name)
        scores = [found.get((name, dim)) for dim in (384, 128, 64, 32, 16)]
        cells = ["" if score is None else f"{score:.4f}" for score in scores]
        lines.append([title, "" if fidelity is None else f"{fidelity['spearman']:.3f}", *cells])
    return table(["", "fidelity", "384", "128", "64", "32", "16"], lines)


SEARCHED = {
    "minilm": "`minilm`, untouched, and its first numbers",
    "minilm-pca-128": "its own PCA of 22,000 captions",
    "250 steps, squared error": "250 steps, squared error",
    "250 steps, squared error + neighbours": "the same and the ranking of neighbours",
    "250 steps, similarity + neighbours": "the same and the batch's similarities",
    "student-128-mse": "2 epochs, with prefixes, squared error",
    "student-128-similarity": "the same and the batch's similarities",
    "student-128-rotation-neighbours": "the same, the ranking of neighbours, and `--head rotation`",
    "student-128-rotation-neighbours-6-epochs": "the same, 6 epochs",
    "student-128-whitened": "2 epochs, that ranking, anchor 1, `--target-whitening 0.3`",
}


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


def searched_68k(
    entries: Sequence[tuple[str, str, dict[str, Any]]], shown: Sequence[str]
) -> Callable[[], str]:
    """The table of search among 68,000 captions: quality, memory and time.

    Args:
        entries: Of each row: its results file, its title, and what to pick it by; of several
            models, the mean.
        shown: Its columns.
    """

    def made() -> str:
        lines = []
        for name, title, wanted in entries:
            models = [wanted["model"]] if isinstance(wanted["model"], str) else wanted["model"]
            rows = [pick(rows_of(name), **{**PLAIN, **wanted, "model": one}) for one in models]
            row, scores = rows[0], [row["mrr10"] for row in rows]
            # In the precision that the file's students computed in.
            teacher = rows_of(name if name == SEEDS else WHITENED)[0]["mrr10"]
            strong = "**{}**" if title.startswith("**") else "{}"
            cells = {
                "numbers": "" if row["dim"] is None else str(row["dim"]),
                "bytes a vector": f"{row['bytes_per_vector']:,.0f}",
                "MRR@10": strong.format(with_spread(scores, digits=4)),
                "of the teacher": share(statistics.fmean(scores) / teacher),
                # Only of this file were the times taken in one run.
                "search ms": f"{row['query_ms']:.1f}" if name == WHITENED else "",
            }
            lines.append([title, *(cells[column] for column in shown)])
        return table(["", *shown], lines)

    return made


QUALITY = ("bytes a vector", "MRR@10", "of the teacher")
PLAIN = {"doc_encoder": None, "precision": "float32", "rescore": None}
WHITENED = "retrieval-68k-whitened"
LONGER = "retrieval-68k-longer"
LONGEST = "retrieval-68k-12-epochs"
SEEDS = "retrieval-68k-anchor-0"
RANKING = "retrieval-68k-ranking"
THREE: dict[str, Any] = {
    "model": [f"student-128-anchor-0-seed-{seed}" for seed in range(3)],
    "dim": 128,
}
LONG = {"model": "student-128-seed-0", "dim": 128}
SEARCHED_68K: list[tuple[str, str, dict[str, Any]]] = [
    (WHITENED, "teacher, `mpnet`", {"model": "mpnet", "dim": 768}),
    (WHITENED, "`minilm`, untouched", {"model": "minilm", "dim": 384}),
    (SEEDS, "**student of 128, without the anchor**, three seeds", THREE),
    (SEEDS, "the same in int8", {**THREE, "precision": "int8"}),
    (SEEDS, "binary, best 200 again by int8", {**THREE, "precision": "binary", "rescore": 200}),
    (SEEDS, "binary alone", {**THREE, "precision": "binary"}),
    (SEEDS, "first 64 of the 128", {**THREE, "dim": 64}),
    (SEEDS, "first 32", {**THREE, "dim": 32}),
    (SEEDS, "first 16", {**THREE, "dim": 16}),
    (SEEDS, "with the anchor, as long", {"model": "student-128-anchor-1", "dim": 128}),
    (LONGER, "with the anchor, 8 epochs on a GPU", LONG),
    (WHITENED, "with the anchor, 3 epochs on one core", {"model": "student-128", "dim": 128}),
    (
        WHITENED,
        "documents by the teacher, queries by that student",
        {"model": "student-128", "dim": 128, "doc_encoder": "mpnet"},
    ),
    (WHITENED, "student of 256, shorter training", {"model": "student-256", "dim": 256}),
    (WHITENED, "first 128 of the 256", {"model": "student-256", "dim": 128}),
    (
        "retrieval-68k-ranked",
        "student of 128, as short",
        {"model": "student-128-whitened", "dim": 128},
    ),
    (WHITENED, "4 layers of 312, 14 M", {"model": "student-4-layers", "dim": 312}),
    (WHITENED, "its first 256", {"model": "student-4-layers", "dim": 256}),
    (WHITENED, "its first 128", {"model": "student-4-layers", "dim": 128}),
    (
        "retrieval-68k-ranked",
        "student of 128, trained to rank plain targets",
        {"model": "student-128-ranked", "dim": 128},
    ),
    ("retrieval-68k", "neither: student of 128", {"model": "student-128", "dim": 128}),
    ("retrieval-68k", "first 64 of the 128", {"model": "student-128", "dim": 64}),
    ("retrieval-68k", "student trained at 64", {"model": "student-64", "dim": 64}),
    ("retrieval-68k", "student of 384", {"model": "student-384", "dim": 384}),
    (WHITENED, "BM25", {"model": "BM25", "precision": None}),
]
SHORT_68K: list[tuple[str, str, dict[str, Any]]] = [
    (SEEDS, "teacher, `mpnet`, 768 numbers", {"model": "mpnet", "dim": 768}),
    (SEEDS, "its first 128 numbers", {"model": "mpnet", "dim": 128}),
    (SEEDS, "`minilm`, untouched, 384 numbers", {"model": "minilm", "dim": 384}),
    (SEEDS, "**student of 128**, an hour on one core, three seeds", THREE),
    (SEEDS, "the same in int8", {**THREE, "precision": "int8"}),
    (SEEDS, "binary, best 200 again by int8", {**THREE, "precision": "binary", "rescore": 200}),
    (SEEDS, "BM25", {"model": "BM25", "precision": None}),
]


def searched_alone() -> str:
    """Times of searching 68,000 captions, in one run: medians of three students of one shape."""
    rows = rows_of(SEEDS)
    teacher = pick(rows, **PLAIN, model="mpnet", dim=768)
    kinds = [("float32", None), ("int8", None), ("int8", 200), ("binary", None), ("binary", 200)]
    students = [
        [
            pick(rows, model=model, dim=128, precision=precision, rescore=rescore)
            for model in THREE["model"]
        ]
        for precision, rescore in kinds
    ]
    lines = []
    for seeds in [[teacher], *students]:
        row = seeds[0]
        times = {time: statistics.median(one[time] for one in seeds) for time in TIMES}
        title = "teacher, `mpnet`" if row is teacher else "student"
        again = f", best {row['rescore']} again by {row['keep']}" if row["rescore"] else ""
        figures = [(time, teacher[name] / time) for name, time in times.items()]
        lines.append(
            [
                f"{title}, {row['precision']}{again}",
                f"{row['bytes_per_vector']:,.0f}",
                f"{statistics.fmean(one['mrr10'] for one in seeds):.4f}",
                *(f"{time:.2f} ({ratio:.1f}x)" for time, ratio in figures),
            ]
        )
    return table(["", "bytes a vector", "MRR@10", *TIMES.values()], lines)


TIMES = {
    "query_ms": "one query, ms",
    "search_s": "2,000 queries, s",
    "search_s_1thread": "on one thread, s",
}


def searched_pydoc() -> str:
    """MRR@10 on the documentation of Python packages, by students that learnt on it."""
    rows = rows_of("pydoc") + rows_of("pydoc-longer") + rows_of("pydoc-60")
    teacher = rows[0]["mrr10"]
    lines = []
    for name, title in PYDOC.items():
        own = {row["doc_encoder"]: row for row in rows if row["model"] == name}
        row = own[None]
        by_teacher = f"{own['mpnet']['mrr10']:.4f}" if "mpnet" in own else ""
        dim = "" if row["dim"] is None else str(row["dim"])
        mrr = f"{row['mrr10']:.4f}"
        lines.append([title, dim, mrr, share(row["mrr10"] / teacher), by_teacher])
    return table(["", "numbers", "MRR@10", "of the teacher", "documents by the teacher"], lines)


PYDOC = {
    "mpnet": "`mpnet`",
    "minilm": "`minilm`, untouched",
    "minilm-pca-128": "its own PCA of this text",
    "minilm-pca-128-whitening-0.6": "the same, `--whitening 0.6`",
    "general-128": "student of eight other kinds of text",
    "general-128-whitening-0.3": "the same, `--target-whitening 0.3`",
    "general-128-longer": "the same, 88 minutes of 64,000 sentences",
    "pydoc-200": "student of this text, 6 minutes",
    "pydoc-600": "the same, 18 minutes",
    "pydoc-200-whitening-0.3": "the same, 6 minutes, `--target-whitening 0.3`",
    "pydoc": "the same, 39 minutes on a faster core, 15 times the passes",
    "pydoc-60": "the same, 73 minutes, 41 times the passes",
    "pydoc-200-whitening-0.6": "the same, 6 minutes, `--target-whitening 0.6`",
    "BM25": "BM25",
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


def searched_by_width() -> str:
    """MRR@10 among 68,000 captions, by student and prefix, documents by either encoder."""
    rows = [row for row in rows_of(WHITENED) if row["model"] != "BM25"]
    others = [row for name in (LONGER, LONGEST, SEEDS, RANKING) for row in rows_of(name)]
    rows += [
        row
        for row in others
        if row["precision"] == "float32" and row["model"] not in ("mpnet", "minilm")
    ]
    dims = sorted({row["dim"] for row in rows}, reverse=True)
    lines = []
    for model, title in WIDTHS.items():
        for encoder in (None, "mpnet"):
            own = {
                row["dim"]: f"{row['mrr10']:.4f}"
                for row in rows
                if (row["model"], row["doc_encoder"]) == (model, encoder)
            }
            if own:
                name = title if encoder is None else "the same, documents by the teacher"
                lines.append([name, *(own.get(dim, "") for dim in dims)])
    return table(["", *map(str, dims)], lines)


WIDTHS = {
    "mpnet": "`mpnet`, and its first numbers",
    "minilm": "`minilm`, untouched, and its first numbers",
    "student-128": "student of 128, 57,000 captions, 3 epochs",
    "student-128-seed-0": "the same, 8 epochs on a GPU",
    "student-128-seed-1": "the same, another seed",
    "average": "their weights, averaged",
    "student-128-12-epochs": "12 epochs on one core, without `--prefix-weight`",
    "student-128-anchor-1": "10 epochs of 79,000, SNLI's among them, on one core",
    "student-128-anchor-0-seed-0": "the same without the anchor, `--head rotation`",
    "student-128-anchor-0-seed-1": "the same, another seed",
    "student-128-anchor-0-seed-2": "the same, a third seed",
    "student-128-anchor-0-average": "the weights of these three, averaged",
    "student-128-then-ranked-seed-0": "the first, then an epoch of `--ranking teacher`",
    "student-128-ranked-by-teacher-seed-0": "4 epochs of `--ranking teacher` instead",
    "student-128-ranked-by-teacher-seed-1": "the same, another seed",
    "student-128-ranked-by-teacher-10-epochs-seed-0": "10 epochs of it",
    "student-64-ranked-by-teacher-10-epochs-seed-0": "the same, a student of 64",
    "student-64-ranked-by-teacher-seed-0": "a student of 64, 4 epochs of it",
    "student-128-prefixes-4-epochs-seed-0": "4 epochs of it with `--prefix-weight 1`",
    "student-128-spliced-captions-seed-0": "by the other ranking, 120,000 spliced captions more",
    "student-256": "student of 256, 22,000 captions",
    "student-4-layers": "4 layers of 312, 22,000 captions",
}


def sts_by_width() -> str:
    """STS of the prefixes of students trained for them, and not."""
    rows = read_json(RESULTS / "prefixes.json")["widths"]
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


def searched_by_temperature() -> str:
    """Search of students that differ in the temperature of the ranking they learnt."""
    lines = []
    for row in rows_of("retrieval-20k-temperature"):
        if row["dim"] == 128:
            found = [f"{row[figure]:.4f}" for figure in ("mrr10", "recall10", "ndcg10")]
            lines.append([row["model"], f"{row['overlap10']:.3f}", *found])
    return table(["", "nearest", "MRR@10", "Recall@10", "nDCG@10"], lines)


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
        four = [start, without[kind], whole["kinds_at_start"][kind], whole["kinds"][kind]]
        cells = [*(f"{value:.4f}" for value in four), f"{gains[kind]:+.4f}", f"{others:+.4f}"]
        lines.append([kind, *cells, f"{row['dev']['mean']:.2f}"])
    own = ["its head solved", "trained", "with it: head solved", "trained"]
    return table(["left out", *own, "lost", "other kinds", "dev"], lines)


def scanned() -> str:
    """Exact search of small vectors: queries and bytes a second as multiples of FAISS float32's."""
    files = [rows_of(name) for name in ("scan", "scan-500k", "scan-amx", "scan-500k-amx")]
    lines = []
    for mode in dict.fromkeys(row["mode"] for row in files[0]):
        for contender in ("float32", "int8", "binary"):
            cells = []
            for rows in files:
                row = pick(rows, mode=mode, contender=f"hpdistill {contender}")
                queries = row["queries_per_second_ratio"]["median"]
                bytes_read = row["bytes_per_second_ratio"]["median"]
                cells.append(f"{queries:.{0 if queries >= 10 else 1}f}x ({bytes_read:.1f})")
            lines.append([f"{mode}: {contender}", *cells])
    sizes = ("68,000", "500,000")
    return table(["", *(f"{kind}, {size}" for kind in ("AVX2", "AMX") for size in sizes)], lines)


TABLES: dict[str, Callable[[], str]] = {
    "students": students,
    "reproduce-cpu": reproduced,
    "captions-loss": ablation("captions-loss"),
    "augmentation": ablation("augmentation"),
    "mixed": ablation("mixed", differences=True),
    "ranking": ablation("ranking", differences=True),
    "prefixes": sts_by_width,
    "temperature": searched_by_temperature,
    "data": ablation("data"),
    "neighbours": ablation("neighbours", differences=True),
    "static": ablation("static"),
    "scale": ablation("scale"),
    "retrieval-20k-loss": search_by_loss,
    "targets": heads("targets", {"target": 4, "fidelity": 4, "dev": 2, "tests": 2}),
    "targets-captions": heads("targets-captions", {"target": 4, "fidelity": 4, "mrr10": 4}),
    "targets-pydoc": heads("targets-pydoc", {"target": 4, "fidelity": 4, "dev": 2, "mrr10": 4}),
    "retrieval-68k": searched_68k(SEARCHED_68K, ("numbers", *QUALITY, "search ms")),
    "retrieval-short": searched_68k(SHORT_68K, QUALITY),
    "retrieval-widths": searched_by_width,
    "retrieval-times": searched_alone,
    "pydoc": searched_pydoc,
    "target-whitening": whitened,
    "left-out": left_out,
    "scan": scanned,
}


def rows_of(name: str) -> list[dict[str, Any]]:
    """The rows of a results file."""
    rows: list[dict[str, Any]] = read_json(RESULTS / f"{name}.json")["rows"]
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


if __name__ == "__main__":
    main()
