"""Making a row: one model directory, in a place that its inputs decide.

OUT/rows/ROW/KEY/row.json   what it is, when it is complete
                 model/     or, of a training, run/model, beside what says how it was made
                 sts-*.json, speed-*.json, retrieval-*.json   what was measured of it

What a training goes on from, checkpoints above all, is many times the size of its model, and of no
use when the row is complete: it goes then.

KEY is a hash of all that decides the model, so other sentences, another scale or another teacher
make another model beside it: nothing is mixed, and nothing that was made is lost.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hpdistill.baselines import pca, train_simcse, whiten
from hpdistill.corpus import content_hashes
from hpdistill.distill import distill
from hpdistill.distill.stages import augmenter_identities
from hpdistill.files import atomic_directory, json_hash, make_directory, read_json, write_json
from hpdistill.progress import Report
from hpdistill.recipe import (
    CorpusRecipe,
    NliRecipe,
    Recipe,
    SimcseRecipe,
    StudentSpec,
    TeacherRecipe,
    WeightedModel,
)
from hpdistill.reproduce.plan import Planned
from hpdistill.reproduce.pooling import pooled
from hpdistill.reproduce.scale import Scale
from hpdistill.student import save_student
from hpdistill.teacher import encoder_identity
from hpdistill.weights import ModelSource, resolve

__all__ = ["Made", "Materials", "make"]

CODE = 1
"""Raised when the same inputs give another model: old ones are then made anew."""


@dataclass(frozen=True, kw_only=True)
class Materials:
    """What all rows are made from, beside weights."""

    out: Path
    scale: Scale
    sentences: tuple[str, ...]
    validation_sentences: tuple[str, ...] | None
    nli: tuple[str, ...]
    """Empty: no row of SimCSE can be made."""
    exclude: tuple[str, ...]
    """Evaluation folders and files: their sentences are not trained on."""
    development: Path | None
    """Folder of the STS benchmark's development set, by which SimCSE keeps its best weights."""
    store: Path
    """Embeddings of the corpus, shared by all rows."""
    seed: int

    @cached_property
    def corpus(self) -> CorpusRecipe:
        """The unlabelled sentences."""
        return CorpusRecipe(
            sources=self.sentences,
            validation_sources=self.validation_sentences,
            exclude=self.exclude,
            validation=self.scale.validation,
            limit=self.scale.limit,
            split="none",  # the paper learns from sentences as they are
        )

    @cached_property
    def pairs(self) -> NliRecipe:
        """The labelled pairs."""
        return NliRecipe(sources=self.nli, exclude=self.exclude, limit=self.scale.nli_limit)

    @cached_property
    def corpus_identity(self) -> dict[str, Any]:
        """What the corpus is, wherever its files lie."""
        return {
            "sentences": _contents(self.sentences),
            "validation": _contents(self.validation_sentences or ()),
            "exclude": _contents(self.exclude),
            "held_out": self.scale.validation,
            "limit": self.scale.limit,
        }

    @cached_property
    def augmenters(self) -> list[Any]:
        """What decides the copies of the sentences; empty if there are none.

        Raises:
            AugmentError: An augmenter is not here, so that not even finished rows can be told.
        """
        return augmenter_identities(self.scale.augment, self.seed)

    @cached_property
    def pairs_identity(self) -> dict[str, Any]:
        """What the labelled pairs are."""
        development = [str(self.development)] if self.development is not None else []
        identity: dict[str, Any] = {
            "pairs": _contents(self.nli),
            "exclude": _contents(self.exclude),
            "development": _contents(development),
            "limit": self.scale.nli_limit,
        }
        if self.scale.sts_pairs is not None:
            identity["development_pairs"] = self.scale.sts_pairs
        return identity


