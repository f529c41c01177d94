"""Tiny models as the runtime takes them: ONNX graphs, tables of token vectors."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

PREFIXES = {8: 0.7, 16: 0.8, 24: 0.9}
DIM = 24


def write_graph(model: Path, file: Path) -> None:
    """The float32 graph of a tiny model."""
    import warnings

    import torch

    from hpdistill.pytorch import load_model
    from hpdistill.student import backbone

    inner = load_model(model, device="cpu").eval()
    backbone(inner).set_attn_implementation("eager")

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            features = {
                "input_ids": input_ids,
                "attention_mask": attention_mask,
                "token_type_ids": token_type_ids,
            }
            for module in self.inner:
                features = module(features)
            return features["token_embeddings"], features["sentence_embedding"]

    ids = torch.ones(2, 7, dtype=torch.long)
    mask = torch.ones(2, 7, dtype=torch.long)
    mask[1, 5:] = 0
    names = ["input_ids", "attention_mask", "token_type_ids"]
    axes = {name: {0: "batch", 1: "length"} for name in [*names, "last_hidden_state"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own making
        torch.onnx.export(
            Whole(),
            (ids, mask, torch.zeros_like(ids)),
            str(file),
            input_names=names,
            output_names=["last_hidden_state", "sentence_embedding"],
            dynamic_axes=axes | {"sentence_embedding": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )


def describe(model: Path, files: dict[str, str], *, default: str) -> None:
    """Write `onnx/export.json` for the graphs that are there."""
    folder = model / "onnx"
    entries = {
        precision: {
            "file": name,
            "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
            "bytes": (folder / name).stat().st_size,
        }
        for precision, name in files.items()
    }
    whole = {"format": 1, "opset": 17, "default": default, "dim": DIM, "parameters": 4321}
    (folder / "export.json").write_text(json.dumps({**whole, "files": entries}))


def ranges() -> dict[str, np.ndarray]:
    return {
        str(dim): np.stack([np.full(dim, -0.9), np.full(dim, 0.9)]).astype(np.float32)
        for dim in PREFIXES
    }


@pytest.fixture(scope="session")
def exported_dir(student_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny student with float32 and int8 graphs, prefixes and ranges; never written to."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = tmp_path_factory.mktemp("exported") / "model"
    shutil.copytree(student_dir, model)
    (model / "onnx").mkdir()
    write_graph(student_dir, model / "onnx" / "model.onnx")
    int8 = "model_qint8_avx512_vnni.onnx"
    quantize_dynamic(
        model / "onnx" / "model.onnx",
        model / "onnx" / int8,
        per_channel=True,
        weight_type=QuantType.QUInt8,
    )
    describe(model, {"float32": "model.onnx", "int8": int8}, default="int8")
    hpd = {"format": 1, "dim": DIM, "prefixes": {str(d): f for d, f in PREFIXES.items()}}
    (model / "hpd.json").write_text(json.dumps(hpd))
    save_file(ranges(), model / "embedding_ranges.safetensors")
    return model


@pytest.fixture
def exported(exported_dir: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    return Path(shutil.copytree(exported_dir, tmp_path / "model"))


def word_piece() -> Any:
    """BERT's whole pipeline over a few dozen word pieces."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    marks = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "red", "dog", "##s", "run", "##ning"]
    pieces += [*letters, *(f"##{letter}" for letter in letters if letter != "s"), *marks, "é"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(
        models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=12)
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    return tokenizer


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[[], Any]:
    return word_piece


@pytest.fixture
def static_dir(tmp_path: Path) -> Path:
    """A static model of width 12, saved by sentence-transformers, with its int8 table beside."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

    tokenizer = word_piece()
    table = np.random.default_rng(5).standard_normal((tokenizer.get_vocab_size(), 12))
    table = table.astype(np.float32)
    module = StaticEmbedding(tokenizer, embedding_weights=table)
    directory = tmp_path / "static"
    SentenceTransformer(modules=[module, Normalize()], device="cpu").save(
        str(directory), create_model_card=False
    )
    scale = np.abs(table).max(axis=0) / 127
    folder = directory / json.loads((directory / "modules.json").read_text())[0]["path"]
    codes = np.rint(table / scale).astype(np.int8)
    save_file({"codes": codes, "scale": scale}, folder / "static_int8.safetensors")
    return directory
