"""`hpd encode`: row i of the file belongs to row i of the texts."""

import gzip
import io
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from encoding import DIM, close, expected, names, text_file, texts_of
from sentence_transformers import SentenceTransformer


def test_20_000_rows_in_order_with_empty_and_equal_ones(hpd, static, tmp_path):
    texts = texts_of(20_001)
    source, out = text_file(tmp_path / "in.txt", texts), tmp_path / "out.npy"
    ended = hpd("encode", static, source, out, "--json")
    assert ended.code == 0, ended.err
    found = np.load(out, mmap_mode="r", allow_pickle=False)
    assert found.dtype == np.float32
    assert close(found, expected(static, texts))
    (row,) = json.loads(ended.out)["rows"]
    assert row["model"] == str(static)
    assert (row["texts"], row["resumed"], row["dim"]) == (20_001, 0, DIM)
    assert (row["precision"], row["model_precision"]) == ("float32", "float32")
    assert (row["truncated"], row["out"]) == (0, str(out))
    assert row["sentences_per_second"] > 0
    assert row["seconds"] > 0
    assert names(tmp_path) == ["in.txt", "out.npy"]


def test_a_graph_gives_what_sentence_transformers_gives(hpd, exported_dir, sentences, tmp_path):
    texts = ["", *sentences(500), "", "the dog"]
    ended = hpd("encode", exported_dir, text_file(tmp_path / "in.txt", texts), tmp_path / "out.npy")
    assert ended.code == 0, ended.err
    model = SentenceTransformer(str(exported_dir), device="cpu")
    assert np.allclose(np.load(tmp_path / "out.npy"), model.encode(texts), atol=1e-5)
    line = ended.out.replace("\n", " ")
    assert line.startswith(f"{tmp_path / 'out.npy'}: 503 x 24 float32, ")
    assert line.rstrip().endswith("/s")


def test_parquet_has_the_texts_beside_their_vectors(hpd, static, tmp_path):
    texts = texts_of(300)
    source, out = text_file(tmp_path / "in.txt", texts), tmp_path / "out.parquet"
    assert hpd("encode", static, source, out).code == 0
    table = pq.read_table(out)
    assert table.column("text").to_pylist() == texts
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), DIM)
    assert close(np.stack(table.column("embedding").to_numpy()), expected(static, texts))


def test_part_of_allnli(hpd, static, allnli, tmp_path):
    ended = hpd("encode", static, f"allnli:{allnli}:dev", tmp_path / "out.npy")
    assert ended.code == 0, ended.err
    assert close(np.load(tmp_path / "out.npy"), expected(static, ["w1 w2", "w3"]))


def test_int8_binary_and_a_prefix(hpd, static, tmp_path):
    texts = texts_of(50)
    source = text_file(tmp_path / "in.txt", texts)
    for number, options in enumerate(
        (
            {"precision": "int8"},
            {"precision": "binary"},
            {"dim": 8},
            {"precision": "binary", "dim": 8},
        )
    ):
        out = tmp_path / f"{number}.npy"
        line = [word for name, value in options.items() for word in (f"--{name}", value)]
        ended = hpd("encode", static, source, out, "--json", *line)
        assert ended.code == 0, ended.err
        found, wanted = np.load(out), expected(static, texts, **options)
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        assert np.array_equal(found, wanted)
        (row,) = json.loads(ended.out)["rows"]
        assert row["dim"] == options.get("dim", DIM)
        assert row["precision"] == options.get("precision", "float32")


def test_vectors_that_are_not_normalised(hpd, static, tmp_path):
    texts = ["w1 w2", "w3"]
    source, out = text_file(tmp_path / "in.txt", texts), tmp_path / "out.npy"
    assert hpd("encode", static, source, out, "--no-normalize", "--dim", "8").code == 0
    assert close(np.load(out), expected(static, texts, normalize=False, dim=8))
    assert (np.linalg.norm(np.load(out), axis=1) < 0.99).all()


