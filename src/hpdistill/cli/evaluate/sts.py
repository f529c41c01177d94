"""`hpd eval sts`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpdistill.cli._models import find_source
from hpdistill.cli.evaluate._shared import (
    Computing,
    JsonOption,
    Models,
    PairsDelimiterOption,
    PrecisionOption,
    RunsOption,
    load,
    parse_numbers,
    print_notes,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hpdistill.evaluate import StsData, StsTask, Table

__all__ = ["sts"]


def sts(
    models: Models,
    data: Annotated[
        Path,
        typer.Option(
            metavar="DATA",
            help="Folder that holds STS/ and SICK/, laid out as SentEval's; or a file of scored "
            "pairs of your own: .csv, .tsv, .jsonl (each also .gz), .parquet.",
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
    backend: RunsOption = None,
    precision: PrecisionOption = None,
    dev: Annotated[
        bool, typer.Option("--dev", help="Score the STS benchmark's development set instead.")
    ] = False,
    first: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Pairs: one sentence. [default: sentence1]"),
    ] = None,
    second: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Pairs: the other. [default: sentence2]"),
    ] = None,
    score: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Pairs: how similar they are. [default: score]"),
    ] = None,
    delimiter: PairsDelimiterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score semantic similarity, Spearman times 100: the seven STS tasks, or your own pairs."""
    from hpdistill.cli._shared import err, print_json, print_table, progress
    from hpdistill.evaluate import check_prefixes, evaluate_sts_prefixes

    prefixes = parse_numbers(dims, "--dims")
    computing = Computing.of(backend, precision)
    of_pairs = {"first": first, "second": second, "score": score, "delimiter": delimiter}
    # A model that is both reference and measured is evaluated once; the first is the reference.
    wanted: dict[str, list[int]] = {against: []} if against is not None else {}
    wanted |= dict.fromkeys(models, prefixes)
    with progress() as report:
        tasks = _load(data, of_pairs, dev=dev)
        # All names and widths first: a typo in the last should not cost an hour of the others.
        sources = {model: find_source(model, report) for model in wanted}
        settled = {model: computing.settled(source) for model, source in sources.items()}
        if prefixes:
            for model in models:
                check_prefixes(load(sources[model], settled[model], report)[0], prefixes)
        scores = []
        for model, source in sources.items():
            encoder, used = load(source, settled[model], report)
            widths = [None, *(dim for dim in wanted[model] if dim != encoder.dim)]
            scores += evaluate_sts_prefixes(encoder, tasks, widths, precision=used, report=report)
            del encoder  # before the next is loaded
    rows = [one.row(reference=scores[0]) for one in scores]
    if own := _own(tasks):
        rows = [{**row, "pairs": own[0].pairs} for row in rows]
    if as_json:
        print_json("eval sts", rows)
        print_notes(err, _sts_notes(tasks))
    else:
        print_table(_sts_table(rows, tasks))


def _load(data: Path, of_pairs: dict[str, str | None], *, dev: bool) -> "StsData":
    """A folder of tasks, or a file of pairs."""
    from hpdistill.errors import UsageError
    from hpdistill.evaluate import load_scored_pairs, load_tasks

    if data.is_dir() or not (data.exists() or data.suffix):
        named = [f"--{name}" for name, value in of_pairs.items() if value is not None]
        if named:
            raise UsageError(f"{data} is no file of pairs, so it has no use for {', '.join(named)}")
        return load_tasks(data, dev=dev)
    if dev:
        raise UsageError(f"{data} is a file of pairs, which has no development set for --dev")
    return load_scored_pairs(data, **of_pairs)


def _own(tasks: "StsData") -> "list[StsTask]":
    """Tasks that are none of the known ones: a user's pairs."""
    from hpdistill.evaluate import DEV_TASK, TASKS

    return [task for task in tasks.tasks if task.name not in (*TASKS, DEV_TASK)]


def _sts_notes(tasks: "StsData") -> list[str]:
    notes = [f"{task.name}: {task.pairs:,} pairs" for task in _own(tasks)]
    notes += [
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
        for name in (*TASKS, DEV_TASK, *(task.name for task in _own(tasks)))
        if name in first
    ]
    if first["average"] is not None:
        columns.append(Column(key="average", title="average", format=".2f", best="max"))
    elif first["tasks_present"] > 1:
        title = f"avg of {first['tasks_present']}"
        columns.append(Column(key="average_present", title=title, format=".2f", best="max"))
    columns.append(Column(key="retention", title="ret. %", format=".1f"))
    return Table(columns=columns, rows=rows, notes=_sts_notes(tasks))
