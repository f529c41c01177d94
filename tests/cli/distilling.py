"""What to look at after a small distillation."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from command_ends import Ended


def contents(place: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


def weights(run: Path) -> dict[str, bytes]:
    return contents_by_name(run / "model", "*.safetensors")


def contents_by_name(place: Path, pattern: str) -> dict[str, bytes]:
    return {
        path.relative_to(place).as_posix(): path.read_bytes()
        for path in sorted(place.rglob(pattern))
        if path.name != "projection.safetensors"
    }


def resumed_rows(distill: Callable[..., Ended], run: Path) -> list[dict[str, Any]]:
    """The rows of `hpd distill --out RUN --resume --json`, with no other option."""
    none = dict.fromkeys(
        (
            "teacher",
            "student",
            "sentences",
            "dim",
            "validation",
            "batch_size",
            "max_steps",
            "precision",
            "teacher_precision",
        )
    )
    ended = distill("--resume", "--json", out=run, **none)
    assert ended.code == 0, ended.err
    rows: list[dict[str, Any]] = json.loads(ended.out)["rows"]
    return rows


def own_store(store: Path, run: Path, tmp_path: Path) -> Path:
    """A copy of the shared store with the shards of `run`; the fixture `run` has filled it."""
    assert run.is_dir()
    return shutil.copytree(store, tmp_path / "store")
