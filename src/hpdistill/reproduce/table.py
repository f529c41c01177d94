"""The rows as tables and pictures: the poster's figures beside ours."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hpdistill.evaluate import TASKS, Column, Table, html_page, plot_quality_speed
from hpdistill.evaluate.retrieval import plot_retrieval
from hpdistill.reproduce.run import Reproduced

__all__ = ["tables_of", "to_html", "to_markdown"]

_TITLE = "The poster's tables"
_TASK_TITLES = {"STSBenchmark": "STS-B", "SICKRelatedness": "SICK-R"}
_MARK = "°"
_MARKED = f"{_MARK} is published by others, on data and weights of their own."
_KINDS = {
    "published": "published",
    "simcse": "SimCSE",
    "whitening": "whitening",
    "pca": "PCA",
    "hpd": "distilled",
}


def tables_of(result: Reproduced) -> list[Table]:
    """STS and what it costs, its tasks, retrieval: those of them that were measured."""
    rows = [_shown(row) for row in result.rows]
    sts = [row for row in rows if "sts" in row["tables"]]
    retrieval = [row for row in rows if "retrieval" in row["tables"]]
    tables = []
    if any(row["average_present"] is not None for row in rows):
        tables += _sts(result, sts)
    if any(row["mrr10"] is not None for row in rows):
        tables.append(_retrieval(result, retrieval))
    if not tables:
        tables.append(Table(columns=_named(), rows=rows))
    last = tables.pop()
    return [
        *tables,
        Table(
            columns=last.columns,
            rows=last.rows,
            title=last.title,
            notes=[*last.notes, _MARKED, *result.notes],
        ),
    ]


def to_markdown(result: Reproduced) -> str:
    """A page of the tables."""
    return f"# {_TITLE}\n\n" + "\n".join(table.to_markdown() for table in tables_of(result))


def to_html(result: Reproduced) -> str:
    """A page of the tables and of pictures, that loads nothing from elsewhere.

    Raises:
        PackageError: matplotlib is not installed.
    """
    fragments = [table.to_html() for table in tables_of(result)]
    return html_page(_TITLE, [*fragments, *_pictures(result.rows)])


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    shown = {**row, "title": _title(row)}
    shown["dim"] = row["dim"] if row["dim"] is not None else row["poster_dim"]
    parameters = row["parameters"]
    shown["parameters_m"] = parameters / 1e6 if parameters is not None else None
    for key in ("vector_bytes", "index_bytes"):
        shown[f"{key}_mb"] = row[key] / 1e6 if row[key] is not None else None
    return shown


def _title(row: Mapping[str, Any]) -> str:
    """Also where there is no column for it, a figure is not to pass for that of other weights."""
    own = row["weights_kind"] in (None, "own")
    return row["title"] if own else f"{row['title']} ({row['weights_kind']})"


def _named() -> list[Column]:
    return [
        Column(key="title", title="row"),
        Column(key="weights", title="weights"),
        Column(key="dim", title="dim", format="d"),
    ]


def _pair(rows: Sequence[Mapping[str, Any]], key: str, title: str, form: str) -> list[Column]:
    """Ours, and the poster's if it is known of any row."""
    columns = [Column(key=key, title=title, format=form)]
    if any(row.get(f"poster_{key}") is not None for row in rows):
        columns.append(Column(key=f"poster_{key}", title=f"{title}{_MARK}", format=form))
    return columns


def _sts(result: Reproduced, rows: Sequence[Mapping[str, Any]]) -> list[Table]:
    present = [task for task in TASKS if any(row[task] is not None for row in rows)]
    whole = len(present) == len(TASKS)
    average = (
        _pair(rows, "average", "average", ".2f")
        if whole
        else _pair(rows, "average_present", f"avg of {len(present)}", ".2f")
    )
    retention = _pair(rows, "retention", "% of teacher", ".1f")
    summary = Table(
        title=result.catalogue.sts.title,
        columns=[
            *_named(),
            *_pair(rows, "parameters_m", "params M", ".1f"),
            Column(key="sentences_per_second", title="sent/s", format=".0f"),
            *average,
            *retention,
        ],
        rows=rows,
        notes=[
            *result.catalogue.sts.notes,
            *(["% of teacher°: of all seven tasks."] if not whole and len(retention) > 1 else []),
        ],
    )
    tasks = [
        column
        for task in TASKS
        for column in _pair(rows, task, _TASK_TITLES.get(task, task), ".2f")
        if task in present or column.key.startswith("poster_")
    ]
    if not whole:
        tasks += [c for c in _pair(rows, "average", "average", ".2f") if c.key != "average"]
    by_task = Table(
        title="STS by task",
        columns=[Column(key="title", title="row"), *tasks],
        rows=rows,
    )
    return [summary, by_task]


def _retrieval(result: Reproduced, rows: Sequence[Mapping[str, Any]]) -> Table:
    sizes = {(row["documents"], row["queries"]) for row in rows if row["documents"] is not None}
    searched = [f"{queries:,} queries, {documents:,} documents." for documents, queries in sizes]
    return Table(
        title=result.catalogue.retrieval.title,
        columns=[
            *_named(),
            Column(key="mrr10", title="MRR@10", format=".4f"),
            Column(key="mrr_retention", title="% of teacher", format=".1f"),
            Column(key="search_s", title="search s", format=".3f"),
            Column(key="search_ratio", title="x faster", format=".1f"),
            Column(key="vector_bytes_mb", title="MB", format=".2f"),
            Column(key="memory_ratio", title="x less", format=".1f"),
            *(
                column
                for column in _pair(rows, "memory_mb", "MB", ".2f")
                if column.key != "memory_mb"
            ),
        ],
        rows=rows,
        notes=[*searched, *result.catalogue.retrieval.notes],
    )


def _pictures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """As fragments of HTML."""
    named = [{**row, "model": _title(row)} for row in rows]
    found: list[tuple[str, Path]] = []
    with TemporaryDirectory(prefix="hpdistill-reproduce-") as scratch:
        speeds = [
            {**row, "backend": _KINDS[row["kind"]], "precision": ""}
            for row in named
            if row["average_present"] is not None
        ]
        if speeds:
            path = Path(scratch) / "speed.svg"
            plot_quality_speed(speeds, path)
            found.append(("STS against speed", path))
        searched = [
            {**row, "doc_encoder": None, "rescore": None}
            for row in named
            if row["mrr10"] is not None
        ]
        if searched:
            paths = plot_retrieval(searched, Path(scratch) / "retrieval.svg")
            what = ("Retrieval against memory", "Retrieval against queries a second")
            found += zip(what, paths, strict=True)
        return [_figure(title, path) for title, path in found]


def _figure(title: str, path: Path) -> str:
    # As an image of its own: two drawings in one page would share the names of their parts.
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return (
        f'<figure><img alt="{escape(title)}" src="data:image/svg+xml;base64,{data}" '
        f'style="max-width: 100%"><figcaption>{escape(title)}</figcaption></figure>\n'
    )
