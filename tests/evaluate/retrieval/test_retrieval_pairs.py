"""Sentence pairs as a search for duplicates."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hpdistill.errors import EvaluationError
from hpdistill.evaluate.retrieval import RetrievalTask, load_retrieval


def pairs(folder: Path, text: str, name: str = "pairs.tsv", **options: object) -> RetrievalTask:
    path = folder / name
    path.write_text(text, "utf-8")
    return load_retrieval(str(path), **options)  # type: ignore[arg-type]


def refused(folder: Path, text: str, name: str = "pairs.tsv", **options: object) -> str:
    with pytest.raises(EvaluationError) as caught:
        pairs(folder, text, name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def answers(task: RetrievalTask) -> dict[str, set[str]]:
    """Query text to the texts that answer it."""
    texts = dict(zip(task.document_ids, task.document_texts, strict=True))
    return {
        text: {texts[document] for document in task.relevant[query]}
        for query, text in zip(task.query_ids, task.query_texts, strict=True)
    }


QUORA = (
    "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    '1\t1\t2\tHow old is "he"?\tWhat is his age?\t1\n'
    "2\t3\t4\tWho won?\tWhere is Rome?\t0\n"
    '3\t1\t5\tHow old is "he"?\tHis age?\t1\n'
    "4\t5\t1\tHis age?\tWhat is his age?\t1\n"
)


def test_positive_pairs_are_queries_and_answers_and_all_sentences_the_corpus(
    tmp_path: Path,
) -> None:
    task = pairs(tmp_path, QUORA)
    assert task.document_texts == [
        'How old is "he"?',
        "What is his age?",
        "Who won?",
        "Where is Rome?",
        "His age?",
    ]
    assert answers(task) == {
        'How old is "he"?': {"What is his age?", "His age?"},
        "His age?": {"What is his age?"},
    }
    assert task.notes[0] == (
        "3 of 4 pairs are duplicates: their first sentences are 2 queries, "
        "all 5 distinct sentences the corpus"
    )


def test_a_query_is_in_the_corpus_and_no_answer_to_itself(tmp_path: Path) -> None:
    task = pairs(tmp_path, QUORA)
    texts = dict(zip(task.document_ids, task.document_texts, strict=True))
    for query, text in zip(task.query_ids, task.query_texts, strict=True):
        assert texts[task.own[query]] == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.csv", 'sentence1,sentence2,label\n"a, b",c,entailment\nd,e,neutral\n'),
        ("p.tsv", "Label\tSentence1\tSentence2\nENTAILMENT\ta, b\tc\n-\td\te\n"),
        (
            "p.jsonl",
            '{"premise": "a, b", "hypothesis": "c", "label": true}\n'
            '{"premise": "d", "hypothesis": "e", "label": false}\n',
        ),
        (
            "p.jsonl",
            '{"premise": "a, b", "hypothesis": "c", "label": 1}\n\n'
            '{"premise": "d", "hypothesis": "e", "label": null}\n',
        ),
    ],
)
def test_reads_every_format(tmp_path: Path, name: str, text: str) -> None:
    task = pairs(tmp_path, text, name)
    assert answers(task) == {"a, b": {"c"}}
    assert task.document_texts == ["a, b", "c", "d", "e"]


@pytest.mark.parametrize(("name", "gap"), [("p.csv", ","), ("p.tsv", "\t")])
def test_reads_a_text_as_long_as_a_book(tmp_path: Path, name: str, gap: str) -> None:
    book = "word " * 100_000
    task = pairs(tmp_path, f"sentence1{gap}sentence2\n{book}{gap}b\n", name)
    assert answers(task) == {book.strip(): {"b"}}


@pytest.mark.parametrize("gap", [";", "\t", "|"])
def test_says_what_divides_the_columns(tmp_path: Path, gap: str) -> None:
    text = "sentence1,sentence2,label\na dog; it runs,a dog,1\nb,c,0\n"
    assert not any("divided" in note for note in pairs(tmp_path, text, "p.csv").notes)
    text = text.replace(";", ".").replace(",", gap)
    task = pairs(tmp_path, text, "p.csv")
    assert answers(task) == {"a dog. it runs": {"a dog"}}
    assert "columns are divided by" in task.notes[0]
    assert pairs(tmp_path, text, "p.csv", delimiter=gap).notes == task.notes[1:]


def test_reads_parquet(tmp_path: Path) -> None:
    rows = [{"anchor": "a", "positive": "b"}, {"anchor": "c", "positive": None}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    assert answers(load_retrieval(str(tmp_path / "p.parquet"))) == {"a": {"b"}}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.csv", "sentence1,sentence2,n,n\na,b,1,2\n"),
        ("p.tsv", "sentence1\tsentence2\tn\tn\na\tb\t1\t2\n"),
        ("p.jsonl", '{"sentence1": "a", "sentence2": "b", "n": 1, "n": 2}\n'),
    ],
)
def test_refuses_a_column_that_is_named_twice(tmp_path: Path, name: str, text: str) -> None:
    message = refused(tmp_path, text, name)
    assert "'n'" in message
    assert message.endswith("twice")


def test_without_a_label_every_pair_is_one(tmp_path: Path) -> None:
    task = pairs(tmp_path, '{"anchor": "a", "positive": "b"}\n', "p.jsonl")
    assert answers(task) == {"a": {"b"}}


def test_a_score_needs_a_threshold(tmp_path: Path) -> None:
    text = "sentence1\tsentence2\tscore\na\tb\t4.2\nc\td\t1\n"
    assert "score goes from 1 to 4.2" in refused(tmp_path, text)
    assert answers(pairs(tmp_path, text, threshold=4)) == {"a": {"b"}}
    assert "none reaches threshold 5" in refused(tmp_path, text, threshold=5)


def test_takes_the_columns_asked_for(tmp_path: Path) -> None:
    text = "sentence1\tsentence2\tx\ty\tlabel\tok\nn\tn2\ta\tb\t0\tyes\nn\tn2\tc\td\t1\tno\n"
    task = pairs(tmp_path, text, first="x", second="y", label="ok")
    assert answers(task) == {"a": {"b"}}


def test_takes_only_the_rows_of_the_split(tmp_path: Path) -> None:
    path = tmp_path / "nli.tsv.gz"
    text = "split\tsentence1\tsentence2\tlabel\ntrain\ta\tb\tentailment\ntest\tc\td\tentailment\n"
    path.write_bytes(gzip.compress(text.encode()))
    assert load_retrieval(str(path)).document_texts == ["c", "d"]
    assert load_retrieval(str(path), split="train").document_texts == ["a", "b"]
    with pytest.raises(EvaluationError, match="no row in which it is 'dev'"):
        load_retrieval(str(path), split="dev")


@pytest.mark.parametrize(
    ("first", "second", "has"), [('"split": "test", ', "", "no"), ("", '"split": "train", ', "a")]
)
def test_a_split_that_only_some_rows_have_is_refused(
    tmp_path: Path, first: str, second: str, has: str
) -> None:
    rows = [f'{{{split}"anchor": "a", "positive": "b"}}\n' for split in (first, second)]
    said = f"line 2: it has {has} split, unlike the line before it"
    assert said in refused(tmp_path, "".join(rows), "p.jsonl")


def test_pairs_that_are_none_are_no_judgements_of_unknown_queries(tmp_path: Path) -> None:
    task = pairs(tmp_path, "sentence1\tsentence2\tlabel\na\tb\t1\nc\td\t0\n")
    assert len(task.notes) == 1
    assert "1 of 2 pairs are duplicates" in task.notes[0]


def test_a_label_beyond_all_numbers_is_refused(tmp_path: Path) -> None:
    row = f'{{"sentence1": "a", "sentence2": "b", "label": {"9" * 400}}}\n'
    assert "line 1: label is '999" in refused(tmp_path, row, "p.jsonl")


def test_pairs_of_nothing_or_of_the_same_are_left_out(tmp_path: Path) -> None:
    task = pairs(tmp_path, "sentence1\tsentence2\na\tb\n\tc\nd\td \n")
    assert answers(task) == {"a": {"b"}}
    assert task.document_texts == ["a", "b", "c", "d"]
    assert task.notes[1].startswith("2 pairs have an empty sentence or the same one twice")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("a\tb\n1\t2\n", "which columns hold the sentences? columns: a, b"),
        ("sentence1\tsentence2\na\tb\tc\n", "line 2: 3 fields, the header has 2"),
        ("sentence1\tsentence2\tlabel\na\tb\tmaybe\n", "line 2: label is 'maybe'; allowed"),
        ("sentence1\tsentence2\tscore\na\tb\tnan\n", "expected a finite number"),
        ("sentence1\tsentence2\tlabel\na\tb\t0\n", "no pair in"),
    ],
)
def test_refuses_what_is_no_file_of_pairs(tmp_path: Path, text: str, reason: str) -> None:
    message = refused(tmp_path, text)
    assert "pairs.tsv" in message
    assert reason in message


def test_refuses_columns_that_are_not_there(tmp_path: Path) -> None:
    text = "sentence1\tsentence2\tlabel\na\tb\t1\n"
    assert "no column 'x'; columns: sentence1, sentence2, label" in refused(
        tmp_path, text, first="x"
    )
    assert "must be different columns" in refused(tmp_path, text, first="sentence2")


def test_refuses_broken_json_and_csv(tmp_path: Path) -> None:
    rows = json.dumps({"sentence1": "a", "sentence2": 3}) + "\n"
    assert "line 1: sentence2 is 3" in refused(tmp_path, rows, "p.jsonl")
    assert "line 1: not valid JSON" in refused(tmp_path, "{", "p.jsonl")
    text = 'sentence1,sentence2\na,"b\n'
    assert "not valid CSV" in refused(tmp_path, text, "p.csv")
