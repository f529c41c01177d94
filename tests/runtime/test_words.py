"""Tokens from the cache of words are the tokenizer's own, for every text."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import normalizers, pre_tokenizers

from hpdistill.runtime import _words
from hpdistill.runtime._tokens import TextTokenizer

MakeTokenizer = Callable[[], Any]

printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=60)
pieces = st.sampled_from(
    ["the", "Red", "dogs", "running", "[SEP]", "[cls]", "\0", " ", "é", "x" * 13]
)
texts = st.lists(st.one_of(printable, st.text(max_size=20), st.lists(pieces).map("".join)))


@pytest.fixture(scope="module")
def cached(make_tokenizer: MakeTokenizer) -> TextTokenizer:
    """Filled by all examples, so that words are met again."""
    tokenizer = TextTokenizer(make_tokenizer(), max_tokens=None)
    assert tokenizer._words is not None
    return tokenizer


@pytest.fixture(scope="module")
def reference(make_tokenizer: MakeTokenizer) -> Any:
    return make_tokenizer()


def as_lists(tokenizer: TextTokenizer, texts: list[str]) -> list[list[int]]:
    tokens = tokenizer.encode(texts)
    assert len(tokens.lengths) == len(texts)
    return [row.tolist() for row in np.split(tokens.ids, np.cumsum(tokens.lengths))[:-1]]


@given(texts)
@example(["", " ", "a", ""])
@example(["the [SEP] dog", "the[sep]dog", "[PAD][PAD]"])
@example(["don't stop_now", "a\tb", "a\x00b", "caf\u00e9 CAF\u00c9", "\u4e2d\u6587"])
@example(["x" * 12, "x" * 13, "~" * 20])
def test_tokens_are_the_tokenizers_own(
    cached: TextTokenizer, reference: Any, texts: list[str]
) -> None:
    expected = [reference.encode(text, add_special_tokens=False).ids for text in texts]
    assert as_lists(cached, texts) == expected


def test_a_full_cache_starts_afresh(
    make_tokenizer: MakeTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_words, "_MOST_CHARACTERS", 200)
    tokenizer, reference = TextTokenizer(make_tokenizer(), max_tokens=None), make_tokenizer()
    assert tokenizer._words is not None
    for number in range(300):
        texts = [f"dog{number} runs", f"red {number}"]
        expected = [reference.encode(text, add_special_tokens=False).ids for text in texts]
        assert as_lists(tokenizer, texts) == expected
    assert tokenizer._words._words.characters < 400


def test_many_threads_share_a_cache(
    make_tokenizer: MakeTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_words, "_MOST_CHARACTERS", 2000)
    tokenizer, reference = TextTokenizer(make_tokenizer(), max_tokens=None), make_tokenizer()
    wrong: list[str] = []

    def work(seed: int) -> None:
        for number in range(60):
            text = f"dog{seed * 37 + number} the {number}s"
            if as_lists(tokenizer, [text]) != [
                reference.encode(text, add_special_tokens=False).ids
            ]:
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_it_is_used_only_where_words_stand_alone(make_tokenizer: MakeTokenizer) -> None:
    other_split, other_text, unclean, foreign = (make_tokenizer() for _ in range(4))
    other_split.pre_tokenizer = pre_tokenizers.Whitespace()
    other_text.normalizer = normalizers.Lowercase()
    unclean.normalizer = normalizers.BertNormalizer(clean_text=False)
    foreign.add_tokens(["caf\u00e9"])
    for tokenizer in (other_split, other_text, unclean, foreign):
        assert _words.WordCache.of(tokenizer) is None
    cased = make_tokenizer()
    cased.normalizer = normalizers.BertNormalizer(lowercase=False)
    texts = ["Red dogs", "RED"]
    assert as_lists(TextTokenizer(cased, max_tokens=None), texts) == [
        cased.encode(text, add_special_tokens=False).ids for text in texts
    ]
