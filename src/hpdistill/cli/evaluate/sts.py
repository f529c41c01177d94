"""`hpd eval sts`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpdistill.cli._models import find_source
from hpdistill.cli.evaluate._shared import (
    Computing,
    JsonOption,
    Models,
    PrecisionOption,
    RunsOption,
    load,
    parse_numbers,
    print_notes,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hpdistill.evaluate import StsData, Table

__all__ = ["sts"]


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
    backend: RunsOption = None,
    precision: PrecisionOption = None,
    dev: Annotated[
        bool, typer.Option("--dev", help="Score the STS benchmark's development set instead.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Score semantic similarity: the seven STS tasks of SimCSE's table, Spearman times 100."""
    from hpdistill.cli._shared import err, print_json, print_table, progress
    from hpdistill.evaluate import check_prefixes, evaluate_sts_prefixes, load_tasks

    prefixes = parse_numbers(dims, "--dims")
    computing = Computing.of(backend, precision)
    tasks = load_tasks(data, dev=dev)
    # A model that is both reference and measured is evaluated once; the first is the reference.
    wanted: dict[str, list[int]] = {against: []} if against is not None else {}
    wanted |= dict.fromkeys(models, prefixes)
    with progress() as report:
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
    rows = [score.row(reference=scores[0]) for score in scores]
    if as_json:
        print_json("eval sts", rows)
        print_notes(err, _sts_notes(tasks))
    else:
        print_table(_sts_table(rows, tasks))


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
