"""A file of vectors is the one that NumPy or Arrow would write at once, whatever interrupts it."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from file_limits import largest_file
from hypothesis import given, settings
from hypothesis import strategies as st

from hpdistill.errors import PackageError, RunError, UsageError
from hpdistill.vectorfile import (
    FORMATS,
    check_output,
    json_lines,
    open_vectors,
    raw_bytes,
)

KEY = {"model": "a", "precision": "float32"}
TEXTS = [f"text {number}" for number in range(23)]
WIDTH = 3

each_format = pytest.mark.parametrize("suffix", FORMATS)


def blocks(texts: Iterable[str], rows: int) -> list[list[str]]:
    """Texts in lists of so many, the last one shorter."""
    texts = list(texts)
    return [texts[start : start + rows] for start in range(0, len(texts), rows)]


def vectors_of(texts: list[str], dtype: Any = np.float32) -> np.ndarray:
    """Known vectors: what a text is made of, and nothing of its neighbours."""
    codes = [[len(text), sum(map(ord, text)) % 97, hash_of(text)] for text in texts]
    return np.array(codes, dtype).reshape(-1, WIDTH)


def hash_of(text: str) -> int:
    return sum((place + 1) * ord(letter) for place, letter in enumerate(text)) % 113


def write(
    out: Path,
    texts: list[str] = TEXTS,
    *,
    key: dict[str, object] = KEY,
    rows: int = 5,
    stop_after: int | None = None,
    **options: Any,
) -> list[list[str]]:
    """Write a file, or stop after so many blocks; returns the blocks that were computed."""
    computed = []
    with open_vectors(out, key, width=WIDTH, dtype=np.float32, **options) as file:
        rest = file.resume(iter(texts))
        left = None if stop_after is None else stop_after - -(-file.rows // rows)
        for block in blocks(rest, rows)[:left]:
            computed.append(block)
            file.append(block, vectors_of(block), truncated=1)
        if stop_after is not None:
            raise KeyboardInterrupt
        file.finish()
        assert file.rows == len(texts)
    return computed


def interrupt(out: Path, after: int, **options: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(out, stop_after=after, **options)
    assert not out.exists()


def read(path: Path) -> tuple[list[str] | None, np.ndarray]:
    if path.suffix == ".npy":
        return None, np.load(path, mmap_mode="r", allow_pickle=False)
    table = pq.read_table(path)
    flat = table.column("embedding").combine_chunks().flatten().to_numpy()
    return table.column("text").to_pylist(), flat.reshape(-1, WIDTH)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


# -- written


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8])
@pytest.mark.parametrize("count", [0, 1, 7, 23])
def test_an_npy_is_byte_for_byte_what_numpy_saves(tmp_path, count, dtype):
    out = tmp_path / "out.npy"
    texts = TEXTS[:count]
    with open_vectors(out, KEY, width=WIDTH, dtype=dtype) as file:
        for block in blocks(texts, 5):
            file.append(block, vectors_of(block, dtype))
        file.finish()
    np.save(tmp_path / "expected.npy", vectors_of(texts, dtype))
    assert out.read_bytes() == (tmp_path / "expected.npy").read_bytes()
    assert names(tmp_path) == ["expected.npy", "out.npy"]


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8])
@pytest.mark.parametrize("count", [0, 1, 23])
def test_a_parquet_has_the_texts_and_fixed_size_lists(tmp_path, count, dtype):
    out = tmp_path / "out.parquet"
    texts = TEXTS[:count]
    with open_vectors(out, KEY, width=WIDTH, dtype=dtype) as file:
        for block in blocks(texts, 5):
            file.append(block, vectors_of(block, dtype))
        file.finish()
    schema = pq.read_schema(out)
    assert schema.names == ["text", "embedding"]
    assert schema.field("embedding").type == pa.list_(pa.from_numpy_dtype(dtype), WIDTH)
    found, vectors = read(out)
    assert found == texts
    assert np.array_equal(vectors, vectors_of(texts, dtype))
    assert pq.ParquetFile(out).metadata.num_row_groups == -(-count // 5)
    assert names(tmp_path) == ["out.parquet"]


def test_vectors_of_any_layout_and_byte_order_are_written_alike(tmp_path):
    expected = vectors_of(TEXTS)
    for vectors in (expected.astype(">f4"), np.asfortranarray(expected), expected.astype("f8")):
        with open_vectors(tmp_path / "a.npy", KEY, width=WIDTH, dtype=">f4", overwrite=True) as f:
            f.append(TEXTS, vectors)
            f.finish()
        found = np.load(tmp_path / "a.npy")
        assert found.dtype == np.dtype("<f4")
        assert np.array_equal(found, expected)


def test_texts_that_utf_8_cannot_hold_are_written_to_parquet(tmp_path):
    texts = ["a\ud800b", "\ud83d\ude00", "Grüße, 世界", "nul \0", "", "😀"]
    write(tmp_path / "out.parquet", texts)
    assert read(tmp_path / "out.parquet")[0] == ["a\ufffdb", "😀", *texts[2:]]


@each_format
def test_a_file_that_is_there_is_kept_unless_it_is_to_be_overwritten(tmp_path, suffix):
    out = tmp_path / f"out{suffix}"
    out.write_text("mine")
    with pytest.raises(RunError, match="exists already") as caught:
        write(out)
    assert "`overwrite=True`" in caught.value.hint
    assert out.read_text() == "mine"
    with pytest.raises(KeyboardInterrupt):
        write(out, overwrite=True, stop_after=2)
    assert out.read_text() == "mine"
    # The same command goes on, although it says --overwrite.
    assert len(write(out, overwrite=True)) == 3
    assert np.array_equal(read(out)[1], vectors_of(TEXTS))
    assert names(tmp_path) == [out.name]


@each_format
def test_a_name_that_is_not_unicode_is_one_like_another(tmp_path, suffix):
    out = tmp_path / os.fsdecode(b"caf\xe9" + suffix.encode())
    write(out)
    assert names(tmp_path) == [out.name]
    copy = shutil.copy(out, tmp_path / f"copy{suffix}")
    assert read(copy)[1].shape == (len(TEXTS), WIDTH)


@pytest.mark.parametrize("name", ["out", "out.txt", "out.npz", "out.npy.gz", ".npy"])
def test_a_format_that_cannot_be_written_is_named(tmp_path, name):
    with pytest.raises(UsageError, match=r"must end in \.npy or \.parquet"):
        check_output(tmp_path / name, overwrite=False)


def test_a_directory_in_the_way_is_named(tmp_path):
    (tmp_path / "out.npy").mkdir()
    with pytest.raises(RunError, match="is a directory"):
        write(tmp_path / "out.npy", overwrite=True)


def test_folders_above_are_made(tmp_path):
    write(tmp_path / "new/folder/out.npy")
    assert names(tmp_path / "new/folder") == ["out.npy"]


def test_without_pyarrow_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(PackageError, match="pyarrow") as caught:
        check_output(tmp_path / "out.parquet", overwrite=False)
    assert "hpdistill[search]" in caught.value.hint
    check_output(tmp_path / "out.npy", overwrite=False)


# -- gone on with


@each_format
@pytest.mark.parametrize("after", [1, 3, 5])
def test_what_was_complete_is_not_computed_again(tmp_path, suffix, after):
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    write(whole)
    interrupt(out, after)
    assert len(write(out)) == 5 - after
    assert out.read_bytes() == whole.read_bytes()
    assert names(tmp_path) == sorted([whole.name, out.name])


def test_rows_and_cut_texts_are_counted_over_all_interruptions(tmp_path):
    out = tmp_path / "out.npy"
    interrupt(out, 2)
    interrupt(out, 3)
    with open_vectors(out, KEY, width=WIDTH, dtype=np.float32) as file:
        for block in blocks(file.resume(TEXTS), 5):
            file.append(block, vectors_of(block), truncated=4)
        assert (file.rows, file.resumed, file.truncated) == (23, 15, 3 + 2 * 4)
        file.finish()


def test_what_failed_before_a_block_was_complete_leaves_nothing(tmp_path):
    interrupt(tmp_path / "out.npy", 0)
    assert names(tmp_path) == []


CHANGES = {
    "added to": ([*TEXTS, "more", "and more"], 5),
    "cut short": (TEXTS[:12], 2),
    "cut where a block ends": (TEXTS[:10], 2),
    "changed in the third block": ([*TEXTS[:11], "other", *TEXTS[12:]], 2),
    "one text less": ([*TEXTS[:6], *TEXTS[7:]], 1),
}


@each_format
@pytest.mark.parametrize("change", CHANGES)
def test_of_a_changed_input_what_comes_before_the_change_is_kept(tmp_path, suffix, change):
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    texts, kept = CHANGES[change]
    write(whole, texts)
    interrupt(out, 5)
    computed = write(out, texts)
    assert sum(map(len, computed)) == len(texts) - min(5 * kept, len(TEXTS))
    assert read(out)[0] == read(whole)[0]
    assert np.array_equal(read(out)[1], read(whole)[1])


@each_format
def test_other_texts_are_refused_and_overwritten_when_asked(tmp_path, suffix):
    out = tmp_path / f"out{suffix}"
    interrupt(out, 2)
    others = TEXTS[::-1]
    with pytest.raises(RunError, match="holds 10 unfinished vectors of other texts") as caught:
        write(out, others)
    assert "`overwrite=True`" in caught.value.hint
    assert len(write(out, others, overwrite=True)) == 5
    assert np.array_equal(read(out)[1], vectors_of(others))


@each_format
def test_another_model_is_not_mixed_in(tmp_path, suffix):
    out = tmp_path / f"out{suffix}"
    interrupt(out, 2)
    other = {**KEY, "model": "b"}
    with pytest.raises(RunError, match="10 unfinished vectors of another model"):
        write(out, key=other)
    assert len(write(out)) == 3  # it was left alone
    out.unlink()
    interrupt(out, 2)
    assert len(write(out, key=other, overwrite=True)) == 5
    assert names(tmp_path) == [out.name]


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory) -> dict[str, Path]:
    """By format: a directory with the whole file, and one that was interrupted at its end."""
    folder = tmp_path_factory.mktemp("unfinished")
    for suffix in FORMATS:
        write(folder / f"whole{suffix}")
        interrupt(folder / f"out{suffix}", 5)
    return dict.fromkeys(FORMATS, folder)


@each_format
@settings(max_examples=40)
@given(chance=st.randoms(use_true_random=False), what=st.sampled_from(["flip", "cut", "add"]))
def test_damage_anywhere_costs_blocks_and_never_a_wrong_row(
    unfinished, tmp_path_factory, suffix, chance, what
):
    place = tmp_path_factory.mktemp("damaged")
    out = place / f"out{suffix}"
    part = shutil.copytree(unfinished[suffix] / f"out{suffix}.part", place / f"out{suffix}.part")
    files = [path for path in sorted(part.iterdir()) if path.name not in ("key.json", ".lock")]
    path = chance.choice(files)
    data = bytearray(path.read_bytes())
    position = chance.randrange(len(data))
    if what == "flip":
        data[position] ^= 1 << chance.randrange(8)
    elif what == "cut":
        del data[position:]
    else:
        data[position:position] = chance.randbytes(3)
    path.write_bytes(data)
    write(out, overwrite=True)
    assert out.read_bytes() == (unfinished[suffix] / f"whole{suffix}").read_bytes()
    shutil.rmtree(place)


def test_a_damaged_key_is_named(tmp_path):
    interrupt(tmp_path / "out.npy", 2)
    (tmp_path / "out.npy.part/key.json").write_text("{")
    with pytest.raises(RunError, match=r"key\.json is damaged"):
        write(tmp_path / "out.npy")


@pytest.mark.parametrize("inner", ["thesis.tex", "folder/thesis.tex", None])
def test_what_is_not_ours_is_neither_used_nor_deleted(tmp_path, inner):
    part = tmp_path / "out.npy.part"
    thesis = part / inner if inner else part
    thesis.parent.mkdir(parents=True, exist_ok=True)
    thesis.write_text("years of work")
    with pytest.raises(RunError, match=r"out\.npy\.part is in the way"):
        write(tmp_path / "out.npy", overwrite=True)
    assert thesis.read_text() == "years of work"


def test_two_at_once_are_one_too_many(tmp_path):
    out = tmp_path / "out.npy"
    with open_vectors(out, KEY, width=WIDTH, dtype=np.float32) as file:
        with pytest.raises(RunError, match="another process is working"):
            write(out, overwrite=True)
        for block in blocks(TEXTS, 5):
            file.append(block, vectors_of(block))
        file.finish()
    assert np.array_equal(np.load(out), vectors_of(TEXTS))


@each_format
@pytest.mark.parametrize("size", [0, 100, 400, 2_000, 4_500])
def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path, suffix, size):
    texts = [f"a longer text, number {number}" for number in range(400)]
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    write(whole, texts, rows=50)
    interrupt(out, 2, texts=texts, rows=50)
    with largest_file(size), pytest.raises(RunError, match=r"cannot write .*out") as caught:
        write(out, texts, rows=50)
    assert "run the same command again" in caught.value.hint
    assert len(write(out, texts, rows=50)) <= 6
    assert out.read_bytes() == whole.read_bytes()
    assert names(tmp_path) == sorted([whole.name, out.name])


SLOWLY = """
import sys, time
from pathlib import Path
import numpy as np
from hpdistill.vectorfile import check_output, open_vectors
out, count = Path(sys.argv[1]), int(sys.argv[2])
check_output(out, overwrite=False)  # imports what it needs
texts, block = [f"text {number}" for number in range(count)], []
print("ready", flush=True)
with open_vectors(out, {}, width=2, dtype=np.float32) as file:
    for text in file.resume(texts):
        block = [*block, text]
        if len(block) == 40:
            file.append(block, np.array([[len(text), hash(text)] for text in block], "<f4"))
            block = []
    file.finish()
