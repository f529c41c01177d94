"""Reading retrieval tasks in BEIR's layout, sound and broken."""

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hpdistill.errors import EvaluationError
from hpdistill.evaluate.retrieval import load_retrieval

DOCUMENTS = [
    {"_id": "d1", "title": "Dogs", "text": "A dog runs."},
    {"_id": "d2", "title": "", "text": "A cat sleeps."},
    {"_id": "d3", "text": "Rain."},
]
QUERIES = [{"_id": "q1", "text": "running dog"}, {"_id": "q2", "text": "sleeping cat"}]
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t2\nq2\td3\t0\n"


def write(
    folder: Path,
    *,
    documents: Iterable[Mapping[str, object]] = DOCUMENTS,
    queries: Iterable[Mapping[str, object]] = QUERIES,
    qrels: str = QRELS,
    split: str = "test",
) -> Path:
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for name, rows in (("corpus", documents), ("queries", queries)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, "utf-8")
    (folder / "qrels" / f"{split}.tsv").write_text(qrels, "utf-8")
    return folder


def refused(folder: Path, **options: object) -> str:
    with pytest.raises(EvaluationError) as caught:
        load_retrieval(str(folder), **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_reads_beirs_layout(tmp_path: Path) -> None:
    task = load_retrieval(str(write(tmp_path / "animals")))
    assert task.name == "animals"
    assert task.document_ids == ["d1", "d2", "d3"]
    assert task.document_texts == ["Dogs A dog runs.", "A cat sleeps.", "Rain."]
    assert task.query_ids == ["q1", "q2"]
    assert task.query_texts == ["running dog", "sleeping cat"]
    assert task.relevant == {"q1": {"d1": 1}, "q2": {"d2": 2}}
    assert task.notes == ()
    assert task.own == {}


@pytest.mark.parametrize(
    "qrels",
    [
        "q1\td1\t1\nq2\td2\t2\n",
        "q1 0 d1 1\nq2 0 d2 2\n",
        "q1\tQ0\td1\t1\r\nq2\tQ0\td2\t2\r\n",
        "\ufeffquery\tdocument\tgrade\n\nq1\td1\t1.0\nq2\td2\t2\n",
        "q1\td1\t1\nq2\td2\t1\nq2\td2\t2\nq1\td2\t-1\n",
    ],
    ids=["no header", "trec", "trec with tabs", "other header", "twice and negative"],
)
def test_reads_every_form_of_judgements(tmp_path: Path, qrels: str) -> None:
    task = load_retrieval(str(write(tmp_path, qrels=qrels)))
    assert task.relevant == {"q1": {"d1": 1}, "q2": {"d2": 2}}


@pytest.mark.parametrize(
    ("name", "qrels"),
    [
        ("test.tsv", "corpus-id\tquery-id\tscore\nd1\tq1\t1\nd2\tq2\t2\n"),
        ("test.tsv", "score\tcorpus_id\tquery_id\n1\td1\tq1\n2\td2\tq2\n"),
        ("test.tsv", "Query ID\tsource\tDoc ID\tRelevance\nq1\tx\td1\t1\nq2\ty\td2\t2\n"),
        ("test.tsv", "query-id\tcorpus-id\tscore\tby\tat\nq1\td1\t1\tx\t0\nq2\td2\t2\t\t\n"),
        ("test.txt", "topic iteration docno rel\nq1 0 d1 1\nq2 0 d2 2\n"),
        ("test.csv", 'score;query-id;corpus-id\n1;q1;d1\n2;q2;"d2"\n'),
        ("test.csv", "q1,d1,1\nq2,d2,2\n"),
        (
            "test.jsonl",
            '{"corpus-id": "d1", "score": 1, "query-id": "q1"}\n'
            '{"query-id": "q2", "score": 2, "corpus-id": "d2"}\n',
        ),
    ],
)
def test_judgements_obey_the_names_of_their_columns(tmp_path: Path, name: str, qrels: str) -> None:
    folder = write(tmp_path)
    (folder / "qrels/test.tsv").unlink()
    (folder / "qrels" / name).write_text(qrels, "utf-8")
    assert load_retrieval(str(folder)).relevant == {"q1": {"d1": 1}, "q2": {"d2": 2}}


def test_judgements_in_parquet(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "qrels/test.tsv").unlink()
    rows = [{"score": 1, "corpus-id": "d1", "query-id": "q1"}]
    pq.write_table(pa.Table.from_pylist(rows), folder / "qrels/test.parquet")
    assert load_retrieval(str(folder)).relevant == {"q1": {"d1": 1}}


@pytest.mark.parametrize(
    ("header", "which"),
    [
        ("a\tb\tc", "a, b, c, and none of them is the query"),
        ("query-id\tb\tscore", "and none of them is the document"),
        ("query-id\tcorpus-id", "query-id, corpus-id, and none of them is the grade"),
        ("query-id\tqid\tcorpus-id\tscore", "and more than one of them may be the query"),
        ("query-id\tcorpus-id\tscore\tscore", "and more than one of them may be the grade"),
    ],
)
def test_a_header_that_does_not_tell_is_refused(tmp_path: Path, header: str, which: str) -> None:
    width = header.count("\t") + 1
    row = "\t".join(["q1", "d1", "1", "1"][:width])
    message = refused(write(tmp_path, qrels=f"{header}\n{row}\n"))
    assert "test.tsv, line 1: the columns are " in message
    assert message.endswith(which)


def test_reads_gzipped_files_and_other_splits(tmp_path: Path) -> None:
    write(tmp_path, split="dev")
    for path in [*tmp_path.glob("*.jsonl"), *tmp_path.glob("qrels/*")]:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert load_retrieval(str(tmp_path), split="dev").query_ids == ["q1", "q2"]


def test_reports_progress(tmp_path: Path) -> None:
    many = [{"_id": str(number), "text": "x"} for number in range(20_000)]
    told: list[int] = []
    load_retrieval(
        str(write(tmp_path, documents=[*DOCUMENTS, *many])),
        report=lambda task, done, total: told.append(done),
    )
    assert told == [10_000, 20_000]


def test_unknown_ids_are_left_out_counted_and_named(tmp_path: Path) -> None:
    task = load_retrieval(str(write(tmp_path, qrels=QRELS + "q9\td1\t1\nq1\tdX\t1\nq8\td1\t1\n")))
    assert task.relevant == {"q1": {"d1": 1}, "q2": {"d2": 2}}
    queries, documents = task.notes
    assert queries.startswith("2 of 6 judgements")
    assert queries.endswith(
        "name an unknown query and are left out, the first of them q9 in line 5"
    )
    assert documents.startswith("1 of 6 judgements")
    assert "dX in line 6" in documents


def test_refuses_judgements_of_another_corpus(tmp_path: Path) -> None:
    message = refused(write(tmp_path, qrels="x\td1\t1\nq1\ty\t1\n"))
    assert "every judgement names an unknown query or document" in message


def test_queries_without_a_relevant_document_are_left_out(tmp_path: Path) -> None:
    task = load_retrieval(str(write(tmp_path, qrels="q2\td2\t1\nq1\td1\t0\n")))
    assert task.query_ids == ["q2"]
    assert task.query_texts == ["sleeping cat"]
    (note,) = task.notes
    assert note.startswith("1 of 2 queries have no relevant document")
    assert note.endswith("the first of them q1")


@pytest.mark.parametrize("qrels", ["", "query-id\tcorpus-id\tscore\n", "q1\td1\t0\n"])
def test_refuses_a_task_without_relevant_documents(tmp_path: Path, qrels: str) -> None:
    assert "no query has a relevant document" in refused(write(tmp_path, qrels=qrels))


def test_empty_texts_are_kept_and_counted(tmp_path: Path) -> None:
    empty = [{"_id": "e1", "text": " "}, {"_id": "e2", "title": None, "text": None}]
    task = load_retrieval(
        str(
            write(
                tmp_path,
                documents=[*DOCUMENTS, *empty],
                queries=[*QUERIES, {"_id": "q3", "text": ""}],
                qrels=QRELS + "q3\td1\t1\n",
            )
        )
    )
    assert task.document_texts[3:] == ["", ""]
    assert task.query_texts[2] == ""
    assert [note.split(" in ")[0] for note in task.notes] == ["2 documents", "1 queries"]
    assert task.notes[0].endswith("have no text and are kept as empty, the first of them e1")


@pytest.mark.parametrize("part", ["documents", "queries"])
def test_refuses_an_id_that_occurs_twice(tmp_path: Path, part: str) -> None:
    rows = DOCUMENTS if part == "documents" else QUERIES
    message = refused(write(tmp_path, **{part: [*rows, rows[0]]}))  # type: ignore[arg-type]
    assert f"line {len(rows) + 1}" in message
    assert repr(rows[0]["_id"]) in message
    assert "first in line 1" in message


def test_refuses_an_empty_corpus_or_no_queries(tmp_path: Path) -> None:
    assert "corpus.jsonl holds no documents" in refused(write(tmp_path / "a", documents=[]))
    assert "queries.jsonl holds no queries" in refused(write(tmp_path / "b", queries=[]))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"_id": "d4", "text": ', "not valid JSON"),
        ("[1, 2]", "expected an object, not [1, 2]"),
        ('{"text": "x"}', "no _id"),
        ('{"_id": "d4"}', "no text; fields: _id"),
        ('{"_id": "d4", "text": ["x"]}', "text is ['x'], expected a string"),
        ('{"_id": "d4", "text": "x", "title": 3}', "title is 3, expected a string"),
    ],
)
def test_names_the_file_and_line_of_a_malformed_row(tmp_path: Path, line: str, reason: str) -> None:
    write(tmp_path)
    with (tmp_path / "corpus.jsonl").open("a") as file:
        file.write(f"\n{line}\n")
    message = refused(tmp_path)
    assert "corpus.jsonl, line 5" in message
    assert reason in message


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("q1\td1\n", "2 columns"),
        ("q1\td1\tvery\n", "'very' is not a grade"),
        ("q1\td1\t0.5\n", "'0.5' is not a grade"),
        ("q1\td1\tnan\n", "'nan' is not a grade"),
        ("q1\td1\tinf\n", "'inf' is not a grade"),
        ("q1\td1\t99999999999999999999\n", "is not a grade; allowed: whole numbers to 10000"),
    ],
)
def test_names_the_line_of_a_malformed_judgement(tmp_path: Path, row: str, reason: str) -> None:
    message = refused(write(tmp_path, qrels=QRELS + row))
    assert "test.tsv, line 5" in message
    assert reason in message


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_says_which_file_is_missing(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    (tmp_path / name).unlink()
    assert f"{name} does not exist" in refused(tmp_path)


def test_says_which_splits_there_are(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, split="dev")
    assert "no split 'train'; there are: dev, test" in refused(tmp_path, split="train")
    for path in (tmp_path / "qrels").iterdir():
        path.unlink()
    assert "holds no judgements" in refused(tmp_path)


def test_refuses_damaged_files(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "corpus.jsonl"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"Rain", b"R\xffin"))
    assert "corpus.jsonl is not utf-8" in refused(tmp_path)
    path.unlink()
    zipped = tmp_path / "corpus.jsonl.gz"
    zipped.write_bytes(gzip.compress(content)[:-12])
    assert "corpus.jsonl.gz is truncated" in refused(tmp_path)
    zipped.write_bytes(b"nothing zipped")
    assert "not a sound gzip file" in refused(tmp_path)


def test_refuses_what_is_no_source(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "nowhere")
    path = tmp_path / "task.xlsx"
    path.touch()
    assert "of no format" in refused(path)


def test_a_query_in_the_corpus_is_not_its_own_answer(tmp_path: Path) -> None:
    """As BEIR leaves out identical ids, but only where the text is the same too."""
    documents = [*DOCUMENTS, {"_id": "q1", "text": "running dog"}, {"_id": "q2", "text": "other"}]
    task = load_retrieval(
        str(write(tmp_path, documents=documents, qrels=QRELS + "q1\tq1\t1\nq2\tq2\t1\n"))
    )
    assert task.own == {"q1": "q1"}
    assert task.relevant == {"q1": {"d1": 1}, "q2": {"d2": 2, "q2": 1}}
    assert any(note.startswith("1 judgements") for note in task.notes)
    assert task.depth(2) == 3
    assert task.depth(9) == 5
    answers = task.answers([["q1", "d1", "d2"], ["q2", "", "d3"]], 2)
    assert answers == [["d1", "d2"], ["q2", "d3"]]
