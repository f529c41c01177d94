"""Pairs of inference: the quirks of their files, their sentences, and the triplets of them."""

import gzip
import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hpdistill.corpus import (
    Corpus,
    NliPair,
    Triplet,
    build_corpus,
    content_hashes,
    exclusion_key,
    read_clean,
    read_nli,
    read_source,
    read_triplets,
)
from hpdistill.corpus import nli as room
from hpdistill.corpus.readers import check_source
from hpdistill.errors import CorpusError, HpdError
from hpdistill.recipe import CorpusRecipe

HEADER = "split\tdataset\tfilename\tsentence1\tsentence2\tlabel"
ROWS = [
    ("train", '"A man" said .', 'He "spoke', "entailment"),
    ("train", '"A man" said .', "He kept quiet", "contradiction"),
    ("train", '"A man" said .', "He was old", "neutral"),
    ("train", "One bird sings", "No bird sings", "contradiction"),
    ("train", "One bird sings", "Nobody agrees on this", "-"),
    ("dev", "A dog runs", "A dog moves", "entailment"),
    ("dev", "A dog runs", "A dog sleeps", "contradiction"),
    ("test", "A test", "It is one", "entailment"),
]
TRAIN = [
    NliPair('"A man" said .', 'He "spoke', "entailment"),
    NliPair('"A man" said .', "He kept quiet", "contradiction"),
    NliPair('"A man" said .', "He was old", "neutral"),
    NliPair("One bird sings", "No bird sings", "contradiction"),
    NliPair("One bird sings", "Nobody agrees on this", None),
]


def write(path: Path, text: str) -> str:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


def allnli(path: Path, rows: list[tuple[str, ...]] = ROWS, *, end: str = "\n") -> str:
    lines = [HEADER, *("\t".join((split, "SNLI", "f", *rest)) for split, *rest in rows)]
    return write(path, end.join(lines) + end)


def archive(path: Path, rows: list[tuple[str, ...]] = ROWS) -> str:
    """As SNLI and MNLI were published: other keys stand beside those that count."""
    names = ("sentence1", "sentence2", "gold_label")
    objects = [{"annotator_labels": [], **dict(zip(names, row[1:], strict=True))} for row in rows]
    return write(path, "".join(f"{json.dumps(row)}\n" for row in objects))


def hub_table(rows: list[tuple[str, ...]]) -> pa.Table:
    numbers = {**{label: number for number, label in enumerate(room.LABELS)}, "-": -1}
    return pa.table(
        {
            "premise": [row[1] for row in rows],
            "hypothesis": [row[2] for row in rows],
            "label": [numbers[row[3]] for row in rows],
        }
    )


def fault(source: str, **options: Any) -> HpdError:
    with pytest.raises(CorpusError) as caught:
        list(read_nli(source, **options))
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["AllNLI.tsv.gz", "other.tsv"])
def test_quotes_line_ends_and_missing_labels_of_2016_are_read(
    tmp_path: Path, name: str, end: str
) -> None:
    path = allnli(tmp_path / name, end=end)
    assert list(read_nli(path)) == list(read_nli(f"allnli:{path}:train")) == TRAIN
    assert [pair.premise for pair in read_nli(f"allnli:{path}:dev")] == ["A dog runs"] * 2
    assert [pair.premise for pair in read_nli(f"allnli:{path}:test")] == ["A test"]


def test_a_source_of_sentences_is_train_and_dev_unless_it_says_which(tmp_path: Path) -> None:
    path = allnli(tmp_path / "AllNLI.tsv.gz")
    train = [text for pair in TRAIN for text in pair[:2]]
    dev = ["A dog runs", "A dog moves", "A dog runs", "A dog sleeps"]
    assert list(read_source(f"allnli:{path}")) == train + dev
    assert list(read_source(f"allnli:{path}:train")) == train
    assert list(read_source(f"allnli:{path}:dev", column="text")) == dev
    check_source(f"allnli:{path}:dev")
    assert content_hashes([f"allnli:{path}"]) == {
        f"allnli:{path}": sha256(Path(path).read_bytes()).hexdigest()
    }


def test_the_published_archives_are_read(tmp_path: Path) -> None:
    path = archive(tmp_path / "snli_1.0_train.jsonl", ROWS[:5])
    assert list(read_nli(path)) == TRAIN
    assert list(read_source(path)) == [text for pair in TRAIN for text in pair[:2]]
    # A column that was asked for is the one that is read.
    assert next(iter(read_source(path, column="gold_label"))) == "entailment"


