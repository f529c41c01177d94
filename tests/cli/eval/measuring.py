"""A stand-in for models, and the command as these tests call it."""

import json
import re
import zlib
from collections.abc import Sequence

import numpy as np
import typer
from typer.testing import CliRunner, Result

from hpdistill.cli import evaluate
from hpdistill.encoder import Embeddings, unit

WIDTHS = {"big": 64, "small": 16}


class WordCounts:
    """A true encoder that needs no weights: counts of hashed words."""

    parameters = 0

    def __init__(self, name: str, dim: int) -> None:
        self.name = name
        self.dim = dim

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        normalize: bool = True,
        dim: int | None = None,
    ) -> Embeddings:
        counts = np.zeros((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()):
                counts[row, zlib.crc32(word.encode()) % self.dim] += 1
        return unit(counts, dim=dim) if normalize else counts[:, :dim]


def hpd(*arguments: object) -> Result:
    app = typer.Typer()
    evaluate.register(app)
    return CliRunner().invoke(app, ["eval", *map(str, arguments)], env={"COLUMNS": "120"})


def rows_of(result: Result, command: str) -> list[dict]:
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["command"] == command
    return document["rows"]
