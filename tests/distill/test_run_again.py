"""What is kept, made again or refused when a run or its store is there already."""

import fcntl
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny_runs import STAGES, description, distill, manifest, model_files, shards, times

from hpdistill.errors import CorpusError, RunError
from hpdistill.projection import Projection
from hpdistill.recipe import Recipe, WeightedModel

pytestmark = pytest.mark.long

# -- the same again


def test_running_again_computes_nothing(run, recipe, finished):
    before = manifest(run), times(run, "model/**/*.safetensors", "model/hpd.json", "[cti]*/**/*")
    again = distill(recipe(), run)
    assert again.rows == finished.rows
    assert manifest(run) == before[0]
    kept = times(run, "model/**/*.safetensors", "model/hpd.json", "[cti]*/**/*")
    assert kept == before[1]
    assert any(name.startswith("targets/teacher") for name in kept)


def test_two_runs_of_one_recipe_give_the_same_model_bit_for_bit(finished, recipe, tmp_path):
    distill(recipe(), tmp_path / "elsewhere")
    assert model_files(tmp_path / "elsewhere") == model_files(finished.model.parent)


def test_a_projection_is_the_same_file_whenever_it_is_written(finished, tmp_path):
    projection = Projection.load(finished.model / "projection.safetensors")
    written = set()
    for number in range(10):
        projection.save(tmp_path / f"{number}.safetensors")
        written.add((tmp_path / f"{number}.safetensors").read_bytes())
    assert len(written) == 1


def test_another_seed_gives_other_weights(finished, recipe, store, tmp_path):
    distill(recipe(seed=1), tmp_path / "run", store=store)
    name = "2_Dense/model.safetensors"
    assert model_files(tmp_path / "run")[name] != model_files(finished.model.parent)[name]


def test_whole_numbers_in_a_recipe_are_the_same_choices(run, recipe):
    """`epochs=4` is written as 4 and read as 4.0."""
    whole = recipe(training__epochs=4, training__clip=1, training__weight_decay=0)
    assert Recipe.from_toml(whole.to_toml()).hash == whole.hash
    distill(recipe(training__epochs=4), run)


@pytest.mark.parametrize("place", ["recipe.toml", "model/recipe.toml"])
def test_the_recipe_that_a_run_keeps_gives_the_same_model(finished, place, store, tmp_path):
    kept = Recipe.load(finished.model.parent / place)
    distill(kept, tmp_path / "run", store=store)
    assert model_files(tmp_path / "run") == model_files(finished.model.parent)


def test_a_model_that_was_deleted_is_made_again(run, recipe, finished):
    shutil.rmtree(run / "model")
    distill(recipe(), run)
    assert model_files(run) == model_files(finished.model.parent)


def test_a_damaged_corpus_is_built_again_as_the_hint_says(run, recipe, finished):
    path = run / "corpus/train.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CorpusError, match=r"train\.parquet is damaged") as raised:
        distill(recipe(), run)
    assert raised.value.hint == "Delete its directory to have the corpus built again."
    shutil.rmtree(run / "corpus")
    distill(recipe(), run)
    assert model_files(run) == model_files(finished.model.parent)


@pytest.mark.parametrize(
    ("file", "deleted"),
    [
        ("targets/train.npy", "targets/train.npy"),
        ("targets/projection.safetensors", "targets/projection.safetensors"),
        ("init/model.safetensors", "init"),
        ("init/config.json", "init"),
        ("init/own_pca.safetensors", "init"),
        ("model/model.safetensors", "model"),
    ],
)
def test_a_damaged_part_is_named_and_made_again_as_the_hint_says(
    file, deleted, run, recipe, finished
):
    path = run / file
    path.write_bytes(path.read_bytes()[:50])
    # As if it had been stopped where the part is read next.
    for stage in ("training", "report")[deleted == "model" :]:
        forget(run, stage)
    if deleted.startswith("targets"):
        forget(run, "student")
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(RunError) as raised:
        distill(recipe(), run)
    assert str(raised.value).startswith(f"{run / deleted} is damaged: ")
    assert raised.value.hint == f"Delete {run / deleted} to have it made again."
    remove(run / deleted)
    distill(recipe(), run)
    assert model_files(run) == model_files(finished.model.parent)