def write_source(kind: str, folder: Path, texts: list[str]) -> tuple[Path, tuple[str, ...]]:
    """A file of some format, and the options it needs."""
    path = folder / f"in.{kind}"
    if kind == "txt.gz":
        path.write_bytes(gzip.compress("".join(f"{text}\n" for text in texts).encode()))
    elif kind == "jsonl":
        path.write_text("".join(json.dumps({"id": 1, "body": t}) + "\n" for t in texts))
        return path, ("--column", "body")
    elif kind in ("csv", "tsv"):
        comma = "," if kind == "csv" else "\t"
        path.write_text(f"id{comma}text\n" + "".join(f"1{comma}{text}\n" for text in texts))
    elif kind == "parquet":
        pq.write_table(pa.table({"text": texts, "id": range(len(texts))}), path)
    return path, ()


@pytest.mark.parametrize("name", [b"in.", b"caf\xe9."], ids=["a name", "a name not in Unicode"])
@pytest.mark.parametrize("kind", ["txt.gz", "jsonl", "csv", "tsv", "parquet"])
def test_every_format_of_texts(kind, name, hpd, static, tmp_path):
    texts = texts_of(60)
    source, options = write_source(kind, tmp_path, texts)
    source = source.rename(tmp_path / os.fsdecode(name + kind.encode()))
    ended = hpd("encode", static, source, tmp_path / "out.npy", *options)
    assert ended.code == 0, ended.err
    assert close(np.load(tmp_path / "out.npy"), expected(static, texts))


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_table_of_one_column_has_a_row_for_every_line(kind, hpd, static, tmp_path):
    source, out = tmp_path / f"in.{kind}", tmp_path / "out.parquet"
    source.write_text("text\nw1\n\n  \nw2 \n\n")
    assert hpd("encode", static, source, out).code == 0
    assert pq.read_table(out).column("text").to_pylist() == ["w1", "", "  ", "w2 ", ""]


@pytest.mark.parametrize(
    ("data", "options", "texts"),
    [
        (b"", (), []),
        (b"w1", (), ["w1"]),
        (b"w1\n\nw2\r\n  w3 \n\n", (), ["w1", "", "w2", "  w3 ", ""]),
        ("\ufeffw1\nw2 w3\n".encode(), (), ["w1", "w2 w3"]),
        ("w1\nw2\n".encode("utf-16"), ("--encoding", "utf-16"), ["w1", "w2"]),
        (b"w1 \xff\nw2\n", ("--errors", "ignore"), ["w1 ", "w2"]),
        (b"w1\n\0\nw2\0w3\n", ("--errors", "ignore"), ["w1", "", "w2w3"]),
        (b"w1\nw2 \0 w3\n", ("--errors", "replace"), ["w1", "w2 \ufffd w3"]),
    ],
    ids=["none", "no line end", "blank", "BOM", "utf-16", "ignore", "NUL ignore", "NUL replace"],
)
@pytest.mark.parametrize("piped", [False, True], ids=["file", "stdin"])
def test_lines_as_they_are(piped, data, options, texts, hpd, static, tmp_path, monkeypatch):
    source: object = "-"
    if piped:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    else:
        source = tmp_path / "in.txt"
        Path(tmp_path / "in.txt").write_bytes(data)
    ended = hpd("encode", static, source, tmp_path / "out.parquet", *options)
    assert ended.code == 0, ended.err
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column("text").to_pylist() == texts


def test_a_nul_that_json_spells_out_is_a_character_of_a_text(hpd, static, tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "w1 \\u0000 w2"}\n{"text": "\\ud800"}\n')
    assert hpd("encode", static, source, tmp_path / "out.npy").code == 0
    assert np.load(tmp_path / "out.npy").shape == (2, DIM)


@pytest.mark.parametrize("out", ["out.npy", "-"])
def test_texts_that_were_cut_are_counted_at_the_end(out, hpd, exported_dir, tmp_path):
    texts = ["the dog", "the dog " * 100, "a cat", "a cat " * 90]
    source = text_file(tmp_path / "in.txt", texts)
    line = ["encode", exported_dir, source, out if out == "-" else tmp_path / out]
    ended = hpd(*line, *(() if out == "-" else ("--json",)))
    assert ended.code == 0, ended.err
    assert re.search(r"2 of 4 texts are longer than the 64 tokens .* were cut", ended.err)
    if out != "-":
        assert json.loads(ended.out)["rows"][0]["truncated"] == 2