@dataclass(frozen=True, kw_only=True)
class Made:
    """A row with its model."""

    planned: Planned
    source: ModelSource
    directory: Path
    """Where what is measured of it is kept."""
    facts: Mapping[str, Any]
    """Of its making: some of `made_s, steps, sentences, excluded_sentences, copies, triplets,
    excluded_pairs, fidelity`."""

    @property
    def name(self) -> str:
        """Of the row."""
        return self.planned.row.name


def make(planned: Planned, below: Made | None, materials: Materials, report: Report) -> Made:
    """Make a row, or go on with its making, unless it is complete.

    Args:
        planned: Can be made.
        below: The row that it rests on.
        materials: Sentences, pairs, scale.
        report: Progress.

    Raises:
        HpdError: Whatever a training, a whitening or a distillation raises.
    """
    inputs, work = _work(planned, below, materials, report)
    key = json_hash([CODE, inputs])[:16]
    directory = materials.out / "rows" / planned.row.name / key
    record = directory / "row.json"
    if record.is_file():
        known = read_json(record)
        model = directory / known["model"] if known["model"] else Path(known["path"])
        if model.is_dir():
            _tidy(directory)  # of a kill between the record and this
            source = resolve(str(model), report=report)
            return Made(planned=planned, source=source, directory=directory, facts=known["facts"])
    make_directory(directory)
    model, facts = work(directory)
    inside = model.is_relative_to(directory)
    write_json(
        record,
        {
            "row": planned.row.name,
            "inputs": inputs,
            "model": model.relative_to(directory).as_posix() if inside else None,
            "path": None if inside else str(model),
            "facts": facts,
        },
    )
    _tidy(directory)
    source = resolve(str(model), report=report)
    return Made(planned=planned, source=source, directory=directory, facts=facts)


def _tidy(directory: Path) -> None:
    """Drop what the run of a complete row went on from; its model and its records stay."""
    for place in (directory / "run").glob("*"):
        if place.is_dir() and place.name != "model":
            shutil.rmtree(place)


_Work = Callable[[Path], tuple[Path, dict[str, Any]]]
"""Makes a row in a directory: its model, and facts."""


def _work(
    planned: Planned, below: Made | None, materials: Materials, report: Report
) -> tuple[dict[str, Any], _Work]:
    """What decides the model of a row, and what makes it."""
    row = planned.row
    if planned.given or row.published is not None:
        return _published(planned, report)
    inputs: dict[str, Any] = {"kind": row.kind, "seed": materials.seed}
    if planned.weights is not None:
        inputs["start"] = _identity_of(planned.weights.use, report)
    if row.simcse is not None:
        recipe = _simcse_recipe(planned, materials)
        inputs |= {"recipe": _without(recipe.to_dict(), "backbone", "nli")}
        inputs |= materials.pairs_identity
        return inputs, lambda directory: _train(recipe, directory, materials, report)
    assert below is not None
    inputs |= {"below": encoder_identity(below.source), **materials.corpus_identity}
    width = _width(planned, materials)
    if row.hpd is not None:
        distillation = _recipe(planned, below, width, materials)
        inputs |= {"recipe": _without(distillation.to_dict(), "teachers", "student", "corpus")}
        if materials.augmenters:
            inputs["augmenters"] = materials.augmenters
        return inputs, lambda directory: _distil(distillation, directory, materials, report)
    precision = materials.scale.teacher_precision
    inputs |= {"dim": width, "precision": precision}
    reduce = whiten if row.whitening is not None else pca
    base = below.source.path

    def cut(directory: Path) -> tuple[Path, dict[str, Any]]:
        made = reduce(
            str(base),
            materials.corpus,
            directory / "model",
            dim=width,
            seed=materials.seed,
            store=materials.store,
            precision=precision,
            overwrite=True,
            report=report,
        )
        facts = {
            "made_s": made.row["seconds"],
            "sentences": made.row["sentences"],
            "excluded_sentences": made.row["excluded"],
            "fidelity": made.row["spearman"],
        }
        return made.model, facts

    return inputs, cut


