"""Exports: the graph says what the model says, or it is not kept."""

import json
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    StaticEmbedding,
    Transformer,
)
from tokenizers import Tokenizer

from hpdistill.encoder import unit
from hpdistill.errors import CorpusError, ExportError, RunError, UsageError, WeightsError
from hpdistill.export import export_model
from hpdistill.export import model as export_module
from hpdistill.export.graph import write_graph
from hpdistill.export.static import quantise_table
from hpdistill.files import sha256_file
from hpdistill.pytorch import TorchEncoder, load_model
from hpdistill.runtime import Encoder


@pytest.fixture
def model(student_dir: Path, tmp_path: Path) -> Path:
    """A model that may be changed."""
    return shutil.copytree(student_dir, tmp_path / "model")


@pytest.fixture
def texts(sentences: Callable[..., list[str]]) -> list[str]:
    return sentences(150, seed=5)


def contents(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): sha256_file(path)
        for path in directory.rglob("*")
        if path.is_file()
    }


def agreement(directory: Path, texts: list[str], precision: str) -> np.ndarray:
    reference = TorchEncoder(load_model(directory), name="model").encode(texts)
    with Encoder.load(directory, precision=precision) as encoder:
        return np.einsum("nd,nd->n", encoder.encode(texts, truncation="ignore"), reference)


def test_both_graphs_agree_with_the_model_on_sentences_of_every_length(
    model: Path, texts: list[str]
) -> None:
    result = export_model(model, texts)
    others = ["", "dog", " ".join(["cat"] * 200), *texts[:20]]
    assert agreement(model, others, "float32").min() > 0.9999
    assert agreement(model, others, "int8").mean() > 0.99
    assert [(row["backend"], row["precision"]) for row in result.rows] == [
        ("torch", "float32"),
        ("onnx", "float32"),
        ("onnx", "int8"),
    ]
    for row in result.rows:
        assert row["sentences_per_second"] > 0
    assert result.rows[1]["cosine_min"] > 0.9999
    assert result.rows[2]["method"] in ("dynamic", "static")


def test_the_description_says_what_lies_beside_it(model: Path, texts: list[str]) -> None:
    result = export_model(model, texts)
    description = json.loads((model / "onnx" / "export.json").read_text())
    assert set(description["files"]) == {"float32", "int8"}
    for facts in description["files"].values():
        path = model / "onnx" / facts["file"]
        assert facts == {
            "file": path.name,
            "sha256": sha256_file(path),
            "bytes": path.stat().st_size,
        }
    assert description["files"]["float32"]["file"] == "model.onnx"
    assert description["opset"] == 17
    assert description["dim"] == 24
    assert description["sentences"] == 150
    assert description["parity"] == result.rows
    assert {row["method"] for row in description["tried"]} == {"dynamic", "static"}
    assert description["default"] == result.default
    fastest = max(result.rows[1:], key=lambda row: row["sentences_per_second"])
    assert result.default == fastest["precision"]


def test_the_graph_has_the_outputs_that_servers_look_for(model: Path, texts: list[str]) -> None:
    export_model(model, texts, precisions=["float32"])
    assert not list((model / "onnx").glob("*int8*"))
    session = onnxruntime.InferenceSession(model / "onnx" / "model.onnx")
    # This model's tokenizer makes no token types.
    assert [item.name for item in session.get_inputs()] == ["input_ids", "attention_mask"]
    assert [item.name for item in session.get_outputs()] == [
        "last_hidden_state",
        "sentence_embedding",
    ]
    for batch, length in ((1, 3), (5, 11)):
        ids = np.full((batch, length), 5, np.int64)
        feeds = {name.name: np.ones_like(ids) for name in session.get_inputs()} | {"input_ids": ids}
        tokens, vectors = session.run(None, feeds)
        assert tokens.shape == (batch, length, 24)
        assert vectors.shape == (batch, 24)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("pooling", ["cls", "max"])
def test_other_peoples_models_are_exported_too(
    student_dir: Path, tmp_path: Path, texts: list[str], pooling: str
) -> None:
    torch.manual_seed(0)
    base = load_model(student_dir)
    modules = [base[0], Pooling(24, pooling_mode=pooling), Dense(24, 10), Dense(10, 6), Normalize()]
    assert isinstance(modules[0], Transformer)
    SentenceTransformer(modules=modules, device="cpu").save(str(tmp_path / "theirs"))
    export_model(tmp_path / "theirs", texts, precisions=["float32"])
    assert agreement(tmp_path / "theirs", texts, "float32").min() > 0.9999


def test_ranges_cover_the_normalised_embeddings(model: Path, texts: list[str]) -> None:
    (model / "hpd.json").write_text(json.dumps({"dim": 24, "prefixes": {"16": 0.5, "24": 0.6}}))
    export_model(model, texts)
    ranges = load_file(model / "embedding_ranges.safetensors")
    assert {name: value.shape for name, value in ranges.items()} == {"16": (2, 16), "24": (2, 24)}
    vectors = TorchEncoder(load_model(model), name="model").encode(texts, dim=16)
    assert (ranges["16"][0] <= vectors.mean(axis=0)).all()
    assert (ranges["16"][1] >= vectors.mean(axis=0)).all()


