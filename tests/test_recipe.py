"""A recipe says everything, survives TOML, and cannot be changed."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recipes import RECIPE, changed

from hpdistill.errors import UsageError
from hpdistill.recipe import (
    CorpusRecipe,
    HeadRecipe,
    ProjectionRecipe,
    Recipe,
    StaticRecipe,
    TeacherRecipe,
    TrainingRecipe,
    WeightedModel,
)

# Another value for every field; `test_every_field_is_tried` fails when one is added and not here.
CHANGES: dict[str, Any] = {
    "teachers": (WeightedModel(model="mpnet"),),
    "student": "minilm",
    "anchor": 0.0,
    "dim": 64,
    "seed": 1,
    "corpus.sources": ("pydoc", "a.txt"),
    "corpus.column": ("title", "text"),
    "corpus.delimiter": ";",
    "corpus.encoding": "latin-1",
    "corpus.errors": "replace",
    "corpus.min_words": 2,
    "corpus.max_words": 100,
    "corpus.split": "sentences",
    "corpus.exclude": ("SentEval",),
    "corpus.validation": 1000,
    "corpus.validation_sources": ("dev.txt",),
    "corpus.limit": 5000,
    "augment.methods": ("wordnet", "backtranslate"),
    "augment.share": 0.5,
    "augment.senses": 2,
    "augment.dictionary": "dict",
    "augment.translator": "marian",
    "augment.language": "cat",
    "augment.models": ("there", "back"),
    "augment.min_similarity": 0.9,
    "teacher.precision": "float32",
    "teacher.shard_sentences": 1024,
    "projection.centred": True,
    "projection.whitening": 0.5,
    "projection.fit_sentences": 40_000,
    "pooling": "cls",
    "head.init": "random",
    "head.ridge_sentences": 500,
    "head.ridge_strength": 0.1,
    "head.activation": "tanh",
    "static.vocabulary": "corpus",
    "static.add_words": 1000,
    "static.min_count": 5,
    "static.frequency_weight": 1e-4,
    "static.strength": 0.5,
    "training.epochs": 1.0,
    "training.max_steps": 0,
    "training.batch_size": 32,
    "training.learning_rate": 3e-5,
    "training.warmup": 0.1,
    "training.weight_decay": 0.0,
    "training.clip": 2.0,
    "training.similarity_weight": 0.5,
    "training.neighbour_weight": 0.5,
    "training.neighbours": 100,
    "training.ranking": "targets",
    "training.prefix_weight": 1.0,
    "training.dropout": True,
    "training.max_tokens": 64,
    "training.precision": "bfloat16",
    "training.evaluate_every": 100,
}


def leaves(value: Any, where: str = "") -> Iterator[str]:
    """Dotted names of all fields that are not recipes themselves."""
    for item in dataclasses.fields(value):
        inner = getattr(value, item.name)
        if dataclasses.is_dataclass(inner):
            yield from leaves(inner, f"{where}{item.name}.")
        else:
            yield f"{where}{item.name}"


def test_every_field_is_tried() -> None:
    assert set(CHANGES) == set(leaves(RECIPE))


@pytest.mark.parametrize("path", CHANGES)
def test_any_field_changes_the_hash_and_survives_toml(path: str) -> None:
    other = changed(RECIPE, path, CHANGES[path])
    assert other != RECIPE
    assert other.hash != RECIPE.hash
    assert Recipe.from_toml(other.to_toml()) == other
    assert Recipe.from_toml(other.to_toml()).hash == other.hash


def test_models_and_weights_of_a_teacher_change_the_hash() -> None:
    first, second = RECIPE.teachers
    variants = [
        (first, dataclasses.replace(second, weight=0.25)),
        (first, dataclasses.replace(second, model="x")),
        (second, first),
        (first, second, second),
    ]
    hashes = {changed(RECIPE, "teachers", variant).hash for variant in variants}
    assert len({*hashes, RECIPE.hash}) == len(variants) + 1


def test_equal_recipes_have_equal_hashes() -> None:
    whole = changed(changed(RECIPE, "training.epochs", 2), "anchor", 1)
    written_out = changed(changed(RECIPE, "training.epochs", 2.0), "anchor", 1.0)
    assert whole == written_out
    assert whole.hash == written_out.hash
    assert Recipe.from_toml(whole.to_toml()).hash == whole.hash


def test_what_is_unset_is_settled_by_the_kind_of_student() -> None:
    unset = TrainingRecipe(warmup=0.5)
    transformer, static = unset.settled(), unset.settled(static=True)
    assert (transformer.epochs, transformer.batch_size, transformer.learning_rate) == (2, 64, 1e-4)
    # A table of token vectors moves little at the rate of a transformer.
    assert static.learning_rate > 10 * transformer.learning_rate
    assert (transformer.similarity_weight, transformer.neighbour_weight) == (0, 2)
    assert (static.similarity_weight, static.neighbour_weight) == (1, 0)
    for settled in (transformer, static):
        assert settled.warmup == 0.5
        assert None not in (settled.epochs, settled.batch_size, settled.learning_rate)
    chosen = TrainingRecipe(epochs=0.0, batch_size=7, learning_rate=0.5, neighbour_weight=0.25)
    for settled in (chosen.settled(), chosen.settled(static=True)):
        assert (settled.epochs, settled.batch_size, settled.learning_rate) == (0, 7, 0.5)
        assert settled.neighbour_weight == 0.25


names = st.text(min_size=1, max_size=12)
above_0 = st.floats(min_value=1e-9, max_value=1e9)
from_0 = st.floats(min_value=0, max_value=1e9)
counts = st.integers(1, 10**12)


def or_unset(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


recipes = st.builds(
    Recipe,
    teachers=st.lists(
        st.builds(WeightedModel, model=names, weight=above_0), min_size=1, max_size=3
    ).map(tuple),
    student=names,
    anchor=or_unset(from_0),
    dim=counts,
    seed=st.integers(0, 2**63 - 1),
    corpus=st.builds(
        CorpusRecipe,
        sources=st.lists(names, min_size=1, max_size=3).map(tuple),
        column=or_unset(names),
        encoding=names,
        errors=st.sampled_from(["strict", "replace", "ignore"]),
        min_words=st.integers(1, 5),
        max_words=st.integers(5, 1000),
        split=st.sampled_from(["passages", "sentences", "none"]),
        exclude=st.lists(names, max_size=2).map(tuple),
        validation=st.integers(3, 10**9),
        limit=or_unset(st.integers(15, 10**9)),
    ),
    teacher=st.builds(
        TeacherRecipe,
        precision=st.sampled_from(["auto", "float32", "bfloat16"]),
        shard_sentences=counts,
    ),
    projection=st.builds(
        ProjectionRecipe,
        centred=st.booleans(),
        whitening=st.floats(0, 1),
        fit_sentences=or_unset(st.integers(2, 10**9)),
    ),
    head=st.builds(
        HeadRecipe,
        init=st.sampled_from(["ridge", "rotation", "random"]),
        ridge_sentences=st.integers(2, 10**9),
        ridge_strength=from_0,
        activation=st.sampled_from(["identity", "tanh"]),
    ),
    static=st.builds(
        StaticRecipe,
        vocabulary=st.sampled_from(["tokenizer", "corpus"]),
        add_words=st.integers(0, 10**9),
        min_count=counts,
        frequency_weight=above_0,
        strength=or_unset(above_0),
    ),
    training=st.builds(
        TrainingRecipe,
        epochs=or_unset(from_0),
        max_steps=or_unset(st.integers(0, 10**9)),
        batch_size=or_unset(counts),
        learning_rate=or_unset(above_0),
        warmup=st.floats(0, 1, exclude_max=True),
        weight_decay=from_0,
        clip=above_0,
        similarity_weight=or_unset(from_0),
        neighbour_weight=or_unset(from_0),
        neighbours=counts,
        ranking=or_unset(st.sampled_from(["teacher", "targets"])),
        prefix_weight=from_0,
        dropout=st.booleans(),
        max_tokens=st.integers(3, 10**6),
        precision=st.sampled_from(["auto", "float32", "bfloat16"]),
        evaluate_every=counts,
    ),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(recipes)
def test_toml_gives_back_the_recipe(recipe: Recipe) -> None:
    again = Recipe.from_toml(recipe.to_toml())
    assert again == recipe
    assert again.hash == recipe.hash
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_a_file_gives_back_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "run" / "recipe.toml"
    RECIPE.save(path)
    assert Recipe.load(path) == RECIPE
    assert [file.name for file in path.parent.iterdir()] == ["recipe.toml"]


def test_a_person_writes_only_what_matters() -> None:
    recipe = Recipe.from_toml(
        """
        student = "minilm"
        teachers = [{ model = "mpnet" }]
        [corpus]
        sources = ["pydoc"]
        [training]
        epochs = 3        # a whole number where a fraction is allowed
        """
    )
    assert recipe == Recipe(
        teachers=(WeightedModel(model="mpnet"),),
        student="minilm",
        corpus=CorpusRecipe(sources=("pydoc",)),
        training=TrainingRecipe(epochs=3.0),
    )
    assert isinstance(recipe.training.epochs, float)


@pytest.mark.parametrize(
    ("text", "model", "weight"),
    [
        ("mpnet", "mpnet", 1.0),
        ("mpnet:2", "mpnet", 2.0),
        ("mpnet:0.5", "mpnet", 0.5),
        ("org/model:1e-1", "org/model", 0.1),
        ("C:\\models\\big", "C:\\models\\big", 1.0),
        ("C:/models/big:2", "C:/models/big", 2.0),
        ("/data/run 10:30/model", "/data/run 10:30/model", 1.0),
        ("/data/run 10:30/model:3", "/data/run 10:30/model", 3.0),
        ("/data/a:b", "/data/a:b", 1.0),
        ("mpnet:", "mpnet:", 1.0),
    ],
)
def test_a_model_with_a_weight_is_parsed(text: str, model: str, weight: float) -> None:
    assert WeightedModel.parse(text) == WeightedModel(model=model, weight=weight)


@pytest.mark.parametrize("text", ["mpnet:0", "mpnet:-1", "mpnet:nan"])
def test_a_model_with_a_bad_weight_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"teacher weight is .*; allowed: a number above 0"):
        WeightedModel.parse(text)


@given(st.floats(min_value=1e-6, max_value=1e6), names.filter(lambda name: ":" not in name))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_a_weighted_model_prints_is_parsed_back(weight: float, name: str) -> None:
    assert WeightedModel.parse(f"{name}:{weight}") == WeightedModel(model=name, weight=weight)


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RECIPE.dim = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("chosen", "static", "settled"),
    [(None, False, 0.3), (None, True, 0.0), (0.0, False, 0.0), (0.6, True, 0.6)],
)
def test_an_unset_whitening_is_what_is_usual_for_the_student(chosen, static, settled):
    assert ProjectionRecipe(whitening=chosen).settled_whitening(static=static) == settled
