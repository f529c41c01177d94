"""Which model directories are accepted, and why others are refused."""

import hashlib
import json
import os
import struct
from pathlib import Path

import pytest
from weights_data import MODULES, sha256, write_model

from hpdistill.errors import WeightsError
from hpdistill.weights import resolve


def refusal(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        resolve(str(path))
    return f"{caught.value} | {caught.value.hint}"


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def set_modules(model: Path, modules: list[object]) -> None:
    (model / "modules.json").write_text(json.dumps(modules))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def test_a_directory_is_taken_as_it_is(model, monkeypatch):
    monkeypatch.chdir(model.parent)
    found = resolve("model")
    assert found.name == "model"
    assert found.path == model
    assert found.source == "path"
    assert found.sha256 == sha256((model / "model.safetensors").read_bytes())


def test_a_plain_transformers_directory_needs_no_modules_json(model):
    (model / "modules.json").unlink()
    assert resolve(str(model)).path == model


def test_a_pickle_beside_safetensors_does_no_harm(model):
    (model / "pytorch_model.bin").write_bytes(b"never read")
    assert resolve(str(model)).source == "path"


def test_the_hash_of_several_weight_files_is_that_of_their_list(model):
    head = write_model(model.parent / "other", seed=1) / "model.safetensors"
    (model / "2_Dense").mkdir()
    (model / "2_Dense/model.safetensors").write_bytes(head.read_bytes())
    (model / "2_Dense/config.json").write_text(
        '{"activation_function": "torch.nn.modules.linear.Identity"}'
    )
    dense = {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    set_modules(model, [*MODULES[:2], dense])
    lines = (
        f"{sha256(head.read_bytes())}  2_Dense/model.safetensors\n"
        f"{sha256((model / 'model.safetensors').read_bytes())}  model.safetensors\n"
    )
    assert resolve(str(model)).sha256 == hashlib.sha256(lines.encode()).hexdigest()


def test_shards_are_hashed_together_and_none_may_be_missing(model):
    whole = (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
    second = model / "model-00002-of-00002.safetensors"
    second.write_bytes(whole.read_bytes())
    weight_map = {"weight_map": {"a": whole.name, "b": second.name, "c": whole.name}}
    (model / "model.safetensors.index.json").write_text(json.dumps(weight_map))
    one = sha256(whole.read_bytes())
    lines = f"{one}  {whole.name}\n{one}  {second.name}\n"
    assert resolve(str(model)).sha256 == hashlib.sha256(lines.encode()).hexdigest()
    second.unlink()
    assert "lacks 1 of 2 shards: model-00002-of-00002.safetensors" in refusal(model)


@pytest.mark.parametrize(
    "kind",
    [
        "sentence_transformers.models.Transformer",
        "sentence_transformers.models.Transformer.Transformer",
        "sentence_transformers.base.modules.transformer.Transformer",
        "sentence_transformers.sentence_transformer.modules.Transformer",
        "sentence_transformers.sentence_transformer.modules.transformer.Transformer",
    ],
)
def test_modules_are_known_under_all_names_they_have_had(model, kind):
    set_modules(model, [{"path": "", "type": kind}])
    assert resolve(str(model)).source == "path"


@pytest.mark.parametrize(
    "kind",
    [
        "modeling.CustomTransformer",
        "os.system",
        "sentence_transformers.util.misc.import_from_string",
        "sentence_transformers.models.Router",
        "sentence_transformers.models.Transformer.__init__",
        "sentence_transformers.modelsXTransformer",
        "evil.sentence_transformers.models.Transformer",
    ],
)
def test_other_modules_are_refused(model, kind):
    set_modules(model, [{"path": "", "type": kind}])
    text = refusal(model)
    assert kind in text
    assert "never run" in text


@pytest.mark.parametrize("place", ["../other", "/etc", "1_Pooling/../../other", "..\\other"])
def test_modules_outside_the_directory_are_refused(model, place):
    write_model(model.parent / "other")
    set_modules(model, [*MODULES, {"path": place, "type": "sentence_transformers.models.Dense"}])
    assert "points outside its folder" in refusal(model)


@pytest.mark.parametrize("modules", [[], {}, ["x"], [{"path": ""}], [{"path": 1, "type": "x"}]])
def test_a_malformed_module_list_is_damaged(model, modules):
    set_modules(model, modules)
    assert "modules.json is damaged" in refusal(model)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.json", {"auto_map": {"AutoModel": "modeling.Evil"}}),
        ("config.json", {"text_config": {"auto_map": {"AutoModel": "owner/other--m.Evil"}}}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["tokenization.Evil", None]}}),
        ("sentence_bert_config.json", {"model_args": {"trust_remote_code": True}}),
        ("sentence_bert_config.json", {"model_args": {"attn_implementation": "owner/kernel"}}),
        ("config.json", {"_attn_implementation": "owner/kernel"}),
        ("config.json", {"attn_implementation": {"text": "owner/kernel"}}),
        ("config.json", {"use_kernels": True}),
    ],
)
def test_settings_that_ask_for_code_are_refused(model, file, change):
    if not (model / file).exists():
        (model / file).write_text("{}")
    edit(model / file, **change)
    text = refusal(model)
    assert str(model / file) in text
    assert "code of its own" in text


