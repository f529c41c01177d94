"""Readers: every kind of source gives its sentences, every fault one clear line."""

import csv
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpdistill.corpus import read_source
from hpdistill.corpus.readers import check_source, tell_delimiter
from hpdistill.errors import CorpusError, HpdError, UsageError

ALLNLI_HEADER = "split\tdataset\tfilename\tsentence1\tsentence2\tlabel"


def write(path: Path, content: bytes | str) -> str:
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return str(path)


def fault(source: str, **options: str) -> HpdError:
    """The one error that reading a source ends in."""
    with pytest.raises(HpdError) as caught:
        list(read_source(source, **options))
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "A.TXT", "with.dots.txt"])
def test_text_gives_a_sentence_a_line(tmp_path: Path, name: str) -> None:
    source = write(tmp_path / name, "First one.\r\nSecond\u0085one.\n\nÀ last \u2028one")
    assert [text.strip() for text in read_source(source)] == [
        "First one.",
        "Second\u0085one.",
        "",
        "À last \u2028one",
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_blank_line_is_an_empty_text_where_there_is_one_column(
    tmp_path: Path, suffix: str, end: str
) -> None:
    one = write(tmp_path / f"one{suffix}", end.join(["text", "a", "", " b ", "  ", "", ""]))
    assert list(read_source(one)) == ["a", "", " b ", "  ", ""]
    gap = {".csv": ",", ".tsv": "\t"}[suffix]
    rows = ["text", "a", "", "b", "", ""]
    two = write(tmp_path / f"two{suffix}", end.join(f"{row}{gap}" if row else "" for row in rows))
    assert list(read_source(two, column="text")) == ["a", "b"]
    no_text = write(tmp_path / f"no{suffix}", end.join([f"text{gap}n", f"a{gap}", gap, f"b{gap}1"]))
    assert list(read_source(no_text, column="text")) == ["a", "", "b"]


def test_a_header_that_names_a_column_twice(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "text,n,n,,\na,1,2,3,4\n")
    assert str(fault(source)) == f"{source}: the header names the column 'n' twice"


def make_twice(folder: Path, kind: str) -> str:
    """A table with the column n twice."""
    if kind == "parquet":
        columns = [pa.array(["a"]), pa.array(["1"]), pa.array(["2"])]
        pq.write_table(pa.table(columns, names=["text", "n", "n"]), folder / "a.parquet")
        return str(folder / "a.parquet")
    content = {
        "csv": "text,n,n\na,1,2\n",
        "tsv": "text\tn\tn\na\t1\t2\n",
        "jsonl": '{"text": "a", "n": 1, "n": 2}\n',
        "nested.jsonl": '{"text": "a", "of": {"n": 1, "n": 2}}\n',
    }[kind]
    return write(folder / f"a.{kind}", content)


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "nested.jsonl", "parquet"])
def test_a_column_named_twice_is_refused_in_every_format(tmp_path: Path, kind: str) -> None:
    source = make_twice(tmp_path, kind)
    error = fault(source, column="text")
    assert re.search(rf"{re.escape(source)}.*'n'.* twice$", str(error))
    if not kind.endswith("jsonl"):  # found in the header, before all is read
        with pytest.raises(CorpusError, match="twice"):
            check_source(source, column="text")


def make_columns(folder: Path, kind: str, rows: list[dict[str, str]]) -> str:
    path = folder / f"a.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "jsonl":
        write(path, "".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0], delimiter="," if kind == "csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    return str(path)


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_several_columns_are_joined_in_the_order_given(tmp_path: Path, kind: str) -> None:
    rows = [
        {"title": " Dogs ", "n": "1", "body": "A dog runs."},
        {"title": "", "n": "2", "body": " Rain."},
        {"title": "Sun", "n": "3", "body": ""},
        {"title": "", "n": "", "body": ""},
    ]
    source = make_columns(tmp_path, kind, rows)
    both = ["Dogs A dog runs.", "Rain.", "Sun", ""]
    assert list(read_source(source, column=["title", "body"])) == both
    assert next(read_source(source, column=("body", "n", "title"))) == "A dog runs. 1 Dogs"
    # One column is given as it is.
    assert list(read_source(source, column=["title"])) == [row["title"] for row in rows]
    assert "no column 'nope'; columns: title, n, body" in str(
        fault(source, column=["title", "nope"])
    )
    with pytest.raises(UsageError, match="the column 'body' is asked for twice"):
        read_source(source, column=["body", "title", "body"])


