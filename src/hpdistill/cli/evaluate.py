"""`hpd eval`: what a model is worth."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from hpdistill.encoder import Embeddings, Encoder
    from hpdistill.evaluate import Backend, Contender, StsData, Table, Workload
    from hpdistill.progress import Report
    from hpdistill.weights import ModelSource

__all__ = ["register"]

SPEED_SENTENCES = 8192
"""Drawn from larger data; a faster encoder gets them over again."""
SPEED_TEXTS = 256
"""Texts of each length."""

_app = typer.Typer(help="Measure models: quality, agreement with a teacher, speed.")


class Precision(StrEnum):
    """In which the models compute."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    int8 = "int8"


class Runs(StrEnum):
    """What runs the models, and in which precisions it can."""

    torch = "torch"
    onnx = "onnx"
    runtime = "runtime"

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The first is the default."""
        if self is Runs.torch:
            return Precision.float32, Precision.bfloat16
        return Precision.float32, Precision.int8


class Computing(NamedTuple):
    """A back end, and its precision; None leaves it to the runtime."""

    runs: Runs
    precision: Precision | None

    @classmethod
    def of(cls, runs: Runs, precision: Precision | None) -> "Computing":
        """Check what was asked for, and fill in the default."""
        if precision is None:
            return cls(runs, None if runs is Runs.runtime else runs.precisions[0])
        if precision not in runs.precisions:
            allowed = ", ".join(runs.precisions)
            raise typer.BadParameter(
                f"{runs} does not compute in {precision}; allowed: {allowed}",
                param_hint="'--precision'",
            )
        return cls(runs, precision)


Models = Annotated[
    list[str], typer.Argument(metavar="MODEL...", help="Paths, short names or hub ids.")
]
RunsOption = Annotated[
    Runs,
    typer.Option(
        "--backend",
        help="What runs the models: PyTorch, their exported graph, or the runtime with what it "
        "chooses (also for static models).",
    ),
]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option(
        help="In which the models compute; int8 with onnx and runtime, bfloat16 with torch.",
        show_default="float32, or what the runtime chooses",
    ),
]
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
    backend: RunsOption = Runs.torch,
    precision: PrecisionOption = None,
    dev: Annotated[
        bool, typer.Option("--dev", help="Score the STS benchmark's development set instead.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Score semantic similarity: the seven STS tasks of SimCSE's table, Spearman times 100."""
    from hpdistill.cli._shared import err, out, print_json, progress
    from hpdistill.evaluate import check_prefixes, evaluate_sts_prefixes, load_tasks

    prefixes = _parse_numbers(dims, "--dims")
    computing = Computing.of(backend, precision)
    tasks = load_tasks(data, dev=dev)
    # A model that is both reference and measured is evaluated once; the first is the reference.
    wanted: dict[str, list[int]] = {against: []} if against is not None else {}
    wanted |= dict.fromkeys(models, prefixes)
    with progress() as report:
        # All names and widths first: a typo in the last should not cost an hour of the others.
        sources = {model: _find(model, report) for model in wanted}
        if prefixes:
            for model in models:
                check_prefixes(_load(sources[model], computing, report)[0], prefixes)
        scores = []
        for model, source in sources.items():
            encoder, used = _load(source, computing, report)
            widths = [None, *(dim for dim in wanted[model] if dim != encoder.dim)]
            scores += evaluate_sts_prefixes(encoder, tasks, widths, precision=used, report=report)
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
    backend: RunsOption = Runs.torch,
    precision: PrecisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score agreement with a teacher on sentences of your own; needs no labels."""
    from hpdistill.cli._shared import err, out, print_json, progress
    from hpdistill.corpus import read_clean
    from hpdistill.evaluate import encode_sentences
    from hpdistill.recipe import CorpusRecipe, WeightedModel
    from hpdistill.teacher import load_teacher

    computing = Computing.of(backend, precision)
    specs = [WeightedModel.parse(spec) for spec in teacher]
    corpus = CorpusRecipe(sources=tuple(data), column=column, limit=limit)
    rows, notes = [], []
    with progress() as report:
        sources = {model: _find(model, report) for model in models}
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
        _print_notes(err, notes)
    else:
        title = f"Agreement with {name} on {len(sentences):,} sentences"
        out.print(_fidelity_table(rows, title, notes).to_rich())


@_app.command()
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
    column: Annotated[str | None, typer.Option(help="Column of tabular sources.")] = None,
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
    from hpdistill.cli._shared import err, out, print_json, progress
    from hpdistill.evaluate import check_plot, load_tasks, measure_speed, plot_quality_speed

    if plot is not None:
        if sts is None:
            raise typer.BadParameter(
                "the picture shows quality, too: give --sts DIR", param_hint="'--plot'"
            )
        check_plot(plot)
    sizes = _parse_numbers(lengths, "--lengths"), _parse_numbers(batch_sizes, "--batch-sizes")
    chosen = _parse_backends(backends)
    if sts is not None:
        load_tasks(sts)  # wrong data is to be found before anything is measured
    with progress() as report:
        sources = [_find(model, report) for model in dict.fromkeys(models)]
        contenders, notes = _contenders(sources, chosen)
        workloads, described = _workloads(data, column, contenders, *sizes, report)
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
    if plot is not None:
        plot_quality_speed(rows, plot)
        notes.append(f"Picture: {plot}")
    if as_json:
        print_json("eval speed", rows)
        _print_notes(err, [described, *notes])
    else:
        for table in _speed_tables(rows, workloads, described, notes):
            out.print(table.to_rich())


def _parse_numbers(text: str | None, option: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")] if text is not None else []
    except ValueError:
        numbers = [0]
    if any(number < 1 for number in numbers):
        raise typer.BadParameter(
            f"{text!r} is not a list of positive whole numbers, such as 128,64",
            param_hint=f"'{option}'",
        )
    return list(dict.fromkeys(numbers))


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


def _find(name: str, report: "Report") -> "ModelSource":
    """As `weights.resolve`; `default` is the model in the package."""
    from hpdistill.runtime import DEFAULT
    from hpdistill.weights import ModelSource, resolve

    if name == "default":
        return ModelSource(name=name, path=DEFAULT, source="package", sha256="")
    return resolve(name, report=report)


def _load(source: "ModelSource", computing: Computing, report: "Report") -> "tuple[Encoder, str]":
    """The encoder, and the precision that it computes in."""
    if computing.runs is Runs.torch:
        from hpdistill.pytorch import TorchEncoder

        half = computing.precision is Precision.bfloat16
        precision: Literal["float32", "bfloat16"] = "bfloat16" if half else "float32"
        return TorchEncoder.load(source, precision=precision, report=report), precision
    from hpdistill.errors import UsageError
    from hpdistill.evaluate import Backend, missing
    from hpdistill.runtime import Encoder

    if computing.runs is Runs.onnx:
        asked = Backend(f"onnx-{computing.precision}")
        if why := missing(source.path, asked):
            raise UsageError(f"{source.name} cannot run as {asked}: {why}")
    wanted: Any = "auto" if computing.precision is None else computing.precision.value
    encoder = Encoder.load(source.path, precision=wanted, report=report)
    return _Named(encoder, source.name), encoder.precision


class _Named:
    """An encoder under the name that it was asked for."""

    def __init__(self, encoder: "Encoder", name: str) -> None:
        self._encoder = encoder
        self.name = name
        self.dim = encoder.dim
        self.parameters = encoder.parameters
        self.encode = encoder.encode


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
    column: str | None,
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

        corpus = CorpusRecipe(sources=tuple(data), column=column, limit=SPEED_SENTENCES)
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

    encoder, _ = _load(source, computing, report)
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