def _published(planned: Planned, report: Report) -> tuple[dict[str, Any], _Work]:
    assert planned.weights is not None
    source = resolve(planned.weights.use, report=report)
    published = planned.row.published
    bare = not (source.path / "modules.json").is_file()
    pooling = "own" if published is None or planned.given or not bare else published.pooling
    inputs = {"kind": "published", "model": encoder_identity(source), "pooling": pooling}

    def work(directory: Path) -> tuple[Path, dict[str, Any]]:
        if pooling == "own":
            return source.path, {}
        with atomic_directory(directory / "model") as temporary:
            save_student(pooled(source, pooling), temporary)
        return directory / "model", {}

    return inputs, work


def _simcse_recipe(planned: Planned, materials: Materials) -> SimcseRecipe:
    assert planned.weights is not None
    assert planned.row.simcse is not None
    projection = planned.row.simcse.projection
    return SimcseRecipe(
        backbone=planned.weights.use,
        nli=materials.pairs,
        pooling=planned.row.simcse.pooling,
        dim=_width(planned, materials) if projection else None,
        seed=materials.seed,
        **materials.scale.simcse.to_dict(),
    )


def _train(
    recipe: SimcseRecipe, directory: Path, materials: Materials, report: Report
) -> tuple[Path, dict[str, Any]]:
    made = train_simcse(
        recipe,
        directory / "run",
        evaluation=materials.development,
        evaluation_pairs=materials.scale.sts_pairs,
        overwrite=True,
        report=report,
    )
    return made.model, {
        "made_s": made.row["seconds"],
        "steps": made.row["steps"],
        "triplets": made.row["examples"],
        "excluded_pairs": made.row["excluded"],
    }


def _recipe(planned: Planned, below: Made, width: int, materials: Materials) -> Recipe:
    assert planned.weights is not None
    assert planned.row.hpd is not None
    scale = materials.scale
    chosen = scale.paper if planned.row.hpd.recipe == "paper" else scale.ours
    return Recipe(
        teachers=(WeightedModel(model=str(below.source.path)),),
        student=planned.weights.use,
        anchor=chosen.anchor,
        dim=width,
        seed=materials.seed,
        corpus=materials.corpus,
        augment=scale.augment,
        teacher=TeacherRecipe(precision=scale.teacher_precision),
        projection=chosen.projection,
        head=chosen.head,
        training=chosen.training,
    )


def _distil(
    recipe: Recipe, directory: Path, materials: Materials, report: Report
) -> tuple[Path, dict[str, Any]]:
    made = distill(
        recipe,
        directory / "run",
        store=materials.store,
        export=False,
        # The place of its teacher may have changed, which says nothing of the stages.
        overwrite=True,
        report=report,
    )
    corpus, training = (made.stages[stage]["facts"] for stage in ("corpus", "training"))
    copies = made.stages.get("copies", {}).get("facts", {}).get("copies", {})
    return made.model, {
        "made_s": training["seconds"],
        "steps": training["steps"],
        "sentences": corpus["train"],
        "excluded_sentences": corpus["dropped"]["excluded"],
        "copies": sum(kind["kept"] for kind in copies.values()),
        "fidelity": made.rows[-1]["spearman"],
    }


def _width(planned: Planned, materials: Materials) -> int:
    most = materials.scale.dim
    return planned.row.width if most is None else min(most, planned.row.width)


def _identity_of(use: str, report: Report) -> dict[str, Any]:
    """What weights are, and which part of them is taken, wherever they lie."""
    spec = StudentSpec.parse(use)
    part = asdict(replace(spec, model=""))
    return {"part": part, **encoder_identity(resolve(spec.model, report=report))}


def _contents(names: Sequence[str]) -> list[str]:
    """What sources and folders hold; a hub's dataset goes by its name."""
    found = content_hashes(names)
    named = [name for name in names if name not in found and not Path(name).is_dir()]
    return [*found.values(), *named]


def _without(recipe: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in recipe.items() if key not in names}