def test_damaged_held_out_targets_are_named_where_they_choose_the_student(recipe, store, tmp_path):
    run, chosen = tmp_path / "run", recipe(training__ranking="targets")
    distill(chosen, run, store=store)
    before = model_files(run)
    path = run / "targets/validation.npy"
    path.write_bytes(path.read_bytes()[:50])
    # As if it had been stopped where the part is read next.
    for stage in ("student", "training", "report"):
        forget(run, stage)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(RunError) as raised:
        distill(chosen, run, store=store)
    assert str(raised.value).startswith(f"{path} is damaged: ")
    assert raised.value.hint == f"Delete {path} to have it made again."
    remove(path)
    distill(chosen, run, store=store)
    assert model_files(run) == before


@pytest.mark.parametrize(
    "file", ["model.safetensors", "optimizer.safetensors", "progress.json", "best"]
)
@pytest.mark.parametrize("damage", [b"", b"{}"])
def test_a_damaged_checkpoint_is_named_and_trained_again_as_the_hint_says(
    file, damage, run, recipe, finished
):
    forget(run, "training")
    (step,) = (run / "checkpoints").glob("*/step-*")
    (best,) = (run / "checkpoints").glob("*/best-*")
    checkpoint, file = (best, "model.safetensors") if file == "best" else (step, file)
    (checkpoint / file).write_bytes(damage)
    with pytest.raises(RunError) as raised:
        distill(recipe(), run)
    assert str(raised.value).startswith(f"{checkpoint} is damaged: ")
    assert raised.value.hint == f"Delete {step.parent} to train from the beginning."
    shutil.rmtree(step.parent)
    distill(recipe(), run)
    assert model_files(run) == model_files(finished.model.parent)


def forget(run: Path, stage: str) -> None:
    """Make a run one that was stopped before a stage was complete."""
    known = manifest(run)
    del known["stages"][stage]
    (run / "manifest.json").write_text(json.dumps(known), "utf-8")