def test_out_leaves_the_model_as_it_was(model: Path, texts: list[str], tmp_path: Path) -> None:
    before = contents(model)
    result = export_model(model, texts, out=tmp_path / "copy")
    assert contents(model) == before
    assert result.directory == tmp_path / "copy"
    copied = contents(tmp_path / "copy")
    assert before.items() <= copied.items()
    assert agreement(tmp_path / "copy", texts, "float32").min() > 0.9999


def test_the_copy_of_a_read_only_model_is_its_owners_to_change(
    model: Path, texts: list[str], tmp_path: Path
) -> None:
    for path in sorted(model.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    model.chmod(0o555)
    export_model(model, texts, precisions=["float32"], out=tmp_path / "copy")
    for path in (tmp_path / "copy", *(tmp_path / "copy").rglob("*")):
        assert path.stat().st_mode & stat.S_IWUSR, path


def test_exporting_again_replaces_what_was_there(model: Path, texts: list[str]) -> None:
    export_model(model, texts)
    assert len(list((model / "onnx").iterdir())) == 3
    export_model(model, texts, precisions=["float32"])
    assert sorted(path.name for path in (model / "onnx").iterdir()) == ["export.json", "model.onnx"]


def test_other_peoples_graphs_stay_where_they_are(model: Path, texts: list[str]) -> None:
    (model / "onnx").mkdir()
    (model / "onnx" / "model_O4.onnx").write_text("mine")
    (model / "onnx" / "model.onnx").write_text("replaced")
    for damage in ("[]", "{"):
        export_model(model, texts, precisions=["float32"])
        assert (model / "onnx" / "model_O4.onnx").read_text() == "mine"
        (model / "onnx" / "export.json").write_text(damage)
    export_model(model, texts, precisions=["float32"])
    names = {path.name for path in (model / "onnx").iterdir()}
    assert names == {"model_O4.onnx", "model.onnx", "export.json"}
    assert agreement(model, texts, "float32").min() > 0.999


def test_a_copy_inside_of_the_model_does_not_hold_itself(model: Path, texts: list[str]) -> None:
    before = contents(model)
    export_model(model, texts, precisions=["float32"], out=model / "copy")
    added = {name.partition("/")[2] for name in contents(model) if name.startswith("copy/")}
    assert added >= before.keys()
    assert {name for name in added if "copy" in name or "tmp" in name} == set()


def test_a_graph_that_disagrees_is_not_written(
    model: Path, teacher_dir: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    export_model(model, texts)
    before = contents(model)

    def of_another_seed(original: SentenceTransformer, path: Path) -> None:
        torch.manual_seed(9)
        for weight in original[0].parameters():
            weight.data = torch.randn_like(weight) * 0.3
        write_graph(original, path)
        original.load_state_dict(load_model(model).state_dict())

    monkeypatch.setattr(export_module, "write_graph", of_another_seed)
    with pytest.raises(ExportError, match=r"float32 graph disagrees.*cosine"):
        export_model(model, texts)
    assert contents(model) == before


def test_a_model_that_gives_nan_is_told_from_one_that_cannot_be_exported(
    model: Path, texts: list[str]
) -> None:
    weights = load_file(model / "model.safetensors")
    row = json.loads((model / "tokenizer.json").read_text())["model"]["vocab"]["winter"]
    weights["embeddings.word_embeddings.weight"][row] = np.nan
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    bad = sum("winter" in text.split() for text in texts)
    with pytest.raises(ExportError, match=f"{model} gives NaN for {bad} of 150 sentences"):
        export_model(model, texts)
    assert not (model / "onnx").exists()


def test_a_fault_of_the_model_is_not_told_of_its_copy(model: Path, texts: list[str]) -> None:
    # PyTorch does not read it; the runtime, which tries the copy, does.
    (model / "hpd.json").write_text("{")
    with pytest.raises(WeightsError, match=re.escape(f"{model / 'hpd.json'} is damaged")):
        export_model(model, texts)


def test_a_tokenizer_of_a_vocabulary_alone_is_written_beside_the_graph(
    model: Path, texts: list[str]
) -> None:
    words = json.loads((model / "tokenizer.json").read_text())["model"]["vocab"]
    (model / "tokenizer.json").unlink()
    (model / "vocab.txt").write_text("\n".join(words))
    (model / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    export_model(model, texts, precisions=["float32"])
    reference = load_model(model).encode(texts)
    with Encoder.load(model, precision="float32") as encoder:
        assert (np.einsum("nd,nd->n", encoder.encode(texts), unit(reference)) > 0.99999).all()
    (model / "onnx" / "tokenizer.json").write_text("{}")
    with pytest.raises(WeightsError, match="not the file that was exported"):
        Encoder.load(model)


def test_int8_outside_tolerance_is_refused_and_float32_stays(
    model: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(export_module.TOLERANCE, "int8", (1.01, 1.01))
    result = export_model(model, texts)
    assert result.default == "float32"
    assert [row["precision"] for row in result.rows] == ["float32", "float32"]
    assert "allowed: 1.01" in result.refused["int8"]
    description = json.loads((model / "onnx" / "export.json").read_text())
    assert set(description["files"]) == {"float32"}
    assert description["refused"] == result.refused
    assert not list((model / "onnx").glob("*int8*"))


def test_int8_that_is_slower_here_is_kept_but_not_the_default(
    model: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds = {"int8": 50.0, "float32": 100.0}
    monkeypatch.setattr(export_module, "_speed", lambda encoder, _: speeds[encoder.precision])
    result = export_model(model, texts)
    assert result.default == "float32"
    assert [row["ratio"] for row in result.rows] == [1.0, 1.0, 0.5]
    with Encoder.load(model) as encoder:
        assert encoder.precision == "float32"
    with Encoder.load(model, precision="int8") as encoder:
        assert encoder.precision == "int8"


def test_of_two_ways_to_quantise_the_more_faithful_is_kept(
    model: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = export_module.METHODS["dynamic"]

    def coarse(graph: Path, target: Path, feeds: object) -> None:
        import onnx
        from onnx import numpy_helper

        damaged = onnx.load(graph)
        generator = np.random.default_rng(0)
        for tensor in damaged.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype == np.float32 and values.ndim == 2:
                noise = generator.normal(0, 0.1 * values.std(), values.shape)
                replacement = numpy_helper.from_array((values + noise).astype(np.float32))
                tensor.raw_data = replacement.raw_data
        onnx.save(damaged, target)

    monkeypatch.setattr(export_module, "CLEARLY_BETTER", 0.0)
    for order in (("coarse", "dynamic"), ("dynamic", "coarse")):
        methods = {"coarse": coarse, "dynamic": good}
        monkeypatch.setattr(export_module, "METHODS", {name: methods[name] for name in order})
        assert export_model(model, texts).rows[2]["method"] == "dynamic"


def test_what_cannot_be_a_graph_is_said_in_one_line(
    model: Path, texts: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="precision is int4; allowed: float32, int8"):
        export_model(model, texts, precisions=["int4"])
    with pytest.raises(CorpusError, match="no sentences"):
        export_model(model, [])
    with pytest.raises(UsageError, match="exists; `out` must name a new directory"):
        export_model(model, texts, out=tmp_path)
    with pytest.raises(RunError, match="the name is too long"):
        export_model(model.parent / "not-loaded", texts, out=tmp_path / ("x" * 250))
    base = load_model(model)
    base.insert(1, Normalize())
    base[1] = torch.nn.Identity()
    with pytest.raises(ExportError, match="cannot export a model of Transformer, Identity"):
        write_graph(base, tmp_path / "graph.onnx")


def test_a_static_model_gets_its_table_in_int8(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["dog", "cat", "river", "the", "runs"] * 30
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    table = np.random.default_rng(0).standard_normal((tokenizer.get_vocab_size(), 8))
    embedding = StaticEmbedding(tokenizer, embedding_weights=table.astype(np.float32))
    static = SentenceTransformer(modules=[embedding, Normalize()], device="cpu")
    static.save(str(tmp_path / "static"), create_model_card=False)
    texts = [f"{a} {b}" for a in words[:5] for b in words[:5]]
    result = export_model(tmp_path / "static", texts)
    assert [row["backend"] for row in result.rows] == ["torch", "static", "static"]
    assert agreement(tmp_path / "static", texts, "float32").min() > 0.9999
    assert agreement(tmp_path / "static", texts, "int8").min() > 0.999
    monkeypatch.setitem(export_module.TOLERANCE, "int8", (1.01, 1.01))
    refused = export_model(tmp_path / "static", texts, out=tmp_path / "copy")
    assert "allowed: 1.01" in refused.refused["int8"]
    assert not list((tmp_path / "copy").rglob("static_int8.safetensors"))
    other = tmp_path / "static" / "other" / export_module.STATIC_INT8
    other.parent.mkdir()
    other.write_text("of another model")
    again = export_model(tmp_path / "static", texts, precisions=["float32"])
    assert again.default == "float32"
    assert list((tmp_path / "static").rglob(export_module.STATIC_INT8)) == [other]


def test_a_quantised_table_is_within_half_a_step() -> None:
    table = np.random.default_rng(1).standard_normal((50, 7)).astype(np.float32)
    table[:, 3] = 0
    codes, scale = quantise_table(table)
    assert codes.dtype == np.int8
    assert (np.abs(codes * scale - table) <= scale / 2 + 1e-7).all()
    assert (codes[:, 3] == 0).all()
