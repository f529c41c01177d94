"""`hpd encode`: row i of the file belongs to row i of the texts, whatever happens in between."""

import gzip
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from command_ends import Ended, hint, refused
from file_limits import largest_file
from safetensors.numpy import save_file
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, models, pre_tokenizers

from hpdistill.runtime import Encoder

WORDS = [f"w{number}" for number in range(400)]
DIM = 16


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static model, so quick that 20,000 texts take no time; every word has its own vector."""
    root = tmp_path_factory.mktemp("static")
    folder = root / "0_StaticEmbedding"
    folder.mkdir()
    kinds = {"0_StaticEmbedding": "StaticEmbedding", "1_Normalize": "Normalize"}
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds.items())
    ]
    (root / "modules.json").write_text(json.dumps(modules))
    vocabulary = {word: number for number, word in enumerate(["[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    table = np.random.default_rng(0).normal(size=(len(vocabulary), DIM)).astype(np.float32)
    save_file({"embedding.weight": table}, folder / "model.safetensors")
    (root / "hpd.json").write_text(json.dumps({"format": 1, "dim": DIM, "prefixes": {"8": 0.9}}))
    ranges = np.stack([np.full(DIM, -0.9), np.full(DIM, 0.9)]).astype(np.float32)
    save_file({str(DIM): ranges}, root / "embedding_ranges.safetensors")
    return root


class _Graph(torch.nn.Module):
    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> Any:
        features = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        for module in self.model:
            features = module(features)
        return features["token_embeddings"], features["sentence_embedding"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, student_dir: Path) -> Path:
    """The tiny student with its float32 graph, as another tool could have written it."""
    root = shutil.copytree(student_dir, tmp_path_factory.mktemp("exported") / "model")
    model = SentenceTransformer(
        str(root), device="cpu", model_kwargs={"attn_implementation": "eager"}
    )
    (root / "onnx").mkdir()
    names, outputs = ["input_ids", "attention_mask", "token_type_ids"], ["last_hidden_state"]
    axes: dict[str, dict[int, str]] = {n: {0: "batch", 1: "length"} for n in names + outputs}
    ids = torch.ones(2, 7, dtype=torch.long)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this exporter is not the newest
        torch.onnx.export(
            _Graph(model.eval()),
            (ids, ids, torch.zeros_like(ids)),
            str(root / "onnx/model.onnx"),
            input_names=names,
            output_names=[*outputs, "sentence_embedding"],
            dynamic_axes={**axes, "sentence_embedding": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )
    return root


def texts_of(count: int, *, seed: int = 0) -> list[str]:
    """Texts of 0 to 12 words: empty ones and repeated ones among them."""
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS, k=chance.randint(0, 12))) for _ in range(count)]


def text_file(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(f"{text}\n" for text in texts), "utf-8", newline="")
    return path


def expected(model: Path, texts: list[str], **options: Any) -> np.ndarray:
    with Encoder.load(model) as encoder:
        return encoder.encode(texts, **options)


def close(found: np.ndarray, vectors: np.ndarray) -> bool:
    return found.shape == vectors.shape and np.allclose(found, vectors, atol=1e-6)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "hpdistill.cli", "encode", *map(str, arguments)]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


# -- done


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


def test_a_graph_gives_what_sentence_transformers_gives(hpd, exported, sentences, tmp_path):
    texts = ["", *sentences(500), "", "the dog"]
    ended = hpd("encode", exported, text_file(tmp_path / "in.txt", texts), tmp_path / "out.npy")
    assert ended.code == 0, ended.err
    model = SentenceTransformer(str(exported), device="cpu")
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
def test_texts_that_were_cut_are_counted_at_the_end(out, hpd, exported, tmp_path):
    texts = ["the dog", "the dog " * 100, "a cat", "a cat " * 90]
    source = text_file(tmp_path / "in.txt", texts)
    line = ["encode", exported, source, out if out == "-" else tmp_path / out]
    ended = hpd(*line, *(() if out == "-" else ("--json",)))
    assert ended.code == 0, ended.err
    assert re.search(r"2 of 4 texts are longer than the 64 tokens .* were cut", ended.err)
    if out != "-":
        assert json.loads(ended.out)["rows"][0]["truncated"] == 2


# -- standard input and output


def test_a_pipe_of_json_lines(static):
    texts = texts_of(20_000)
    data = "".join(f"{text}\n" for text in texts).encode()
    done = subprocess.run(command(static, "-", "-"), input=data, capture_output=True, check=True)
    found = np.array([json.loads(line) for line in done.stdout.splitlines()], np.float32)
    assert np.array_equal(found, expected(static, texts)) or close(found, expected(static, texts))
    assert b"20,000 x 16 float32" in done.stderr


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float32", "<f4"), ("int8", "i1"), ("binary", "u1")]
)
def test_a_pipe_of_raw_rows(precision, dtype, static):
    texts = texts_of(3_000)
    data = "".join(f"{text}\n" for text in texts).encode()
    done = subprocess.run(
        command(static, "-", "-", "--format", "raw", "--precision", precision),
        input=data,
        capture_output=True,
        check=True,
    )
    wanted = expected(static, texts, precision=precision)
    found = np.frombuffer(done.stdout, dtype).reshape(wanted.shape)
    assert close(found.astype(np.float32), wanted.astype(np.float32))


def test_a_reader_that_leaves_early_is_no_error_to_talk_about(static, tmp_path):
    source = text_file(tmp_path / "in.txt", texts_of(30_000))
    line = " ".join(command(static, source, "-"))
    done = subprocess.run(f"{line} | head -n 2", shell=True, capture_output=True, check=True)
    assert len(done.stdout.splitlines()) == 2
    assert b"Traceback" not in done.stderr
    assert b"error" not in done.stderr.lower()


def test_standard_output_that_is_full_is_one_line(static, tmp_path):
    source = text_file(tmp_path / "in.txt", texts_of(3_000))
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command(static, source, "-"), stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        "error: cannot write standard output: the disk is full"
    ]


# -- interrupted


def has_a_block(part: Path) -> bool:
    """Whether a whole line is there: the file is made before the first block is written."""
    try:
        return "\n" in (part / "blocks.jsonl").read_text("utf-8")
    except FileNotFoundError:
        return False


def test_killed_at_random_moments_it_goes_on_to_the_same_bytes(exported, sentences, tmp_path):
    texts = sentences(20_000)
    source = text_file(tmp_path / "in.txt", texts)
    whole, out = tmp_path / "whole.npy", tmp_path / "out.npy"
    part = tmp_path / "out.npy.part"
    began = time.perf_counter()
    subprocess.run(command(exported, source, whole), check=True, capture_output=True)
    took = time.perf_counter() - began
    chance = random.Random(2)
    for number in range(4):
        process = subprocess.Popen(
            command(exported, source, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if number == 0:  # once surely after a block
            while not out.exists() and not has_a_block(part):
                time.sleep(0.01)
        else:
            time.sleep(chance.uniform(0, took))
        process.kill()
        process.wait()
        if out.exists():
            break
    else:
        done = subprocess.run(
            command(exported, source, out, "--json"), check=True, capture_output=True
        )
        (row,) = json.loads(done.stdout)["rows"]
        assert row["texts"] == 20_000
        assert row["resumed"] in (8192, 16384, 20_000)
    assert out.read_bytes() == whole.read_bytes()


def test_ctrl_c_keeps_what_is_complete(exported, sentences, tmp_path):
    source, out = text_file(tmp_path / "in.txt", sentences(30_000)), tmp_path / "out.npy"
    process = subprocess.Popen(
        command(exported, source, out), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    while not has_a_block(tmp_path / "out.npy.part") and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 130, error
    assert error.decode().splitlines()[-1] == "interrupted; what was complete is kept"
    assert b"Traceback" not in error
    assert not out.exists()
    assert has_a_block(tmp_path / "out.npy.part")
    done = subprocess.run(command(exported, source, out, "--json"), capture_output=True, check=True)
    assert json.loads(done.stdout)["rows"][0]["texts"] == 30_000


@pytest.fixture
def unfinished(hpd, static, tmp_path, monkeypatch) -> Callable[..., Path]:
    """What is left of an encoding of 20,000 texts that failed in its second block."""

    def make(*options: object) -> Path:
        source = tmp_path / "in.txt"
        text_file(source, texts_of(20_000))
        encode_blocks = Encoder.encode_blocks

        def fail(self: Encoder, texts: Any, **given: Any) -> Any:
            yield next(encode_blocks(self, texts, **given))
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Encoder, "encode_blocks", fail)
            assert hpd("encode", static, source, tmp_path / "out.npy", *options).code == 130
        assert names(tmp_path) == ["in.txt", "out.npy.part"]
        return source

    return make


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--precision", "int8"), "another precision"),
        (("--dim", "8"), "another dim"),
        (("--no-normalize",), "another normalization"),
    ],
)
def test_other_options_are_not_mixed_in(options, what, hpd, static, unfinished, tmp_path):
    source, out = unfinished(), tmp_path / "out.npy"
    ended = hpd("encode", static, source, out, *options)
    assert f"holds 8,192 unfinished vectors of {what}" in refused(ended)
    assert "--overwrite" in hint(ended)
    done = hpd("encode", static, source, out, "--json")
    assert json.loads(done.out)["rows"][0]["resumed"] == 8192
    assert close(np.load(out), expected(static, texts_of(20_000)))


def test_another_model_is_not_mixed_in(hpd, static, unfinished, tmp_path_factory, tmp_path):
    source = unfinished()
    other = shutil.copytree(static, tmp_path_factory.mktemp("other") / "model")
    # The same model at another place is the same model, whatever was measured since.
    (other / "hpd.json").write_text(json.dumps({"format": 1, "dim": DIM, "prefixes": {}}))
    (other / "README.md").write_text("a model")
    line = ("encode", other, source, tmp_path / "out.npy", "--json", "--batch-size", "8")
    same = shutil.copytree(tmp_path / "out.npy.part", tmp_path_factory.mktemp("kept") / "part")
    assert json.loads(hpd(*line).out)["rows"][0]["resumed"] == 8192
    (tmp_path / "out.npy").unlink()
    shutil.copytree(same, tmp_path / "out.npy.part")
    table = np.zeros((len(WORDS) + 1, DIM), np.float32)
    save_file({"embedding.weight": table}, other / "0_StaticEmbedding/model.safetensors")
    assert "unfinished vectors of another model" in refused(hpd(*line))
    ended = hpd(*line, "--overwrite")
    assert json.loads(ended.out)["rows"][0]["resumed"] == 0
    assert not np.load(tmp_path / "out.npy").any()


def test_another_input_is_not_mixed_in(hpd, static, unfinished, tmp_path):
    source, out = unfinished(), tmp_path / "out.npy"
    others = texts_of(20_000, seed=1)
    text_file(source, others)
    assert "unfinished vectors of other texts" in refused(hpd("encode", static, source, out))
    assert hpd("encode", static, source, out, "--overwrite").code == 0
    assert close(np.load(out), expected(static, others))


def test_a_file_that_grew_is_gone_on_with(hpd, static, unfinished, tmp_path):
    source, out = unfinished(), tmp_path / "out.npy"
    texts = [*texts_of(20_000), "w1", "w2"]
    text_file(source, texts)
    ended = hpd("encode", static, source, out, "--json")
    assert json.loads(ended.out)["rows"][0]["resumed"] == 8192
    assert close(np.load(out), expected(static, texts))


def test_a_full_disk_loses_nothing(hpd, static, tmp_path):
    texts = texts_of(20_000)
    source, out = text_file(tmp_path / "in.txt", texts), tmp_path / "out.npy"
    with largest_file(8192 * DIM * 4 + 5000):
        ended = hpd("encode", static, source, out)
    assert refused(ended).startswith(f"error: cannot write {out}: ")
    assert "run the same command again" in hint(ended)
    done = hpd("encode", static, source, out, "--json")
    assert json.loads(done.out)["rows"][0]["resumed"] == 8192
    assert close(np.load(out), expected(static, texts))


# -- refused


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
    assert "hpdistill[train]" in done.stderr


def test_it_never_loads_torch(static, tmp_path):
    source = text_file(tmp_path / "in.txt", ["w1"])
    code = (
        "import sys\n"
        f"sys.argv = {['hpd', *command(static, source, tmp_path / 'out.npy')[3:]]!r}\n"
        "from hpdistill.cli import main\n"
        "main_ended = None\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "assert not {'torch', 'transformers', 'pyarrow', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
