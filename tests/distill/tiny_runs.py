"""A small recipe, and what tests ask of the run that it leaves."""

import json
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import hpdistill.distill
from hpdistill.recipe import CorpusRecipe, Recipe, TeacherRecipe, TrainingRecipe, WeightedModel

distill = partial(hpdistill.distill.distill, export=False)
"""Exports take longer than these runs, and have tests of their own."""

STAGES = ("corpus", "teacher", "targets", "student", "training", "report")

TINY = Recipe(
    teachers=(WeightedModel(model="teacher"),),
    student="student",
    dim=8,
    corpus=CorpusRecipe(sources=("sentences.txt",), validation=40),
    teacher=TeacherRecipe(precision="float32", shard_sentences=64),
    training=TrainingRecipe(
        precision="float32",
        max_steps=12,
        epochs=4.0,
        batch_size=32,
        learning_rate=5e-4,
        evaluate_every=3,
    ),
)


def tiny_recipe(teacher: Path, student: Path, sentences: Path, /, **changes: Any) -> Recipe:
    """`TINY` on these models and sentences, with other choices; `section__name` reaches inside."""
    recipe = replace(
        TINY,
        teachers=(WeightedModel(model=str(teacher)),),
        student=str(student),
        corpus=replace(TINY.corpus, sources=(str(sentences),)),
    )
    for key, value in changes.items():
        section, _, name = key.rpartition("__")
        inside = replace(getattr(recipe, section), **{name: value}) if section else value
        recipe = replace(recipe, **{section or name: inside})
    return recipe


def manifest(run: Path) -> dict[str, Any]:
    """What `RUN/manifest.json` says."""
    return json.loads((run / "manifest.json").read_text("utf-8"))


def description(run: Path) -> dict[str, Any]:
    """What `RUN/model/hpd.json` says."""
    return json.loads((run / "model/hpd.json").read_text("utf-8"))


def model_files(run: Path) -> dict[str, Any]:
    """Every file of `RUN/model` but its card, which holds seconds; tensors bit for bit."""
    model = run / "model"
    return {
        path.relative_to(model).as_posix(): content(path)
        for path in sorted(model.rglob("*"))
        if path.is_file() and path.name != "README.md"
    }


def content(path: Path) -> Any:
    """What a file says, in a form that compares: the order in a safetensors header is chance."""
    if path.suffix != ".safetensors":
        return path.read_text("utf-8")
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), sha256(data[end:]).hexdigest()


def times(place: Path, *patterns: str) -> dict[str, int]:
    """The files under a directory that match, and when each was written."""
    return {
        path.relative_to(place).as_posix(): path.stat().st_mtime_ns
        for pattern in patterns
        for path in sorted(place.glob(pattern))
        if path.is_file()
    }


def shards(place: Path) -> dict[str, int]:
    """The shards of teacher embeddings in a store, and when each was written."""
    return times(place, "*/float32/*.npy")
