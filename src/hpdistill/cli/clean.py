"""`hpd clean`: what only the making of a model needed goes."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]

_MB = 10**6


def register(app: typer.Typer) -> None:
    """Add the command `clean`."""
    app.command()(clean)


def clean(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run directories, finished.")
    ],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Remove a run's corpus, embeddings, targets and checkpoints; its model and report stay.

    The same hpd distill says afterwards that the run is complete, and makes nothing again.
    """
    from hpdistill.cli._shared import out, print_json
    from hpdistill.manifest import clean_run

    # All of them first: a wrong name among them should cost nothing.
    found = {run: clean_run(run, dry_run=True) for run in dict.fromkeys(runs)}
    if not dry_run:
        found = {run: clean_run(run) for run in found}
    if as_json:
        rows = [
            {"run": str(run), "path": str(part.path), "bytes": part.bytes, "removed": not dry_run}
            for run, parts in found.items()
            for part in parts
        ]
        print_json("clean", rows)
        return
    lines = []
    for run, parts in found.items():
        lines += [f"{part.path}: {part.bytes / _MB:,.1f} MB" for part in parts]
        total = sum(part.bytes for part in parts) / _MB
        said = "would be freed" if dry_run else "freed"
        lines.append(
            f"{run}: {total:,.1f} MB {said}; {run / 'model'} stays"
            if parts
            else f"{run}: nothing to remove"
        )
    for line in lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)