def remove(path: Path) -> None:
    """A file or a directory."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_what_is_no_checkpoint_is_left_where_it_is(run, recipe):
    notes = [run / "checkpoints/notes.txt", run / "checkpoints/mine/notes.txt"]
    notes += [path / "notes.txt" for path in (run / "checkpoints").glob("*")]
    for path in notes:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    distill(recipe(training__max_steps=3), run, overwrite=True)
    assert [path.exists() for path in notes] == [True, True, False]


# -- teacher embeddings, computed once


def test_a_shared_store_is_filled_once_for_several_widths(recipe, tmp_path):
    store = tmp_path / "store"
    distill(recipe(), tmp_path / "narrow", store=store)
    before = shards(store)
    assert len(before) == 12
    wide = distill(recipe(dim=16), tmp_path / "wide", store=store)
    assert shards(store) == before
    assert not shards(tmp_path / "wide/targets")
    assert wide.rows[-1]["dim"] == 16


def test_a_run_with_a_store_of_its_own_gives_the_same_model(finished, recipe, store, tmp_path):
    distill(recipe(), tmp_path / "run", store=store)
    assert model_files(tmp_path / "run") == model_files(finished.model.parent)


# -- changed inputs


def test_sentences_that_changed_are_distilled_anew(recipe, sentences, tmp_path):
    source = tmp_path / "some.txt"
    changed = recipe(corpus__sources=(str(source),), training__max_steps=0)
    source.write_text("\n".join(sentences(100)), "utf-8")
    distill(changed, tmp_path / "run")
    before = manifest(tmp_path / "run")["stages"], model_files(tmp_path / "run")
    source.write_text("\n".join(sentences(120)), "utf-8")
    distill(changed, tmp_path / "run")
    after = manifest(tmp_path / "run")["stages"]
    assert all(after[stage]["inputs"] != before[0][stage]["inputs"] for stage in STAGES)
    assert description(tmp_path / "run")["corpus"]["sentences"] == 96
    assert model_files(tmp_path / "run") != before[1]


def perturb(model: Path) -> None:
    """Give a model directory other weights."""
    path = model / "model.safetensors"
    weights = load_file(path)
    save_file(
        {name: weight + np.float32(0.01) for name, weight in weights.items()},
        path,
        metadata={"format": "pt"},
    )


@pytest.mark.long
@pytest.mark.parametrize("changed", ["teacher", "student"])
def test_weights_that_changed_in_their_place_are_not_mixed_with_old_ones(
    changed, recipe, teacher_dir, student_dir, tmp_path
):
    models = {"teacher": tmp_path / "teacher", "student": tmp_path / "student"}
    shutil.copytree(teacher_dir, models["teacher"])
    shutil.copytree(student_dir, models["student"])
    fixed = recipe(
        teachers=(WeightedModel(model=str(models["teacher"])),),
        student=str(models["student"]),
        anchor=0.0,
        training__max_steps=0,
    )
    distill(fixed, tmp_path / "run")
    before = model_files(tmp_path / "run")
    perturb(models[changed])
    distill(fixed, tmp_path / "run")
    distill(fixed, tmp_path / "fresh")
    assert model_files(tmp_path / "run") == model_files(tmp_path / "fresh")
    assert model_files(tmp_path / "run") != before


# -- directories that are taken


def test_a_run_of_another_recipe_is_not_touched(run, recipe):
    before = times(run, "**/*")
    with pytest.raises(RunError, match="run of another recipe") as raised:
        distill(recipe(dim=4), run)
    assert "`overwrite=True`" in raised.value.hint
    assert times(run, "**/*") == before


def test_overwrite_keeps_the_shards_and_gives_the_model_of_a_fresh_run(run, recipe, tmp_path):
    before = shards(run / "targets")
    distill(recipe(dim=16), run, overwrite=True)
    assert shards(run / "targets") == before
    assert Recipe.load(run / "recipe.toml") == recipe(dim=16)
    distill(recipe(dim=16), tmp_path / "fresh")
    assert model_files(run) == model_files(tmp_path / "fresh")


def test_overwriting_there_and_back_gives_the_first_model(run, recipe, finished):
    distill(recipe(dim=4, training__max_steps=1), run, overwrite=True)
    distill(recipe(), run, overwrite=True)
    assert model_files(run) == model_files(finished.model.parent)


@pytest.mark.parametrize("name", ["thesis.tex", "thesis.tmp"])
def test_a_directory_of_something_else_is_refused_even_with_overwrite(name, recipe, tmp_path):
    (tmp_path / name).write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(RunError, match="is not empty and holds no run"):
            distill(recipe(), tmp_path, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_recipe_with_other_things_beside_it_is_no_run(overwrite, recipe, tmp_path):
    recipe().save(tmp_path / "recipe.toml")
    for name in ("corpus", "model"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.txt").write_text("years of work")
    before = times(tmp_path, "**/*")
    with pytest.raises(RunError, match="is not empty and holds no run"):
        distill(recipe(), tmp_path, overwrite=overwrite)
    assert times(tmp_path, "**/*") == before


def test_a_recipe_of_the_user_is_run_where_it_lies_and_never_rewritten(recipe, store, tmp_path):
    kept = tmp_path / "recipe.toml"
    kept.write_text("# mine\n" + recipe(training__max_steps=0).to_toml(), "utf-8")
    with pytest.raises(RunError, match="is not empty and holds no run"):
        distill(recipe(training__max_steps=1), tmp_path, store=store)
    distill(recipe(training__max_steps=0), tmp_path, store=store)
    assert kept.read_text("utf-8").startswith("# mine\n")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("text", ["", "[]", "{}", '{"stages": {"corpus": 1}}', '{"name": "app"}'])
def test_a_manifest_that_is_none_is_refused_and_nothing_lost(overwrite, text, run, recipe):
    (run / "manifest.json").write_text(text)
    before = times(run, "**/*")
    with pytest.raises(RunError, match=r"manifest\.json is ") as raised:
        distill(recipe(dim=4), run, overwrite=overwrite)
    assert f"`store={run / 'targets'}`" in raised.value.hint
    assert times(run, "**/*") == before


def test_a_store_inside_of_the_run_is_taken(recipe, tmp_path):
    result = distill(recipe(training__max_steps=0), tmp_path / "run", store=tmp_path / "run/store")
    assert shards(tmp_path / "run/store")
    assert result.rows


def test_what_another_run_is_adding_to_the_embeddings_is_left_alone(recipe, tmp_path):
    own = recipe(training__max_steps=0)
    distill(own, tmp_path / "run")
    (home,) = (tmp_path / "run" / "targets").glob("teacher-*")
    left = [home / "float32" / f"more.npy.{pid}.tmp" for pid in (os.getppid(), os.getpid())]
    for path in left:
        path.write_text("half")
    distill(own, tmp_path / "run")
    assert [path.exists() for path in left] == [True, False]


def test_an_empty_directory_is_taken(recipe, store, tmp_path):
    assert distill(recipe(training__max_steps=0), tmp_path, store=store).model.is_dir()


def test_a_run_that_another_process_works_in_is_left_alone(run, recipe):
    before = times(run, "**/*")
    with (run / ".lock").open() as handle:
        # A lock belongs to an open file, so that this stands for another process.
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="another process"):
            distill(recipe(dim=4), run, overwrite=True)
    assert times(run, "**/*") == before
    assert Recipe.load(run / "recipe.toml") == recipe()
