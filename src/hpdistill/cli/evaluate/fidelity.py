"""`hpd eval fidelity`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpdistill.cli._command import DelimiterOption
from hpdistill.cli._models import find_source
from hpdistill.cli.evaluate._shared import (
    Computing,
    JsonOption,
    Models,
    Precision,
    PrecisionOption,
    RunsOption,
    load,
    print_notes,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hpdistill.encoder import Embeddings
    from hpdistill.evaluate import Table
    from hpdistill.progress import Report
    from hpdistill.weights import ModelSource

__all__ = ["fidelity"]


def fidelity(
    models: Models,
    teacher: Annotated[
        list[str],
        typer.Option(metavar="MODEL[:WEIGHT]", help="Repeat for a teacher of several encoders."),
    ],
    data: Annotated[
        list[str],
        typer.Option(
            metavar="SRC", help="Sentences: a file, hf:DATASET or pydoc; repeat for more."
        ),
    ],
    column: Annotated[
        list[str] | None,
        typer.Option(help="Column of tabular sources; repeat it to join several."),
    ] = None,
    delimiter: DelimiterOption = None,
    limit: Annotated[int, typer.Option(min=15, help="Compare at most so many sentences.")] = 2000,
    backend: RunsOption = None,
    precision: PrecisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score agreement with a teacher on sentences of your own; needs no labels."""
    from hpdistill.cli._shared import err, print_json, print_table, progress
    from hpdistill.corpus import read_clean
    from hpdistill.evaluate import encode_sentences
    from hpdistill.recipe import CorpusRecipe, WeightedModel
    from hpdistill.teacher import load_teacher

    computing = Computing.of(backend, precision)
    specs = [WeightedModel.parse(spec) for spec in teacher]
    corpus = CorpusRecipe(
        sources=tuple(data),
        column=tuple(column) if column else None,
        delimiter=delimiter,
        limit=limit,
    )
    rows, notes = [], []
    with progress() as report:
        sources = {model: find_source(model, report) for model in models}
        sentences = read_clean(corpus, seed=0, report=report)
        half = precision is Precision.bfloat16
        reference = load_teacher(specs, precision="bfloat16" if half else "float32", report=report)
        name = reference.name
        vectors = encode_sentences(reference, sentences, report=report)
        del reference  # before the students are loaded
        for source in sources.values():
            row, note = _score_fidelity(source, sentences, vectors, computing, report)
            rows.append(row)
            notes += [note] if note else []
    if as_json:
        print_json("eval fidelity", rows)
        print_notes(err, notes)
    else:
        title = f"Agreement with {name} on {len(sentences):,} sentences"
        print_table(_fidelity_table(rows, title, notes))


def _score_fidelity(
    source: "ModelSource",
    sentences: "Sequence[str]",
    teacher: "Embeddings",
    computing: Computing,
    report: "Report",
) -> "tuple[dict[str, Any], str]":
    """One row, and why it has no cosine where that needs saying."""
    from hpdistill.evaluate import encode_sentences, evaluate_fidelity
    from hpdistill.projection import Projection

    encoder, _ = load(source, computing.settled(source), report)
    vectors = encode_sentences(encoder, sentences, report=report)
    target, note = None, ""
    path = source.path / "projection.safetensors"
    if path.is_file():
        projection = Projection.load(path)
        if (projection.width, projection.dim) == (teacher.shape[1], vectors.shape[1]):
            target = projection.apply(teacher)
        else:
            note = (
                f"{encoder.name}: no cosine, its projection leads from width {projection.width} "
                f"to {projection.dim}, and this teacher's width is {teacher.shape[1]}"
            )
    scores = evaluate_fidelity(vectors, teacher, target_vectors=target)
    return scores.row(encoder.name), note


def _fidelity_table(
    rows: "Sequence[dict[str, Any]]", title: str, notes: "Sequence[str]"
) -> "Table":
    from hpdistill.evaluate import Column, Table

    columns = [
        Column(key="model", title="model"),
        Column(key="dim", title="dim", format="d"),
        *(
            Column(key=key, title=key, format=".4f", best="max")
            for key in ("spearman", "cosine", "overlap10")
        ),
    ]
    return Table(columns=columns, rows=rows, title=title, notes=notes)
