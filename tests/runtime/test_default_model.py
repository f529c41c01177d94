"""The static student that comes with the package."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hpdistill
from hpdistill import Encoder

DIRECTORY = Path(hpdistill.__file__).parent / "models" / "default"


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load()


def test_it_is_small_and_says_what_it_was_made_from() -> None:
    files = [path for path in DIRECTORY.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 4_000_000
    card = (DIRECTORY / "README.md").read_text("utf-8")
    for source in ("WordNet 3.0", "all-mpnet-base-v2", "numpy", "Apache-2.0"):
        assert source in card


@pytest.mark.parametrize(
    ("text", "nearer", "further"),
    [
        ("a cat sleeps on the sofa", "the kitten is on the couch", "the stock market fell"),
        ("remove duplicate rows", "drop repeated lines of a table", "play the violin"),
        ("the doctor examined the patient", "a physician in hospital", "a lorry on the road"),
        ("copy a file", "duplicate a document", "the river flows to the sea"),
    ],
)
def test_what_means_alike_is_near(encoder: Encoder, text: str, nearer: str, further: str) -> None:
    first, second, third = encoder.encode([text, nearer, further])
    assert first @ second > first @ third + 0.1


def test_it_gives_128_numbers_and_every_precision(encoder: Encoder) -> None:
    texts = ["one", "two words", ""]
    assert encoder.backend == "static"
    vectors = encoder.encode(texts)
    assert (vectors.shape, vectors.dtype) == ((3, 128), np.dtype(np.float32))
    np.testing.assert_allclose(np.linalg.norm(vectors[:2], axis=1), 1, atol=1e-6)
    assert encoder.encode(texts, precision="int8").dtype == np.int8
    assert encoder.encode(texts, precision="binary").shape == (3, 16)
    assert encoder.encode(texts, dim=64).shape == (3, 64)


def test_it_answers_without_a_network_torch_or_onnxruntime() -> None:
    code = (
        "import sys, hpdistill; hpdistill.Encoder.load().encode(['at once']); "
        "heavy = {'torch', 'transformers', 'scipy', 'onnxruntime', 'huggingface_hub'}; "
        "print(*(heavy & set(sys.modules)), end='')"
    )
    environment = {"HPDISTILL_CACHE": "/nowhere", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
