"""Texts to encode, what is to come of them, and the command."""

import random
import sys
from pathlib import Path
from typing import Any

import numpy as np

from hpdistill.runtime import Encoder

WORDS = [f"w{number}" for number in range(400)]
DIM = 16


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
