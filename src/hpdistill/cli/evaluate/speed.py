"""`hpd eval speed`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpdistill.cli._command import DelimiterOption
from hpdistill.cli._models import find_source
from hpdistill.cli.evaluate._shared import JsonOption, Models, parse_numbers, print_notes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hpdistill.evaluate import Backend, Contender, Table, Workload
    from hpdistill.progress import Report
    from hpdistill.weights import ModelSource

__all__ = ["speed"]


SPEED_SENTENCES = 8192
"""Drawn from larger data; a faster encoder gets them over again."""
SPEED_TEXTS = 256
"""Texts of each length."""


def speed(
    models: Models,
    backends: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME...",
            help="runtime, onnx-int8, onnx-float32, static-int8, static-float32, torch-float32, "
            "torch-bfloat16, sentence-transformers; default: runtime, torch-float32, if there.",
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SRC",
            help="Sentences: a file, hf:DATASET or pydoc; repeat for more. Default: Python's "
            "language reference.",
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="Column of tabular sources; repeat it to join several."),
    ] = None,
    delimiter: DelimiterOption = None,
    lengths: Annotated[
        str, typer.Option(metavar="N,N...", help="Also time texts of so many tokens.")
    ] = "8,16,32,128,256",
    batch_sizes: Annotated[
        str, typer.Option(metavar="N,N...", help="Of those texts at a time.")
    ] = "1,32",
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each contender.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.01, help="Of one turn, about.")] = 0.5,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of each contender; default: all cores.")
    ] = None,
    sts: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also score the STS tasks in this folder (SentEval's)."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Draw quality against speed (.png, .svg, .pdf); needs --sts."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare speed, latency, memory and size of models and back ends, side by side in one run."""
    from hpdistill.cli._shared import err, out, print_json, print_table, progress
    from hpdistill.evaluate import check_plot, load_tasks, measure_speed, plot_quality_speed
    from hpdistill.files import make_directory

    if plot is not None:
        if sts is None:
            raise typer.BadParameter(
                "the picture shows quality, too: give --sts DIR", param_hint="'--plot'"
            )
        check_plot(plot)
    sizes = parse_numbers(lengths, "--lengths"), parse_numbers(batch_sizes, "--batch-sizes")
    chosen = _parse_backends(backends)
    if sts is not None:
        load_tasks(sts)  # wrong data is to be found before anything is measured
    if plot is not None:
        make_directory(plot.parent)  # and so is a wrong place
    with progress() as report:
        sources = [find_source(model, report) for model in dict.fromkeys(models)]
        contenders, notes = _contenders(sources, chosen)
        workloads, described = _workloads(data, column, delimiter, contenders, *sizes, report)
        rows = measure_speed(
            contenders,
            workloads,
            rounds=rounds,
            seconds=seconds,
            threads=threads,
            sts=sts,
            report=report,
        ).rows
    notes += _speed_notes(rows, max(sizes[0], default=0))
    # Printed before the picture is written: what was measured is there whatever becomes of that.
    if as_json:
        print_json("eval speed", rows)
        print_notes(err, [described, *notes])
    else:
        for table in _speed_tables(rows, workloads, described, notes):
            print_table(table)
    if plot is not None:
        plot_quality_speed(rows, plot)
        print_notes(err if as_json else out, [f"Picture: {plot}"])


def _parse_backends(text: str | None) -> "list[Backend]":
    from hpdistill.evaluate import DEFAULT_BACKENDS, Backend

    if text is None:
        return list(DEFAULT_BACKENDS)
    known = [backend.value for backend in Backend]
    names = list(dict.fromkeys(text.split(",")))
    if unknown := [name for name in names if name not in known]:
        raise typer.BadParameter(
            f"unknown back end {unknown[0]!r}; allowed: {', '.join(known)}",
            param_hint="'--backends'",
        )
    return [Backend(name) for name in names]


def _contenders(
    sources: "Sequence[ModelSource]", backends: "Sequence[Backend]"
) -> "tuple[list[Contender], list[str]]":
    """Every model on every back end that it has, and what was left out."""
    from hpdistill.errors import UsageError
    from hpdistill.evaluate import Contender, missing

    contenders, notes = [], []
    for source in sources:
        for backend in backends:
            if why := missing(source.path, backend):
                notes.append(f"Left out: {source.name} on {backend}, {why}")
            else:
                contenders.append(
                    Contender(model=source.name, backend=backend.value, path=source.path)
                )
    if not contenders:
        raise UsageError(notes[0].replace("Left out: ", "nothing to measure: "))
    return contenders, notes


