"""`hpd eval`: what a model is worth. One module a command."""

import typer

from hpdistill.cli._command import App
from hpdistill.cli.evaluate.fidelity import fidelity
from hpdistill.cli.evaluate.retrieval import retrieval
from hpdistill.cli.evaluate.speed import speed
from hpdistill.cli.evaluate.sts import sts

__all__ = ["register"]

_app = App(help="Measure models: quality, retrieval, agreement with a teacher, speed.")
for _command in (sts, retrieval, fidelity, speed):
    _app.command()(_command)


def register(app: typer.Typer) -> None:
    """Add the command group `eval`."""
    app.add_typer(_app, name="eval", no_args_is_help=True)