@pytest.mark.parametrize(
    "change",
    [
        {"model_args": {"variant": "other"}},
        {"model_kwargs": {"subfolder": "other"}},
        {"tokenizer_args": {"tokenizer_file": "/elsewhere"}},
        {"tokenizer_name_or_path": "owner/other"},
    ],
)
def test_settings_that_ask_for_other_files_are_refused(model, change):
    (model / "sentence_bert_config.json").write_text(json.dumps(change))
    text = refusal(model)
    assert str(model / "sentence_bert_config.json") in text
    assert "asks for other files than those that are checked" in text


def test_usual_settings_of_loading_are_taken(model):
    change = {"model_args": {"attn_implementation": "sdpa", "torch_dtype": "float32"}}
    (model / "sentence_bert_config.json").write_text(json.dumps(change))
    edit(model / "config.json", _attn_implementation="eager", attn_implementation=None)
    assert resolve(str(model)).path == model


def test_the_activation_of_a_dense_layer_is_one_of_torch(model):
    (model / "2_Dense").mkdir()
    dense = {"path": "2_Dense", "type": "sentence_transformers.base.modules.dense.Dense"}
    set_modules(model, [*MODULES, dense])
    (model / "2_Dense/config.json").write_text('{"activation_function": "os.system"}')
    assert "'os.system'" in refusal(model)


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.pt", "m.pkl", "m.ckpt", "m.pth"])
def test_a_model_that_is_only_a_pickle_is_refused(model, file):
    (model / "model.safetensors").rename(model / file)
    text = refusal(model)
    assert "only as a pickle, which could run code" in text
    assert "safetensors" in text


def test_a_dense_layer_that_is_only_a_pickle_is_refused(model):
    (model / "2_Dense").mkdir()
    (model / "2_Dense/pytorch_model.bin").write_bytes(b"a pickle")
    set_modules(
        model, [*MODULES, {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}]
    )
    assert "2_Dense has its weights only as a pickle" in refusal(model)


def test_a_directory_without_weights_is_refused(model):
    (model / "model.safetensors").unlink()
    assert "has no model.safetensors" in refusal(model)


def test_a_directory_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "notes").mkdir()
    assert "neither modules.json nor config.json" in refusal(tmp_path / "notes")
    (tmp_path / "notes/model.pkl").write_bytes(b"a pickle")
    assert "only pickled weights" in refusal(tmp_path / "notes")


@pytest.mark.parametrize("nested", [False, True])
def test_an_adapter_is_not_a_model(model, nested):
    folder = in_folder(model, "Transformer") if nested else model
    (folder / "adapter_config.json").write_text("{}")
    assert f"{folder} holds an adapter" in refusal(model)


