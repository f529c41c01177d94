"""What a recipe cannot mean is refused, and the message names it and what is allowed."""

import math
from pathlib import Path

import pytest
from recipes import RECIPE, altered, changed

from hpdistill.errors import RecipeError, UsageError
from hpdistill.recipe import Recipe, WeightedModel

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
    ("corpus.split", "paragraphs", "passages, sentences, none"),
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
    with pytest.raises(RecipeError, match=r"cannot read recipe .*recipe\.toml"):
        Recipe.load(path)
    path.write_bytes(b"student = '\xff'")
    with pytest.raises(RecipeError, match=r"cannot read recipe .*recipe\.toml"):
        Recipe.load(path)
    path.write_text(RECIPE.to_toml().replace("dim = 128", "dmi = 128"), "utf-8")
    with pytest.raises(RecipeError, match=r"recipe\.toml: .*unknown key dmi") as caught:
        Recipe.load(path)
    assert caught.value.hint == "Did you mean dim?"


def test_a_file_name_that_is_not_unicode_is_refused_in_words(tmp_path: Path) -> None:
    # What Python makes of the Latin-1 file name `caf\xe9.txt` on a UTF-8 system.
    with pytest.raises(UsageError) as raised:
        changed(RECIPE, "corpus.sources", ("caf\udce9.txt",)).save(tmp_path / "recipe.toml")
    assert str(raised.value) == ('a recipe cannot hold a name that is not Unicode: "caf\udce9.txt"')
