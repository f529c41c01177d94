"""What the choice of targets is worth before any training: heads in closed form, in minutes.

    python benchmarks/targets.py --sentences SRC... --data SENTEVAL --work DIR [--retrieval DIR]

Targets are made as `hpd distill` makes them, for every anchor, whitening and width given, and a
linear head on the untouched student's unit vectors is solved for each (`hpd distill` solves its own
on the pooled vectors before they are normalised). `own PCA` needs no teacher: the student's vectors
cut to the width, and whitened like the targets.

`target` and `fidelity` are Spearman's correlations with the teacher's similarities on sentences
held out, of the targets and of the head; `dev` is the STS benchmark's development set, `tests` the
average of the test tasks there, by which nothing is chosen. Results go to `results/NAME.json`.
"""

import argparse
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from _cells import table
from _results import command_without_paths, write
from ablate import draw, store_of

from hpdistill.cli._shared import progress
from hpdistill.corpus import Corpus
from hpdistill.encoder import ByRole, Embeddings, Role, unit
from hpdistill.evaluate import evaluate_fidelity, evaluate_sts, load_tasks
from hpdistill.evaluate.retrieval import RetrievalTask, cached_vectors, load_retrieval, score
from hpdistill.head import ridge
from hpdistill.progress import Report
from hpdistill.projection import fit_pca
from hpdistill.pytorch import TorchEncoder
from hpdistill.recipe import HeadRecipe, TeacherRecipe
from hpdistill.teacher import embed_corpus, side_by_side
from hpdistill.weights import resolve

BLOCK = 256
FIGURES = {"target": 4, "fidelity": 4, "dev": 2, "tests": 2, "mrr10": 4}


class Head(ByRole):
    """Vectors of known texts, made from the student's by a linear map; an Encoder."""

    parameters = 0

    def __init__(self, rows: dict[str, int], vectors: Embeddings) -> None:
        self.name, self.dim = "head", vectors.shape[1]
        self._rows, self._vectors = rows, vectors

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,  # noqa: ARG002 - nothing is computed
        normalize: bool = True,  # noqa: ARG002 - they are
        dim: int | None = None,
        role: Role | None = None,  # noqa: ARG002 - they are of no role
    ) -> Embeddings:
        """Look vectors up, shape (len(texts), dim)."""
        return unit(self._vectors[[self._rows[text] for text in texts]], dim=dim)


