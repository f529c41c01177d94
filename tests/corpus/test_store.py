"""A finished corpus: streamed in any chunks, and refused when it is damaged."""

import json
from pathlib import Path

import pytest

from hpdistill.corpus import Corpus, build_corpus
from hpdistill.errors import CorpusError, UsageError
from hpdistill.recipe import CorpusRecipe

NUMBERED = [f"Sentence number {number} of many." for number in range(100)]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    source = tmp_path / "a.txt"
    source.write_text("\n".join(NUMBERED))
    (tmp_path / "corpus").mkdir()
    build_corpus(CorpusRecipe(sources=(str(source),), validation=10), tmp_path / "corpus", seed=0)
    return tmp_path / "corpus"


@pytest.mark.parametrize("size", [1, 7, 30, 90, 10_000])
def test_chunks_are_full_and_in_order(directory: Path, size: int) -> None:
    corpus = Corpus.open(directory)
    chunks = list(corpus.chunks("train", size))
    assert [text for chunk in chunks for text in chunk] == corpus.texts("train")
    assert all(len(chunk) == size for chunk in chunks[:-1])
    assert 1 <= len(chunks[-1]) <= size


@pytest.mark.parametrize(("limit", "count"), [(None, 90), (0, 0), (5, 5), (90, 90), (1000, 90)])
def test_texts_are_the_first_ones(directory: Path, limit: int | None, count: int) -> None:
    corpus = Corpus.open(directory)
    assert corpus.texts("train", limit) == corpus.texts("train")[:count]


def test_a_chunk_of_nothing_is_wrong_usage(directory: Path) -> None:
    with pytest.raises(UsageError, match="allowed: 1 or more"):
        Corpus.open(directory).chunks("train", 0)


def test_a_folder_without_a_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="holds no corpus"):
        Corpus.open(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"train": 90, "validation": "x"}', "\xff"])
def test_a_damaged_summary_is_named(directory: Path, content: str) -> None:
    (directory / "summary.json").write_text(content, "latin-1")
    with pytest.raises(CorpusError, match=r"summary\.json is damaged"):
        Corpus.open(directory)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_missing_cut_or_foreign_file_is_named(directory: Path, split: str) -> None:
    path = directory / f"{split}.parquet"
    raw = path.read_bytes()
    for content in (raw[: len(raw) // 2], b"", b"PAR1 not really PAR1"):
        path.write_bytes(content)
        with pytest.raises(CorpusError, match=rf"{split}\.parquet is damaged") as caught:
            Corpus.open(directory)
        assert "Delete" in caught.value.hint
    path.unlink()
    with pytest.raises(CorpusError, match=rf"{split}\.parquet is damaged"):
        Corpus.open(directory)


@pytest.mark.parametrize(("total", "own", "told"), [(12, 0, "2 of 12"), (60, 2, "2 of 62")])
def test_too_few_sentences_to_hold_out_are_refused(
    tmp_path: Path, total: int, own: int, told: str
) -> None:
    (tmp_path / "a.txt").write_text("\n".join(NUMBERED[:total]))
    (tmp_path / "b.txt").write_text("\n".join(NUMBERED[total : total + own]))
    recipe = CorpusRecipe(
        sources=(str(tmp_path / "a.txt"),),
        validation_sources=(str(tmp_path / "b.txt"),) if own else None,
    )
    build_corpus(recipe, tmp_path, seed=0)
    with pytest.raises(CorpusError, match=f"^{told} sentences are too few to hold out: 3 are"):
        Corpus.open(tmp_path).check_held_out()


def test_files_of_two_corpora_do_not_mix(directory: Path) -> None:
    summary = json.loads((directory / "summary.json").read_text())
    (directory / "summary.json").write_text(json.dumps(summary | {"train": 89}))
    with pytest.raises(CorpusError, match=r"holds 90 sentences, summary\.json says 89"):
        Corpus.open(directory)


def test_a_flipped_byte_anywhere_is_named(directory: Path) -> None:
    path = directory / "train.parquet"
    raw = path.read_bytes()
    for place in range(len(raw)):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 0x10]) + raw[place + 1 :])
        with pytest.raises(CorpusError, match=r"train\.parquet is damaged"):
            Corpus.open(directory)
    path.write_bytes(raw)
    assert Corpus.open(directory).count("train") == 90


def test_a_corpus_of_a_version_without_checksums_opens(directory: Path) -> None:
    summary = json.loads((directory / "summary.json").read_text())
    del summary["files"]
    (directory / "summary.json").write_text(json.dumps(summary))
    assert Corpus.open(directory).count("train") == 90


def test_damage_after_opening_is_named(directory: Path) -> None:
    corpus = Corpus.open(directory)
    path = directory / "train.parquet"
    raw = bytearray(path.read_bytes())
    raw[60] ^= 0x10  # within the first page, which has a checksum of its own
    path.write_bytes(raw)
    with pytest.raises(CorpusError, match=r"train\.parquet is damaged"):
        corpus.texts("train")