def test_a_line_without_one_of_several_columns_is_named(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", '{"title": "a", "text": "b"}\n{"text": "c"}\n')
    error = fault(source, column=["title", "text"])
    assert str(error) == f"{source}, line 2: no column 'title'; columns: text"


def test_what_divides_columns_is_found_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write(tmp_path / "a.csv.gz", "label;text\n1;a dog\n0;bank\n")
    assert list(read_source(source)) == ["a dog", "bank"]
    check_source(source, column="label")
    with pytest.raises(CorpusError, match="no column 'body'; columns: label, text"):
        check_source(source, column="body")
    with caplog.at_level("INFO", logger="hpdistill"):
        tell_delimiter(source)
        tell_delimiter(source, delimiter=";")
        tell_delimiter(write(tmp_path / "b.csv", "text\na; b\n"))
        tell_delimiter(write(tmp_path / "c.txt", "a; b\n"))
    assert caplog.messages == [f"{source}: columns are divided by semicolons"]


PAIR = {"sentence1": "a", "sentence2": "b", "gold_label": "neutral"}


@pytest.mark.parametrize(
    ("first", "row", "reason"),
    [
        ({"text": "a"}, {"body": "b"}, "no column 'text'; columns: body"),
        ({"text": "a"}, {"body": "b", "n": 1}, "no column 'text'; columns: body, n"),
        ({"text": "a"}, {}, "no column 'text'; columns: none"),
        ({"text": "a"}, PAIR, "no column 'text'; columns: sentence1, sentence2, gold_label"),
        (PAIR, {"text": "a"}, "no column sentence1, sentence2, label; columns: text"),
    ],
)
def test_a_line_without_the_columns_of_the_first_is_an_error(
    tmp_path: Path, first: object, row: object, reason: str
) -> None:
    source = write(tmp_path / "a.jsonl", "".join(f"{json.dumps(r)}\n" for r in (first, row, first)))
    assert str(fault(source)) == f"{source}, line 2: {reason}"


def test_further_columns_do_not_change_what_is_read(tmp_path: Path) -> None:
    rows = ({"": "0", "text": "a"}, {"text": "b"}, {"text": "c", **PAIR})
    source = write(tmp_path / "a.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    assert list(read_source(source)) == list(read_source(source, column="text")) == ["a", "b", "c"]


def test_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    assert list(read_source(write(tmp_path / "a.txt", b"\xef\xbb\xbfHello there"))) == [
        "Hello there"
    ]
    csv_source = write(tmp_path / "a.csv", b"\xef\xbb\xbftext,n\nHello there,1\n")
    assert list(read_source(csv_source, column="text")) == ["Hello there"]


@pytest.mark.parametrize("source", ["pydoc", "allnli", "a.txt"])
def test_a_way_with_errors_that_there_is_not(source: str) -> None:
    with pytest.raises(UsageError, match="errors is 'guess'; allowed: strict, replace, ignore"):
        read_source(source, errors="guess")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252", "UTF8"])
def test_other_encodings_are_read_when_named(tmp_path: Path, encoding: str) -> None:
    source = write(tmp_path / "a.txt", "Ça va très bien".encode(encoding))
    assert list(read_source(source, encoding=encoding)) == ["Ça va très bien"]


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.jsonl", "a.csv", "a.tsv.gz"])
@pytest.mark.parametrize("offset", [0, 5, 8191, 8192, 20_000, (1 << 20) - 1, 1 << 20])
def test_a_byte_of_another_encoding_is_located(tmp_path: Path, name: str, offset: int) -> None:
    line = b'"text text text \xc3\xa9"\n'  # sound JSON and CSV as well
    content = (line * (offset // len(line) + 2))[:offset]
    while content and content[-1] & 0x80:  # do not cut a character in half
        content = content[:-1] + b"."
    error = fault(write(tmp_path / name, content + b"\xff\nmore\n"))
    assert f"at byte {offset}" in str(error)
    assert str(tmp_path / name) in str(error)
    assert "`encoding`" in error.hint
    assert "`errors='replace'`" in error.hint


def test_a_bad_byte_behind_a_byte_order_mark_is_located(tmp_path: Path) -> None:
    assert "at byte 5" in str(fault(write(tmp_path / "a.txt", b"\xef\xbb\xbfab\xff")))
    cut = "a".encode("utf-16") + b"\x00"
    assert "at byte 4" in str(fault(write(tmp_path / "b.txt", cut), encoding="utf-16"))


def test_bad_bytes_can_be_replaced_or_ignored(tmp_path: Path) -> None:
    source = write(tmp_path / "a.txt", b"caf\xe9 noir")
    assert list(read_source(source, errors="replace")) == ["caf\ufffd noir"]
    assert list(read_source(source, errors="ignore")) == ["caf noir"]


@pytest.mark.parametrize("encoding", ["klingon", "hex"])
def test_an_unknown_encoding_is_wrong_usage(tmp_path: Path, encoding: str) -> None:
    error = fault(write(tmp_path / "a.txt", "a"), encoding=encoding)
    assert isinstance(error, UsageError)
    assert encoding in str(error)


def test_json_lines_give_the_column(tmp_path: Path) -> None:
    source = write(
        tmp_path / "a.jsonl.gz",
        '{"id": 1, "text": "One \\ud800 here"}\n\n{"text": null}\n"A bare string"\n',
    )
    assert list(read_source(source)) == ["One \ud800 here", "", "A bare string"]
    source = write(tmp_path / "b.jsonl", '{"sentence": "s", "body": "b"}\n')
    assert list(read_source(source)) == ["s"]
    assert list(read_source(source, column="body")) == ["b"]


@pytest.mark.parametrize("bad", ['{"text": "open', "{", "[1]", "12", '{"text": 3}', "[" * 100_000])
def test_a_malformed_json_line_is_named(tmp_path: Path, bad: str) -> None:
    error = fault(write(tmp_path / "a.jsonl", f'{{"text": "good"}}\n{bad}\n'))
    assert f"{tmp_path / 'a.jsonl'}, line 2" in str(error)


def test_csv_has_quotes_and_tsv_has_none(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", 'id,text\n1,"One, ""two""\nthree"\n2,four\x00\n')
    assert list(read_source(source)) == ['One, "two"\nthree', "four\x00"]
    source = write(
        tmp_path / "a.tsv", 'id\ttext\r\n1\t"Unbalanced, as said\r\n\r\n  \r\n2\tfour\r\n'
    )
    assert list(read_source(source)) == ['"Unbalanced, as said', "four"]


@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1)))
def test_csv_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    with path.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([("n", "text"), *enumerate(texts)])
    assert list(read_source(str(path))) == texts


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.csv", "id,text\n1,a,b\n", 2),
        ("a.csv", 'id,text\n1,a\n2,"open\n', 3),
        ("a.tsv", "id\ttext\n1\ta\n2\n", 3),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, name: str, content: str, line: int) -> None:
    assert f"{name}, line {line}:" in str(fault(write(tmp_path / name, content)))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["AllNLI.tsv.gz", "other.tsv"])
