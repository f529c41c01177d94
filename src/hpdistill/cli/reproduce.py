"""`hpd reproduce`: the poster's two tables, row by row, computed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpdistill.cli._command import named

if TYPE_CHECKING:
    from hpdistill.evaluate import Table

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command `reproduce`."""
    app.command()(reproduce)


@named({"models": "model"})
def reproduce(
    rows: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ROW]...",
            help="Rows, patterns such as 'hpd-*', or a whole table: sts, retrieval. "
            "[default: both tables]",
        ),
    ] = None,
    show: Annotated[
        bool, typer.Option("--list", help="Name all rows and what they are made from here.")
    ] = False,
    scale: Annotated[
        str, typer.Option(help="Spent on a row: tiny (seconds), cpu (an evening), full (paper's).")
    ] = "cpu",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Models and figures are kept here.")
    ] = None,
    sentences: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SRC",
            help="Unlabelled sentences, as hpd distill takes them. Repeat for more. "
            "[default: the scale's, or those of --nli]",
        ),
    ] = None,
    nli: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SRC",
            help="Labelled pairs for SimCSE, as hpd train simcse takes them. Repeat for more.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="STS folder; its sentences are not trained on."),
    ] = None,
    retrieval: Annotated[
        str | None,
        typer.Option(
            metavar="SRC",
            help="Retrieval task, as hpd eval retrieval takes it; nor are its sentences.",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Nor are these. Repeat for more."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=MODEL",
            help="Use this for a row, or for weights that rows are made from. Repeat for more.",
        ),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep embeddings of the sentences here."),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            metavar="METHODS",
            help="Distil on copies, too: wordnet, backtranslate, both with a comma between, or "
            "none. [default: the scale's]",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all rows.")] = 0,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the tables as Markdown.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write them as a page, with pictures.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Compute the poster's tables: SimCSE, projections, whitening, PCA, distilled students.

    A row whose weights cannot be had here says so, and names what stands in for them. Rows that are
    complete are not made again; interrupted, the same command goes on.
    """
    from hpdistill.cli._shared import err, print_json, print_table, progress, say
    from hpdistill.errors import UsageError
    from hpdistill.files import atomic_path
    from hpdistill.reproduce import reproduce as run
    from hpdistill.reproduce import tables_of, to_html, to_markdown

    if show:
        found = _listed(rows or [], model or [])
        if as_json:
            print_json("reproduce --list", found)
        else:
            print_table(_list_table(found))
        return
    if out is None:
        raise UsageError("missing --out DIR, where models and figures are kept")
    if html is not None:
        from hpdistill.evaluate import check_plot

        check_plot(Path("page.svg"))
    with progress() as report:
        result = run(
            rows or [],
            out,
            scale=scale,
            sentences=sentences or (),
            nli=nli or (),
            data=data,
            retrieval=retrieval,
            exclude=exclude or (),
            models=model or (),
            store=store,
            augment=augment,
            seed=seed,
            report=report,
        )
    if markdown is not None:
        with atomic_path(markdown) as temporary:
            temporary.write_text(to_markdown(result), "utf-8")
    if html is not None:
        with atomic_path(html) as temporary:
            temporary.write_text(to_html(result), "utf-8")
    if as_json:
        print_json("reproduce", result.rows)
        for note in result.notes:
            say(err, note)
        return
    for table in tables_of(result):
        print_table(table)


def _listed(names: list[str], models: list[str]) -> list[dict[str, Any]]:
    """What each row is, and from what it would be made; nothing is fetched."""
    from hpdistill.reproduce import Supply, load_catalogue, load_stand_ins, parse_models, plan

    catalogue = load_catalogue()
    given = parse_models(models, rows=catalogue.rows, weights=catalogue.weights)
    supply = Supply(given=given, stand_ins=load_stand_ins(), fetch=False)
    wanted = set(catalogue.select(names or ["*"]))
    return [
        {
            "row": one.row.name,
            "title": one.row.title,
            "kind": one.row.kind,
            "how": one.row.how,
            "poster": ", ".join(catalogue.poster_tables(one.row.name)),
            "dim": one.row.width,
            "weights": one.from_what,
            "missing": one.missing or None,
        }
        for one in plan(catalogue, list(catalogue.rows), supply, labelled=True)
        if one.row.name in wanted
    ]


def _list_table(rows: list[dict[str, Any]]) -> "Table":
    from hpdistill.evaluate import Column, Table

    return Table(
        columns=[
            Column(key="row", title="row"),
            Column(key="poster", title="poster"),
            Column(key="dim", title="dim", format="d"),
            Column(key="how", title="what it is"),
            Column(key="weights", title="weights here"),
        ],
        rows=rows,
        notes=["not here: its weights, or those of what it rests on, are looked for on the hub."],
    )
