"""`hpd models`: which models have short names, and getting them onto this machine."""

from typing import Annotated, Any

import typer

from hpdistill.cli._command import App

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the `models` group."""
    group = App(
        help="Models with short names: list them, or fetch them before going offline.",
        no_args_is_help=True,
    )
    group.command("list")(_list)
    group.command("fetch")(_fetch)
    app.add_typer(group, name="models")


def _list(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the models that have short names, and whether they are on this machine."""
    from hpdistill.cli._shared import print_json, print_table

    rows = _rows()
    if json:
        print_json("models list", rows)
        return
    from hpdistill.evaluate import Column, Table
    from hpdistill.weights import known_models

    columns = [
        Column(key="name", title="name"),
        Column(key="model", title="model"),
        Column(key="millions", title="parameters"),
        Column(key="dim", title="dim", format="d"),
        Column(key="licence", title="licence"),
        Column(key="source", title="from"),
        Column(key="here", title="here"),
    ]
    shown = [
        {
            **row,
            "model": model.hub_id,
            "millions": f"{model.parameters / 1e6:.1f}M",
            "licence": model.licence,
            "here": "yes" if row["cached"] else "no",
        }
        for model, row in zip(known_models(), rows, strict=True)
    ]
    print_table(Table(columns=columns, rows=shown))


def _fetch(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME", help="Short names (see `hpd models list`) or hub ids."),
    ],
) -> None:
    """Fetch models, verify their checksums, and print where each lies."""
    from hpdistill.cli._shared import out, progress
    from hpdistill.weights import resolve

    for name in names:
        with progress() as report:
            source = resolve(name, report=report)
        out.print(str(source.path), markup=False, highlight=False, soft_wrap=True)


def _rows() -> list[dict[str, Any]]:
    from hpdistill.weights import is_cached, is_installed, known_models

    rows = []
    for model in known_models():
        source = "index" if model.packages else "hub"
        rows.append(
            {
                "name": model.name,
                "source": "package" if is_installed(model) else source,
                "parameters": model.parameters,
                "dim": model.dim,
                "sha256": model.sha256,
                "cached": is_cached(model.name),
            }
        )
    return rows