def _workloads(
    data: "Sequence[str] | None",
    column: "Sequence[str] | None",
    delimiter: str | None,
    contenders: "Sequence[Contender]",
    lengths: "Sequence[int]",
    batch_sizes: "Sequence[int]",
    report: "Report",
) -> "tuple[list[Workload], str]":
    """Sentences as they come, then texts of each length; and what they are, in words."""
    from hpdistill.errors import UsageError
    from hpdistill.evaluate import (
        Workload,
        evenly,
        manual_sentences,
        texts_of_tokens,
        tokenizer_file,
    )

    if data:
        from hpdistill.corpus import read_clean
        from hpdistill.recipe import CorpusRecipe

        corpus = CorpusRecipe(
            sources=tuple(data),
            column=tuple(column) if column else None,
            delimiter=delimiter,
            limit=SPEED_SENTENCES,
        )
        sentences, origin = read_clean(corpus, seed=0, report=report), ", ".join(data)
    else:
        sentences, origin = manual_sentences(), "Python's language reference"
    sentences = evenly(sentences)
    described = f"{len(sentences):,} sentences of {origin}, batches of {max(batch_sizes)}"
    workloads = [Workload(key="", texts=sentences, batch_size=max(batch_sizes))]
    files = [tokenizer_file(contender.path) for contender in contenders]
    tokenizer = next((file for file in files if file is not None), None)
    if tokenizer is None:
        raise UsageError(f"{contenders[0].model} has no tokenizer.json to count tokens with")
    for length in lengths:
        texts = texts_of_tokens(tokenizer, sentences, length, SPEED_TEXTS)
        workloads += [
            Workload(key=f"tokens{length}_batch{size}", texts=texts, batch_size=size)
            for size in batch_sizes
        ]
    return workloads, described


def _speed_notes(rows: "Sequence[dict[str, Any]]", longest: int) -> list[str]:
    limits = {row["model"]: row["max_tokens"] for row in rows if row["max_tokens"]}
    return [
        f"{model} reads {limit} tokens: longer texts were cut to that"
        for model, limit in limits.items()
        if limit < longest
    ]


def _speed_tables(
    rows: "Sequence[dict[str, Any]]",
    workloads: "Sequence[Workload]",
    described: str,
    notes: "Sequence[str]",
) -> "list[Table]":
    from hpdistill.evaluate import Column, Table

    numbered = [{"number": f"({n})", **row} for n, row in enumerate(rows, start=1)]
    number = Column(key="number", title="")
    quality = [Column(key="average_present", title="STS", format=".2f", best="max")]
    tables = [
        Table(
            title=f"Sentences a second: {described}",
            columns=[
                number,
                Column(key="model", title="model"),
                Column(key="backend", title="backend"),
                Column(key="precision", title="computes in"),
                Column(key="sentences_per_second", title="sent/s", format=",.0f", best="max"),
                Column(key="ratio", title="ratio", format=".2f"),
                Column(key="ratio_min", title="min", format=".2f"),
                Column(key="ratio_max", title="max", format=".2f"),
                *(quality if "average_present" in rows[0] else []),
            ],
            rows=numbered,
            notes=["ratio: to (1), within each round; median, lowest, highest", *notes],
        ),
        Table(
            title="One query at a time, and what a fresh process needs",
            columns=[
                number,
                Column(key="p50_ms", title="p50 ms", format=".2f", best="min"),
                Column(key="p95_ms", title="p95 ms", format=".2f", best="min"),
                Column(key="p99_ms", title="p99 ms", format=".2f", best="min"),
                Column(key="load_s", title="load s", format=".2f", best="min"),
                Column(key="rss_mb", title="memory MB", format=",.0f", best="min"),
                Column(key="file_mb", title="file MB", format=",.1f", best="min"),
                Column(key="parameters", title="parameters", format=",d"),
            ],
            rows=numbered,
            notes=["load: with the import of its libraries; memory: resident in the end"],
        ),
    ]
    if len(workloads) > 1:
        columns = [Column(key="texts", title="tokens x batch")]
        columns += [
            Column(key=row["number"], title=row["number"], format=",.0f", best="max")
            for row in numbered
        ]
        lines = []
        for workload in workloads[1:]:
            texts = workload.key.removeprefix("tokens").replace("_batch", " x ")
            speeds = (row[f"{workload.key}_sentences_per_second"] for row in numbered)
            lines.append(
                {"texts": texts}
                | {row["number"]: speed for row, speed in zip(numbered, speeds, strict=True)}
            )
        title = "Sentences/s by length"
        tables.append(Table(title=title, columns=columns, rows=lines))
    return tables
