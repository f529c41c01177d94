"""`--set`: every choice of a recipe can be given on the command line, and only those."""

import dataclasses
import json
from typing import Any

import pytest
import tomli_w
from command_ends import hint, refused

from hpdistill.recipe import CorpusRecipe, Recipe, SimcseRecipe, WeightedModel
from hpdistill.recipe.corpus import AugmentRecipe
from hpdistill.strict import keys_of


def line_of(recipe: Recipe) -> list[str]:
    """Every choice that is not None as `--set KEY=VALUE`."""
    line = []
    for key in keys_of(Recipe):
        value: Any = recipe
        for name in key.split("."):
            value = getattr(value, name, None)
        if value is None:
            continue
        if key == "teachers":
            value = "[" + ", ".join(f'{{model = "{t.model}", weight = {t.weight}}}' for t in value)
            line += ["--set", f"teachers={value}]"]
        else:
            plain = list(value) if isinstance(value, tuple) else value
            line += ["--set", tomli_w.dumps({key: plain}).strip().replace(f'"{key}"', key)]
    return line


@pytest.mark.usefixtures("_one_thread")
def test_every_choice_of_a_recipe_can_be_set(hpd, teacher_dir, student_dir, text_file, tmp_path):
    table = tmp_path / "table.jsonl"
    lines = text_file.read_text("utf-8").splitlines()
    table.write_text("".join(json.dumps({"b": "", "c": line}) + "\n" for line in lines), "utf-8")
    small = Recipe(
        teachers=(WeightedModel(model=str(teacher_dir)),),
        student=str(student_dir),
        dim=8,
        anchor=0.0,
        seed=3,
        corpus=CorpusRecipe(
            sources=(str(table),), column="c", limit=100, validation=20, max_words=150
        ),
    )
    recipe = dataclasses.replace(
        small,
        teacher=dataclasses.replace(small.teacher, precision="float32"),
        projection=dataclasses.replace(small.projection, whitening=0.25, fit_sentences=60),
        static=dataclasses.replace(small.static, add_words=5, strength=0.5),
        training=dataclasses.replace(
            small.training,
            max_steps=0,
            epochs=1.0,
            batch_size=16,
            learning_rate=1e-3,
            similarity_weight=0.5,
            neighbour_weight=0.0,
            ranking="targets",
            warmup=0.25,
            clip=2.0,
            precision="float32",
        ),
    )
    # Its copies would need dictionaries; that its keys are there is tested below.
    ended = hpd("distill", "--no-export", "--out", tmp_path / "run", *line_of(recipe))
    assert ended.code == 0, ended.err
    assert Recipe.load(tmp_path / "run/recipe.toml") == recipe


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(AugmentRecipe)])
def test_keys_of_a_section_that_is_left_out_are_there(field, hpd, tmp_path):
    ended = hpd("distill", "--out", tmp_path, "--set", f"augment.{field}=")
    assert refused(ended) == "error: missing --teacher, --student, --sentences"


@pytest.mark.usefixtures("_one_thread")
def test_a_choice_of_a_file_is_changed_or_left_to_its_default(
    hpd, teacher_dir, student_dir, text_file, tmp_path
):
    recipe = Recipe(
        teachers=(WeightedModel(model=str(teacher_dir)),),
        student=str(student_dir),
        dim=8,
        corpus=CorpusRecipe(sources=(str(text_file),), validation=20, max_words=150),
    )
    recipe.save(tmp_path / "recipe.toml")
    line = ["--set", "corpus.max_words=", "--set", "training.precision=float32", "--max-steps", 0]
    place = "--recipe", tmp_path / "recipe.toml", "--out", tmp_path / "run"
    assert hpd("distill", "--no-export", *place, *line).code == 0
    made = Recipe.load(tmp_path / "run/recipe.toml")
    assert made.corpus.max_words == CorpusRecipe(sources=("a",)).max_words
    assert (made.training.precision, made.training.max_steps) == ("float32", 0)
    assert made.corpus.validation == 20