def test_allnli_gives_both_sentences(tmp_path: Path, name: str, end: str) -> None:
    rows = [
        ALLNLI_HEADER,
        'train\tSNLI\tf\t"A man" said .\tHe "spoke\tneutral',
        "dev\tMultiNLI\tf\tOne\tTwo\tentailment",
    ]
    source = write(tmp_path / name, end.join(rows) + end)
    assert list(read_source(source)) == ['"A man" said .', 'He "spoke', "One", "Two"]
    # A column named for another source does not take AllNLI apart.
    assert len(list(read_source(source, column="text"))) == 4


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())]
)
def test_parquet_gives_the_column(tmp_path: Path, kind: pa.DataType) -> None:
    path = tmp_path / "a.parquet"
    texts = pa.array(["One", None, "Three"]).cast(kind)
    pq.write_table(pa.table({"n": [1, 2, 3], "text": texts}), path)
    assert list(read_source(str(path))) == ["One", "", "Three"]
    assert "holds int64, not text" in str(fault(str(path), column="n"))


def test_damaged_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["One"]}), path)
    assert "not a sound Parquet" in str(fault(write(path, path.read_bytes()[:-10])))
    assert "not a sound Parquet" in str(fault(write(path, b"")))


def make_csv(path: Path) -> str:
    return write(path.with_suffix(".csv"), "title,body\na,b\n")


