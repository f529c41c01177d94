"""`hpd eval retrieval`."""

import json
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, TypeVar

import typer

from hpdistill.cli._models import find_source
from hpdistill.cli.evaluate._shared import (
    Computing,
    JsonOption,
    Models,
    PairsDelimiterOption,
    Precision,
    RunsOption,
    parse_numbers,
    print_notes,
)

__all__ = ["retrieval"]

_Choice = TypeVar("_Choice", bound=StrEnum)


class Stored(StrEnum):
    """Of the vectors that are searched."""

    float32 = "float32"
    int8 = "int8"
    binary = "binary"


class Kept(StrEnum):
    """Of the vectors that rescore."""

    float32 = "float32"
    int8 = "int8"


class Engine(StrEnum):
    """What searches."""

    flat = "flat"
    hnsw = "hnsw"
    ivf_pq = "ivf-pq"


def retrieval(
    models: Models,
    data: Annotated[
        str,
        typer.Option(
            metavar="SRC",
            help="Folder of BEIR's layout; file of pairs (.tsv, .csv, .jsonl, .parquet); quora; "
            "mteb:TASK.",
        ),
    ],
    split: Annotated[str, typer.Option(help="Which judgements.")] = "test",
    dims: Annotated[
        str | None,
        typer.Option(metavar="N,N...", help="Also measure these prefixes, as 128,64,32,16."),
    ] = None,
    precision: Annotated[
        str, typer.Option(metavar="P,P...", help="Of the vectors: float32, int8, binary.")
    ] = "float32",
    rescore: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Also rank the best N of int8 and binary again, by kept vectors."
        ),
    ] = None,
    keep: Annotated[
        Kept | None,
        typer.Option(help="Those vectors. [default: int8 for binary, float32 for int8]"),
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="E,E...", help="flat (exact), hnsw, ivf-pq.")
    ] = "flat",
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="ENGINE.NAME=N", help="Of an engine, as hnsw.ef_search=128."),
    ] = None,
    doc_encoder: Annotated[
        str | None,
        typer.Option(
            metavar="TEACHER",
            help="Also measure each distilled model with documents by its teacher and projection.",
        ),
    ] = None,
    backend: RunsOption = None,
    compute: Annotated[
        Precision | None,
        typer.Option(
            help="In which the models compute; int8 with onnx and runtime, bfloat16 with torch.",
            show_default="float32, or what the runtime chooses",
        ),
    ] = None,
    bm25: Annotated[bool, typer.Option(help="Measure BM25, too.")] = True,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of a search. [default: all cores]")
    ] = None,
    first: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Pairs: sentences that become queries.")
    ] = None,
    second: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Pairs: sentences that answer them.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Pairs: whether they are one.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Pairs: the least label of one, where it is a number.")
    ] = None,
    delimiter: PairsDelimiterOption = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Keep vectors here. [default: in hpdistill's cache folder]"
        ),
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the tables as Markdown.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw MRR against bytes a vector and against queries a second: "
            "NAME.png makes NAME-bytes.png and NAME-speed.png.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure search: quality, time and memory of every model, width and precision, one table.

    The first row is what the others are compared with: the first model at its full width, in the
    first --precision.
    Vectors are kept, so that a further configuration costs its search only.
    """
    from hpdistill.cli._shared import err, out, print_json, print_table, progress
    from hpdistill.cli.evaluate._bench import Bench
    from hpdistill.cli.evaluate._retrieval_tables import (
        described,
        passed_over,
        prompts_used,
        tables_of,
    )
    from hpdistill.evaluate import check_plot
    from hpdistill.evaluate.retrieval import (
        Matrix,
        load_retrieval,
        measure_bm25,
        measure_retrieval,
        plot_retrieval,
    )
    from hpdistill.files import atomic_path
    from hpdistill.machine import available_cores

    matrix = Matrix(
        dims=parse_numbers(dims, "--dims"),
        engines=[one.value for one in _parse_choices(engine, Engine, "--engine")],
        precisions=[one.value for one in _parse_choices(precision, Stored, "--precision")],
        rescore=rescore,
        keep=keep.value if keep else None,
        options=_parse_options(option),
    )
    computing = Computing.of(backend, compute, option="--compute")
    if plot is not None:
        check_plot(plot)
    with progress() as report, TemporaryDirectory(prefix="hpdistill-retrieval-") as scratch:
        task = load_retrieval(
            data,
            split=split,
            first=first,
            second=second,
            label=label,
            threshold=threshold,
            delimiter=delimiter,
            report=report,
        )
        bench = Bench(task, computing, cache, Path(scratch), report)
        entrants = bench.entrants([find_source(name, report) for name in models], doc_encoder)
        rows = measure_retrieval(
            task, entrants, matrix, threads=threads or available_cores(), report=report
        )
        notes = [*task.notes, *bench.notes, *prompts_used(rows), *passed_over(rows, matrix.dims)]
        if bm25:
            rows.append(measure_bm25(task, rows[0]))
    what = described(task)
    tables = tables_of(what, rows, notes)
    # Printed before files are written: what was measured is there whatever becomes of those.
    if as_json:
        print_json("eval retrieval", rows)
        print_notes(err, [what, *notes])
    else:
        for table in tables:
            print_table(table)
    if markdown is not None:
        with atomic_path(markdown) as temporary:
            temporary.write_text("\n".join(table.to_markdown() for table in tables), "utf-8")
    if plot is not None:
        pictures = plot_retrieval(rows, plot)
        print_notes(err if as_json else out, [f"Pictures: {', '.join(map(str, pictures))}"])


def _parse_choices(text: str, kind: type[_Choice], option: str) -> list[_Choice]:
    names = list(dict.fromkeys(text.split(",")))
    known = [one.value for one in kind]
    if unknown := [name for name in names if name not in known]:
        raise typer.BadParameter(
            f"{unknown[0]!r} is none of {', '.join(known)}", param_hint=f"'{option}'"
        )
    return [kind(name) for name in names]


def _parse_options(given: list[str] | None) -> Any:  # noqa: ANN401 - by engine, by name
    found: dict[str, dict[str, Any]] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        engine, dot, option = name.partition(".")
        if not (equals and dot and engine in list(Engine)):
            raise typer.BadParameter(
                f"{text!r} is not ENGINE.NAME=N, such as hnsw.ef_search=128",
                param_hint="'--option'",
            )
        try:
            found.setdefault(engine, {})[option] = json.loads(value)
        except ValueError:
            found.setdefault(engine, {})[option] = value
    return found