def test_the_datasets_of_the_hub_are_read(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    pq.write_table(hub_table(ROWS[:5]), tmp_path / "train.parquet")
    source = f"hf:{tmp_path}"
    assert list(read_nli(source)) == TRAIN
    sentences = [text for pair in TRAIN for text in pair[:2]]
    assert list(read_source(source)) == sentences
    assert list(read_source(source, column="text")) == sentences
    assert list(read_source(f"{source}:::premise")) == sentences[::2]
    assert list(read_source(source, column="premise")) == sentences[::2]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub in which AllNLI is, as the hub's own library lays it out."""
    cache = tmp_path / "hub"
    home = cache / f"datasets--{room._REPOSITORY.replace('/', '--')}"
    place = home / "snapshots" / room._REVISION / "pair-class"
    for folder in (place, home / "blobs"):
        folder.mkdir(parents=True)
    for split in room.SPLITS:
        whole = tmp_path / "whole.parquet"
        pq.write_table(hub_table([row for row in ROWS if row[0] == split]), whole)
        blob = home / "blobs" / sha256(whole.read_bytes()).hexdigest()
        shutil.move(whole, blob)
        (place / f"{split}-00000-of-00001.parquet").symlink_to(blob)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    return home


def test_without_a_path_allnli_comes_from_the_hub(hub: Path) -> None:
    assert list(read_nli("allnli")) == TRAIN
    assert [pair.premise for pair in read_nli("allnli:dev")] == ["A dog runs"] * 2
    assert len(list(read_source("allnli"))) == 2 * 7
    assert len(list(read_source("allnli:test"))) == 2
    check_source("allnli")
    hashes = content_hashes(["allnli"])["allnli"].split(", ")
    assert hashes == [
        (hub / "snapshots" / room._REVISION / f"pair-class/{split}-00000-of-00001.parquet")
        .resolve()
        .name
        for split in ("train", "dev")
    ]


def test_a_file_of_the_hub_that_was_altered_is_refused(hub: Path) -> None:
    blob = (
        hub / "snapshots" / room._REVISION / "pair-class/train-00000-of-00001.parquet"
    ).resolve()
    blob.write_bytes(blob.read_bytes() + b" ")
    with pytest.raises(CorpusError, match="is not what the hub has"):
        list(read_nli("allnli"))
    with pytest.raises(CorpusError, match="is not what the hub has"):
        check_source("allnli")
    assert len(list(read_nli("allnli:dev"))) == 2


def test_a_hub_out_of_reach_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    error = fault("allnli")
    assert "AllNLI is not in the hub's cache and cannot be fetched" in str(error)
    assert "allnli:PATH" in error.hint


# Bad input ---------------------------------------------------------------------------------------


def test_a_label_outside_the_three_is_named(tmp_path: Path) -> None:
    path = allnli(tmp_path / "AllNLI.tsv", [*ROWS[:2], ("train", "a", "b", "Entailment")])
    message = (
        f"{path}, line 4: the label is 'Entailment'; allowed: entailment, neutral, "
        "contradiction, and - for none"
    )
    assert str(fault(path)) == message
    for source in (path, f"allnli:{path}"):
        with pytest.raises(CorpusError) as caught:
            list(read_source(source))
        assert str(caught.value) == message


@pytest.mark.parametrize("label", [3, -2, True, 1.5, None, ["neutral"], "hidden"])
def test_a_label_of_another_kind_is_named(tmp_path: Path, label: object) -> None:
    row = {"sentence1": "a", "sentence2": "b", "gold_label": label}
    path = write(tmp_path / "a.jsonl", f"\n{json.dumps(row)}\n")
    assert f"{path}, line 2: the label is {label!r}; allowed" in str(fault(path))


@pytest.mark.parametrize("missing", ["sentence1", "sentence2", "label"])
@pytest.mark.parametrize("kind", ["tsv", "jsonl", "parquet"])
def test_a_missing_column_is_named(tmp_path: Path, missing: str, kind: str) -> None:
    row = dict(zip(HEADER.split("\t"), ("train", "SNLI", "f", "a", "b", "neutral"), strict=True))
    del row[missing]
    path = tmp_path / f"a.{kind}"
    if kind == "tsv":
        write(path, "\t".join(row) + "\n" + "\t".join(row.values()) + "\n")
    elif kind == "jsonl":
        write(path, json.dumps(row))
    else:
        pq.write_table(pa.table({name: [value] for name, value in row.items()}), path)
    for source in (str(path), f"allnli:{path}"):
        error = fault(source)
        assert f"no column {missing}; columns: split, dataset, filename, " in str(error)
        assert str(path) in str(error)
        assert "sentence1, sentence2 and label" in error.hint


@pytest.mark.parametrize("missing", ["sentence1", "sentence2", "label"])
def test_a_line_without_a_column_of_the_first_is_an_error(tmp_path: Path, missing: str) -> None:
    row = {"sentence1": "a", "sentence2": "b", "label": "neutral"}
    rest = {name: value for name, value in row.items() if name != missing}
    source = write(tmp_path / "a.jsonl", f"{json.dumps(row)}\n{json.dumps(rest)}\n")
    assert str(fault(source)) == (
        f"{source}, line 2: no column {missing}; columns: {', '.join(rest)}"
    )


@pytest.mark.parametrize("read", [check_source, read_nli, read_source, content_hashes])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none", "{} does not exist"),
        ("dangling", "{} does not exist"),
        ("loop", "cannot read {}: Too many levels of symbolic links"),
        ("folder", "{} is a directory, not a file of sentences"),
        ("file.txt/none", "cannot read {}: Not a directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_line(
    tmp_path: Path, name: str, reason: str, read: Callable[[Any], Any]
) -> None:
    (tmp_path / "dangling.tsv.gz").symlink_to(tmp_path / "none.tsv.gz")
    (tmp_path / "loop.tsv.gz").symlink_to(tmp_path / "loop.tsv.gz")
    (tmp_path / "folder.tsv.gz").mkdir()
    (tmp_path / "file.txt").touch()
    path = tmp_path / f"{name}.tsv.gz"
    source = f"allnli:{path}"
    with pytest.raises(CorpusError) as caught:
        list(read([source] if read is content_hashes else source) or ())
    assert str(caught.value) == reason.format(path)


def test_a_row_cut_short_an_unknown_split_and_no_object_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", f"{HEADER}\ntrain\tSNLI\tf\ta\tb\n")
    assert f"{path}, line 2: 5 fields, the header has 6" in str(fault(path))
    path = allnli(tmp_path / "b.tsv", [("validation", "a", "b", "neutral")])
    assert f"{path}, line 2: the split is 'validation'; allowed: train, dev, test" in str(
        fault(path)
    )
    path = write(tmp_path / "c.jsonl", "[1]\n")
    assert f"{path}, line 1: expected an object" in str(fault(path))


def test_a_source_that_is_none_is_refused(tmp_path: Path) -> None:
    assert "allnli[:PATH][:train|dev|test]" in str(fault("allnli:"))
    assert "does not exist" in str(fault(f"allnli:{tmp_path / 'none.tsv.gz'}:dev"))
    assert "of no format that holds pairs" in str(fault(write(tmp_path / "a.txt", "a\n")))
    with pytest.raises(CorpusError, match="does not exist"):
        check_source(f"allnli:{tmp_path / 'none.tsv.gz'}")


# Triplets ----------------------------------------------------------------------------------------


def test_a_premise_with_both_kinds_of_hypothesis_is_a_triplet(tmp_path: Path) -> None:
    rows = [
        ("train", "A  man walks", "A man moves", "entailment"),
        ("train", "A man walks", "Someone walks", "entailment"),  # the first one counts
        ("train", "A bird", "An animal", "entailment"),
        ("train", "A man walks ", "A man\u00a0sits", "contradiction"),
        ("train", "A bird", "A bird, no doubt", "-"),
        ("train", "A song", "Music", "entailment"),
        ("train", "A song", "Music", "contradiction"),
        ("train", " ", "Nothing", "contradiction"),
        ("dev", "A bird", "A fish", "contradiction"),
    ]
    path = allnli(tmp_path / "a.tsv", rows)
    found, summary = read_triplets([path])
    assert found == [Triplet("A man walks", "A man moves", "A man sits")]
    assert summary.to_dict() == {
        "read": 8,
        "dropped": {"unlabelled": 1, "empty": 1, "excluded": 0},
        "premises": 3,
        "triplets": 1,
    }
    both, _ = read_triplets([path, f"allnli:{path}:dev"])
    assert both == [*found, Triplet("A bird", "An animal", "A fish")]


def test_pairs_with_an_excluded_sentence_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = [
        ("train", "A man walks", "A man MOVES!", "entailment"),
        ("train", "A man walks", "Someone walks", "entailment"),
        ("train", "A man walks", "A man sits", "contradiction"),
        ("train", "A bird", "An animal", "entailment"),
        ("train", "A bird", "A fish", "contradiction"),
    ]
    path = allnli(tmp_path / "a.tsv", rows)
    excluded = {exclusion_key("a man moves"), exclusion_key("A bird.")}
    found, summary = read_triplets([path], excluded=excluded)
    assert found == [Triplet("A man walks", "Someone walks", "A man sits")]
    assert summary.dropped["excluded"] == 3


def test_without_a_triplet_it_says_why(tmp_path: Path) -> None:
    path = allnli(tmp_path / "a.tsv", ROWS[-3:])
    with pytest.raises(CorpusError, match=r"no triplet in .*: of 0 premises in 0 pairs") as caught:
        read_triplets([path])
    assert "allnli:PATH:dev" in caught.value.hint
    path = allnli(tmp_path / "b.tsv", ROWS[2:5])
    with pytest.raises(CorpusError, match="of 2 premises in 3 pairs none has both"):
        read_triplets([path])


# The paper's split -------------------------------------------------------------------------------


@pytest.fixture
def split_file(tmp_path: Path) -> str:
    rows = [("train", f"Premise {i}", f"Trained hypothesis {i}", "neutral") for i in range(60)]
    rows += [("dev", f"Premise {i}", f"Held out hypothesis {i}", "neutral") for i in range(50, 90)]
    return allnli(tmp_path / "AllNLI.tsv.gz", rows)


def build(recipe: CorpusRecipe, out: Path, seed: int = 0) -> Corpus:
    out.mkdir()
    build_corpus(recipe, out, seed=seed)
    return Corpus.open(out)


def test_sentences_held_out_come_from_their_own_sources(split_file: str, tmp_path: Path) -> None:
    recipe = CorpusRecipe(
        sources=(f"allnli:{split_file}:train",),
        validation_sources=(f"allnli:{split_file}:dev",),
        validation=50,
    )
    corpus = build(recipe, tmp_path / "c")
    train, held_out = corpus.texts("train"), corpus.texts("validation")
    assert sorted(train) == sorted(
        f"{kind} {i}" for i in range(60) for kind in ("Premise", "Trained hypothesis")
    )
    # 40 hypotheses and 30 premises that train does not have; more than a fifth, as asked for.
    own = {f"Held out hypothesis {i}" for i in range(50, 90)}
    own |= {f"Premise {i}" for i in range(60, 90)}
    assert len(held_out) == 50
    assert set(held_out) < own
    dev = corpus.summary["sources"][1]
    assert (dev["read"], dev["kept"]) == (80, 50)
    assert (dev["dropped"]["duplicate"], dev["dropped"]["not_sampled"]) == (10, 20)
    assert set(read_clean(recipe, seed=0)) == {*train, *held_out}


def test_a_limit_is_of_what_is_trained_on(split_file: str, tmp_path: Path) -> None:
    sources = {
        "sources": (f"allnli:{split_file}:train",),
        "validation_sources": (f"allnli:{split_file}:dev",),
    }
    small = build(CorpusRecipe(**sources, validation=20, limit=30), tmp_path / "small")
    large = build(CorpusRecipe(**sources, validation=25, limit=60), tmp_path / "large")
    assert (small.count("train"), small.count("validation")) == (30, 20)
    # More of either only adds.
    for split in ("train", "validation"):
        assert set(small.texts(split)) < set(large.texts(split))
    other = build(CorpusRecipe(**sources, validation=20, limit=30), tmp_path / "other", seed=1)
    assert other.text_hash != small.text_hash


def test_nothing_left_to_hold_out_is_an_error(split_file: str, tmp_path: Path) -> None:
    source = f"allnli:{split_file}:train"
    with pytest.raises(CorpusError, match="none is left that is not trained on"):
        build(CorpusRecipe(sources=(source,), validation_sources=(source,)), tmp_path / "c")


def test_recipes_from_before_have_the_hash_they_had() -> None:
    from hpdistill.distill.stages import corpus_inputs
    from hpdistill.progress import silent
    from hpdistill.recipe import Recipe, WeightedModel

    recipe = Recipe(
        teachers=(WeightedModel(model="mpnet"),),
        student="minilm",
        corpus=CorpusRecipe(sources=("none.txt",)),
    )
    assert "validation_sources" not in recipe.to_dict()["corpus"]
    assert "validation_sources" not in corpus_inputs(recipe, silent)["recipe"]
