"""Documents: every kind of source gives ids and texts, every fault one line with its place."""

import gzip
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpdistill.corpus import _seen, documents
from hpdistill.corpus._seen import Seen
from hpdistill.corpus.documents import DocumentRow, read_documents
from hpdistill.errors import CorpusError, HpdError, UsageError


def write(path: Path, content: bytes | str) -> str:
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return str(path)


def jsonl(path: Path, *rows: object) -> str:
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def pairs(source: str, **options: Any) -> list[tuple[str, str]]:
    return [(row.id, row.text) for row in read_documents(source, **options)]


def fault(source: str, **options: Any) -> HpdError:
    with pytest.raises(HpdError) as caught:
        list(read_documents(source, **options))
    assert "\n" not in str(caught.value)
    return caught.value


FOUND = [("a", "First one."), ("b", "Second one.")]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".tsv", ".parquet"])
@pytest.mark.parametrize("names", [("id", "text"), ("doc_id", "sentence"), ("_id", "body")])
def test_ids_and_texts_of_every_format(tmp_path: Path, suffix: str, names: tuple[str, str]) -> None:
    path = tmp_path / f"corpus{suffix}"
    rows = [dict(zip(names, pair, strict=True)) for pair in FOUND]
    if suffix.startswith(".jsonl"):
        write(path, "".join(json.dumps(row) + "\n" for row in rows))
    elif suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        separator = "\t" if ".tsv" in suffix else ","
        write(path, "\n".join(separator.join(line) for line in [names, *FOUND]))
    assert pairs(str(path)) == FOUND


def test_without_ids_the_line_or_row_is_the_id(tmp_path: Path) -> None:
    assert pairs(write(tmp_path / "a.txt", "one\n\n three \n")) == [("1", "one"), ("3", "three")]
    assert pairs(jsonl(tmp_path / "a.jsonl", "one", "two")) == [("1", "one"), ("2", "two")]
    assert pairs(write(tmp_path / "a.csv", 'text\n"o\nne"\ntwo\n')) == [
        ("1", "o\nne"),
        ("2", "two"),
    ]


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz"])
def test_a_folder_of_the_beir_layout(tmp_path: Path, name: str) -> None:
    rows = [
        {"_id": "1", "title": "", "text": "No title"},
        {"_id": "2", "title": "Title", "text": "and text", "metadata": {"url": "x"}},
    ]
    write(tmp_path / name, "".join(json.dumps(row) + "\n" for row in rows))
    expected = [("1", "No title"), ("2", "Title and text")]
    assert pairs(str(tmp_path)) == pairs(str(tmp_path / name)) == expected
    found = list(read_documents(str(tmp_path), metadata_columns=["title", "metadata"]))
    assert found == [
        DocumentRow("1", "No title", {"title": ""}),
        DocumentRow("2", "Title and text", {"title": "Title", "metadata": {"url": "x"}}),
    ]
    assert pairs(str(tmp_path), text_column="text")[1] == ("2", "and text")


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    assert "without corpus.jsonl" in str(fault(str(tmp_path)))


def test_columns_that_are_named(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "a.jsonl", {"k": 7, "de": "eins", "en": "one", "n": [1, None]})
    found = list(
        read_documents(source, id_column="k", text_column="de", metadata_columns=["n", "en"])
    )
    assert found == [DocumentRow("7", "eins", {"n": [1, None], "en": "one"})]
    # One column is left for the text when the others are spoken for.
    assert pairs(write(tmp_path / "a.csv", "id,body,by\n1,x,me\n"), metadata_columns=["by"]) == [
        ("1", "x")
    ]


@pytest.mark.parametrize("row", [{"id": "2", "url": "u"}, {"id": "2", "sentence": "s"}])
def test_a_row_without_the_column_of_those_before_is_an_error(tmp_path: Path, row: object) -> None:
    source = jsonl(tmp_path / "a.jsonl", {"id": "1", "text": "a", "url": "u"}, row)
    assert str(fault(source)).startswith(f"{source}, line 2: no column 'text'; columns: ")