@pytest.mark.parametrize(
    ("settings", "message", "said"),
    [
        (["training.lerning_rate=1"], "no such key", "training.learning_rate"),
        (["learning_rate=1"], "no such key", "training.learning_rate"),
        (["zzz.qqq=1"], "no such key", "Keys: teachers"),
        (["training=1"], "no such key", "Its keys: training.epochs"),
        (["training.warmup"], "not KEY=VALUE", "--set training.epochs=3"),
        (["=3"], "not KEY=VALUE", "--set training.epochs=3"),
        (["training.warmup=much"], "training.warmup must be of type float, not 'much'", ""),
        (["training.warmup=2"], "training.warmup is 2.0; allowed: at least 0 and below 1", ""),
        (["training.max_tokens=3.5"], "training.max_tokens must be of type int, not 3.5", ""),
        (["training.dropout=1"], "training.dropout must be of type bool, not 1", ""),
        (["corpus.column=[1]"], "corpus.column must be of type str, not 1", ""),
        (["corpus.exclude=folder"], "corpus.exclude must be a list, not 'folder'", ""),
        (["head.init=zeros"], "head.init is 'zeros'; allowed: ridge, rotation, random", ""),
        (["training.warmup=0.1\nb=2"], "training.warmup must be of type float", ""),
        (["seed=1", "seed=2"], "--set seed is given twice", ""),
        (["training.epochs=1"], "--set training.epochs and --epochs give the same choice", ""),
        (["teachers=[{model='a'}]"], "--set teachers and --teacher give the same choice", ""),
        (["static.min_count=0"], "static.min_count is 0; allowed: 1 or more", ""),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_what_cannot_be_set_is_refused_in_a_line(settings, message, said, distill, tmp_path):
    ended = distill(*(word for one in settings for word in ("--set", one)), epochs=2)
    assert ended.code == 2
    assert message in refused(ended)
    if said:
        assert said in hint(ended)
    assert not (tmp_path / "run").exists()


def test_a_choice_of_a_head_for_a_static_student(distill):
    assert "has no head" in refused(distill("--set", "head.ridge_sentences=50", student="static"))


def test_excluded_text_of_options_comes_beside_what_is_set(distill, text_file, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("something else\n", "utf-8")
    line = "--set", f'corpus.exclude=["{tmp_path / "a.txt"}"]'
    assert "give the same choice" in refused(distill(*line, exclude=tmp_path / "b.txt"))
    assert distill(*line, max_steps=0).code == 0
    made = Recipe.load(tmp_path / "run/recipe.toml")
    assert made.corpus.exclude == (str(tmp_path / "a.txt"),)


@pytest.mark.parametrize(
    ("given", "columns"),
    [('["title", "3"]', ("title", "3")), ('["title"]', "title"), ("title", "title"), ("3", "3")],
)
def test_one_column_or_several_can_be_set(given, columns, distill, sentences, tmp_path):
    rows = ["title,3", *(f"{one},a {n}" for n, one in enumerate(sentences(40)))]
    (tmp_path / "table.csv").write_text("\n".join(rows), "utf-8")
    ended = distill(
        "--set", f"corpus.column={given}", sentences=tmp_path / "table.csv", max_steps=0
    )
    assert ended.code == 0, ended
    assert Recipe.load(tmp_path / "run/recipe.toml").corpus.column == columns


def test_the_keys_of_a_contrastive_training(hpd, tmp_path):
    line = "train", "simcse", "--out", tmp_path / "run", "--backbone", "no-such-model"
    for key in keys_of(SimcseRecipe):
        ended = hpd(*line, "--nli", "pairs.tsv", "--set", f"{key}=")
        taken = {"backbone": "--backbone", "nli.sources": "--nli"}
        if key in taken:
            assert f"--set {key} and {taken[key]} give" in refused(ended)
        else:
            assert "unknown model 'no-such-model'" in refused(ended)
    ended = hpd(*line, "--nli", "pairs.tsv", "--set", "weight_decay=-1")
    assert ended.code == 2
    assert "weight_decay is -1.0; allowed: 0 or more" in refused(ended)
