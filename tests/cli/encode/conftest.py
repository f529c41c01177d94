"""The model that most of these tests encode with."""

import json
from pathlib import Path

import numpy as np
import pytest
from encoding import DIM, WORDS
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers


@pytest.fixture(scope="session")
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


@pytest.fixture
def allnli(tmp_path: Path) -> Path:
    """AllNLI's file with one pair to train on and one in its development part."""
    rows = [
        ("split", "dataset", "filename", "sentence1", "sentence2", "label"),
        ("train", "SNLI", "f", "w4", "w5", "neutral"),
        ("dev", "SNLI", "f", "w1 w2", "w3", "neutral"),
    ]
    path = tmp_path / "allnli.tsv"
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    return path
