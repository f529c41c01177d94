"""A store gives back the vectors of exactly the texts, encoder and precision asked for."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpdistill.encoder import Embeddings, unit
from hpdistill.errors import StoreError
from hpdistill.teacher import Store, text_hash

FULL = {"weights": "w", "configuration": "c", "precision": "float32"}
HALF = {**FULL, "precision": "bfloat16"}


def vectors(count: int, *, seed: int = 0, width: int = 6) -> Embeddings:
    generator = np.random.default_rng(seed)
    return unit(generator.normal(size=(count, width)).astype(np.float32))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", FULL)


def test_nothing_is_made_before_the_first_shard(store: Store) -> None:
    assert "k" not in store
    assert store.shards == {}
    assert not store.directory.exists()


def test_shards_are_found_by_their_text(store: Store) -> None:
    texts = [["a", "b"], ["c"], ["b", "a"]]
    for number, chunk in enumerate(texts):
        store.write(text_hash(chunk), vectors(len(chunk), seed=number), seconds=1.234)
    again = Store(store.directory, FULL)
    for number, chunk in enumerate(texts):
        assert text_hash(chunk) in again
        np.testing.assert_array_equal(
            again.read(text_hash(chunk)), vectors(len(chunk), seed=number)
        )
    assert text_hash(["a"]) not in again
    assert [shard["shape"] for shard in again.shards.values()] == [[2, 6], [1, 6], [2, 6]]
    assert {shard["seconds"] for shard in again.shards.values()} == {1.23}


chunks = st.lists(st.text(), max_size=4)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(chunks, chunks)
def test_hashes_of_texts_differ_when_texts_do(one: list[str], other: list[str]) -> None:
    assert (text_hash(one) == text_hash(other)) == (one == other)


def test_the_hash_of_texts_knows_their_boundaries() -> None:
    variants = [["ab", "c"], ["a", "bc"], ["abc"], ["abc", ""], ["", "abc"], ["a\x00bc"]]
    assert len({text_hash(texts) for texts in variants}) == len(variants)
    assert text_hash(["\ud800"]) != text_hash(["?"])  # half of a character, as JSON can hold
    # Kept stores are found again only while this stays so.
    layout = b"\3\0\0\0\0\0\0\0dog\4\0\0\0\0\0\0\0cats"
    assert text_hash(["dog", "cats"]) == hashlib.sha256(layout).hexdigest()


def test_a_shard_is_replaced(store: Store) -> None:
    store.write("k", vectors(3, seed=1), seconds=0)
    store.write("k", vectors(2, seed=2), seconds=0)
    for reader in (store, Store(store.directory, FULL)):
        np.testing.assert_array_equal(reader.read("k"), vectors(2, seed=2))


def test_float32_is_kept_bit_by_bit(store: Store) -> None:
    values = vectors(50) * np.float32(1e-6)
    store.write("k", values, seconds=0)
    np.testing.assert_array_equal(Store(store.directory, FULL).read("k"), values)


def test_bfloat16_is_kept_in_half_the_bytes_within_a_bound(tmp_path: Path) -> None:
    values = vectors(500, width=64)
    half, full = Store(tmp_path / "half", HALF), Store(tmp_path / "full", FULL)
    for one in (half, full):
        one.write("k", values, seconds=0)
    back = Store(half.directory, HALF).read("k")
    assert back.dtype == np.float32
    # Half a unit in the last of 11 bits, of numbers below 1; bfloat16 itself has 8.
    assert np.abs(back - values).max() <= 2**-12
    cosines = (unit(back) * values).sum(axis=1)
    assert cosines.min() > 1 - 1e-6
    sizes = [next(one.directory.glob("*.npy")).stat().st_size for one in (half, full)]
    assert sizes[0] < 0.51 * sizes[1]


@pytest.mark.parametrize("key", ["weights", "configuration", "precision"])
def test_another_encoder_is_refused(store: Store, key: str) -> None:
    store.write("k", vectors(2), seconds=0)
    other = {**FULL, key: "bfloat16" if key == "precision" else "x"}
    with pytest.raises(StoreError, match=r"manifest\.json belongs to another encoder") as caught:
        Store(store.directory, other)
    assert str(store.directory) in caught.value.hint


def damaged(store: Store, change: Any) -> Path:
    store.write("k", vectors(9), seconds=0)
    path = next(store.directory.glob("*.npy"))
    path.write_bytes(change(path.read_bytes()))
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-4],
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data + b"\0",
        lambda data: b"",
    ],
    ids=["truncated", "one bit", "longer", "empty"],
)
def test_a_damaged_shard_is_named(store: Store, change: Any) -> None:
    path = damaged(store, change)
    with pytest.raises(StoreError, match="is damaged") as caught:
        Store(store.directory, FULL).read("k")
    assert str(path) in str(caught.value)
    assert str(path) in caught.value.hint


def test_following_the_hint_on_a_damaged_shard_repairs_it(store: Store) -> None:
    path = damaged(store, lambda data: data[:-4])
    path.unlink()
    again = Store(store.directory, FULL)
    assert "k" not in again
    again.write("k", vectors(9), seconds=0)
    np.testing.assert_array_equal(Store(store.directory, FULL).read("k"), vectors(9))


def test_a_shard_without_its_file_is_missing_and_named(store: Store) -> None:
    store.write("k", vectors(2), seconds=0)
    store.write("other", vectors(2), seconds=0)
    again = Store(store.directory, FULL)
    path = store.directory / again.shards["k"]["file"]
    path.unlink()
    assert "k" not in again
    assert "other" in again
    with pytest.raises(StoreError, match=path.name):
        again.read("k")


def test_a_shard_that_was_never_there_is_a_store_error(store: Store) -> None:
    with pytest.raises(StoreError, match="nothing"):
        store.read("nothing")


def edited(directory: Path, change: Any) -> Path:
    path = directory / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), "utf-8")
    return path


EDITS = {
    "a shape": lambda m: m["shards"]["k"].update(shape=[3, 6]),
    "a sum": lambda m: m["shards"]["k"].update(sha256="0" * 64),
    "a place": lambda m: m["shards"]["k"].update(file="../../secret.npy"),
    "the encoder": lambda m: m["encoder"].update(weights="x"),
    "the format": lambda m: m.update(format=2),
    "a shard less": lambda m: m["shards"].clear(),
    "the checksum": lambda m: m.update(checksum="0" * 64),
    "no checksum": lambda m: m.pop("checksum"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_manifest_is_named(store: Store, edit: str) -> None:
    store.write("k", vectors(2), seconds=0)
    path = edited(store.directory, EDITS[edit])
    with pytest.raises(StoreError, match="was edited or damaged") as caught:
        Store(store.directory, FULL)
    assert str(path) in str(caught.value)
    assert str(store.directory) in caught.value.hint


@pytest.mark.parametrize("content", ["", '{"format": 1', "[]", "null"])
def test_a_manifest_that_is_none_is_named(store: Store, content: str) -> None:
    store.write("k", vectors(2), seconds=0)
    path = store.directory / "manifest.json"
    path.write_text(content, "utf-8")
    with pytest.raises(StoreError, match=r"manifest\.json"):
        Store(store.directory, FULL)


def test_a_file_outside_the_manifest_is_not_trusted(store: Store) -> None:
    store.write("k", vectors(2), seconds=0)
    key = text_hash(["x"])
    np.save(store.directory / f"{key[:32]}.npy", vectors(1))
    assert key not in Store(store.directory, FULL)


def test_two_stores_on_one_directory_keep_the_shards_of_both(store: Store) -> None:
    other = Store(store.directory, FULL)  # opened before either has written
    store.write("a", vectors(1, seed=1), seconds=0)
    other.write("b", vectors(1, seed=2), seconds=0)
    store.write("c", vectors(1, seed=3), seconds=0)
    final = Store(store.directory, FULL)
    assert set(final.shards) == {"a", "b", "c"}
    for seed, key in enumerate("abc", 1):
        np.testing.assert_array_equal(final.read(key), vectors(1, seed=seed))
    assert set(store.shards) == {"a", "b", "c"}


def test_no_pickle_is_loaded(store: Store) -> None:
    store.write("k", vectors(2), seconds=0)
    path = next(store.directory.glob("*.npy"))
    np.save(path, np.array([{"code": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(StoreError, match="is damaged"):
        Store(store.directory, FULL).read("k")


def test_texts_are_gathered_from_the_chunks_that_have_them(tmp_path: Path) -> None:
    store = Store(tmp_path, FULL)
    first, second = vectors(3, seed=1), vectors(2, seed=2)
    store.write("first", first, seconds=3.0, texts=["a", "b", "\ud800"])
    store.write("second", second, seconds=1.0, texts=["c", "d"])
    found = Store(tmp_path, FULL).gather(["d", "new", "b", "b", "\ud800"])
    assert found.known.tolist() == [True, False, True, True, True]
    np.testing.assert_array_equal(found.vectors, [second[1], first[1], first[1], first[2]])
    assert found.seconds == pytest.approx(0.5 + 3.0)


@pytest.mark.parametrize("damage", ["vectors", "texts", "no texts"])
def test_of_a_damaged_shard_nothing_is_gathered(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path, FULL)
    store.write("first", vectors(2, seed=1), seconds=1.0, texts=["a", "b"])
    store.write("second", vectors(1, seed=2), seconds=1.0, texts=["c"])
    path = tmp_path / ("first.npy" if damage == "vectors" else "first.texts")
    if damage == "no texts":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    found = Store(tmp_path, FULL).gather(["a", "c", "b"])
    assert found.known.tolist() == [False, True, False]
    np.testing.assert_array_equal(found.vectors, vectors(1, seed=2))


def test_an_empty_store_has_no_text(tmp_path: Path) -> None:
    found = Store(tmp_path, FULL).gather(["a"])
    assert found.known.tolist() == [False]
    assert found.vectors.size == 0
