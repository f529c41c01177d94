"""Building: what is kept, dropped and held out, and that the same inputs give the same corpus."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpdistill.corpus import Corpus, CorpusSummary, build_corpus, clean, exclusion_key, read_clean
from hpdistill.corpus import _writing as writing
from hpdistill.errors import CorpusError, UsageError
from hpdistill.recipe import CorpusRecipe

NUMBERED = [f"Sentence number {number} of many." for number in range(500)]


def write(path: Path, texts: list[str]) -> str:
    path.write_text("\n".join(texts) + "\n", "utf-8")
    return str(path)


def build(recipe: CorpusRecipe, out: Path, seed: int = 0) -> tuple[CorpusSummary, Corpus]:
    out.mkdir()
    summary = build_corpus(recipe, out, seed=seed)
    return summary, Corpus.open(out)


def test_importing_the_room_imports_nothing_heavy() -> None:
    code = (
        "import sys, hpdistill.corpus;"
        "print(sorted({'torch', 'datasets', 'pyarrow', 'sentencex'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_files_hold_what_the_summary_says(tmp_path: Path) -> None:
    first = write(tmp_path / "a.txt", NUMBERED[:300])
    second = write(tmp_path / "b.txt", NUMBERED[200:])
    summary, corpus = build(CorpusRecipe(sources=(first, second), validation=50), tmp_path / "c")
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == [
        "summary.json",
        "train.parquet",
        "validation.parquet",
    ]
    assert json.loads((tmp_path / "c" / "summary.json").read_text()) == summary.to_dict()
    assert (summary.train, summary.validation, summary.read) == (450, 50, 600)
    assert (corpus.count("train"), corpus.count("validation")) == (450, 50)
    assert [(source.read, source.kept) for source in summary.sources] == [(300, 300), (300, 200)]
    assert summary.dropped["duplicate"] == summary.sources[1].dropped["duplicate"] == 100
    train = pq.read_table(tmp_path / "c" / "train.parquet").to_pydict()
    assert train["text"] == corpus.texts("train")
    own = dict.fromkeys(NUMBERED[:300], first) | dict.fromkeys(NUMBERED[300:], second)
    assert train["source"] == [own[text] for text in train["text"]]


def test_training_sentences_keep_the_order_of_the_sources(tmp_path: Path) -> None:
    source = write(tmp_path / "a.txt", NUMBERED)
    _, corpus = build(CorpusRecipe(sources=(source,), validation=50), tmp_path / "c")
    held_out = set(corpus.texts("validation"))
    assert corpus.texts("train") == [text for text in NUMBERED if text not in held_out]
    assert corpus.texts("validation") == [text for text in NUMBERED if text in held_out]


def test_every_reason_for_dropping_is_counted(tmp_path: Path) -> None:
    evaluation = write(tmp_path / "evaluation.txt", ["the held out sentence"])
    texts = [*NUMBERED[:40], "", " \x00 ", "Short one", "word " * 12, NUMBERED[0] + "  "]
    texts += ["The HELD-OUT sentence!", "the held out sentence"]
    source = write(tmp_path / "a.txt", texts)
    recipe = CorpusRecipe(
        sources=(source,), min_words=3, max_words=10, split="none", exclude=(evaluation,), limit=30
    )
    summary, corpus = build(recipe, tmp_path / "c")
    assert summary.dropped == {
        "empty": 2,
        "too_short": 1,
        "too_long": 1,
        "duplicate": 1,
        "excluded": 2,
        "not_sampled": 10,
    }
    assert summary.read == len(texts) == 30 + sum(summary.dropped.values())
    assert corpus.count("train") + corpus.count("validation") == 30


@pytest.mark.parametrize(
    ("total", "wanted", "held_out"), [(500, 50, 50), (500, 2000, 100), (11, 9, 2)]
)
def test_validation_is_exact_but_never_more_than_a_fifth(
    tmp_path: Path, total: int, wanted: int, held_out: int
) -> None:
    source = write(tmp_path / "a.txt", NUMBERED[:total])
    summary, _ = build(CorpusRecipe(sources=(source,), validation=wanted), tmp_path / "c")
    assert (summary.train, summary.validation) == (total - held_out, held_out)


@pytest.mark.parametrize(("own", "least"), [(0, 15), (5, 10)])
def test_the_least_that_a_recipe_allows_is_enough_to_measure_on(
    tmp_path: Path, own: int, least: int
) -> None:
    sources = (write(tmp_path / "a.txt", NUMBERED[own:]),)
    held_out = (write(tmp_path / "b.txt", NUMBERED[:own]),) if own else None
    recipe = partial(CorpusRecipe, sources=sources, validation_sources=held_out)
    _, corpus = build(recipe(limit=least, validation=3), tmp_path / "c")
    corpus.check_held_out()
    with pytest.raises(UsageError, match=f"limit is {least - 1}; allowed: {least} or more"):
        recipe(limit=least - 1)
    with pytest.raises(UsageError, match="validation is 2; allowed: 3 or more"):
        recipe(validation=2)


def test_the_same_sources_and_seed_give_the_same_files(tmp_path: Path) -> None:
    recipe = CorpusRecipe(sources=(write(tmp_path / "a.txt", NUMBERED),), limit=400)
    one, _ = build(recipe, tmp_path / "one", seed=7)
    two, _ = build(recipe, tmp_path / "two", seed=7)
    other, _ = build(recipe, tmp_path / "other", seed=8)
    assert one == two
    for name in ("train.parquet", "validation.parquet", "summary.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert other.text_hash != one.text_hash
    assert (other.train, other.validation) == (one.train, one.validation)


def test_a_sentence_keeps_its_split_wherever_it_stands(tmp_path: Path) -> None:
    forwards = CorpusRecipe(sources=(write(tmp_path / "a.txt", NUMBERED),), limit=300)
    backwards = CorpusRecipe(sources=(write(tmp_path / "b.txt", NUMBERED[::-1]),), limit=300)
    _, one = build(forwards, tmp_path / "one")
    _, two = build(backwards, tmp_path / "two")
    assert one.texts("train") == two.texts("train")[::-1]
    assert one.texts("validation") == two.texts("validation")[::-1]
    assert one.text_hash != two.text_hash


def test_a_larger_limit_only_adds(tmp_path: Path) -> None:
    source = write(tmp_path / "a.txt", NUMBERED)
    small = read_clean(CorpusRecipe(sources=(source,), limit=100), seed=3)
    large = read_clean(CorpusRecipe(sources=(source,), limit=200), seed=3)
    assert len(small) == 100
    assert set(small) < set(large)
    assert small == [text for text in NUMBERED if text in set(small)]


def test_the_sample_is_drawn_from_everywhere(tmp_path: Path) -> None:
    sources = tuple(
        write(tmp_path / f"{i}.txt", NUMBERED[i * 100 : i * 100 + 100]) for i in range(5)
    )
    summary, _ = build(CorpusRecipe(sources=sources, limit=250), tmp_path / "c")
    assert all(30 < source.kept < 70 for source in summary.sources)
    assert all(s.kept + s.dropped["not_sampled"] == s.read for s in summary.sources)


def test_read_clean_gives_both_splits_together(tmp_path: Path) -> None:
    recipe = CorpusRecipe(sources=(write(tmp_path / "a.txt", NUMBERED),), limit=120)
    _, corpus = build(recipe, tmp_path / "c", seed=5)
    both = set(corpus.texts("train")) | set(corpus.texts("validation"))
    assert set(read_clean(recipe, seed=5)) == both


def test_a_source_named_twice_counts_once(tmp_path: Path) -> None:
    source = write(tmp_path / "a.txt", NUMBERED[:50])
    summary, corpus = build(CorpusRecipe(sources=(source, source)), tmp_path / "c")
    assert [s.kept for s in summary.sources] == [50, 0]
    assert corpus.count("train") == 40


def test_batches_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = CorpusRecipe(sources=(write(tmp_path / "a.txt", NUMBERED),), limit=400, validation=33)
    whole, _ = build(recipe, tmp_path / "whole")
    monkeypatch.setattr(writing, "_ROW_GROUP", 7)
    rows, corpus = build(recipe, tmp_path / "rows")
    monkeypatch.setattr(writing, "_BATCH_CHARACTERS", 60)
    characters, _ = build(recipe, tmp_path / "characters")
    # The files differ in their row groups, and in nothing that is read from them.
    assert whole == replace(rows, files=whole.files) == replace(characters, files=whole.files)
    assert corpus.texts("train") == Corpus.open(tmp_path / "whole").texts("train")


@settings(max_examples=30, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=40),
    banned=st.lists(st.text("ab .!", min_size=1, max_size=4), max_size=5),
)
def test_what_is_kept_is_clean_distinct_and_not_excluded(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], banned: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "a.txt").write_bytes("\n".join([*NUMBERED[:10], *texts]).encode())
    exclude = write(folder / "banned.txt", ["something", *banned])
    kept = read_clean(
        CorpusRecipe(sources=(str(folder / "a.txt"),), max_words=5, exclude=(exclude,)), seed=0
    )
    assert len(kept) == len(set(kept))
    assert all(text == clean(text) != "" for text in kept)
    assert all(1 <= len(text.split()) <= 5 for text in kept)
    keys = {exclusion_key(clean(text)) for text in banned if clean(text)}
    assert keys.isdisjoint(exclusion_key(text) for text in kept)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("", "there are no sentences in {path}"),
        ("\n \n\t\n", "0 of 3 sentences in {path} are left (dropped: 3 empty)"),
        ("One two.\n" * 12, "1 of 12 sentences in {path} are left (dropped: 11 duplicate)"),
        ("word " * 201 + "\n", "0 of 1 sentences in {path} are left (dropped: 1 too long)"),
        ("\n".join("abcdefghi"), "9 of 9 sentences in {path} are left; at least 10 are needed"),
    ],
)
def test_too_few_sentences_are_an_error_that_says_why(
    tmp_path: Path, texts: str, message: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_text(texts)
    recipe = CorpusRecipe(sources=(str(path),), split="none")
    out = tmp_path / "c"
    out.mkdir()
    for attempt in (
        lambda: build_corpus(recipe, out, seed=0),
        lambda: read_clean(recipe, seed=0),
    ):
        with pytest.raises(CorpusError) as caught:
            attempt()
        assert message.format(path=path) in str(caught.value)
    assert not (out / "summary.json").exists()


def test_a_missing_source_is_found_before_any_is_read(tmp_path: Path) -> None:
    good = write(tmp_path / "a.txt", NUMBERED)
    reports: list[int] = []
    with pytest.raises(CorpusError, match="does not exist"):
        read_clean(
            CorpusRecipe(sources=(good, str(tmp_path / "none.txt"))),
            seed=0,
            report=lambda task, done, total: reports.append(done),
        )
    assert reports == []


def test_progress_ends_with_everything_done(tmp_path: Path) -> None:
    reports: list[tuple[str, int, int]] = []
    (tmp_path / "c").mkdir()
    build_corpus(
        CorpusRecipe(sources=(write(tmp_path / "a.txt", NUMBERED),)),
        tmp_path / "c",
        seed=0,
        report=lambda *state: reports.append(state),
    )
    assert reports == [("reading sentences", 500, 500), ("writing sentences", 500, 500)]
