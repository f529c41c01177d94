"""The command as these tests call it."""

import json

import typer
from typer.testing import CliRunner, Result

from hpdistill.cli import evaluate


def hpd(*arguments: object) -> Result:
    app = typer.Typer()
    evaluate.register(app)
    return CliRunner().invoke(app, ["eval", *map(str, arguments)], env={"COLUMNS": "120"})


def rows_of(result: Result, command: str) -> list[dict]:
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["command"] == command
    return document["rows"]
