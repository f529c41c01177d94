"""BM25 against its formula, and at the ends of what it may meet."""

import math
import random
import re
from collections.abc import Callable

import pytest
from retrieval_data import make_task

from hpdistill.evaluate.retrieval import bm25


def formula(query: str, documents: list[str]) -> list[float]:
    """Lucene's variant, as in Kamphuis et al. 2020; the score of every document."""
    split = [words(text) for text in documents]
    average = sum(map(len, split)) / len(split)
    scores = [0.0] * len(split)
    for word in words(query):
        among = sum(word in other for other in split)
        idf = math.log(1 + (len(split) - among + 0.5) / (among + 0.5))
        for row, other in enumerate(split):
            count = other.count(word)
            scores[row] += idf * count / (count + 1.5 * (0.25 + 0.75 * len(other) / average))
    return scores


def words(text: str) -> list[str]:
    return re.findall(r"\w\w+", text.lower())


def test_scores_are_those_of_the_formula(sentences: Callable[..., list[str]]) -> None:
    texts = sentences(200)
    queries = sentences(20, seed=7)
    task = make_task(
        {f"q{number}": {"d0": 1} for number in range(20)},
        documents={f"d{number}": text for number, text in enumerate(texts)},
        queries={f"q{number}": text for number, text in enumerate(queries)},
    )
    found = bm25(task, 10, stopwords=False)
    for query, ranked, scores in zip(queries, found.ranked, found.scores, strict=True):
        expected = {f"d{number}": value for number, value in enumerate(formula(query, texts))}
        # The order of the corpus decides between equals; Python's sort keeps it. Rounded, because
        # bm25s computes in float32.
        best = sorted(expected, key=lambda document: -round(expected[document], 4))[:10]
        assert scores == pytest.approx([expected[document] for document in best], abs=1e-3)
        assert scores == pytest.approx([expected[document] for document in ranked], abs=1e-3)
        assert scores == sorted(scores, reverse=True)
    assert found.index_bytes > 0
    assert found.index_seconds > 0
    assert found.search_seconds > 0


def test_only_candidates_are_ranked_by_words_counted_in_the_whole_corpus(
    sentences: Callable[..., list[str]],
) -> None:
    texts = sentences(200)
    queries = sentences(20, seed=7)
    chance = random.Random(0)
    names = [f"q{number}" for number in range(20)]
    candidates = {name: [f"d{n}" for n in chance.sample(range(200), 30)] for name in names}
    task = make_task(
        {name: {"d0": 1} for name in names},
        documents={f"d{number}": text for number, text in enumerate(texts)},
        queries=dict(zip(names, queries, strict=True)),
        candidates=candidates,
    )
    found = bm25(task, 10, stopwords=False)
    for name, query, ranked, scores in zip(names, queries, found.ranked, found.scores, strict=True):
        expected = {f"d{number}": value for number, value in enumerate(formula(query, texts))}
        assert set(ranked) <= set(candidates[name])
        best = sorted((expected[one] for one in candidates[name]), reverse=True)[:10]
        assert scores == pytest.approx([one for one in best if one > 0], abs=1e-3)
        assert scores == pytest.approx([expected[one] for one in ranked], abs=1e-3)


def test_equal_scores_come_in_the_order_of_the_corpus() -> None:
    names = [f"d{number}" for number in range(1000)]
    random.Random(0).shuffle(names)
    task = make_task(
        {"q": {names[0]: 1}},
        documents={name: "rain" if number % 3 else "sun" for number, name in enumerate(names)},
        queries={"q": "rain"},
    )
    expected = [name for number, name in enumerate(names) if number % 3][:20]
    assert bm25(task, 20).ranked == [expected]


def test_words_that_occur_nowhere_find_nothing() -> None:
    task = make_task(
        {"none": {"a": 1}, "empty": {"a": 1}, "one": {"a": 1}, "stop": {"a": 1}},
        documents={"a": "red house", "b": "the green tree", "c": ""},
        queries={"none": "zebra yak", "empty": "", "one": "zebra house", "stop": "the"},
    )
    found = bm25(task, 5)
    assert found.ranked == [[], [], ["a"], []]
    assert found.scores[0] == []
    assert bm25(task, 5, stopwords=False).ranked == [[], [], ["a"], ["b"]]


def test_a_corpus_without_words_answers_nothing() -> None:
    task = make_task({"q": {"a": 1}}, documents={"a": "", "b": "!"}, queries={"q": "a house"})
    found = bm25(task, 5)
    assert found.ranked == [[]]
    assert found.index_bytes == 0
