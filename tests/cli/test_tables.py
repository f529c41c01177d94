"""Tables as every command reads them: what divides them, which columns, which of them joined."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_ends import Ended, hint, refused
from indexing import TEXTS, found, row_of

from hpdistill.search import Index

Hpd = Callable[..., Ended]

ROWS = [{"id": key, "head": f"{key}.", "body": text} for key, text in TEXTS.items()]
KINDS = ["semicolons.csv", "tabs.csv", "bars.csv", "commas.tsv"]
MARKS = {"semicolons": ";", "tabs": "\t", "bars": "|", "commas": ","}


def write(folder: Path, name: str, rows: list[dict[str, str]] = ROWS) -> Path:
    """A table, divided as its name says."""
    mark = MARKS[name.partition(".")[0]]
    path = folder / name
    lines = [mark.join(row) for row in (rows[0], *(row.values() for row in rows))]
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


def vectors(hpd: Hpd, source: Path, *options: object) -> np.ndarray:
    out = source.parent / "out.npy"
    ended = hpd("encode", "default", source, out, "--overwrite", *options)
    assert ended.code == 0, ended.err
    return np.load(out)


@pytest.mark.parametrize("name", KINDS)
def test_encode_finds_what_divides_the_columns_and_says_so(
    name: str, hpd: Hpd, tmp_path: Path
) -> None:
    source = write(tmp_path, name)
    plain = tmp_path / "plain.txt"
    plain.write_text("".join(f"{text}\n" for text in TEXTS.values()), "utf-8")
    expected = vectors(hpd, plain)
    ended = hpd("encode", "default", source, tmp_path / "v.npy", "--column", "body")
    assert ended.code == 0, ended.err
    assert np.allclose(np.load(tmp_path / "v.npy"), expected, atol=1e-6)
    said = f"{source}: columns are divided by {name.partition('.')[0]}\n"
    assert ended.err.count(said) == 1
    given = hpd(
        *("encode", "default", source, tmp_path / "w.npy", "--column", "body"),
        *("--delimiter", MARKS[name.partition(".")[0]]),
    )
    assert given.code == 0
    assert "divided" not in given.err
    assert np.allclose(np.load(tmp_path / "w.npy"), expected, atol=1e-6)


@pytest.mark.parametrize("option", ["--column", "--text-column"])
def test_encode_joins_columns(option: str, hpd: Hpd, tmp_path: Path) -> None:
    source = write(tmp_path, "commas.csv" if option == "--column" else "semicolons.csv")
    plain = tmp_path / "plain.txt"
    plain.write_text("".join(f"{row['body']} {row['head']}\n" for row in ROWS), "utf-8")
    joined = vectors(hpd, source, option, "body", option, "head")
    assert np.allclose(joined, vectors(hpd, plain), atol=1e-6)


def test_index_keeps_the_ids_of_any_table_and_joins_columns(hpd: Hpd, tmp_path: Path) -> None:
    source, out = write(tmp_path, "semicolons.csv"), tmp_path / "index"
    line = ("index", "default", source, "--out", out, "--json")
    ended = hpd(*line, "--text-column", "head", "--text-column", "body")
    row_of(ended)
    assert f"{source}: columns are divided by semicolons\n" in ended.err
    assert found(out, list(TEXTS.values())) == list(TEXTS)
    with Index.load(out) as index:
        (dog,) = index.get(["dog"])
        assert dog is not None
        assert dog.text == f"dog. {TEXTS['dog']}"
    said = refused(hpd(*line, "--overwrite", "--delimiter", "|"))
    assert f"{source}: the columns are divided by semicolons, and its header holds no '|'" in said


def test_a_delimiter_that_cannot_be_told_or_be_one(hpd: Hpd, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text("id;text\n1;a\n2;b;c\n")
    command = ("encode", "default", source, tmp_path / "o.npy")
    ended = hpd(*command)
    assert "semicolons divide the header into 2 columns, and line 3 into 3" in refused(ended)
    assert hint(ended) == "hint: Say what divides the columns, with --delimiter."
    ended = hpd(*command, "--delimiter", "; ")
    assert "--delimiter is '; '; allowed: one character" in refused(ended)
    assert ended.code == 2
    assert not (tmp_path / "o.npy").exists()


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_a_column_named_twice_is_refused_by_encode_and_index(
    kind: str, hpd: Hpd, tmp_path: Path
) -> None:
    source = tmp_path / f"a.{kind}"
    if kind == "parquet":
        columns = [pa.array(["1"]), pa.array(["a"]), pa.array(["b"])]
        pq.write_table(pa.table(columns, names=["id", "text", "text"]), source)
    elif kind == "jsonl":
        source.write_text('{"id": "1", "text": "a", "text": "b"}\n')
    else:
        source.write_text("id,text,text\n1,a,b\n".replace(",", "," if kind == "csv" else "\t"))
    for command in (
        ("encode", "default", source, tmp_path / "o.npy"),
        ("index", "default", source, "--out", tmp_path / "i"),
    ):
        assert "'text'" in (said := refused(hpd(*command)))
        assert said.endswith("twice")
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


def test_a_delimiter_of_what_has_none(hpd: Hpd, tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_text("a dog\n")
    for command in (
        ("encode", "default", source, tmp_path / "o.npy"),
        ("index", "default", source, "--out", tmp_path / "i"),
    ):
        ended = hpd(*command, "--delimiter", ";")
        assert f"{source} is no .csv or .tsv, so it has no use for --delimiter" in refused(ended)
        assert ended.code == 2


def corpus(folder: Path, texts: list[str], gap: str) -> Path:
    """A table whose texts are in two columns."""
    path = folder / "corpus.csv"
    halves = [text.partition(" ") for text in texts]
    rows = [f"{n}{gap}{first}{gap}{rest}\n" for n, (first, _, rest) in enumerate(halves)]
    path.write_text(f"n{gap}first{gap}rest\n" + "".join(rows), "utf-8")
    return path


def test_distill_and_pca_read_such_tables_as_the_plain_text(
    hpd: Hpd,
    distill: Callable[..., Ended],
    teacher_dir: Path,
    text_file: Path,
    store: Path,
    tmp_path: Path,
) -> None:
    plain = text_file.read_text("utf-8").splitlines()
    table = corpus(tmp_path, plain, ";")
    columns = ("--column", "first", "--column", "rest")
    ended = distill(*columns, sentences=table, store=store, max_steps=1)
    assert ended.code == 0, ended.err
    assert ended.err.count(f"{table}: columns are divided by semicolons\n") == 1
    texts = pq.read_table(tmp_path / "run/corpus/train.parquet")["text"].to_pylist()
    held_out = pq.read_table(tmp_path / "run/corpus/validation.parquet")["text"].to_pylist()
    assert {*texts, *held_out} == set(plain)
    line = ("pca", teacher_dir, "--dim", 4, "--store", store, "--json", "--sentences")
    rows = []
    for options in ((table, *columns, "--delimiter", ";"), (text_file,)):
        rows.append(row_of(hpd(*line, *options, "--out", tmp_path / str(len(rows)))))
    same = ("sentences", "explained_share", "spearman")
    assert [rows[0][key] for key in same] == [rows[1][key] for key in same]


def test_a_column_that_is_not_there_is_refused_before_pytorch_is_imported(
    distill: Callable[..., Ended], tmp_path: Path
) -> None:
    table = corpus(tmp_path, ["a dog runs", "rain falls"], ";")
    said = refused(distill(sentences=table, column="nope"))
    assert f"{table}: no column 'nope'; columns: n, first, rest" in said
    assert not (tmp_path / "run").exists()


PARQUET = """
import sys
for name in {missing}: sys.modules[name] = None
from hpdistill.cli import main
main()
"""


def without(missing: list[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    code = PARQUET.format(missing=missing)
    line = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True)


def test_parquet_needs_no_torch(tmp_path: Path) -> None:
    source = tmp_path / "in.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), source)
    torch = ["torch", "transformers", "sentence_transformers", "datasets"]
    columns = ("--text-column", "head", "--text-column", "body")
    done = without(torch, "encode", "default", source, tmp_path / "o.parquet", *columns)
    assert done.returncode == 0, done.stderr
    assert pq.read_table(tmp_path / "o.parquet").num_rows == len(ROWS)
    done = without(torch, "index", "default", source, "--out", tmp_path / "i", *columns)
    assert done.returncode == 0, done.stderr
    assert found(tmp_path / "i", list(TEXTS.values())) == list(TEXTS)


def test_where_there_is_no_pyarrow_the_smallest_extra_is_named(tmp_path: Path) -> None:
    source = tmp_path / "in.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), source)
    done = without(["pyarrow"], "index", "default", source, "--out", tmp_path / "i")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2:] == [
        "error: reading Parquet needs the Python package pyarrow, which is not installed",
        "hint: pip install 'hpdistill[search]'",
    ]
