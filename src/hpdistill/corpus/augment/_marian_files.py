"""Finding a Marian model's files, and refusing what could run code."""

import json
from pathlib import Path

from hpdistill.errors import WeightsError
from hpdistill.files import sha256_file
from hpdistill.progress import Report
from hpdistill.weights import resolve

_TOKENIZER = ("source.spm", "target.spm", "vocab.json")


def find_marian(name: str, report: Report) -> tuple[Path, str]:
    """Folder of a model, and sha256 of its weights.

    Raises:
        WeightsError: It cannot be found or fetched, is no Marian model, or lacks safetensors or
            its tokenizer.
    """
    source = resolve(name, report=report)
    try:
        kind = json.loads((source.path / "config.json").read_text("utf-8"))["model_type"]
    except (OSError, ValueError, LookupError, TypeError):
        kind = None
    if kind != "marian":
        raise WeightsError(
            f"{name} is no Marian model: its model_type is {kind!r}",
            hint="OPUS-MT's are called Helsinki-NLP/opus-mt-SOURCE-TARGET.",
        )
    missing = [file for file in _TOKENIZER if not (source.path / file).is_file()]
    if missing:
        raise WeightsError(f"{name} lacks {', '.join(missing)}, its tokenizer's files")
    files = [sha256_file(source.path / file) for file in _TOKENIZER]
    return source.path, ",".join([source.sha256, *files])
