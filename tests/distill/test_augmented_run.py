"""A distillation that trains on copies, too: linked, filtered, resumable, and only of its own."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from dictionary_files import write_wndb
from tiny_runs import distill, model_files, shards, tiny_recipe

from hpdistill.corpus import Corpus, exclusion_key
from hpdistill.corpus.augment import copies
from hpdistill.distill import Distilled
from hpdistill.errors import AugmentError
from hpdistill.pytorch import TorchEncoder
from hpdistill.recipe import AugmentRecipe, Recipe


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, sentences: Callable[..., list[str]]) -> Path:
    place = tmp_path_factory.mktemp("augmented")
    write_wndb(place / "dict")
    texts = sentences(200)
    # Copies of the first would be the second, which is evaluated on.
    texts += ["the dog finds one road", "a dog was near the house today"]
    (place / "sentences.txt").write_text("\n".join(texts))
    (place / "evaluation.txt").write_text("A hound was near the house today!\n")
    return place


@pytest.fixture(scope="module")
def recipe(work: Path, teacher_dir: Path, student_dir: Path) -> Recipe:
    plain = tiny_recipe(
        teacher_dir,
        student_dir,
        work / "sentences.txt",
        corpus__exclude=(str(work / "evaluation.txt"),),
        training__max_steps=2,
        anchor=0.0,
    )
    augment = AugmentRecipe(
        methods=("wordnet",), share=1.0, dictionary=str(work / "dict"), min_similarity=0.8
    )
    return replace(plain, augment=augment)


@pytest.fixture(scope="module")
def finished(work: Path, recipe: Recipe) -> Distilled:
    """Not to be changed."""
    return distill(recipe, work / "run", store=work / "store")


def table(run: Path, split: str = "train") -> list[dict[str, Any]]:
    return pq.read_table(run / f"corpus/{split}.parquet").to_pylist()


def test_copies_are_linked_in_the_corpus_file(finished, recipe):
    rows = table(finished.model.parent)
    first = next(number for number, row in enumerate(rows) if row["augmenter"])
    summary = finished.stages["corpus"]["facts"]
    assert (summary["originals"], summary["train"]) == (first, len(rows))
    assert all(row["original"] is None for row in rows[:first])
    linked = [row["original"] for row in rows[first:]]
    assert len(linked) > 50
    assert linked == sorted(linked)
    for row in rows[first:]:
        assert row["augmenter"] == "wordnet"
        assert row["source"] == recipe.corpus.sources[0]
        original = rows[row["original"]]["text"]
        assert row["text"] != original
        assert len(row["text"].split()) == len(original.split())
    texts = [row["text"] for row in rows]
    assert len(set(texts)) == len(texts)


def test_no_copy_is_one_of_a_sentence_held_out_or_evaluated_on(finished, work):
    run = finished.model.parent
    held_out = {row["text"] for row in table(run, "validation")}
    rows = table(run)
    originals = {rows[row["original"]]["text"] for row in rows if row["augmenter"]}
    assert held_out.isdisjoint(originals)
    keys = {exclusion_key(text) for text in [*held_out, "a hound was near the house today"]}
    assert keys.isdisjoint(exclusion_key(row["text"]) for row in rows)
    (made,) = finished.stages["corpus"]["facts"]["copies"]
    assert made["kept"] + sum(made["dropped"].values()) == made["sentences"]
    assert made["dropped"]["excluded"] >= ("a dog was near the house today" not in held_out)


def test_the_teacher_drops_copies_that_it_finds_different(finished, teacher_dir, recipe):
    run = finished.model.parent
    rows = table(run)
    kept = np.load(run / "corpus/kept.npy", allow_pickle=False)
    vectors = TorchEncoder.load(str(teacher_dir)).encode([row["text"] for row in rows])
    cosines = [
        vectors[number] @ vectors[row["original"]] if row["augmenter"] else 1.0
        for number, row in enumerate(rows)
    ]
    sure = np.abs(np.array(cosines) - 0.8) > 1e-4
    np.testing.assert_array_equal(kept[sure], (np.array(cosines) >= 0.8)[sure])
    facts = finished.stages["copies"]["facts"]["copies"]["wordnet"]
    copied = finished.stages["corpus"]["facts"]["copies"][0]["kept"]
    assert facts["kept"] + facts["dissimilar"] == copied
    assert facts["kept"] > 0
    assert facts["dissimilar"] > 0
    targets = np.load(run / "targets/train.npy", allow_pickle=False)
    assert len(targets) == kept.sum() == Corpus.open(run / "corpus").keeping(kept).count("train")


def test_targets_are_those_of_the_sentences_that_are_trained_on(finished, teacher_dir):
    from hpdistill.projection import Projection

    run = finished.model.parent
    kept = np.load(run / "corpus/kept.npy", allow_pickle=False)
    corpus = Corpus.open(run / "corpus").keeping(kept)
    texts = corpus.texts("train")
    assert texts == [row["text"] for row, good in zip(table(run), kept, strict=True) if good]
    assert list(chain.from_iterable(corpus.chunks("train", 7))) == texts
    projection = Projection.load(run / "targets/projection.safetensors")
    expected = projection.apply(TorchEncoder.load(str(teacher_dir)).encode(texts))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = np.load(run / "targets/train.npy", allow_pickle=False)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_sentences_as_they_are_share_their_embeddings_with_a_run_without_copies(
    finished, recipe, work
):
    before = shards(work / "store")
    distill(replace(recipe, augment=None), work / "plain", store=work / "store")
    assert shards(work / "store") == before
    plain = Corpus.open(work / "plain/corpus")
    assert plain.originals == plain.count("train")
    assert pq.read_schema(work / "plain/corpus/train.parquet").names == ["text", "source"]
    assert "copies" not in json.loads((work / "plain/manifest.json").read_text())["stages"]


def test_a_recipe_without_copies_is_the_same_as_ever(recipe):
    plain = replace(recipe, augment=None)
    assert "augment" not in plain.to_dict()
    assert Recipe.from_toml(recipe.to_toml()) == recipe
    assert recipe.hash != plain.hash


def test_the_card_counts_copies(finished):
    card = (finished.model / "README.md").read_text()
    facts = finished.stages["copies"]["facts"]["copies"]["wordnet"]
    assert f"unlabelled sentences and {facts['kept']} copies by wordnet" in card


def test_an_interrupted_augmentation_goes_on_to_the_same_model(
    finished, recipe, work, monkeypatch, tmp_path
):
    monkeypatch.setattr(copies, "BLOCK", 40)
    original = copies.fault
    seen = 0

    def breaks(*arguments: Any) -> str | None:
        nonlocal seen
        seen += 1
        if seen > 60:
            raise AugmentError("the translator broke")
        return original(*arguments)

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(copies, "fault", breaks)
        with pytest.raises(AugmentError):
            distill(recipe, run, store=work / "store")
    assert not (run / "corpus").exists()
    blocks = [json.loads(path.read_text()) for path in run.glob("copies/*.part/0*.json")]
    done = {line["original"] for block in blocks for line in block["copies"]}
    assert len(done) > 10
    asked: set[str] = set()

    def noted(*arguments: Any) -> str | None:
        asked.add(arguments[0])
        return original(*arguments)

    monkeypatch.setattr(copies, "fault", noted)
    distill(recipe, run, store=work / "store")
    assert len(asked) > 10
    assert asked.isdisjoint(done)
    assert model_files(run) == model_files(finished.model.parent)


def test_another_threshold_embeds_nothing_again(finished, recipe, work):
    assert recipe.augment is not None
    changed = replace(recipe, augment=replace(recipe.augment, min_similarity=0.0))
    before = shards(work / "store")
    again = distill(changed, work / "run2", store=work / "store")
    assert shards(work / "store") == before
    facts = again.stages["copies"]["facts"]["copies"]["wordnet"]
    assert facts["dissimilar"] == 0
    kept = np.load(work / "run2/corpus/kept.npy", allow_pickle=False)
    assert kept.all()


def test_a_recipe_without_copies_says_nothing_of_those_that_were_there(
    finished, recipe, work, tmp_path
):
    run = shutil.copytree(finished.model.parent, tmp_path / "run")
    without = replace(recipe, augment=None)
    result = distill(without, run, store=work / "store", overwrite=True)
    assert "copies" not in result.stages
    assert "copies" not in (run / "model" / "README.md").read_text("utf-8")
