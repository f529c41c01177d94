"""What to look at after a small distillation."""

import itertools
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


def senteval(folder: Path, sentences: list[str]) -> Path:
    """A folder of one task, whose pairs are of these sentences."""
    task = folder / "STS/STSBenchmark"
    task.mkdir(parents=True)
    pairs = itertools.pairwise(sentences)
    rows = (f"g\tf\ty\t1\t{i % 6}.0\t{a}\t{b}\n" for i, (a, b) in enumerate(pairs))
    (task / "sts-test.csv").write_text("".join(rows), "utf-8")
    return folder


def own_store(store: Path, run: Path, tmp_path: Path) -> Path:
    """A copy of the shared store with the shards of `run`; the fixture `run` has filled it."""
    assert run.is_dir()
    return shutil.copytree(store, tmp_path / "store")
