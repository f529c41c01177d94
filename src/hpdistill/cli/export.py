"""`hpd export`: a model as one ONNX graph, in float32 and int8, compared with itself and timed."""

from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpdistill.cli._command import DelimiterOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hpdistill.evaluate import Table
    from hpdistill.progress import Report
    from hpdistill.weights import ModelSource

__all__ = ["export_table", "register"]

SENTENCES = 4000
"""Read at most so many for parity and for the ranges of int8 embeddings."""


class Precision(StrEnum):
    """Of a graph."""

    float32 = "float32"
    int8 = "int8"


def register(app: typer.Typer) -> None:
    """Add the command `export`."""
    app.command()(export)


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Path, short name or hub id.")],
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Copy the model here and export the copy; without it, in place."
        ),
    ] = None,
    precision: Annotated[
        list[Precision] | None,
        typer.Option(help="float32 alone, or int8 beside it. [default: both]"),
    ] = None,
    sentences: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SRC",
            help="Text to compare the graphs on: files, hf:DATASET or pydoc. "
            "[default: what the run held out, else the documentation of Python]",
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="Column of tabular sources; repeat it to join several."),
    ] = None,
    delimiter: DelimiterOption = None,
    sts: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="STS folder: also score its STS-B development set."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Export any transformer, pooling and dense model so that it runs without PyTorch."""
    from hpdistill.cli._shared import out as console
    from hpdistill.cli._shared import print_json, print_table, progress, require_train_extra, say
    from hpdistill.errors import ExportError, UsageError
    from hpdistill.weights import resolve

    require_train_extra()
    from hpdistill.evaluate import load_tasks

    wanted = [item.value for item in precision] if precision else ["float32", "int8"]
    tasks = load_tasks(sts, dev=True) if sts is not None else None
    with progress() as report:
        source = resolve(model, report=report)
        if out is None and source.source != "path":
            raise UsageError(
                f"{model} is not a directory of yours, so it is not exported in place",
                hint=f"Give --out DIR; the copy can then be used instead of {model}.",
            )
        # Not before: it brings PyTorch, which takes seconds to import.
        from hpdistill.export import export_model

        texts = _texts(source, sentences, column, delimiter, report)
        result = export_model(
            source.path, texts, precisions=wanted, out=out, sts=tasks, report=report
        )
    if as_json:
        print_json("export", result.rows)
    else:
        print_table(export_table(result.rows, len(texts)))
        say(console, f"{result.directory}: Encoder.load takes {result.default}")
    for name, reason in result.refused.items():
        raise ExportError(
            f"the {name} graph is not kept, it is outside tolerance: {reason}",
            hint="The float32 graph is there and in order.",
        )


def export_table(rows: "Sequence[dict[str, Any]]", sentences: int) -> "Table":
    """The rows of an export."""
    from hpdistill.evaluate import Column, Table
    from hpdistill.export import PARITY_SENTENCES

    columns = [
        Column(key="backend", title="back end"),
        Column(key="precision", title="precision"),
        Column(key="method", title="quantised"),
        Column(key="cosine_mean", title="cosine", format=".5f"),
        Column(key="cosine_min", title="least", format=".4f"),
        Column(key="sentences_per_second", title="sent/s", format=".0f"),
        Column(key="ratio", title="ratio", format=".2f"),
        Column(key="file_mb", title="MB", format=".1f"),
    ]
    if any(row["sts_dev"] is not None for row in rows):
        columns.insert(5, Column(key="sts_dev", title="STS-B dev", format=".2f"))
    compared = min(sentences, PARITY_SENTENCES)
    title = f"Agreement with PyTorch on {compared:,} sentences, speed on this machine"
    return Table(columns=columns, rows=rows, title=title)


def _texts(
    source: "ModelSource",
    sources: "Sequence[str] | None",
    column: "Sequence[str] | None",
    delimiter: str | None,
    report: "Report",
) -> "Sequence[str]":
    from hpdistill.corpus import Corpus, pydoc_sentences, read_clean
    from hpdistill.recipe import CorpusRecipe

    if sources:
        recipe = CorpusRecipe(
            sources=tuple(sources),
            column=tuple(column) if column else None,
            delimiter=delimiter,
            limit=SENTENCES,
        )
        return read_clean(recipe, seed=0, report=report)
    run = source.path.parent
    if (run / "recipe.toml").is_file() and (run / "corpus").is_dir():
        return Corpus.open(run / "corpus").texts("validation")
    return list(dict.fromkeys(islice(pydoc_sentences(), SENTENCES)))
