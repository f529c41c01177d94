"""A recipe says everything, survives TOML, and refuses what it cannot mean."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpdistill.errors import UsageError
from hpdistill.recipe import (
    AugmentRecipe,
    CorpusRecipe,
    HeadRecipe,
    ProjectionRecipe,
    Recipe,
    StaticRecipe,
    TeacherRecipe,
    TrainingRecipe,
    WeightedModel,
)

RECIPE = Recipe(
    teachers=(WeightedModel(model="mpnet"), WeightedModel(model="org/other", weight=0.5)),
    student="layers:minilm:0,2,4",
    corpus=CorpusRecipe(sources=("a.txt", "pydoc")),
    augment=AugmentRecipe(methods=("wordnet",)),
)

# Another value for every field; `test_every_field_is_tried` fails when one is added and not here.
CHANGES: dict[str, Any] = {
    "teachers": (WeightedModel(model="mpnet"),),
    "student": "minilm",
    "anchor": 0.0,
    "dim": 64,
    "seed": 1,
    "corpus.sources": ("pydoc", "a.txt"),
    "corpus.column": "text",
    "corpus.encoding": "latin-1",
    "corpus.errors": "replace",
    "corpus.min_words": 2,
    "corpus.max_words": 100,
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


def changed(recipe: Recipe, path: str, value: object) -> Recipe:
    head, _, tail = path.partition(".")
    new = dataclasses.replace(getattr(recipe, head), **{tail: value}) if tail else value
    return dataclasses.replace(recipe, **{head: new})


def altered(path: str, value: object) -> dict[str, Any]:
    """`RECIPE` as the data of a TOML file in which a person changed one value."""
    data = RECIPE.to_dict()
    head, _, tail = path.partition(".")
    if tail:
        data[head][tail] = value
    else:
        data[head] = value
    return data


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


OUT_OF_RANGE = [
    ("teachers", [], "at least one model"),
    ("anchor", -0.5, "0 or more"),
    ("dim", 0, "1 or more"),
    ("seed", -1, "0 to 9223372036854775807"),
    ("seed", 2**63, "0 to 9223372036854775807"),
    ("corpus.sources", [], "at least one source"),
    ("corpus.errors", "skip", "strict, replace, ignore"),
    ("corpus.min_words", 0, "1 or more"),
    ("corpus.max_words", 0, "at least min_words"),
    ("corpus.validation", 2, "3 or more"),
    ("corpus.limit", 14, "15 or more"),
    ("augment.share", 1.5, "above 0, at most 1"),
    ("augment.senses", 0, "1 or more"),
    ("augment.translator", "google", "apertium, marian"),
    ("augment.language", "../spa", "a code of letters"),
    ("augment.min_similarity", 1.0, "below 1"),
    ("teacher.precision", "float16", "auto, float32, bfloat16"),
    ("teacher.shard_sentences", 0, "1 or more"),
    ("projection.whitening", -0.1, "0 to 1"),
    ("projection.whitening", 1.1, "0 to 1"),
    ("projection.fit_sentences", 1, "2 or more"),
    ("head.init", "zeros", "ridge, rotation, random"),
    ("head.ridge_sentences", 1, "2 or more"),
    ("head.ridge_strength", -1.0, "0 or more"),
    ("head.activation", "relu", "identity, tanh"),
    ("training.epochs", -1.0, "0 to 1,000,000,000"),
    ("training.epochs", 1e308, "0 to 1,000,000,000"),
    ("static.vocabulary", "teacher", "tokenizer, corpus"),
    ("static.add_words", -1, "0 or more"),
    ("static.min_count", 0, "1 or more"),
    ("static.frequency_weight", 0.0, "above 0"),
    ("static.strength", 0.0, "above 0, or unset"),
    ("training.max_steps", -1, "0 or more"),
    ("training.batch_size", 0, "1 or more"),
    ("training.learning_rate", 0.0, "above 0"),
    ("training.warmup", 1.0, "below 1"),
    ("training.weight_decay", -0.1, "0 or more"),
    ("training.clip", 0.0, "above 0"),
    ("training.similarity_weight", -1.0, "0 or more"),
    ("training.neighbours", 0, "1 or more"),
    ("training.max_tokens", 2, "3 or more"),
    ("training.precision", "half", "auto, float32, bfloat16"),
    ("training.evaluate_every", 0, "1 or more"),
]


@pytest.mark.parametrize(("path", "value", "allowed"), OUT_OF_RANGE)
def test_a_bad_value_is_named_with_what_is_allowed(path: str, value: object, allowed: str) -> None:
    with pytest.raises(UsageError) as caught:
        Recipe.from_dict(altered(path, value))
    message = str(caught.value)
    shown = repr(tuple(value)) if isinstance(value, list) else repr(value)
    assert path.rpartition(".")[2] in message
    assert shown in message
    assert allowed in message


def test_a_bad_teacher_weight_is_named() -> None:
    for weight in (0.0, -1.0, math.nan):
        with pytest.raises(UsageError, match=rf"teacher weight is {weight!r}; allowed: a number"):
            WeightedModel(model="mpnet", weight=weight)


FRACTIONS = [
    "anchor",
    "head.ridge_strength",
    "static.frequency_weight",
    "static.strength",
    "training.epochs",
    "training.learning_rate",
    "training.warmup",
    "training.weight_decay",
    "training.clip",
    "training.similarity_weight",
]


@pytest.mark.parametrize("path", FRACTIONS)
def test_nan_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="nan"):
        Recipe.from_dict(altered(path, math.nan))


@pytest.mark.parametrize("path", [path for path in FRACTIONS if path != "training.clip"])
def test_infinity_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="inf"):
        Recipe.from_dict(altered(path, math.inf))


def test_an_infinite_teacher_weight_is_refused() -> None:
    with pytest.raises(UsageError, match="inf"):
        WeightedModel.parse("mpnet:inf")


WRONG_TYPE = [
    ("dim", "128", "type int"),
    ("dim", 1.5, "type int"),
    ("dim", True, "type int"),
    ("student", 3, "type str"),
    ("teachers", "mpnet", "a list"),
    ("teachers", ["mpnet"], "a table"),
    ("corpus", "pydoc", "a table"),
    ("corpus.sources", "pydoc", "a list"),
    ("corpus.sources", [1], "type str"),
    ("corpus.errors", 1, "type str"),
    ("corpus.limit", "all", "type int"),
    ("projection.centred", 1, "type bool"),
    ("training.epochs", "two", "type float"),
    ("training.epochs", True, "type float"),
    ("training.max_steps", 1.0, "type int"),
]


@pytest.mark.parametrize(("path", "value", "wanted"), WRONG_TYPE)
def test_a_wrong_type_is_named_with_the_right_one(path: str, value: object, wanted: str) -> None:
    with pytest.raises(UsageError) as caught:
        Recipe.from_dict(altered(path, value))
    message = str(caught.value)
    given = value[0] if isinstance(value, list) else value
    assert path in message
    assert wanted in message
    assert repr(given) in message


@pytest.mark.parametrize(
    ("path", "near"),
    [("dims", "dim"), ("training.epoch", "epochs"), ("corpus.source", "sources")],
)
def test_an_unknown_key_is_named_with_the_allowed_ones(path: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"unknown key {path}; allowed: ") as caught:
        Recipe.from_dict(altered(path, 1))
    assert near in str(caught.value).partition("allowed:")[2]
    assert caught.value.hint == f"Did you mean {near}?"


def test_an_unknown_key_like_no_other_has_no_hint() -> None:
    with pytest.raises(UsageError, match=r"unknown key training\.zzzz") as caught:
        Recipe.from_dict(altered("training.zzzz", 1))
    assert caught.value.hint == ""


def test_an_unknown_key_of_a_teacher_is_named() -> None:
    with pytest.raises(UsageError, match=r"unknown key teachers\.wieght; allowed: model, weight"):
        Recipe.from_dict(altered("teachers", [{"model": "mpnet", "wieght": 2.0}]))


@pytest.mark.parametrize("path", ["teachers", "student", "corpus", "corpus.sources"])
def test_a_missing_key_is_named(path: str) -> None:
    data = RECIPE.to_dict()
    head, _, tail = path.partition(".")
    del (data[head] if tail else data)[tail or head]
    with pytest.raises(UsageError, match=f"{path} is missing"):
        Recipe.from_dict(data)


def test_text_that_is_not_toml_is_refused() -> None:
    with pytest.raises(UsageError, match="not valid TOML"):
        Recipe.from_toml("dim = ")


def test_errors_of_a_file_name_it(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    with pytest.raises(UsageError, match=r"cannot read recipe .*recipe\.toml"):
        Recipe.load(path)
    path.write_bytes(b"student = '\xff'")
    with pytest.raises(UsageError, match=r"cannot read recipe .*recipe\.toml"):
        Recipe.load(path)
    path.write_text(RECIPE.to_toml().replace("dim = 128", "dmi = 128"), "utf-8")
    with pytest.raises(UsageError, match=r"recipe\.toml: .*unknown key dmi") as caught:
        Recipe.load(path)
    assert caught.value.hint == "Did you mean dim?"


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


def test_a_file_name_that_is_not_unicode_is_refused_in_words(tmp_path: Path) -> None:
    # What Python makes of the Latin-1 file name `caf\xe9.txt` on a UTF-8 system.
    with pytest.raises(UsageError) as raised:
        changed(RECIPE, "corpus.sources", ("caf\udce9.txt",)).save(tmp_path / "recipe.toml")
    assert str(raised.value) == ('a recipe cannot hold a name that is not Unicode: "caf\udce9.txt"')


@pytest.mark.parametrize(
    ("chosen", "static", "settled"),
    [(None, False, 0.3), (None, True, 0.0), (0.0, False, 0.0), (0.6, True, 0.6)],
)
def test_an_unset_whitening_is_what_is_usual_for_the_student(chosen, static, settled):
    assert ProjectionRecipe(whitening=chosen).settled_whitening(static=static) == settled