def make_jsonl(path: Path) -> str:
    return write(path.with_suffix(".jsonl"), json.dumps({"title": "a", "body": "b"}))


def make_parquet(path: Path) -> str:
    pq.write_table(pa.table({"title": ["a"], "body": ["b"]}), path.with_suffix(".parquet"))
    return str(path.with_suffix(".parquet"))


@pytest.mark.parametrize("make", [make_csv, make_jsonl, make_parquet])
def test_a_missing_column_error_names_those_there_are(
    tmp_path: Path, make: Callable[[Path], str]
) -> None:
    source = make(tmp_path / "table")
    assert list(read_source(source, column="body")) == ["b"]
    missing = fault(source, column="nope")
    assert "'nope'" in str(missing)
    assert "title, body" in str(missing)
    ambiguous = fault(source)
    assert "title, body" in str(ambiguous)
    assert "`column`" in ambiguous.hint


def test_a_missing_file_a_directory_and_an_unknown_format_are_refused(tmp_path: Path) -> None:
    for check in (fault, check_source):
        with pytest.raises(CorpusError, match="does not exist"):
            raise_from(check, str(tmp_path / "none.txt"))
        (tmp_path / "folder.txt").mkdir(exist_ok=True)
        with pytest.raises(CorpusError, match="is a directory"):
            raise_from(check, str(tmp_path / "folder.txt"))
        with pytest.raises(CorpusError, match=r"a\.doc is of no format") as caught:
            raise_from(check, write(tmp_path / "a.doc", ""))
        assert ".txt, .jsonl, .parquet, .csv, .tsv" in caught.value.hint


def raise_from(check: Callable[[str], object], source: str) -> None:
    result = check(source)
    if isinstance(result, Exception):
        raise result


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: raw[: len(raw) // 2], "is truncated"),
        (lambda raw: raw[:-4], "is truncated"),
        (lambda raw: b"plain text, no gzip", "is not a sound gzip"),
        (lambda raw: raw[:12] + b"\xff\xff\xff" + raw[15:], "is not a sound gzip"),
        (lambda raw: raw[:-8] + b"\x00" * 8, "is not a sound gzip"),
    ],
)
def test_a_damaged_gzip_is_named(
    tmp_path: Path, damage: Callable[[bytes], bytes], message: str
) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(damage(gzip.compress(b"A sentence or so.\n" * 1000)))
    error = fault(str(path))
    assert message in str(error)
    assert str(path) in str(error)


def test_a_dataset_is_read_from_a_local_folder(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    write(tmp_path / "train.jsonl", '{"text": "One", "n": 1}\n{"text": null, "n": 2}\n')
    source = f"hf:{tmp_path}"
    assert list(read_source(source)) == ["One", ""]
    assert list(read_source(f"{source}:default:train:text", column="n")) == ["One", ""]
    assert "expected text, not int" in str(fault(f"{source}:::n"))
    assert "columns: text, n" in str(fault(f"{source}:::nope"))
    assert "nope" in str(fault(f"{source}:nope"))
    assert "nope" in str(fault(f"{source}::nope"))
    with pytest.raises(CorpusError, match="nope"):
        check_source(f"{source}::nope")


def test_a_dataset_of_a_table_that_commas_do_not_divide_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    # As `datasets` has read it from a .csv; of one it leaves the file open.
    write(tmp_path / "train.jsonl", '{"label;text": "1;a dog"}\n')
    assert "its only column is named 'label;text'" in str(fault(f"hf:{tmp_path}"))


def test_a_hub_that_cannot_be_reached_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")

    def refuse(*args: object, **options: object) -> None:
        assert "trust_remote_code" not in options
        raise ConnectionError("Couldn't reach 'some/thing' on the Hub\nsecond line")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    error = fault("hf:some/thing")
    assert str(error) == "cannot read hf:some/thing: Couldn't reach 'some/thing' on the Hub"
    assert "network" in error.hint


@pytest.mark.parametrize("source", ["hf:", "hf:a:b:c:d:e", "hf::config"])
def test_a_malformed_dataset_name_is_refused(source: str) -> None:
    assert "hf:DATASET[:config][:split][:column]" in str(fault(source))
