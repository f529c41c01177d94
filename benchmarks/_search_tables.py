"""Tables of search: MRR@10, memory and time."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from _cells import pick, rows_of, share, table, with_spread
from _results import read


def search_by_loss() -> str:
    """MRR@10 of students that differ in how they were trained, whole and cut to prefixes."""
    result = read("retrieval-20k-loss")
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


def searched_by_temperature() -> str:
    """Search of students that differ in the temperature of the ranking they learnt."""
    lines = []
    for row in rows_of("retrieval-20k-temperature"):
        if row["dim"] == 128:
            found = [f"{row[figure]:.4f}" for figure in ("mrr10", "recall10", "ndcg10")]
            lines.append([row["model"], f"{row['overlap10']:.3f}", *found])
    return table(["", "nearest", "MRR@10", "Recall@10", "nDCG@10"], lines)


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