@pytest.mark.parametrize(
    ("first", "second", "has", "had"),
    [
        ({"id": "7"}, {}, "missing", "in id"),
        ({}, {"id": "1"}, "in id", "missing"),
        ({"id": "7"}, {"_id": "7"}, "in _id", "in id"),
    ],
)
def test_an_id_that_only_some_documents_have_is_an_error(
    tmp_path: Path, first: dict[str, str], second: dict[str, str], has: str, had: str
) -> None:
    source = jsonl(tmp_path / "a.jsonl", {**first, "text": "a"}, {**second, "text": "b"})
    said = f"{source}, line 2: the id is {has}, and that of the documents before it is {had}"
    assert str(fault(source)) == said


def test_the_column_of_ids_is_no_text(tmp_path: Path) -> None:
    shoes = write(tmp_path / "a.csv", "sku,title\nA1,red shoes\n")
    assert pairs(shoes, id_column="sku") == [("A1", "red shoes")]
    assert pairs(shoes, id_column="title") == [("red shoes", "A1")]
    assert pairs(write(tmp_path / "b.csv", "sku,body\nA1,x\n"), id_column="sku") == [("A1", "x")]


def test_the_text_can_be_kept_as_metadata_too(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "a.jsonl", {"id": "1", "text": "one"})
    found = list(read_documents(source, metadata_columns=["text"]))
    assert found == [DocumentRow("1", "one", {"text": "one"})]


def test_a_field_of_a_book(tmp_path: Path) -> None:
    book = "word " * 50_000
    assert pairs(write(tmp_path / "a.csv", f'id,text\n1,"{book}"\n')) == [("1", book.strip())]


def test_a_column_that_parquet_lacks(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([{"body": "x", "n": 1}]), path)
    assert "no column 'nope'" in str(fault(str(path), text_column="nope"))


def test_what_json_cannot_hold_becomes_what_it_can(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    row = {"text": "x", "n": float("nan"), "d": date(2020, 1, 2), "l": [1.5], "v": [0.0] * 99}
    pq.write_table(pa.Table.from_pylist([row]), path)
    (found,) = read_documents(str(path), metadata_columns=["n", "d", "l"])
    assert found.metadata == {"n": None, "d": "2020-01-02", "l": [1.5]}


def test_columns_that_are_not_there_are_named(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "a.jsonl", {"id": "1", "de": "eins", "en": "one"})
    assert "columns: de, en" in str(fault(source))
    assert "`text_column`" in fault(source).hint
    assert "line 1: no column 'fr'" in str(fault(source, text_column="fr"))
    assert "line 1: no column 'k'" in str(fault(source, text_column="de", id_column="k"))
    missing = fault(source, text_column="de", metadata_columns=["en", "author"])
    assert "no document has author" in str(missing)
    text = write(tmp_path / "a.txt", "one\n")
    assert isinstance(fault(text, id_column="k"), UsageError)
    assert "'k'" in str(fault(text, metadata_columns=["k"]))


@pytest.mark.parametrize("count", [1, 300])
def test_an_id_given_twice_is_named_with_both_places(
    tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_seen, "_RECENT", 16)
    rows = [{"id": f"d{number}", "text": "x"} for number in range(count)]
    error = fault(jsonl(tmp_path / "a.jsonl", *rows, {"id": "d0", "text": "y"}))
    assert f"the id 'd0' is given twice, in line 1 and line {count + 1}" in str(error)


def test_ids_of_one_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(Seen):
        def add(self, text: str) -> bool:
            return super().add(text[:1])

    monkeypatch.setattr(documents, "Seen", Forgetful)
    rows = [{"id": name, "text": "x"} for name in ("aa", "ab", "ba")]
    source = jsonl(tmp_path / "a.jsonl", *rows)
    assert [name for name, _ in pairs(source)] == ["aa", "ab", "ba"]
    again = jsonl(tmp_path / "b.jsonl", *rows, rows[1])
    assert "'ab' is given twice, in line 2 and line 4" in str(fault(again))


@given(st.lists(st.text(max_size=2), max_size=60))
def test_a_repeated_string_is_never_missed(texts: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_seen, "_RECENT", 4)
        seen, before = Seen(), set()
        for text in texts:
            assert seen.add(text) == (text in before)
            before.add(text)


def test_documents_without_text_are_counted(tmp_path: Path) -> None:
    rows = [{"id": str(n), "text": text} for n, text in enumerate(["", "x", None, " \t"])]
    reader = read_documents(jsonl(tmp_path / "a.jsonl", *rows))
    assert [row.id for row in reader] == ["1"]
    assert (reader.empty, reader.first_empty) == (3, f"{tmp_path / 'a.jsonl'}, line 1")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"id": "1", "text": "x"}\n{"id": \n', "line 2: not valid JSON"),
        ('{"id": "1", "text": "x"}\n[1]\n', "line 2: expected an object"),
        ('{"id": null, "text": "x"}\n', "line 1: the id (id) is 'None'"),
        ('{"id": true, "text": "x"}\n', "line 1: the id (id) is 'True'"),
        ('{"id": "", "text": "x"}\n', "line 1: the id (id) is ''"),
        ('{"id": "1", "text": 5}\n', "line 1, text: expected text, not int 5"),
        ('{"id": "1", "title": [], "text": "x"}\n', "line 1, title: expected text"),
    ],
)
def test_what_is_malformed_is_named_with_file_and_line(
    tmp_path: Path, content: str, said: str
) -> None:
    error = fault(write(tmp_path / "a.jsonl", content))
    assert isinstance(error, CorpusError)
    assert str(error).startswith(f"{tmp_path / 'a.jsonl'}, {said}")