def test_a_transformer_without_config_is_refused(model):
    (model / "config.json").unlink()
    assert "no config.json" in refusal(model)


def in_folder(model: Path, kind: str) -> Path:
    """Move all of a model's first module to a folder of its own."""
    folder = model / f"0_{kind}"
    folder.mkdir()
    for file in [file for file in model.iterdir() if file.is_file()]:
        file.rename(folder / file.name)
    first = {"path": folder.name, "type": f"sentence_transformers.models.{kind}"}
    set_modules(model, [first, *MODULES[1:]])
    return folder


VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model")


@pytest.mark.parametrize(
    ("kind", "vocabularies"),
    [
        (None, VOCABULARIES),
        ("Transformer", VOCABULARIES),
        ("StaticEmbedding", VOCABULARIES[:1]),
    ],
)
def test_a_model_without_its_tokenizer_is_refused(model, kind, vocabularies):
    folder = in_folder(model, kind) if kind else model
    for name in VOCABULARIES[:2]:
        (folder / name).unlink()
    (folder / "tokenizer_config.json").write_text("{}")
    assert f"{folder} has no tokenizer: {vocabularies[0]}" in refusal(model)
    for name in VOCABULARIES:
        (folder / name).write_text("")
        if name in vocabularies:
            assert resolve(str(model)).path == model
        else:
            assert "has no tokenizer" in refusal(model)
        (folder / name).unlink()


def test_a_model_of_bytes_needs_no_vocabulary(model):
    for name in VOCABULARIES[:2]:
        (model / name).unlink()
    (model / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
    assert resolve(str(model)).path == model


@pytest.mark.parametrize("text", ["{", "\xff\xfe", "[" * 100_000])
def test_json_that_cannot_be_read_is_damaged(model, text):
    (model / "config.json").write_bytes(text.encode("latin-1"))
    assert "config.json is damaged" in refusal(model)


def test_damaged_safetensors_are_found_before_a_loader_trips(model):
    file = model / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-4])
    assert f"{len(whole) - 4} bytes where {len(whole)} were expected" in refusal(model)
    header = b'{"a": 1}'
    for broken in (b"", b"abc", b"\xff" * 40, struct.pack("<Q", len(header)) + header):
        file.write_bytes(broken)
        assert "damaged, not safetensors" in refusal(model)
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "a Git LFS pointer, not safetensors | Fetch it with `git lfs pull`." in refusal(model)


def test_an_index_may_name_only_files_of_its_folder(model):
    (model / "model.safetensors").unlink()
    weight_map = {"weight_map": {"a": "../other/model.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(weight_map))
    assert "names no plain files" in refusal(model)


def test_the_hash_of_large_weights_is_remembered_until_the_file_changes(model, monkeypatch, cache):
    monkeypatch.setattr("hpdistill.weights._inspect._CHUNK", 16)
    file = model / "model.safetensors"
    first = resolve(str(model)).sha256
    whole, times = file.read_bytes(), file.stat()
    file.write_bytes(whole[:-1] + b"?")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert resolve(str(model)).sha256 == first, "same path, size and time: not read again"
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    assert resolve(str(model)).sha256 == sha256(file.read_bytes())
    for stamp in (cache / "verified").iterdir():
        stamp.write_text("[]")
    assert resolve(str(model)).sha256 == sha256(file.read_bytes())


def test_a_path_needs_no_cache(model, monkeypatch, tmp_path):
    monkeypatch.setattr("hpdistill.weights._inspect._CHUNK", 16)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HPDISTILL_CACHE", str(tmp_path / "file" / "cache"))
    assert resolve(str(model)).source == "path"
    monkeypatch.setenv("HPDISTILL_CACHE", "~nobody-of-that-name/cache")
    assert resolve(str(model)).source == "path"
