"""Documents to index, and what to look at afterwards."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from command_ends import Ended

from hpdistill.runtime import Encoder
from hpdistill.search import Index

Hpd = Callable[..., Ended]
TEXTS = {
    "dog": "A dog runs in the park.",
    "bank": "The bank raised its interest rates.",
    "soup": "Cook the onions slowly before you add the stock.",
    "train": "The night train to Vienna leaves at ten.",
}
DIM = 128


def json_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def row_of(ended: Ended) -> dict[str, Any]:
    assert ended.code == 0, ended.err
    (row,) = json.loads(ended.out)["rows"]
    return dict(row)


def found(out: Path, texts: list[str], **options: Any) -> list[str]:
    """Ids of the best document for each text."""
    with Index.load(out) as index, Encoder.load() as encoder:
        queries = encoder.encode(texts, dim=index.space.dim, allow_unvalidated=True)
        return [hits[0].id for hits in index.search(queries, 1, **options)]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())