"""


@pytest.mark.long
@each_format
def test_killed_at_random_moments_it_ends_with_the_same_file(tmp_path, suffix):
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    environment = {**os.environ, "PYTHONHASHSEED": "0"}

    def start(path: Path) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-c", SLOWLY, str(path), "20000"],
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    with start(whole) as process:
        began = time.perf_counter()
    assert process.returncode == 0
    took = time.perf_counter() - began
    chance = random.Random(1)
    for _ in range(5):
        if out.exists():
            break
        with start(out) as process:
            time.sleep(chance.uniform(0, took / 2))
            process.send_signal(signal.SIGKILL)
    if not out.exists():
        with start(out) as process:
            pass
        assert process.returncode == 0
    assert out.read_bytes() == whole.read_bytes()
    assert set(names(tmp_path)) - {f"{out.name}.part"} == {whole.name, out.name}


# -- streams


floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(floats, floats, floats), max_size=4))
def test_json_lines_lose_no_bit_of_float32(rows):
    vectors = np.array(rows, np.float32).reshape(-1, WIDTH)
    lines = json_lines(vectors).decode().splitlines()
    assert len(lines) == len(rows)
    found = np.array([json.loads(line) for line in lines], np.float32).reshape(-1, WIDTH)
    assert np.array_equal(found, vectors)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_json_lines_of_integers_are_integers(dtype):
    vectors = np.array([[0, 127, 5], [1, 2, 3]], dtype)
    assert json_lines(vectors) == b"[0, 127, 5]\n[1, 2, 3]\n"


def test_raw_bytes_are_little_endian_rows():
    assert raw_bytes(np.array([[1, -2]], ">f4")).hex() == "0000803f000000c0"
    assert raw_bytes(np.array([[1, -2]], np.int8)).hex() == "01fe"
    assert raw_bytes(np.empty((0, 2), np.float32)) == b""
