"""The command as these tests call it, and pairs with scores."""

import json

import typer
from typer.testing import CliRunner, Result

from hpdistill.cli import evaluate

PAIRS = [
    ("a man plays a guitar", "a man plays a guitar on stage", 4.2),
    ("the cat sat on the mat", "a dog ran in the park", 0.6),
    ("rain is expected today", "it will rain today", 3.8),
    ("two women talk", "a horse eats grass", 0.0),
    ("stocks fell sharply", "shares dropped sharply on monday", 3.0),
]


def hpd(*arguments: object) -> Result:
    app = typer.Typer()
    evaluate.register(app)
    return CliRunner().invoke(app, ["eval", *map(str, arguments)], env={"COLUMNS": "120"})


def rows_of(result: Result, command: str) -> list[dict]:
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["command"] == command
    return document["rows"]