def main() -> None:
    """Embed once, then solve and measure every combination."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--teacher", default="mpnet")
    parser.add_argument("--student", default="minilm", help="a finished sentence encoder")
    parser.add_argument("--sentences", nargs="+", required=True, metavar="SRC")
    parser.add_argument("--limit", type=int, default=20_000)
    parser.add_argument("--validation", type=int, default=2_000)
    parser.add_argument("--data", type=Path, required=True, help="STS folder; kept out")
    parser.add_argument("--exclude", nargs="*", default=[], help="kept out, beside --data")
    parser.add_argument("--retrieval", type=Path, help="retrieval task; MRR@10 is measured there")
    parser.add_argument("--anchors", type=float, nargs="+", default=[0, 0.5, 1, 2])
    parser.add_argument("--whitenings", type=float, nargs="+", default=[0, 0.15, 0.3, 0.45, 0.6])
    parser.add_argument("--dims", type=int, nargs="+", default=[128])
    parser.add_argument("--work", type=Path, required=True, help="of the sentences and vectors")
    parser.add_argument("--store", type=Path, help="of the corpus's vectors; else in WORK")
    parser.add_argument("--name", default="", help="of the results file; none is written without")
    options = parser.parse_args()
    recipe = {
        "teachers": [{"model": options.teacher}],
        "student": options.student,
        "corpus": {"limit": options.limit, "validation": options.validation},
    }
    drawn = draw({"recipe": recipe}, options)
    with progress() as report:
        rows = measure(options, drawn, report)
    shown = [name for name in FIGURES if any(name in row for row in rows)]
    lines = [
        [
            row["head"],
            *(str(row[name]) for name in ("dim", "anchor", "whitening")),
            *(f"{row[name]:.{FIGURES[name]}f}" if name in row else "" for name in shown),
        ]
        for row in rows
    ]
    print(table(["head", "dim", "anchor", "whitening", *shown], lines))
    if options.name:
        sources = ", ".join(Path(source).name for source in options.sentences)
        print(write(options.name, sources, {"rows": rows}, command=command_without_paths(options)))


def measure(options: argparse.Namespace, drawn: Path, report: Report) -> list[dict[str, Any]]:
    """A row for every anchor, whitening and width, and for the student's own PCA."""
    sentences = Corpus.open(drawn)
    store = store_of(options)
    stored = [
        embed_corpus(resolve(model), sentences, store, recipe=TeacherRecipe(), report=report)
        for model in (options.teacher, options.student)
    ]
    teacher, student = (np.concatenate(list(each.shards("train"))) for each in stored)
    held_teacher, held_student = (
        np.concatenate(list(each.shards("validation"))) for each in stored
    )
    judge = Judge(options, report)

    def row(head: str, anchor: float, whitening: float, dim: int) -> dict[str, Any]:
        return {"head": head, "anchor": anchor, "whitening": whitening, "dim": dim}

    rows = []
    for dim, whitening in product(options.dims, options.whitenings):
        projection = fit_pca([student], dim, whitening=whitening)
        own = row("own PCA", 0, whitening, dim)
        kept = evaluate_fidelity(unit(projection.apply(held_student)), held_teacher)
        rows.append({**own, "fidelity": kept.spearman, **judge.figures(projection.components)})
    for dim, anchor, whitening in product(options.dims, options.anchors, options.whitenings):
        weights = [1.0, anchor] if anchor else [1.0]
        joint = side_by_side([teacher, student][: len(weights)], weights)
        projection = fit_pca([joint], dim, whitening=whitening)
        targets = unit(projection.apply(joint))
        weight, bias = ridge(student, targets, strength=HeadRecipe().ridge_strength)
        held = side_by_side([held_teacher, held_student][: len(weights)], weights)
        aimed = evaluate_fidelity(unit(projection.apply(held)), held_teacher)
        reached = evaluate_fidelity(unit(held_student @ weight.T + bias), held_teacher)
        rows.append(
            {
                **row("ridge", anchor, whitening, dim),
                "target": aimed.spearman,
                "fidelity": reached.spearman,
                **judge.figures(weight, bias),
            }
        )
    return rows


class Judge:
    """Scores linear maps of the student's vectors, which are computed once."""

    def __init__(self, options: argparse.Namespace, report: Report) -> None:
        encoder = TorchEncoder.load(options.student)
        identity = f"{resolve(options.student).sha256} float32"
        cache = options.work / "vectors"

        def encode(texts: list[str]) -> Embeddings:
            return cached_vectors(
                encoder, texts, identity=identity, directory=cache, report=report
            ).vectors

        self._tasks = [load_tasks(options.data, dev=dev) for dev in (True, False)]
        texts = list(dict.fromkeys(text for task in self._tasks for text in task.sentences))
        self._rows = {text: row for row, text in enumerate(texts)}
        self._vectors = encode(texts)
        self._task: RetrievalTask | None = None
        if options.retrieval:
            self._task = load_retrieval(str(options.retrieval))
            self._documents = encode(list(self._task.document_texts))
            self._queries = encode(list(self._task.query_texts))

    def figures(self, weight: Embeddings, bias: float | Embeddings = 0) -> dict[str, float]:
        """Points of the development set and of the tests, and MRR@10 if there is a task."""

        def image(vectors: Embeddings) -> Embeddings:
            return unit(np.asarray(vectors @ weight.T + bias, np.float32))

        head = Head(self._rows, image(self._vectors))
        dev, tests = (evaluate_sts(head, task).average_present for task in self._tasks)
        figures = {"dev": dev, "tests": tests}
        if self._task is not None:
            documents, queries = image(self._documents), image(self._queries)
            depth, ranked = self._task.depth(10), []
            for start in range(0, len(queries), BLOCK):
                best = (queries[start : start + BLOCK] @ documents.T).argsort(axis=1)[:, ::-1]
                ranked += [[self._task.document_ids[i] for i in row[:depth]] for row in best]
            figures["mrr10"] = float(score(self._task, ranked)["mrr10"].mean())
        return figures


if __name__ == "__main__":
    main()
