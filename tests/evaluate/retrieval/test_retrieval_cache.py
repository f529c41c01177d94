"""Vectors computed once; what was killed goes on, what is damaged is computed again."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from hpdistill.encoder import Embeddings, unit
from hpdistill.errors import EvaluationError, RunError
from hpdistill.evaluate.retrieval import CachedVectors, cached_vectors

TEXTS = [f"text {number}" for number in range(3000)]


class Counting:
    """An encoder whose vectors follow from the text; counts what it is asked."""

    name = "counting"
    dim = 6
    parameters = 0

    def __init__(self, *, fail_after: int | None = None) -> None:
        self.encoded: list[str] = []
        self.fail_after = fail_after

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        normalize: bool = True,
        dim: int | None = None,
    ) -> Embeddings:
        if self.fail_after is not None and len(self.encoded) >= self.fail_after:
            raise KeyboardInterrupt
        self.encoded += texts
        if "nothing finite" in texts:
            return np.full((len(texts), 6), np.nan, np.float32)
        return expected(texts)


def expected(texts: Sequence[str]) -> Embeddings:
    codes = np.array([[hash_of(text) >> 5 * j & 31 for j in range(6)] for text in texts])
    return unit(codes.astype(np.float32) + 1)


def hash_of(text: str) -> int:
    return sum(ord(character) * 31**place for place, character in enumerate(text))


def cached(
    encoder: Counting, folder: Path, texts: Sequence[str] = TEXTS, identity: str = "model"
) -> CachedVectors:
    return cached_vectors(encoder, texts=texts, identity=identity, directory=folder)


def test_the_second_time_nothing_is_encoded(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    encoder = Counting()
    first = cached_vectors(
        encoder,
        TEXTS,
        identity="model",
        directory=tmp_path,
        report=lambda *progress: told.append(progress),
    )
    assert not first.from_cache
    assert first.seconds > 0
    assert told[0] == ("counting: texts", 1024, 3000)
    assert told[-1] == ("counting: texts", 3000, 3000)
    assert isinstance(first.vectors, np.memmap)
    assert first.vectors.dtype == np.float32
    assert not first.vectors.flags.writeable
    np.testing.assert_array_equal(first.vectors, expected(TEXTS))

    other = Counting()
    second = cached(other, tmp_path)
    assert other.encoded == []
    assert second.from_cache
    assert second.seconds == first.seconds
    assert second.note == ""
    np.testing.assert_array_equal(second.vectors, first.vectors)


@pytest.mark.parametrize(
    ("texts", "identity"),
    [(TEXTS[:-1], "model"), ([*TEXTS[1:], TEXTS[0]], "model"), (TEXTS, "model, int8")],
)
def test_other_texts_or_another_model_are_encoded(
    tmp_path: Path, texts: list[str], identity: str
) -> None:
    cached(Counting(), tmp_path)
    found = cached(Counting(), tmp_path, texts, identity)
    assert not found.from_cache
    np.testing.assert_array_equal(found.vectors, expected(texts))
    assert cached(Counting(), tmp_path).from_cache


def test_a_killed_encoding_goes_on_and_its_time_counts(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        cached(Counting(fail_after=2048), tmp_path)
    (record,) = tmp_path.glob("*.json")
    before = json.loads(record.read_text())
    assert before["rows"] == 2048
    record.write_text(json.dumps(before | {"seconds": 100.0}))

    encoder = Counting()
    found = cached(encoder, tmp_path)
    assert encoder.encoded == TEXTS[:16] + TEXTS[2048:]  # the first few warm it up
    assert 100 < found.seconds < 150
    np.testing.assert_array_equal(found.vectors, expected(TEXTS))
    assert cached(Counting(), tmp_path).seconds == found.seconds


@pytest.mark.parametrize("record", ["", "{", "[]", "null"])
def test_a_killed_encoding_goes_on_without_its_record(tmp_path: Path, record: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        cached(Counting(fail_after=2048), tmp_path)
    (path,) = tmp_path.glob("*.json")
    path.write_text(record)
    np.testing.assert_array_equal(cached(Counting(), tmp_path).vectors, expected(TEXTS))


def test_a_kill_before_the_checksum_costs_nothing(tmp_path: Path) -> None:
    cached(Counting(), tmp_path)
    (path,) = tmp_path.glob("*.json")
    record = json.loads(path.read_text())
    checksum = record.pop("sha256")
    path.write_text(json.dumps(record))
    assert cached(Counting(), tmp_path).from_cache
    assert json.loads(path.read_text())["sha256"] == checksum


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        ("npy", flip),
        ("npy", lambda path: os.truncate(path, 1000)),
        ("npy", lambda path: os.truncate(path, 0)),
        ("json", lambda path: path.unlink()),
        ("json", lambda path: path.write_text("{")),
        ("json", lambda path: path.write_text("[]")),
        ("json", lambda path: path.write_text('{"seconds": "long", "sha256": ""}')),
    ],
)
def test_what_is_damaged_is_computed_again_with_a_note(
    tmp_path: Path, suffix: str, damage: object
) -> None:
    cached(Counting(), tmp_path)
    (path,) = tmp_path.glob(f"*.{suffix}")
    damage(path)  # type: ignore[operator]
    found = cached(Counting(), tmp_path)
    assert not found.from_cache
    assert "the cached vectors of counting" in found.note
    assert "\n" not in found.note
    np.testing.assert_array_equal(found.vectors, expected(TEXTS))
    assert cached(Counting(), tmp_path).from_cache


def test_the_default_is_hpdistills_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPDISTILL_CACHE", str(tmp_path / "own"))
    found = cached_vectors(Counting(), ["a"], identity="model")
    assert found.path.parent == tmp_path / "own" / "vectors"


def test_refuses_vectors_that_are_not_finite(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="not finite"):
        cached(Counting(), tmp_path, ["nothing finite"])
    assert not list(tmp_path.glob("*.npy"))


def test_says_that_the_cache_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file"):
        cached(Counting(), tmp_path / "file")