def test_other_faults_of_files(tmp_path: Path) -> None:
    assert "does not exist" in str(fault(str(tmp_path / "a.jsonl")))
    assert "no format" in str(fault(write(tmp_path / "a.pdf", "x")))
    assert "line 3: 1 fields" in str(fault(write(tmp_path / "a.csv", "id,text\n1,x\ny\n")))
    assert "at byte 0" in str(fault(write(tmp_path / "a.txt", b"\xff")))
    assert pairs(write(tmp_path / "b.txt", b"\xe9"), encoding="latin-1") == [("1", "é")]
    assert "is not utf-16" in str(fault(write(tmp_path / "c.txt", b"abcd"), encoding="utf-16"))


def test_a_lone_surrogate_can_be_stored_afterwards(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", '{"id": "\\ud800", "text": "a\\udfffb"}\n')
    assert pairs(source) == [("?", "a?b")]
    nested = write(tmp_path / "b.jsonl", '{"text": "x", "m": {"\\ud800": ["\\ud801"]}}\n')
    (found,) = read_documents(nested, metadata_columns=["m"])
    assert found.metadata == {"m": {"?": ["?"]}}


def test_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    def passages() -> Iterator[tuple[str, str]]:
        yield from [("json.dump", "Write."), ("json.load", "Read."), ("json.dump", "Again.")]

    monkeypatch.setattr(documents, "pydoc_passages", passages)
    assert pairs("pydoc") == [("json.dump", "Write."), ("json.load", "Read.")]
    assert "pydoc has no columns" in str(fault("pydoc", text_column="x"))


def test_a_dataset(tmp_path: Path) -> None:
    jsonl(tmp_path / "data.jsonl", {"id": 3, "body": "x", "by": "me", "n": 1})
    found = list(read_documents(f"hf:{tmp_path}:::body", metadata_columns=["n"]))
    assert found == [DocumentRow("3", "x", {"n": 1})]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_texts_of_several_columns_are_joined(tmp_path: Path, kind: str) -> None:
    rows = [
        {"id": "a", "title": "Dogs", "body": "A dog runs.", "more": ""},
        {"id": "b", "title": "Rain", "body": "", "more": "It rains."},
    ]
    path = tmp_path / f"in.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "jsonl":
        jsonl(path, *rows)
    else:
        gap = {"csv": ";", "tsv": "\t"}[kind]
        write(path, "".join(gap.join(row) + "\n" for row in (rows[0], *(r.values() for r in rows))))
    source = str(path)
    assert pairs(source, text_column=["more", "title", "body"]) == [
        ("a", "Dogs A dog runs."),
        ("b", "It rains. Rain"),
    ]
    # A title is joined of itself only where no column is named.
    assert pairs(source, text_column="body") == [("a", "A dog runs.")]
    assert "no column 'nope'" in str(fault(source, text_column=["title", "nope"]))
