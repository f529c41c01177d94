"""Copies of several augmenters in the file of a corpus."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hpdistill.corpus import Corpus, build_corpus
from hpdistill.corpus.augment import add_copies
from hpdistill.errors import CorpusError
from hpdistill.files import read_json
from hpdistill.recipe import AugmentRecipe, CorpusRecipe


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """100 sentences, 20 of them held out."""
    texts = [f"the dog number {number} ran quickly" for number in range(98)]
    texts += ["the hound number 0 ran quickly", "the chat ran number 98"]
    (tmp_path / "a.txt").write_text("\n".join(texts))
    out = tmp_path / "corpus"
    out.mkdir()
    build_corpus(CorpusRecipe(sources=(str(tmp_path / "a.txt"),)), out, seed=1)
    return out


def test_copies_of_both_follow_in_the_order_of_their_originals(corpus, wordnet, pairs, tmp_path):
    # Translation there and back says rapidly, and sometimes what a synonym says.
    pairs(
        {
            "eng-spa": "quickly=rapido,number 1=numero 1",
            "spa-eng": "rapido=in haste,dog numero 1=hound number 1",
        }
    )
    recipe = AugmentRecipe(
        methods=("wordnet", "backtranslate"), share=0.01, dictionary=str(wordnet)
    )
    plain = Corpus.open(corpus)
    before = pq.read_table(corpus / "train.parquet").to_pylist()
    held_out = plain.texts("validation")
    summary = add_copies(corpus, recipe, exclude=(), seed=0, work=tmp_path / "work")
    augmented = Corpus.open(corpus)
    rows = pq.read_table(corpus / "train.parquet").to_pylist()
    assert [{k: row[k] for k in ("text", "source")} for row in rows[: len(before)]] == before
    assert (augmented.originals, augmented.count("train")) == (len(before), len(rows))
    assert augmented.texts("validation") == held_out
    assert augmented.text_hash != plain.text_hash
    assert summary == read_json(corpus / "summary.json")
    copies = augmented.copies()
    assert copies.originals.tolist() == sorted(copies.originals.tolist())
    assert copies.augmenters[:2] == ["wordnet", "backtranslate"]
    assert [row["augmenter"] for row in rows[len(before) :]] == copies.augmenters
    for row in rows[len(before) :]:
        assert row["source"] == before[row["original"]]["source"]
        assert ("in haste" in row["text"]) == (row["augmenter"] == "backtranslate")
    for made in summary["copies"]:
        assert made["kept"] + sum(made["dropped"].values()) == made["sentences"] == len(before)
        assert made["kept"] == copies.augmenters.count(made["augmenter"])


def test_a_copy_of_one_augmenter_that_another_made_is_dropped(corpus, wordnet, pairs, tmp_path):
    pairs({"eng-spa": "dog=perro", "spa-eng": "perro=hound"})
    recipe = AugmentRecipe(methods=("wordnet", "backtranslate"), share=1.0, dictionary=str(wordnet))
    # Synonyms change two words, translation one; of both no sentence comes twice.
    summary = add_copies(corpus, recipe, exclude=(), seed=0, work=tmp_path / "work")
    texts = Corpus.open(corpus).texts("train")
    assert len(set(texts)) == len(texts)
    by = {made["augmenter"]: made for made in summary["copies"]}
    assert by["wordnet"]["kept"] > 70
    assert by["backtranslate"]["kept"] > 70
    held_out = set(Corpus.open(corpus).texts("validation"))
    assert held_out.isdisjoint(texts)
    # "the hound number 0 ran quickly" is a sentence itself, wherever it is.
    assert sum(text == "the hound number 0 ran quickly" for text in [*texts, *held_out]) == 1


def test_done_copies_are_taken_as_they_are(corpus, wordnet, tmp_path):
    recipe = AugmentRecipe(methods=("wordnet",), dictionary=str(wordnet))
    again = tmp_path / "again"
    again.mkdir()
    build_corpus(CorpusRecipe(sources=(str(tmp_path / "a.txt"),)), again, seed=1)
    work = tmp_path / "work"
    first = add_copies(corpus, recipe, exclude=(), seed=0, work=work)
    (file,) = work.glob("*.jsonl")
    written = file.stat().st_mtime_ns
    assert add_copies(again, recipe, exclude=(), seed=0, work=work) == first
    assert file.stat().st_mtime_ns == written


def test_sentences_make_the_same_chunks_whatever_follows(corpus, wordnet, tmp_path):
    before = list(Corpus.open(corpus).chunks("train", 32))
    recipe = AugmentRecipe(methods=("wordnet",), dictionary=str(wordnet))
    add_copies(corpus, recipe, exclude=(), seed=0, work=tmp_path / "work")
    after = list(Corpus.open(corpus).chunks("train", 32))
    assert after[: len(before)] == before
    assert [len(chunk) for chunk in after[len(before) : -1]] == [32] * (
        len(after) - len(before) - 1
    )
    assert Corpus.open(corpus).texts("train", 90) == sum(after, [])[:90]  # noqa: RUF017


def test_an_excluded_folder_that_is_not_there(corpus, wordnet, tmp_path):
    recipe = AugmentRecipe(methods=("wordnet",), dictionary=str(wordnet))
    with pytest.raises(CorpusError, match="does not exist"):
        add_copies(corpus, recipe, exclude=("nowhere",), seed=0, work=tmp_path / "work")
