"""Static models give what sentence-transformers gives for them, from float32 and from int8."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer

from hpdistill.errors import UsageError, WeightsError
from hpdistill.runtime import Encoder, _directory, _static
from hpdistill.runtime._ragged import gather, starts_of
from hpdistill.runtime._static import StaticTable
from hpdistill.runtime._tokens import Tokens

TEXTS = [
    "the red dogs",
    "running!",
    "",
    "caf\u00e9 \u4e2d",
    "dog " * 3000,
    "Red, red; RED",
    "[SEP]",
]
WIDTH = 12


def folder_of(model: Path) -> Path:
    return model / str(json.loads((model / "modules.json").read_text())[0]["path"])


def reference(model: Path) -> np.ndarray:
    return SentenceTransformer(str(model), device="cpu").encode(TEXTS)


def test_vectors_are_those_of_sentence_transformers(static_dir: Path) -> None:
    expected = reference(static_dir)
    with Encoder.load(static_dir) as encoder:
        assert (encoder.backend, encoder.precision) == ("static", "float32")
        assert (encoder.dim, encoder.max_tokens) == (WIDTH, None)
        assert (
            encoder.parameters
            == load_file(folder_of(static_dir) / "model.safetensors")["embedding.weight"].size
        )
        assert np.allclose(encoder.encode(TEXTS), expected, atol=1e-4)
        assert np.allclose(encoder.encode(TEXTS, normalize=False), expected, atol=1e-4)
        cut = encoder.encode(TEXTS, normalize=False, dim=4, allow_unvalidated=True)
        assert np.allclose(cut, expected[:, :4], atol=1e-4)
        assert encoder.truncated == 0


def test_without_a_normalisation_vectors_are_means(static_dir: Path) -> None:
    modules = json.loads((static_dir / "modules.json").read_text())
    (static_dir / "modules.json").write_text(json.dumps(modules[:1]))
    with Encoder.load(static_dir) as encoder:
        found = encoder.encode(TEXTS, normalize=False)
    assert np.allclose(found, reference(static_dir), atol=1e-4)


def test_int8_is_close_and_enough(static_dir: Path) -> None:
    expected = reference(static_dir)
    folder = folder_of(static_dir)
    with Encoder.load(static_dir, precision="int8") as encoder:
        assert encoder.precision == "int8"
        assert np.abs(encoder.encode(TEXTS) - expected).max() < 0.02
    (folder / "model.safetensors").unlink()
    with Encoder.load(static_dir) as encoder:
        assert encoder.precision == "int8"
    with pytest.raises(UsageError, match="no float32 version; it has int8"):
        Encoder.load(static_dir, precision="float32")
    (folder / "static_int8.safetensors").unlink()
    with pytest.raises(WeightsError, match="has no table of token vectors"):
        Encoder.load(static_dir)


def test_float16_tables_are_read(static_dir: Path) -> None:
    file = folder_of(static_dir) / "model.safetensors"
    expected = reference(static_dir)
    table = load_file(file)["embedding.weight"]
    save_file({"embedding.weight": table.astype(np.float16)}, file)
    with Encoder.load(static_dir) as encoder:
        assert np.allclose(encoder.encode(TEXTS), expected, atol=1e-3)


def test_a_text_without_tokens_is_zero(static_dir: Path) -> None:
    with Encoder.load(static_dir) as encoder:
        vectors = encoder.encode(["", "dog", " \t ", "\ud800"])
    assert vectors[0].tolist() == vectors[2].tolist() == [0] * WIDTH
    assert np.isfinite(vectors).all()


@given(
    lengths=st.lists(st.integers(0, 30), max_size=20),
    seed=st.integers(0, 99),
    room=st.sampled_from([1, 200, 2**19]),
)
def test_means_are_means(lengths: list[int], seed: int, room: int) -> None:
    random = np.random.default_rng(seed)
    table = random.standard_normal((50, 8)).astype(np.float32)
    rows = [random.integers(0, 50, length) for length in lengths]
    ids = np.concatenate([*rows, np.zeros(0, np.int64)]).astype(np.int64)
    tokens = Tokens(ids, np.array(lengths, np.int64), np.zeros(0, np.int64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_static, "_BYTES_AT_ONCE", room)
        found = StaticTable(table).embed(tokens)
    expected = [table[row].mean(axis=0) if len(row) else np.zeros(8) for row in rows]
    assert np.allclose(found, np.array(expected).reshape(-1, 8), atol=1e-5)


@given(st.lists(st.lists(st.integers(), max_size=5)))
def test_gathering_rows_lays_them_end_to_end(rows: list[list[int]]) -> None:
    lengths = np.array([len(row) for row in rows], np.int64)
    starts = starts_of(lengths)
    flat = [value for row in rows for value in row]
    backwards = gather(starts[::-1], lengths[::-1])
    assert [flat[i] for i in backwards] == [value for row in rows[::-1] for value in row]


def test_a_tokenizer_that_states_a_limit_keeps_it(static_dir: Path) -> None:
    file = folder_of(static_dir) / "tokenizer.json"
    settings = json.loads(file.read_text())
    settings["truncation"] = {
        "direction": "Right",
        "max_length": 5,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    file.write_text(json.dumps(settings))
    with Encoder.load(static_dir) as encoder:
        assert encoder.max_tokens == 5
        assert np.allclose(
            encoder.encode(TEXTS, truncation="ignore"), reference(static_dir), atol=1e-4
        )


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        (
            {"weight": np.zeros((3, 4), np.float32)},
            "has no tensor 'embedding.weight'; it has weight",
        ),
        ({"embedding.weight": np.zeros(4, np.float32)}, r"holds float32 of shape \(4,\)"),
        ({"embedding.weight": np.zeros((3, 4), np.int32)}, "holds int32"),
        ({"embedding.weight": np.zeros((3, 4), np.float32)}, "has vectors for 3"),
        (None, "is damaged"),
    ],
)
def test_what_is_no_table(
    static_dir: Path, tensors: dict[str, np.ndarray] | None, reason: str
) -> None:
    file = folder_of(static_dir) / "model.safetensors"
    if tensors is None:
        file.write_bytes(file.read_bytes()[:-1])
    else:
        save_file(tensors, file)
    with pytest.raises(WeightsError, match=reason):
        Encoder.load(static_dir)


@pytest.mark.parametrize("name", [None, "default"])
def test_the_default_model(
    static_dir: Path, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = static_dir.with_name("shipped")
    monkeypatch.setattr(_directory, "DEFAULT", place)
    with pytest.raises(WeightsError, match="no default model"):
        Encoder.load(name)
    shutil.copytree(static_dir, place)
    with Encoder.load(name) as encoder:
        assert encoder.name == "default"
        assert encoder.encode(["the dog"]).shape == (1, WIDTH)


def test_a_static_model_needs_no_onnx_runtime(static_dir: Path) -> None:
    script = f"""
import sys
import hpdistill
hpdistill.Encoder.load({str(static_dir)!r}).encode(["the dog"] * 100)
found = {{"torch", "transformers", "scipy", "onnxruntime", "huggingface_hub"}} & set(sys.modules)
assert not found, found
"""
    subprocess.run([sys.executable, "-c", script], check=True)
