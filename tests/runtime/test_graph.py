"""Graphs that are missing, damaged, of another model, or would read other files: one line each."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tokenizers import Tokenizer

from hpdistill.errors import HpdError, UsageError, WeightsError
from hpdistill.runtime import Encoder
from hpdistill.runtime._protobuf import DamagedError, read_graph_file

GRAPH = "onnx/model.onnx"
INT8 = "onnx/model_qint8_avx512_vnni.onnx"


def refused(model: Path | str, kind: type[HpdError] = WeightsError, **options: object) -> HpdError:
    with pytest.raises(kind) as caught:
        Encoder.load(model, **options)
    assert "\n" not in str(caught.value)
    return caught.value


def others(exported: Path) -> Path:
    """A directory as other tools make it: a graph and nothing of ours."""
    for name in ("onnx/export.json", "hpd.json", "embedding_ranges.safetensors"):
        (exported / name).unlink()
    return exported


def save(model: onnx.ModelProto, exported: Path) -> None:
    onnx.save(model, exported / GRAPH)


def edit(exported: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    others(exported)
    model = onnx.load(exported / GRAPH)
    change(model)
    save(model, exported)
    return exported


def test_a_directory_of_another_tool_loads(exported: Path) -> None:
    with Encoder.load(others(exported)) as encoder:
        assert encoder.precision == "float32"
        assert encoder.prefixes == {}
        weights = onnx.load(exported / GRAPH).graph.initializer
        assert encoder.parameters == sum(int(np.prod(w.dims)) for w in weights) > 10_000
        assert encoder.dim == 24
        expected = encoder.encode(["the dog"])
        with pytest.raises(UsageError, match="was measured at 24"):
            encoder.encode(["the dog"], dim=8)
        with pytest.raises(UsageError, match="has for none"):
            encoder.encode(["the dog"], precision="int8")
    shutil.move(exported / GRAPH, exported / "model.onnx")
    shutil.rmtree(exported / "onnx")
    with Encoder.load(exported) as encoder:
        assert np.array_equal(encoder.encode(["the dog"]), expected)


def test_no_safetensors_are_needed(exported: Path) -> None:
    (exported / "model.safetensors").unlink()
    with Encoder.load(exported) as encoder:
        assert encoder.encode(["the dog"]).shape == (1, 24)


def test_a_missing_graph(exported: Path) -> None:
    (exported / INT8).unlink()
    error = refused(exported)
    assert f"{INT8} is missing" in str(error)
    assert "hpd export" in error.hint
    with Encoder.load(exported, precision="float32"):
        pass


def test_a_model_without_graphs(student_dir: Path) -> None:
    error = refused(student_dir)
    assert "has no ONNX graph" in str(error)
    assert "hpd export" in error.hint


def test_a_precision_that_was_not_exported(exported: Path) -> None:
    settings = json.loads((exported / "onnx/export.json").read_text())
    del settings["files"]["int8"]
    (exported / "onnx/export.json").write_text(json.dumps({**settings, "default": "float32"}))
    error = refused(exported, UsageError, precision="int8")
    assert "has no int8 version; it has float32" in str(error)
    assert "hpd export" in error.hint
    assert "allowed: auto, float32, int8" in str(refused(exported, UsageError, precision="int4"))
    assert "threads is 0" in str(refused(exported, UsageError, threads=0))


@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_a_truncated_graph(exported: Path, kept: int) -> None:
    data = (exported / INT8).read_bytes()
    (exported / INT8).write_bytes(data[:kept])
    assert "is damaged" in str(refused(exported))
    others(exported)
    (exported / GRAPH).write_bytes((exported / GRAPH).read_bytes()[:kept])
    error = refused(exported)
    assert f"{GRAPH} is damaged" in str(error)
    assert "hpd export" in error.hint


def test_another_graph_than_was_exported(exported: Path) -> None:
    data = bytearray((exported / INT8).read_bytes())
    data[len(data) // 2] ^= 1
    (exported / INT8).write_bytes(data)
    assert "its sha256 is another" in str(refused(exported))


@pytest.mark.parametrize("content", [b"not a graph at all", bytes(100), b"version https://git-lfs"])
def test_what_is_no_graph(exported: Path, content: bytes) -> None:
    (others(exported) / GRAPH).write_bytes(content)
    assert f"{GRAPH} is damaged" in str(refused(exported))


def test_every_truncation_is_seen(exported_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    data = (exported_dir / GRAPH).read_bytes()
    for end in range(0, len(data), 997):
        file.write_bytes(data[:end])
        with pytest.raises(DamagedError):
            read_graph_file(file)


def test_a_graph_without_sentence_embedding(exported: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        del model.graph.output[1]

    error = refused(edit(exported, change))
    assert "has no output sentence_embedding; it has last_hidden_state" in str(error)
    assert "hpd export" in error.hint


def test_a_graph_that_takes_something_else(exported: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.input.append(
            helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3])
        )

    assert "takes pixel_values; allowed inputs: input_ids" in str(refused(edit(exported, change)))


def test_a_graph_that_gives_something_else(exported: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        del model.graph.output[:]
        for node in model.graph.node:
            node.output[:] = ["inner" if o == "sentence_embedding" else o for o in node.output]
        names = ["last_hidden_state"], ["sentence_embedding"]
        model.graph.node.append(helper.make_node("Identity", *names))
        shape = ["batch", "length", 24]
        model.graph.output.append(
            helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, shape)
        )

    assert "float32 of 3 dimensions" in str(refused(edit(exported, change)))


def test_a_graph_that_onnx_runtime_refuses(exported: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node[0].op_type = "NoSuchOperator"

    assert "cannot be opened: " in str(refused(edit(exported, change)))


@pytest.mark.parametrize("sizes", [(30, 64), (100, 64), (64, 40)])
def test_a_tokenizer_of_another_vocabulary(exported: Path, sizes: tuple[int, int]) -> None:
    tokens, rows = sizes
    tokenizer = json.loads((exported / "tokenizer.json").read_text())
    words = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    words = [*words, *(f"word{i}" for i in range(100))][:tokens]
    tokenizer["model"]["vocab"] = {word: number for number, word in enumerate(words)}
    (exported / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = json.loads((exported / "config.json").read_text())
    assert config["vocab_size"] == 64
    (exported / "config.json").write_text(json.dumps({**config, "vocab_size": rows}))
    error = refused(exported)
    assert f"tokenizer.json has {tokens} tokens, but the model has vectors for {rows}" in str(error)


def test_a_tokenizer_beyond_the_graph_without_a_config(exported: Path) -> None:
    (exported / "config.json").unlink()
    with Encoder.load(exported):
        pass
    tokenizer = Tokenizer.from_file(str(exported / "tokenizer.json"))
    tokenizer.add_tokens(["newword"])
    tokenizer.save(str(exported / "tokenizer.json"))
    error = refused(exported, precision="float32")
    assert "fails at token 64, the last of the tokenizer's: " in str(error)
    assert "63" in str(error)


@pytest.mark.parametrize("content", [None, "{", "[1]", '{"version": "1.0"}'])
def test_a_tokenizer_that_is_missing_or_damaged(exported: Path, content: str | None) -> None:
    file = exported / "tokenizer.json"
    file.unlink()
    if content is not None:
        file.write_text(content)
    assert f"tokenizer.json is {'damaged' if content else 'missing'}" in str(refused(exported))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("onnx/export.json", "{"),
        ("onnx/export.json", '{"files": 3}'),
        ("onnx/export.json", '{"default": "int8", "files": {"int8": {"file": "../model.onnx"}}}'),
        ("hpd.json", '{"prefixes": {"wide": 1}}'),
        ("hpd.json", '{"prefixes": 3}'),
        ("config.json", "[]"),
        ("modules.json", "{}"),
        ("modules.json", "[]"),
        ("modules.json", "[3]"),
        ("sentence_bert_config.json", "nonsense"),
    ],
)
def test_damaged_settings(exported: Path, name: str, content: str) -> None:
    (exported / name).write_text(content)
    error = refused(exported)
    assert f"{name} is damaged" in str(error)


def test_modules_outside_the_directory(exported: Path) -> None:
    modules = json.loads((exported / "modules.json").read_text())
    modules[0]["path"] = "../elsewhere"
    (exported / "modules.json").write_text(json.dumps(modules))
    assert "points outside its folder" in str(refused(exported))


def test_damaged_ranges(exported: Path) -> None:
    (exported / "embedding_ranges.safetensors").write_bytes(b"nonsense")
    with Encoder.load(exported) as encoder:
        assert encoder.encode(["dog"]).shape == (1, 24)
        with pytest.raises(WeightsError, match=r"embedding_ranges.safetensors is damaged"):
            encoder.encode(["dog"], precision="int8")


def test_unknown_models(tmp_path: Path) -> None:
    assert "unknown model 'nothing'" in str(refused("nothing"))
    assert "no such directory" in str(refused(tmp_path / "nothing"))
    assert "is not a model directory" in str(refused(tmp_path))


# Tensors in other files.


def keep_outside(exported: Path, place: str, *, data: Path | None = None) -> None:
    """Move the graph's tensors to another file, and have the graph name it as `place`."""
    others(exported)
    model = onnx.load(exported / GRAPH)
    onnx.save_model(
        model,
        exported / GRAPH,
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location="tensors.bin",
        size_threshold=0,
    )
    model = onnx.load(exported / GRAPH, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = place
    # Serialised by hand: the library itself refuses to write some of these.
    (exported / GRAPH).write_bytes(model.SerializeToString())
    if data is not None:
        shutil.move(exported / "onnx/tensors.bin", data)


def test_tensors_beside_the_graph(exported: Path, exported_dir: Path) -> None:
    with Encoder.load(exported_dir, precision="float32") as encoder:
        expected, parameters = encoder.encode(["the dog"]), encoder._model.parameters
    keep_outside(exported, "tensors.bin")
    with Encoder.load(exported) as encoder:
        assert np.array_equal(encoder.encode(["the dog"]), expected)
        assert encoder.parameters == parameters
    (exported / "onnx/tensors.bin").unlink()
    assert "tensors.bin, which is missing" in str(refused(exported))


@pytest.mark.parametrize("place", ["../../secret.bin", "../model.safetensors", "a/../../b", "{}"])
def test_tensors_outside_the_directory(exported: Path, tmp_path: Path, place: str) -> None:
    secret = tmp_path / "secret.bin"
    keep_outside(exported, place.format(secret), data=secret)
    error = refused(exported)
    assert "keeps tensors outside its directory" in str(error)
    assert place.format(secret) in str(error)


def test_tensors_behind_a_symbolic_link(exported: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    keep_outside(exported, "tensors.bin", data=secret)
    (exported / "onnx/tensors.bin").symlink_to(secret)
    assert "keeps tensors outside its directory, in 'tensors.bin'" in str(refused(exported))


def test_a_folder_that_is_a_symbolic_link(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    keep_outside(exported, "link/secret.bin", data=tmp_path / "elsewhere" / "secret.bin")
    (exported / "onnx/link").symlink_to(tmp_path / "elsewhere")
    assert "keeps tensors outside its directory" in str(refused(exported))


def test_the_layout_of_the_hubs_cache(exported: Path, tmp_path: Path) -> None:
    """There, each file is a link into one folder."""
    keep_outside(exported, "tensors.bin")
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for name in ("model.onnx", "tensors.bin"):
        shutil.move(exported / "onnx" / name, blobs / name)
        (exported / "onnx" / name).symlink_to(blobs / name)
    reached = read_graph_file(exported / GRAPH).external
    assert reached == ("tensors.bin",)
    try:
        Encoder.load(exported).close()
    except WeightsError as error:
        # Newer versions of ONNX Runtime refuse this layout by themselves; never we.
        assert "cannot be opened" in str(error)  # noqa: PT017


@pytest.mark.parametrize("where", ["subgraph", "attribute", "function", "sparse"])
def test_tensors_outside_are_seen_wherever_they_hide(tmp_path: Path, where: str) -> None:
    tensor = onnx.TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    constant = onnx.NodeProto(op_type="Constant", output=["c"])
    constant.attribute.add(name="value", type=onnx.AttributeProto.TENSOR, t=tensor)
    graph = onnx.GraphProto(name="g")
    functions = []
    if where == "attribute":
        graph.node.append(constant)
    elif where == "sparse":
        graph.sparse_initializer.add().values.CopyFrom(tensor)
    elif where == "function":
        functions = [onnx.FunctionProto(name="f", node=[constant])]
    else:
        inner = onnx.GraphProto(name="inner", node=[constant])
        branch = onnx.NodeProto(op_type="If", input=["x"], output=["y"])
        branch.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH, g=inner)
        graph.node.append(branch)
    file = tmp_path / "model.onnx"
    model = onnx.ModelProto(ir_version=8, graph=graph, functions=functions)
    file.write_bytes(model.SerializeToString())
    assert read_graph_file(file).external == ("/etc/passwd",)
