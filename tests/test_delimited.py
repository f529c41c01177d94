"""What divides the columns of a table: found where that is certain, asked for where it is not."""

import csv
import io
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpdistill.delimited import check_delimiter, header_of, table_rows
from hpdistill.errors import CorpusError, UsageError


def read(text: str, name: str = "t.csv", **options: str) -> list[list[str]]:
    lines = io.StringIO(text, newline="")
    quotes = name.endswith(".csv")
    rows = table_rows(lines, Path(name), quotes=quotes, error=CorpusError, **options)
    return [row for _, row in rows]


def delimiter(text: str, name: str = "t.csv") -> str:
    lines = io.StringIO(text, newline="")
    quotes = name.endswith(".csv")
    return header_of(lines, Path(name), quotes=quotes, error=CorpusError).delimiter


def refused(text: str, name: str = "t.csv", **options: str) -> CorpusError:
    with pytest.raises(CorpusError) as caught:
        read(text, name, **options)
    assert "\n" not in str(caught.value)
    return caught.value


MARKS = [",", ";", "\t", "|"]


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_a_table_divided_by_any_of_them(mark: str, name: str) -> None:
    others = " ".join(other for other in MARKS if other not in (mark, "\t"))
    rows = [["id", "text", "label"], ["1", f"a dog{others}", ""], ["", "", ""], ["2", "b", "c"]]
    assert read("".join(mark.join(row) + "\n" for row in rows), name) == rows


@given(
    st.sampled_from(MARKS),
    st.lists(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\r")), min_size=2)
    ),
)
def test_what_csv_writes_is_read_however_it_is_divided(mark: str, rows: list[list[str]]) -> None:
    table = [["id", "text"], *(row[:2] for row in rows)]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=mark).writerows(table)
    assert read(text.getvalue()) == table


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        # One column has no delimiter, whatever its texts hold.
        ("text\na; b\nc | d\n", [["text"], ["a; b"], ["c | d"]]),
        ("text\n", [["text"]]),
        ("text; or what is one\na\nb\n", [["text; or what is one"], ["a"], ["b"]]),
        # A column of a table of commas may hold the others, as often in each row as it will.
        ("id,text\n1,a; b\n2,c; d\n", [["id", "text"], ["1", "a; b"], ["2", "c; d"]]),
        ("id,text\n1,a\tb|c\n", [["id", "text"], ["1", "a\tb|c"]]),
        # The header holds a comma, and the rows are not divided by it.
        (
            "id;price, EUR\n1;2,50\n2;3\n",
            [["id", "price, EUR"], ["1", "2,50"], ["2", "3"]],
        ),
        ("id;text\n", [["id", "text"]]),
        ('id;text\n1;"a;b\n""c"""\n', [["id", "text"], ["1", 'a;b\n"c"']]),
        ("\n\nid;text\n\n1;a\n\n", [["id", "text"], ["1", "a"]]),
        ("", []),
        ("\n\n", []),
    ],
)
def test_what_is_read(text: str, rows: list[list[str]]) -> None:
    assert read(text) == rows


def test_rows_behind_the_first_hundred_do_not_decide() -> None:
    rows = [f"{number};text {number}" for number in range(500)]
    text = "id;text\n" + "\n".join(rows)
    assert delimiter(text) == ";"
    assert len(read(text)) == 501
    fault = refused(f"{text}\n500;a;b\n")
    assert str(fault) == "t.csv, line 502: 3 fields, the header has 2"
    assert "divided by semicolons; `delimiter` names another" in fault.hint


def test_a_field_as_long_as_a_book_does_not_decide() -> None:
    book = "a word; another, and | more\n" * 10_000
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=";").writerows([["id", "text"], ["1", book], ["2", "b"]])
    assert read(text.getvalue()) == [["id", "text"], ["1", book], ["2", "b"]]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "id;text\n1;a\n2;b;c\n",
            "t.csv: semicolons divide the header into 2 columns, and line 3 into 3",
        ),
        (
            "a headline; with more\none text\nanother; with more; and more\n",
            "t.csv: semicolons divide the header into 2 columns, and line 2 into 1",
        ),
        ("a;b,c\n1;2,3\n", "t.csv: the columns may be divided by commas and by semicolons"),
    ],
)
def test_what_cannot_be_told_is_asked(text: str, reason: str) -> None:
    fault = refused(text)
    assert str(fault) == reason
    assert fault.hint == "Say what divides the columns, with `delimiter`."
    assert read(text.splitlines()[0], delimiter=",")  # and is answered


def test_a_delimiter_that_is_given() -> None:
    assert read("a;b,c\n1;2,3\n", delimiter=";") == [["a", "b,c"], ["1", "2,3"]]
    assert read("a;b,c\n1;2,3\n", delimiter=",") == [["a;b", "c"], ["1;2", "3"]]
    assert read("a^b\n1^2\n", delimiter="^") == [["a", "b"], ["1", "2"]]
    assert read("a\tb\n1\t2\n", delimiter="tab") == [["a", "b"], ["1", "2"]]
    assert read("a; b\nc\nd; e; f\n", delimiter=",") == [["a; b"], ["c"], ["d; e; f"]]


def test_a_delimiter_that_is_given_never_makes_one_column_of_several() -> None:
    fault = refused("id,text\n1,a\n", delimiter=";")
    assert str(fault) == "t.csv: the columns are divided by commas, and its header holds no ';'"


@pytest.mark.parametrize("given", ["", ";;", '"', "\n", "semicolon"])
def test_what_is_no_delimiter(given: str) -> None:
    with pytest.raises(UsageError, match=r"^delimiter is .*; allowed: one character"):
        check_delimiter(given)


def test_a_malformed_row_of_the_usual_kind_is_named() -> None:
    fault = refused("id,text\n1,a\n2,b,c\n")
    assert str(fault) == "t.csv, line 3: 3 fields, the header has 2"


@pytest.mark.parametrize("mark", MARKS)
def test_a_column_named_twice(mark: str) -> None:
    fault = refused(f"text{mark}n{mark}n\na{mark}1{mark}2\n")
    assert str(fault) == "t.csv: the header names the column 'n' twice"


def test_real_prose_of_one_column_is_never_divided() -> None:
    chance = random.Random(0)
    for _ in range(200):
        rows = [
            "".join(chance.choices("ab ;|\t", k=chance.randint(0, 30))).strip() or "a"
            for _ in range(30)
        ]
        assert read("\n".join(["text", *rows])) == [[row] for row in ["text", *rows]]
