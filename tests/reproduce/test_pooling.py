"""Published checkpoints become encoders as their authors meant them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from hpdistill.encoder import unit
from hpdistill.errors import WeightsError
from hpdistill.pytorch import TorchEncoder
from hpdistill.reproduce.pooling import pooled
from hpdistill.weights import resolve


@pytest.fixture(scope="module")
def checkpoint(student_dir: Path) -> Path:
    """A BERT without modules of sentence-transformers."""
    return student_dir.with_name(f"{student_dir.name}-backbone")


@pytest.mark.parametrize("pooling", ["mean", "cls", "pooler"])
def test_vectors_are_those_of_transformers(
    checkpoint: Path, sentences: Callable[..., list[str]], pooling: str
) -> None:
    texts = sentences(8, seed=3)
    model = AutoModel.from_pretrained(checkpoint).eval()
    features = AutoTokenizer.from_pretrained(checkpoint)(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        output = model(**features)
    mask = features["attention_mask"][:, :, None]
    expected = {
        "mean": (output.last_hidden_state * mask).sum(1) / mask.sum(1),
        "cls": output.last_hidden_state[:, 0],
        "pooler": output.pooler_output,
    }[pooling]
    encoder = TorchEncoder(pooled(resolve(str(checkpoint)), pooling), name="published")
    np.testing.assert_allclose(encoder.encode(texts), unit(expected.numpy()), atol=1e-5)


def test_random_weights_are_no_pooler(checkpoint: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in checkpoint.iterdir():
        if path.suffix == ".json":
            (bare / path.name).write_bytes(path.read_bytes())
    weights = load_file(checkpoint / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "pooler" not in name}
    assert len(kept) < len(weights)
    save_file(kept, bare / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="has no pooler layer"):
        pooled(resolve(str(bare)), "pooler")
