"""`hpd encode` and `hpd index` run a model by one rule: graph or table, else PyTorch, else not."""

import importlib.util
import re

import numpy as np
import pytest
from command_ends import hint, refused
from sentence_transformers import SentenceTransformer

from hpdistill.search import Index

LINES = {
    "encode": ("encode", "MODEL", "TEXT", "OUT.npy"),
    "index": ("index", "MODEL", "TEXT", "--out", "OUT"),
}
TEXTS = ["a cat sat on the mat", "", "the dog", "cat " * 600]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n".join(TEXTS) + "\n", "utf-8")
    return path


@pytest.fixture
def run(hpd, text, tmp_path):
    def run(command, model, *more):
        words = (word.replace("OUT", str(tmp_path / "out")) for word in LINES[command])
        places = {"MODEL": model, "TEXT": text}
        return hpd(*(places.get(word, word) for word in words), *more)

    return run


@pytest.fixture
def no_torch(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "torch" else found(name)
    )


@pytest.mark.parametrize("command", LINES)
def test_without_a_graph_pytorch_runs_it_and_it_is_said(command, run, teacher_dir, tmp_path):
    ended = run(command, teacher_dir)
    assert ended.code == 0, ended.err
    assert f"{teacher_dir} has no ONNX graph and is run by PyTorch" in ended.err
    assert re.search("1 of [34] texts are longer", ended.err)
    expected = SentenceTransformer(str(teacher_dir)).encode(TEXTS, normalize_embeddings=True)
    if command == "encode":
        vectors = np.load(tmp_path / "out.npy")
        np.testing.assert_allclose(vectors, expected, atol=1e-5)
    else:
        with Index.load(tmp_path / "out") as index:
            (hits,) = index.search(expected[2:3], k=1)
        assert hits[0].text == "the dog"
        assert hits[0].score == pytest.approx(1, abs=1e-4)


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize("model", ["directory", "mpnet"])
def test_without_pytorch_it_is_refused_before_anything_is_unpacked(
    model, run, teacher_dir, tmp_path, monkeypatch
):
    monkeypatch.setenv("HPDISTILL_CACHE", str(tmp_path / "cache"))
    name = teacher_dir if model == "directory" else model
    lines = {refused(run(command, name)) for command in LINES}
    assert lines == {
        f"error: {name} has no ONNX graph, and PyTorch, which could run it, is not installed"
    }
    assert "pip install 'hpdistill[train]'" in hint(run("encode", name))
    assert not (tmp_path / "cache").exists()


def test_int8_needs_a_graph(run, teacher_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("HPDISTILL_CACHE", str(tmp_path / "cache"))
    for name in (teacher_dir, "mpnet"):
        ended = run("encode", name, "--model-precision", "int8")
        assert ended.code == 2
        assert refused(ended).startswith("error: --model-precision int8 needs an ONNX graph")
        assert f"hpd export {name}" in hint(ended)
    assert not (tmp_path / "cache").exists()


def test_options_of_encode_mean_the_same_by_pytorch(run, teacher_dir, tmp_path):
    unit = SentenceTransformer(str(teacher_dir)).encode(TEXTS, normalize_embeddings=True)
    more = "--dim", 16, "--allow-unvalidated", "--precision", "binary", "--overwrite"
    assert run("encode", teacher_dir, *more).code == 0
    packed = np.load(tmp_path / "out.npy")
    assert (packed == np.packbits(unit[:, :16] > 0, axis=1)).all()
    assert "allow-unvalidated" in hint(run("encode", teacher_dir, "--dim", 16, "--overwrite"))
    ended = run("encode", teacher_dir, "--precision", "int8", "--overwrite")
    assert ended.code == 2
    assert "embedding_ranges.safetensors" in refused(ended)
