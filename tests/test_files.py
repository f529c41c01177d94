"""Files and directories are whole, old or absent; never half, whatever interrupts the writing."""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from file_limits import largest_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from hpdistill.errors import RunError, StoreError
from hpdistill.files import (
    alone_in,
    atomic_directory,
    atomic_path,
    check_writable,
    json_hash,
    read_json,
    remove_leftovers,
    sha256_file,
    text_hash,
    write_json,
)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_appears_when_the_block_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert path.read_text() == "half"
    assert names(path.parent) == ["a.txt"]


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), StoreError("mine")])
def test_a_failure_leaves_the_old_file_alone(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)) as caught:
        fail()
    assert caught.value is error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_failure_before_anything_is_written_passes(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_path(tmp_path / "a.txt"):
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fail()
    assert names(tmp_path) == []


KILLED = """
import os, sys
from pathlib import Path
from hpdistill.files import atomic_directory, atomic_path
with atomic_path(Path(sys.argv[1]) / "file") as temporary:
    temporary.write_text("half")
    with atomic_directory(Path(sys.argv[1]) / "directory") as folder:
        (folder / "inner").write_text("half")
        os._exit(9)
"""


def test_a_killed_process_leaves_the_old_content(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "inner").write_text("old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == 9
    assert (tmp_path / "file").read_text() == "old"
    assert (tmp_path / "directory" / "inner").read_text() == "old"


SYSTEM_ERRORS = [
    (errno.ENOSPC, "the disk is full"),
    (errno.EDQUOT, "quota"),
    (errno.EACCES, "permission denied"),
    (errno.EPERM, "permission denied"),
    (errno.EROFS, "read-only"),
    (errno.ENAMETOOLONG, "the name is too long"),
    (errno.ELOOP, "too many symbolic links"),
]


@pytest.mark.parametrize("writer", [atomic_path, atomic_directory])
@pytest.mark.parametrize(("number", "reason"), SYSTEM_ERRORS)
def test_what_the_system_refuses_is_said_in_words(
    tmp_path: Path, writer: type, number: int, reason: str
) -> None:
    path = tmp_path / "a"

    def fail() -> None:
        with writer(path):
            raise OSError(number, os.strerror(number))

    with pytest.raises(RunError, match=f"cannot write .*{path.name}: .*{reason}") as caught:
        fail()
    # Only where there is no room does it help to make some.
    full = number in (errno.ENOSPC, errno.EDQUOT)
    assert ("run the same command again" in caught.value.hint) == full
    assert names(tmp_path) == []


def test_another_system_error_is_not_hidden(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_path(tmp_path / "a"):
            raise ConnectionResetError(errno.ECONNRESET, "reset")

    with pytest.raises(ConnectionResetError):
        fail()


def test_a_full_disk_keeps_the_old_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, "old")
    # The name that is written first now leads to a device that is always full.
    (tmp_path / f"a.json.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(RunError, match="the disk is full"):
        write_json(path, "new")
    assert read_json(path) == "old"
    assert names(tmp_path) == ["a.json"]


def test_a_file_that_outgrows_its_system_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, "old")
    with largest_file(4096), pytest.raises(RunError, match=r"cannot write .*a\.json"):
        write_json(path, "x" * 100_000)
    assert read_json(path) == "old"
    assert names(tmp_path) == ["a.json"]


def as_array(path: Path) -> None:
    with path.open("wb") as handle:
        np.save(handle, np.zeros(100_000), allow_pickle=False)


def as_tensors(path: Path) -> None:
    save_file({"a": np.zeros(100_000)}, path)


# Each reports this, like a full disk, in its own way: numpy by an OSError without a number,
# safetensors by a class of its own.
@pytest.mark.parametrize("save", [as_array, as_tensors])
def test_data_that_does_not_fit_is_said(tmp_path: Path, save: Callable[[Path], None]) -> None:
    path = tmp_path / "data"
    path.write_text("old")

    def write() -> None:
        with atomic_path(path) as temporary:
            save(temporary)

    with largest_file(4096), pytest.raises(RunError, match=r"cannot write .*data"):
        write()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["data"]


def test_a_read_only_system_is_said_although_nothing_can_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        # Linux says this even of a file that is not there.
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr(Path, "write_text", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(RunError, match="read-only"):
        write_json(tmp_path / "a.json", {})


def test_a_folder_without_permission_is_said() -> None:
    # Even root may make no file here.
    with pytest.raises(RunError, match=r"permission denied|read-only"):
        write_json(Path("/sys/kernel/hpdistill.json"), {})


@pytest.mark.parametrize("inner", ["a.json", "folder/a.json"])
def test_a_file_where_a_folder_is_needed_is_said(tmp_path: Path, inner: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="is a file, not a directory"):
        write_json(tmp_path / "file" / inner, {})
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize("name", ["new", "folder/new", "file", ".", "x" * 240])
def test_a_name_that_can_be_written_to_is_let_pass(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    check_writable(tmp_path / name)
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("x" * 250, "the name is too long"),  # with `.PID.tmp`
        ("x" * 256, "the name is too long"),
        ("file/new", "is a file, not a directory"),
        ("circle/new", "too many symbolic links"),
    ],
)
def test_a_name_that_cannot_be_written_to_is_said_before_any_work(
    tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(RunError, match=f"cannot write .*{name}: .*{reason}"):
        check_writable(tmp_path / name)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, where root cannot write")
def test_a_place_where_nothing_can_be_made_is_refused() -> None:
    with pytest.raises(RunError, match="cannot write /proc/new/model: "):
        check_writable(Path("/proc/new/model"))


def test_a_directory_is_on_the_disk_before_it_takes_the_place_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = set()
    fsync = os.fsync

    def recording(handle: int) -> None:
        synced.add(os.fstat(handle).st_ino)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", recording)
    with atomic_directory(tmp_path / "model") as temporary:
        (temporary / "inner").mkdir()
        (temporary / "weights").write_text("1")
        (temporary / "inner" / "weights").write_text("2")
    files = [tmp_path / "model" / "weights", tmp_path / "model" / "inner" / "weights"]
    assert {file.stat().st_ino for file in files} == synced


def test_a_directory_that_another_process_has_just_removed(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="was just finishing"), alone_in(tmp_path / "gone"):
        pass


FORKED = """
import os, subprocess, sys, time
from pathlib import Path
from hpdistill.errors import RunError
from hpdistill.files import alone_in
place = Path(sys.argv[1])
OTHER = "import sys; from pathlib import Path; from hpdistill.files import alone_in\\n"
OTHER += "with alone_in(Path(sys.argv[1])): pass"
def is_free():
    return subprocess.run([sys.executable, "-c", OTHER, place], stderr=-3).returncode == 0
with alone_in(place):
    if os.fork() == 0:
        sys.exit()  # and leaves the block, as the parent will
    os.wait()
    assert not is_free(), "the child freed it"
    if (child := os.fork()) == 0:
        time.sleep(60)
assert is_free(), "the child kept it"
if os.fork() == 0:
    with alone_in(place):
        os.fork() or time.sleep(60)
        os.kill(os.getpid(), 9)
os.wait()
assert is_free(), "a dead process held it"
os.killpg(0, 9)
"""


def test_what_a_forked_child_does_is_nothing_to_the_lock_of_its_parent(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(tmp_path)],
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )
    assert done.returncode == -9, done.stderr


def test_a_directory_replaces_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run"
    with atomic_directory(path) as temporary:
        (temporary / "first").write_text("1")
        assert not path.exists()
    with atomic_directory(path) as temporary:
        (temporary / "second").write_text("2")
        assert names(path) == ["first"]
    assert names(path) == ["second"]
    assert names(path.parent) == ["run"]


def test_a_failure_leaves_the_old_directory_alone(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with atomic_directory(path) as temporary:
        (temporary / "first").write_text("1")

    def fail() -> None:
        with atomic_directory(path) as temporary:
            (temporary / "second").write_text("2")
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fail()
    assert names(path) == ["first"]
    assert names(tmp_path) == ["run"]


def test_what_a_killed_process_left_is_not_mixed_in(tmp_path: Path) -> None:
    stale = tmp_path / f"run.{os.getpid()}.tmp"
    stale.mkdir()
    (stale / "half").write_text("")
    with atomic_directory(tmp_path / "run") as temporary:
        (temporary / "whole").write_text("")
    assert names(tmp_path / "run") == ["whole"]


def killed(directory: Path, *, minutes_ago: float) -> list[str]:
    """Let a process be killed while it writes; returns what it leaves."""
    subprocess.run([sys.executable, "-c", KILLED, str(directory)], check=False)
    left = sorted(directory.rglob("*"), reverse=True)
    moment = time.time() - 60 * minutes_ago
    for path in left:
        os.utime(path, (moment, moment))
    return names(directory)


def test_what_killed_processes_left_is_removed_from_a_shared_directory(tmp_path: Path) -> None:
    left = killed(tmp_path, minutes_ago=2)
    assert len(left) == 2
    (tmp_path / "kept").write_text("")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["kept"]


def test_what_another_container_may_be_writing_is_kept(tmp_path: Path) -> None:
    left = killed(tmp_path, minutes_ago=0.5)
    remove_leftovers(tmp_path)
    assert names(tmp_path) == left


def test_one_fresh_file_in_an_old_directory_keeps_it(tmp_path: Path) -> None:
    left = killed(tmp_path, minutes_ago=2)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    os.utime(folder / "inner")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [name for name in left if name.startswith("directory")]


@pytest.mark.parametrize(
    "name", ["a.{}.tmp", "a.0.tmp", "a.1.tmp", "a.tmp", "a.x.tmp", "a.9.tmp.npy", "a.9{:040}.tmp"]
)
def test_what_a_live_process_writes_or_somebody_else_named_is_kept(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name.format(os.getpid())
    path.write_text("")
    os.utime(path, (1, 1))
    remove_leftovers(tmp_path)
    assert path.exists()


def test_a_link_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "thesis").write_text("years of work")
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True
    )
    link = tmp_path / f"a.{int(done.stdout)}.tmp"
    link.symlink_to(target)
    for path in (target / "thesis", target):
        os.utime(path, (1, 1))
    os.utime(link, (1, 1), follow_symlinks=False)
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["target"]
    assert names(target) == ["thesis"]


def test_a_missing_directory_has_no_leftovers(tmp_path: Path) -> None:
    remove_leftovers(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_file_in_the_way_of_a_directory_is_said_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_text("mine")

    def write() -> None:
        with atomic_directory(path):
            pass

    with pytest.raises(RunError, match="is a file"):
        write()
    assert path.read_text() == "mine"
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe", b"[1,]"])
def test_damaged_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"a\.json is damaged") as caught:
        read_json(path)
    assert "Delete" in caught.value.hint


def test_json_comes_back_and_is_readable(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    value = {"b": [1, 2.5, None, True], "a": {"text": "Grüße, 世界"}}
    write_json(path, value)
    assert read_json(path) == value
    assert "Grüße, 世界" in path.read_text("utf-8")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text(), json_values, max_size=5), st.randoms())
def test_the_hash_of_json_does_not_depend_on_order(value: dict[str, object], chance) -> None:
    keys = list(value)
    chance.shuffle(keys)
    assert json_hash({key: value[key] for key in keys}) == json_hash(value)
    assert json_hash(json.loads(json.dumps(value))) == json_hash(value)


def test_names_that_are_not_unicode_come_back_and_are_hashed(tmp_path: Path) -> None:
    value = {os.fsdecode(b"caf\xe9.txt"): "é"}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert (tmp_path / "a.json").read_bytes().decode("utf-8")
    assert json_hash(value) != json_hash({"caf?.txt": "é"})


def test_different_json_has_different_hashes() -> None:
    values = [None, 0, 1, "1", [1], [1, 2], [[1], 2], {"a": 1}, {"a": 2}, {"b": 1}, {"a": None}]
    assert len({json_hash(value) for value in values}) == len(values)


def test_hashes_are_sha256(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_file(path) == expected
    # Sha256 of the four bytes null.
    null = "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b"
    assert json_hash(None) == null


def test_the_hash_of_texts_knows_their_boundaries() -> None:
    lists = [[], [""], ["", ""], ["ab"], ["a", "b"], ["b", "a"], ["\ud800"], ["a", "", "b"]]
    assert len({text_hash(texts) for texts in lists}) == len(lists)
    assert text_hash(iter(["a", "b"])) == text_hash(("a", "b"))
