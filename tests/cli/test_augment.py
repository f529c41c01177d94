"""`hpd augment` and `hpd distill --augment`: copies in a file, or one line that says why not."""

import json
import sys
from pathlib import Path

import pytest
from command_ends import hint, refused
from dictionary_files import write_wndb

from hpdistill.corpus import read_source
from hpdistill.corpus.augment import read_copies
from hpdistill.recipe import AugmentRecipe, Recipe

TEXTS = ["The dog sat on the sofa.", "nothing", "The road is big.", "A dog!"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_wndb(tmp_path / "dict")
    path = tmp_path / "in.txt"
    path.write_text("\n".join(TEXTS) + "\n")
    return path


@pytest.fixture
def apertium(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pair of languages in which dogs are perros, and in which they come back as hounds."""
    modes = tmp_path / "apertium" / "modes"
    modes.mkdir(parents=True)
    for pair, change in {"eng-spa": "s/dog/perro/", "spa-eng": "s/perro/hound/"}.items():
        (modes / f"{pair}.mode").write_text(f"sed -u '{change}'")
    monkeypatch.setenv("APERTIUM_DATADIR", str(modes.parent))
    return modes


def test_wordnet(hpd, source, tmp_path):
    out = tmp_path / "out.jsonl"
    options = ("--dictionary", tmp_path / "dict", "--share", "1", "--seed", "3")
    ended = hpd("augment", "wordnet", source, out, *options)
    assert ended.code == 0, ended.err
    assert ended.out.startswith(f"{out}: 3 copies of 4 sentences (without: 1 none), ")
    assert [(line["row"], line["text"]) for line in read_copies(out)] == [
        (0, "The hound sat on the couch."),
        (2, "The route is large."),
        (3, "A hound!"),
    ]
    assert list(read_source(str(out))) == [line["text"] for line in read_copies(out)]


def test_json_counts_every_sentence(hpd, source, tmp_path):
    excluded = tmp_path / "evaluation.txt"
    excluded.write_text("the route is LARGE\n")
    out = tmp_path / "out.jsonl"
    options = ("--dictionary", tmp_path / "dict", "--share", "1", "--exclude", excluded)
    ended = hpd("augment", "wordnet", source, out, *options, "--json")
    document = json.loads(ended.out)
    assert document["command"] == "augment wordnet"
    (row,) = document["rows"]
    assert (row["sentences"], row["kept"], row["none"], row["excluded"]) == (4, 2, 1, 1)
    assert row["sentences_per_second"] > 0


def test_a_teacher_judges_copies(hpd, source, tmp_path, teacher_dir):
    found = {}
    for threshold in (0, 0.999999):
        out = tmp_path / f"{threshold}.jsonl"
        options = ("--dictionary", tmp_path / "dict", "--teacher", teacher_dir)
        ended = hpd("augment", "wordnet", source, out, *options, "--min-similarity", threshold)
        assert ended.code == 0, ended.err
        found[threshold] = list(read_copies(out))
    assert all(-1 <= line["similarity"] <= 1.0001 for line in found[0])
    assert len(found[0]) == 3
    assert found[0.999999] == [line for line in found[0] if line["similarity"] >= 0.999999]


@pytest.mark.skipif(sys.platform == "darwin", reason="its sed ends lines, not NULs")
def test_backtranslate(hpd, source, apertium, tmp_path):
    out = tmp_path / "out.jsonl"
    ended = hpd("augment", "backtranslate", source, out, "--json")
    assert ended.code == 0, ended.err
    (row,) = json.loads(ended.out)["rows"]
    assert (row["kept"], row["unchanged"]) == (2, 2)
    assert [line["text"] for line in read_copies(out)] == [
        "The hound sat on the sofa.",
        "A hound!",
    ]


def test_a_pair_that_is_not_installed_is_told_with_how_to_get_it(hpd, source, apertium, tmp_path):
    ended = hpd("augment", "backtranslate", source, tmp_path / "out.jsonl", "--language", "fra")
    assert refused(ended) == (
        "error: Apertium has no pair eng-fra installed; installed: eng-spa, spa-eng"
    )
    assert "apt-get install apertium apertium-eng-fra" in hint(ended)
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--share", "2"), "--share is 2.0; allowed: above 0, at most 1"),
        (("--senses", "0"), "--senses is 0; allowed: 1 or more"),
        (("--min-similarity", "1"), "--min-similarity is 1.0; allowed: at least 0 and below 1"),
        (("--dictionary", "nowhere"), "nowhere holds no WordNet: cannot read noun"),
        (("--exclude", "nowhere"), "nowhere does not exist"),
        (("--errors", "guess"), "--errors is 'guess'; allowed: strict, replace, ignore"),
    ],
)
def test_bad_choices(hpd, source, tmp_path, arguments, message):
    ended = hpd("augment", "wordnet", source, tmp_path / "out.jsonl", *arguments)
    assert refused(ended) == f"error: {message}"


def test_places_that_cannot_be_read_or_written(hpd, source, tmp_path):
    assert "does not exist" in refused(hpd("augment", "wordnet", "none.txt", "out.jsonl"))
    assert "must end in .jsonl" in refused(hpd("augment", "wordnet", source, "out.txt"))
    (tmp_path / "out.jsonl").write_text("mine")
    ended = hpd("augment", "wordnet", source, tmp_path / "out.jsonl")
    assert "exists already" in refused(ended)
    assert "--overwrite" in hint(ended)


def test_one_model_of_two(hpd, source, tmp_path):
    options = ("--translator", "marian", "--model", "there")
    ended = hpd("augment", "backtranslate", source, tmp_path / "out.jsonl", *options)
    assert refused(ended) == "error: models is ('there',); allowed: two, there and back, or none"


def test_distill_takes_methods(hpd, source, tmp_path, teacher_dir, student_dir):
    basic = ("--teacher", teacher_dir, "--student", student_dir, "--sentences", source)
    ended = hpd("distill", *basic, "--out", tmp_path / "run", "--augment", "wordnet,magic")
    assert refused(ended) == (
        "error: --augment is ('wordnet', 'magic'); "
        "allowed: one or more of wordnet, backtranslate, each once"
    )
    options = ("--augment", "wordnet,backtranslate", "--min-similarity", "0.5", "--dim", "8")
    refused(hpd("distill", *basic, "--out", tmp_path / "run", *options))  # four sentences
    recipe = Recipe.load(tmp_path / "run" / "recipe.toml")
    assert recipe.augment == AugmentRecipe(methods=("wordnet", "backtranslate"), min_similarity=0.5)
