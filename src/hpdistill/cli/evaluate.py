"""`hpd eval`: what a model is worth."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from hpdistill.encoder import Embeddings
    from hpdistill.evaluate import StsData, Table
    from hpdistill.progress import Report
    from hpdistill.pytorch import TorchEncoder
    from hpdistill.weights import ModelSource

__all__ = ["register"]

_app = typer.Typer(help="Measure models: quality, and agreement with a teacher.")


class Precision(StrEnum):
    """In which the models compute."""

    float32 = "float32"
    bfloat16 = "bfloat16"


Models = Annotated[
    list[str], typer.Argument(metavar="MODEL...", help="Paths, short names or hub ids.")
]
PrecisionOption = Annotated[Precision, typer.Option(help="In which the models compute.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]


def register(app: typer.Typer) -> None:
    """Add the command group `eval`."""
    app.add_typer(_app, name="eval", no_args_is_help=True)


@_app.command()
def sts(
    models: Models,
    data: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Folder that holds STS/ and SICK/, laid out as SentEval's."
        ),
    ],
    against: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="What retention refers to; default: the first model."),
    ] = None,
    dims: Annotated[
        str | None,
        typer.Option(metavar="N,N...", help="Also score these prefixes of each model, as 128,64."),
    ] = None,
    precision: PrecisionOption = Precision.float32,
    dev: Annotated[
        bool, typer.Option("--dev", help="Score the STS benchmark's development set instead.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Score semantic similarity: the seven STS tasks of SimCSE's table, Spearman times 100."""
    from hpdistill.cli._shared import err, out, print_json, progress
    from hpdistill.evaluate import check_prefixes, evaluate_sts_prefixes, load_tasks
    from hpdistill.weights import resolve

    prefixes = _parse_dims(dims)
    tasks = load_tasks(data, dev=dev)
    # A model that is both reference and measured is evaluated once; the first is the reference.
    wanted: dict[str, list[int]] = {against: []} if against is not None else {}
    wanted |= dict.fromkeys(models, prefixes)
    with progress() as report:
        # All names and widths first: a typo in the last should not cost an hour of the others.
        sources = {model: resolve(model, report=report) for model in wanted}
        if prefixes:
            for model in models:
                check_prefixes(_load(sources[model], precision, report), prefixes)
        scores = []
        for model, source in sources.items():
            encoder = _load(source, precision, report)
            widths = [None, *(dim for dim in wanted[model] if dim != encoder.dim)]
            scores += evaluate_sts_prefixes(
                encoder, tasks, widths, precision=precision.value, report=report
            )
            del encoder  # before the next is loaded
    rows = [score.row(reference=scores[0]) for score in scores]
    if as_json:
        print_json("eval sts", rows)
        _print_notes(err, _sts_notes(tasks))
    else:
        out.print(_sts_table(rows, tasks).to_rich())


@_app.command()
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
    column: Annotated[str | None, typer.Option(help="Column of tabular sources.")] = None,
    limit: Annotated[int, typer.Option(min=10, help="Compare at most so many sentences.")] = 2000,
    precision: PrecisionOption = Precision.float32,
    as_json: JsonOption = False,
) -> None:
    """Score agreement with a teacher on sentences of your own; needs no labels."""
    from hpdistill.cli._shared import err, out, print_json, progress
    from hpdistill.corpus import read_clean
    from hpdistill.evaluate import encode_sentences
    from hpdistill.recipe import CorpusRecipe, WeightedModel
    from hpdistill.teacher import load_teacher
    from hpdistill.weights import resolve

    specs = [WeightedModel.parse(spec) for spec in teacher]
    corpus = CorpusRecipe(sources=tuple(data), column=column, limit=limit)
    rows, notes = [], []
    with progress() as report:
        sources = {model: resolve(model, report=report) for model in models}
        sentences = read_clean(corpus, seed=0, report=report)
        reference = load_teacher(specs, precision=precision.value, report=report)
        name = reference.name
        vectors = encode_sentences(reference, sentences, report=report)
        del reference  # before the students are loaded
        for source in sources.values():
            row, note = _score_fidelity(source, sentences, vectors, precision, report)
            rows.append(row)
            notes += [note] if note else []
    if as_json:
        print_json("eval fidelity", rows)
        _print_notes(err, notes)
    else:
        title = f"Agreement with {name} on {len(sentences):,} sentences"
        out.print(_fidelity_table(rows, title, notes).to_rich())


def _parse_dims(text: str | None) -> list[int]:
    try:
        dims = [int(part) for part in text.split(",")] if text is not None else []
    except ValueError:
        dims = [0]
    if any(dim < 1 for dim in dims):
        raise typer.BadParameter(
            f"{text!r} is not a list of positive whole numbers, such as 128,64",
            param_hint="'--dims'",
        )
    return list(dict.fromkeys(dims))


def _load(source: "ModelSource", precision: Precision, report: "Report") -> "TorchEncoder":
    from hpdistill.pytorch import TorchEncoder

    return TorchEncoder.load(source, precision=precision.value, report=report)


def _score_fidelity(
    source: "ModelSource",
    sentences: "Sequence[str]",
    teacher: "Embeddings",
    precision: Precision,
    report: "Report",
) -> "tuple[dict[str, Any], str]":
    """One row, and why it has no cosine where that needs saying."""
    from hpdistill.evaluate import encode_sentences, evaluate_fidelity
    from hpdistill.projection import Projection

    encoder = _load(source, precision, report)
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


def _sts_notes(tasks: "StsData") -> list[str]:
    notes = [
        f"{name} lacks {', '.join(subsets)}: its score compares with no published one"
        for name, subsets in tasks.incomplete.items()
    ]
    if tasks.missing:
        notes.insert(0, f"Missing in the data: {', '.join(tasks.missing)}")
    return notes


def _sts_table(rows: "Sequence[dict[str, Any]]", tasks: "StsData") -> "Table":
    from hpdistill.evaluate import DEV_TASK, TASKS, Column, Table

    short = {"STSBenchmark": "STS-B", "SICKRelatedness": "SICK-R", DEV_TASK: "STS-B dev"}
    first = rows[0]
    columns = [Column(key="model", title="model"), Column(key="dim", title="dim", format="d")]
    columns += [
        Column(key=name, title=short.get(name, name), format=".2f", best="max")
        for name in (*TASKS, DEV_TASK)
        if name in first
    ]
    if first["average"] is not None:
        columns.append(Column(key="average", title="average", format=".2f", best="max"))
    elif first["tasks_present"] > 1:
        title = f"avg of {first['tasks_present']}"
        columns.append(Column(key="average_present", title=title, format=".2f", best="max"))
    columns.append(Column(key="retention", title="ret. %", format=".1f"))
    return Table(columns=columns, rows=rows, notes=_sts_notes(tasks))


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


def _print_notes(console: "Console", notes: "Sequence[str]") -> None:
    for note in notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
