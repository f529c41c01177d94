"""Long texts: what is learnt from them, that nothing of them is lost, and that it is said."""

import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpdistill.corpus import Corpus, build_corpus, clean, read_clean
from hpdistill.corpus._passages import count_words, parts_of
from hpdistill.recipe import CorpusRecipe

SHORT = [f"Sentence number {number} of many." for number in range(60)]
PROSE = [f"Here the {number}th thing is told, and it is a long story." for number in range(90)]
"""Of a text of 1,080 words."""

WAYS = ("passages", "sentences")


def recipe(path: Path, texts: list[str], **choices: object) -> CorpusRecipe:
    """Texts may have several lines: each is a row of JSON."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    return replace(CorpusRecipe(sources=(str(path),)), **choices)


@pytest.mark.parametrize("way", WAYS)
def test_a_text_within_the_limit_stays_as_it_is(tmp_path: Path, way: str) -> None:
    texts = [*SHORT, "One sentence. And another one! " * 40]  # 200 words
    kept = read_clean(recipe(tmp_path / "a.jsonl", texts, split=way), seed=0)
    assert kept == [clean(text) for text in texts]


def test_a_corpus_of_sentences_is_the_same_however_long_ones_are_split(tmp_path: Path) -> None:
    hashes = set()
    for way in (*WAYS, "none"):
        (tmp_path / way).mkdir()
        chosen = recipe(tmp_path / "a.jsonl", SHORT, split=way)
        hashes.add(build_corpus(chosen, tmp_path / way, seed=3).text_hash)
    assert len(hashes) == 1


def test_a_long_text_becomes_passages_of_whole_sentences_of_like_length(tmp_path: Path) -> None:
    kept = read_clean(recipe(tmp_path / "a.jsonl", [*SHORT, " ".join(PROSE)]), seed=0)
    passages = kept[len(SHORT) :]
    assert " ".join(passages) == " ".join(PROSE)
    lengths = [len(passage.split()) for passage in passages]
    assert len(lengths) == 6
    assert 160 <= min(lengths) <= max(lengths) <= 200
    assert all(re.fullmatch(r"Here .* story\.", passage) for passage in passages)


def test_or_its_sentences(tmp_path: Path) -> None:
    chosen = recipe(tmp_path / "a.jsonl", [*SHORT, "\n\n".join(PROSE)], split="sentences")
    assert read_clean(chosen, seed=0) == [*SHORT, *PROSE]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "text",
    [
        "word " * 1234,
        "今天天气很好我们去公园吧" * 60,
        "今天天气很好。我们去公园吧。" * 60,
        "ราคาน้ำมันวันนี้ขึ้นอีกแล้ว" * 60,
        "Ein Satz ohne Ende, " * 99 + "und noch einer. 今天" * 99,
    ],
)
def test_texts_without_borders_and_without_spaces_are_cut_at_the_limit(
    tmp_path: Path, way: str, text: str
) -> None:
    parts = read_clean(recipe(tmp_path / "a.jsonl", [*SHORT, text], split=way), seed=0)[60:]
    whole = set(parts_of(text, 200, way))
    assert set(parts) == whole
    assert all(count_words(part) <= 200 for part in parts)


@given(
    text=st.text(st.sampled_from("ab. \n\t\x00\u2028\ufeffé今天。!ก"), min_size=1, max_size=80),
    most=st.integers(1, 6),
    way=st.sampled_from(WAYS),
)
def test_nothing_is_lost_whatever_the_text(text: str, most: int, way: str) -> None:
    parts = parts_of(text, most, way)
    assert "".join(parts).replace(" ", "") == clean(text).replace(" ", "")
    assert all(part == clean(part) and 1 <= count_words(part) <= most for part in parts)


def test_what_became_of_the_texts_is_logged_and_in_the_summary(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = [*SHORT, SHORT[0], "", "word", " ".join(PROSE)]
    caplog.set_level(logging.INFO, "hpdistill")
    chosen = recipe(tmp_path / "a.jsonl", texts, min_words=2, validation=10)
    summary = build_corpus(chosen, tmp_path, seed=0)
    assert caplog.messages == [
        "64 texts read, 1 of them of more than 200 words and split into 6 passages; 66 kept, 3 "
        "dropped: 1 empty, 1 of fewer than 2 words, 1 equal to one before; 10 of those kept are "
        "held out"
    ]
    written = Corpus.open(tmp_path).summary
    assert summary.to_dict() == written
    assert (written["read"], written["split"], written["parts"], written["kept"]) == (64, 1, 6, 66)
    assert written["read"] - written["split"] + written["parts"] == 66 + sum(
        written["dropped"].values()
    )


def test_unsplit_long_texts_are_dropped_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hpdistill")
    chosen = recipe(tmp_path / "a.jsonl", [*SHORT, " ".join(PROSE)], split="none")
    assert read_clean(chosen, seed=0) == SHORT
    assert caplog.messages == ["61 texts read; 60 kept, 1 dropped: 1 of more than 200 words"]


@pytest.mark.parametrize("way", [*WAYS, "none"])
def test_a_long_text_of_the_evaluation_is_kept_out_whole(tmp_path: Path, way: str) -> None:
    long = " ".join(PROSE)
    (tmp_path / "evaluation.jsonl").write_text(json.dumps({"text": f"{long} "}), "utf-8")
    chosen = recipe(tmp_path / "a.jsonl", [*SHORT, long], split=way)
    kept_out = replace(chosen, exclude=(str(tmp_path / "evaluation.jsonl"),))
    assert read_clean(kept_out, seed=0) == SHORT
    (tmp_path / "out").mkdir()
    dropped = build_corpus(kept_out, tmp_path / "out", seed=0).dropped
    assert dropped["excluded" if way != "none" else "too_long"] == 1


def test_scripts_without_spaces_have_words() -> None:
    assert count_words("not a word more") == 4
    assert count_words("今天天气很好。") == 6
    assert count_words("Das ist übrigens neu") == 4
    assert 2 <= count_words("ราคาน้ำมันวันนี้") <= 8
    assert count_words("日本語 and English") == 5
