"""`hpd encode`: what it cannot do is said in one line, and leaves what is there alone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_ends import Ended, refused
from encoding import DIM, command, names, text_file

from hpdistill.runtime import Encoder


@pytest.fixture
def untouched(tmp_path: Path) -> Path:
    return text_file(tmp_path / "in.txt", ["w1", "w2"])


@pytest.mark.parametrize("options", [(), ("--format", "raw")])
def test_a_file_that_is_there(options, hpd, static, untouched, tmp_path):
    out = tmp_path / "out.npy"
    out.write_text("mine")
    ended = hpd("encode", static, untouched, out, *options)
    assert refused(ended) == f"error: {out} exists already"
    assert out.read_text() == "mine"
    assert hpd("encode", static, untouched, out, "--overwrite", *options).code == 0
    assert np.load(out).shape == (2, DIM)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (b"w1\nw2\0\n", (), r"in\.txt, line 2: a NUL byte"),
        (b"w1\nw2\n\xff\n", (), r"in\.txt is not utf-8: invalid start byte at byte 6"),
        (b"w1", ("--encoding", "utf-9"), "encoding is 'utf-9'"),
        (b"w1", ("--column", "body"), r"in\.txt has no columns, so none is called 'body'"),
        (b"w1", ("--errors", "guess"), "errors is 'guess'; allowed: strict, replace, ignore"),
        (b"w1", ("--dim", "7"), "7"),
        (b"w1", ("--dim", "0", "--allow-unvalidated"), "0"),
        (b"w1", ("--dim", "17", "--allow-unvalidated"), "17"),
        (b"w1", ("--model-precision", "int8"), "int8"),
    ],
)
def test_what_cannot_be_used(data, options, message, hpd, static, tmp_path):
    source = tmp_path / "in.txt"
    source.write_bytes(data)
    assert re.search(message, refused(hpd("encode", static, source, tmp_path / "o.npy", *options)))
    assert names(tmp_path) == ["in.txt"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"w1\nw2\0\n", "error: standard input, line 2: a NUL byte, which is no text"),
        (b"w1\nw2\n\xff\n", "error: standard input is not utf-8: invalid start byte in line 3"),
    ],
)
def test_standard_input_that_is_no_text(data, message, static, tmp_path):
    done = subprocess.run(
        command(static, "-", tmp_path / "out.npy"), input=data, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[0] == message
    assert names(tmp_path) == []


@pytest.mark.parametrize("source", ["pydoc", "allnli:ALLNLI:dev", "-"])
def test_a_column_of_what_has_none(source, hpd, static, allnli, tmp_path):
    source = source.replace("ALLNLI", str(allnli))
    said = refused(hpd("encode", static, source, tmp_path / "o.npy", "--column", "text"))
    where = "standard input" if source == "-" else source
    assert said == f"error: {where} has no columns, so none is called 'text'"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("no.txt", None, r"no\.txt does not exist"),
        ("in.doc", b"", r"in\.doc is of no format that hpdistill reads"),
        ("in.txt.gz", b"no gzip", r"in\.txt\.gz is not a sound gzip file"),
        ("in.csv", b"a,b\nw1,w2\n", r"in\.csv: no column is named text or sentence"),
        ("in.csv", b"text\nw1\nw2 \0\n", r"in\.csv, row 2: a NUL byte"),
        ("in.tsv", b"id\ttext\n1\tw1\n2\n", r"in\.tsv, line 3: 1 fields"),
        ("in.jsonl", b'"w1"\n{', r"in\.jsonl, line 2: not valid JSON"),
        ("in.parquet", b"PAR1", r"in\.parquet is not a sound Parquet file"),
    ],
)
def test_texts_that_cannot_be_read(name, data, message, hpd, static, tmp_path):
    source = tmp_path / name
    if data is not None:
        source.write_bytes(data)
    before = names(tmp_path)
    ended = hpd("encode", static, source, tmp_path / "out.npy")
    assert re.search(message, refused(ended))
    assert names(tmp_path) == before


def test_a_line_that_is_no_text_is_told_before_the_work(hpd, static, tmp_path, monkeypatch):
    source = tmp_path / "in.txt"
    source.write_bytes(b"w1\n" * 50_000 + b"\0\n")
    monkeypatch.setattr(Encoder, "load", None)
    assert "line 50001: a NUL byte" in refused(hpd("encode", static, source, tmp_path / "o.npy"))


@pytest.mark.parametrize("out", ["out", "out.txt", "folder.npy", "in.txt/out.npy", "in.parquet"])
def test_a_place_that_cannot_be_written(out, hpd, static, tmp_path):
    (tmp_path / "folder.npy").mkdir()
    text_file(tmp_path / "in.txt", ["w1"])
    pq.write_table(pa.table({"text": ["w1"]}), tmp_path / "in.parquet")
    source = tmp_path / ("in.parquet" if out == "in.parquet" else "in.txt")
    before = source.read_bytes()
    ended = hpd("encode", static, source, tmp_path / out, "--overwrite")
    assert out in refused(ended)
    assert source.read_bytes() == before


def test_json_and_vectors_cannot_both_go_to_standard_output(hpd, static, untouched):
    assert "--json prints to standard output" in refused(
        hpd("encode", static, untouched, "-", "--json")
    )


@pytest.mark.parametrize("model", ["minlm", "no/such/model/at/all", "./nowhere"])
def test_a_model_that_is_not_there(model, hpd, untouched, tmp_path):
    assert model in refused(hpd("encode", model, untouched, tmp_path / "out.npy"))
    assert names(tmp_path) == ["in.txt"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("encode",),
        ("encode", "minilm", "in.txt"),
        ("encode", "minilm", "in.txt", "out.npy", "--precision", "float16"),
        ("encode", "minilm", "in.txt", "out.npy", "--batch-size", "0"),
        ("encode", "minilm", "in.txt", "out.npy", "--threads", "0"),
        ("encode", "minilm", "in.txt", "-", "--format", "csv"),
    ],
)
def test_wrong_usage_exits_with_2(arguments, hpd):
    ended: Ended = hpd(*arguments)
    assert ended.code == 2
    assert "Usage:" in ended.err


def test_without_pyarrow_npy_is_written_and_parquet_is_refused(static, tmp_path):
    source = text_file(tmp_path / "in.txt", ["w1"])
    blocked = tmp_path / "blocked/pyarrow"
    blocked.mkdir(parents=True)
    (blocked / "__init__.py").write_text("raise ModuleNotFoundError('no', name='pyarrow')")
    environment = {**os.environ, "PYTHONPATH": str(blocked.parent)}
    for out, code in (("out.npy", 0), ("out.parquet", 1)):
        done = subprocess.run(
            command(static, source, tmp_path / out),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
    assert "pyarrow, which is not installed" in done.stderr
    assert "hpdistill[search]" in done.stderr


def test_it_never_loads_torch(static, tmp_path):
    source = text_file(tmp_path / "in.txt", ["w1"])
    code = (
        "import sys\n"
        f"sys.argv = {['hpd', *command(static, source, tmp_path / 'out.npy')[3:]]!r}\n"
        "from hpdistill.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "print('loaded:', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.split("loaded:")[1].split()
    assert "hpdistill.runtime" in loaded
    assert not {"torch", "transformers", "pyarrow", "scipy"} & set(loaded)
    assert np.load(tmp_path / "out.npy").shape == (1, DIM)
