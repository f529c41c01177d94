"""What is on disk is the old index or the new one, whatever happens."""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from file_limits import largest_file
from vectors_for_search import clustered, documents, space

from hpdistill.errors import RunError, SearchError
from hpdistill.files import is_temporary, write_json
from hpdistill.search import Index, _disk

VECTORS = clustered(2000)

SAVES = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from vectors_for_search import clustered, documents, space
from hpdistill.search import Index
import filelock  # the first save would, and a kill is to come while it saves
path = Path(sys.argv[1])
index = Index.load(path)
number = len(index)
print("ready", flush=True)
while True:
    index.add(documents(1, start=number), clustered(1, seed=number))
    number += 1
    index.save(path)
    print(number, flush=True)
"""


def kill_while_saving(path, kills):
    """Kill a process that saves over and over; what it leaves loads, and lacks no finished save."""
    generator = random.Random(0)
    with Index.create(space(), precision="int8", keep="float32") as index:
        index.add(documents(50), VECTORS[:50])
        index.save(path)
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVES, str(path), str(Path(__file__).parent)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "ready\n"
        # Of so many saves it has told; a part of the next one is wherever this meets it.
        said = [process.stdout.readline() for _ in range(generator.randrange(1, 4))]
        time.sleep(generator.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        said += process.stdout.read().splitlines()
        process.stdout.close()
        process.wait()
        with Index.load(path) as index:
            count = len(index)
            finished = int(said[-1])
            assert count >= finished
            # All of it is there, and of one generation.
            ids = [f"d{i}" for i in range(50, count)]
            asked = np.concatenate(
                [clustered(1, seed=i) for i in range(50, count)] or [VECTORS[:0]]
            )
            assert [one for [one] in index.nearest(asked, 1, rescore=10)[1]] == ids
            assert None not in index.get(ids)
    with Index.load(path) as index:
        assert len(index) > 50
        index.save(path)
    # What was left half-written is gone, but for names of processes that ended in this minute.
    assert len([left for left in path.iterdir() if not is_temporary(left)]) == 2


@pytest.mark.long
def test_killed_while_saving(tmp_path):
    kill_while_saving(tmp_path / "index", 8)


@pytest.mark.slow
def test_killed_while_saving_a_hundred_times(tmp_path):
    kill_while_saving(tmp_path / "index", 100)


@pytest.mark.parametrize("engine", ["flat", "hnsw"])
def test_a_full_disk_leaves_the_old_index(engine, tmp_path):
    path = tmp_path / "index"
    with Index.create(space(), engine=engine) as index:
        index.add(documents(100), VECTORS[:100])
        index.save(path)
        index.add(documents(1900, 100), VECTORS[100:])
        with largest_file(100_000), pytest.raises(RunError, match="cannot write"):
            index.save(path)
        with Index.load(path) as old:
            assert len(old) == 100
        assert len(list(path.iterdir())) == 2
        index.save(path)
    with Index.load(path) as new:
        assert len(new) == 2000


@pytest.mark.parametrize("limit", [3_000, 50_000, 60_000])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_full_disk_while_adding_leaves_what_was_there(precision, limit):
    with Index.create(space(), precision=precision) as index:
        index.add(documents(20), VECTORS[:20])
        before = index.nearest(VECTORS[:5], 3)
        with largest_file(limit), pytest.raises(RunError, match="cannot write"):
            index.add(documents(1980, 20), VECTORS[20:])
        assert len(index) == 20
        after = index.nearest(VECTORS[:5], 3)
        assert after[1] == before[1]
        assert index.get(["d20"]) == [None]
        index.add(documents(1980, 20), VECTORS[20:])
        assert index.nearest(VECTORS[1999:], 1)[1] == [["d1999"]]


def test_an_open_index_outlives_a_save_over_it(tmp_path):
    with Index.create(space()) as first:
        first.add(documents(100), VECTORS[:100])
        first.save(tmp_path)
        with Index.load(tmp_path) as old:
            first.delete([f"d{i}" for i in range(50)])
            first.save(tmp_path)
            assert old.nearest(VECTORS[:1], 1)[1] == [["d0"]]
            assert old.search(VECTORS[:1], 1)[0][0].text == "text 0"
            old.add(documents(1, 500), VECTORS[500:501])
            assert len(old) == 101
            old.save(tmp_path / "other")
        with Index.load(tmp_path / "other") as other:
            assert other.nearest(VECTORS[[0, 500]], 1)[1] == [["d0"], ["d500"]]
        with Index.load(tmp_path) as new:
            assert len(new) == 50
            new.save(tmp_path)  # nothing was changed
        with Index.load(tmp_path) as new:
            assert len(new) == 50


def test_what_another_has_saved_meanwhile_is_not_overwritten(tmp_path):
    with Index.create(space()) as first:
        first.add(documents(10), VECTORS[:10])
        first.save(tmp_path)
    with Index.load(tmp_path) as one, Index.load(tmp_path) as two:
        one.add(documents(1, 10), VECTORS[10:11])
        one.check_unchanged(tmp_path)
        one.save(tmp_path)
        one.add(documents(1, 11), VECTORS[11:12])
        one.save(tmp_path)  # it goes on from its own
        two.add(documents(1, 20), VECTORS[20:21])
        for attempt in (two.check_unchanged, two.save):
            with pytest.raises(RunError, match="was changed by another process meanwhile"):
                attempt(tmp_path)
        two.save(tmp_path / "elsewhere")
    with Index.load(tmp_path) as kept:
        assert len(kept) == 12
        assert kept.get(["d20"]) == [None]


def test_an_index_that_was_removed_and_built_again_is_another(tmp_path):
    path = tmp_path / "index"
    with Index.create(space()) as first:
        first.add(documents(10), VECTORS[:10])
        first.save(path)
        shutil.rmtree(path)
        with Index.create(space()) as second:
            second.add(documents(10, 20), VECTORS[20:30])
            second.save(path)
        with pytest.raises(RunError, match="was changed by another process meanwhile"):
            first.save(path)
    with Index.load(path) as kept:
        assert kept.get(["d0"]) == [None]


@pytest.mark.parametrize("text", ['{"mine": 1}', "[1]", "no JSON"])
def test_an_index_json_of_something_else_is_not_overwritten(text, tmp_path):
    (tmp_path / "index.json").write_text(text)
    with Index.create(space()) as index:
        index.add(documents(10), VECTORS[:10])
        with pytest.raises(RunError, match="is there already and is no index"):
            index.save(tmp_path)
        assert (tmp_path / "index.json").read_text() == text
        # What is left of one of ours may be overwritten.
        (tmp_path / "generation-000001").mkdir()
        index.save(tmp_path)
    with Index.load(tmp_path) as index:
        assert len(index) == 10


@pytest.mark.parametrize("named", [True, False])
def test_ctrl_c_around_the_moment_that_counts(named, tmp_path, monkeypatch):
    def interrupted(path, value):
        if named:
            write_json(path, value)
        raise KeyboardInterrupt

    with Index.create(space()) as index:
        index.add(documents(10), VECTORS[:10])
        index.save(tmp_path)
        index.add(documents(1, 10), VECTORS[10:11])
        with monkeypatch.context() as patched:
            patched.setattr(_disk, "write_json", interrupted)
            with pytest.raises(KeyboardInterrupt):
                index.save(tmp_path)
        index.check_unchanged(tmp_path)
    with Index.load(tmp_path) as found:
        assert len(found) == 10 + named
        assert found.nearest(VECTORS[:1], 1)[1] == [["d0"]]


@pytest.mark.parametrize("saves", [1, 9])
def test_loading_while_another_saves(saves, tmp_path, monkeypatch):
    with Index.create(space()) as index:
        index.add(documents(10), VECTORS[:10])
        index.save(tmp_path)
        check, left = _disk._check_files, list(range(saves))

        def check_files(*arguments):
            check(*arguments)
            if left:
                left.pop()
                index.save(tmp_path)

        monkeypatch.setattr(_disk, "_check_files", check_files)
        if saves == 1:
            with Index.load(tmp_path, mmap=False) as found:
                assert len(found) == 10
        else:  # for ever, as it seems
            with pytest.raises(SearchError):
                Index.load(tmp_path, mmap=False)


def test_a_forked_child_leaves_the_index_of_its_parent(tmp_path):
    code = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from vectors_for_search import clustered, documents, space
from hpdistill.search import Index
index = Index.create(space())
index.add(documents(10), clustered(10))
child = os.fork()
if not child:
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
index.add(documents(10, 10), clustered(10, seed=1))
index.save(Path(sys.argv[1]))
"""
    here = str(Path(__file__).parent)
    subprocess.run([sys.executable, "-c", code, str(tmp_path), here], check=True, timeout=60)
    with Index.load(tmp_path) as index:
        assert len(index) == 20


def test_changes_that_are_not_saved_are_not_on_disk(tmp_path):
    with Index.create(space()) as index:
        index.add(documents(10), VECTORS[:10])
        index.save(tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with Index.load(tmp_path) as index:
        index.delete(["d0", "d9"])
        index.add(documents(5, 50), VECTORS[:5])
    assert files == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_temporary_files_of_a_killed_process_go_with_the_next_index(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    code = """
from hpdistill.search import Index, Space
index = Index.create(Space(id="a", dim=8, model="m"))
print("ready", flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        theirs = set(tmp_path.iterdir())
        with Index.create(space()):
            assert theirs < set(tmp_path.iterdir())  # they live
        assert set(tmp_path.iterdir()) == theirs
        process.kill()
        process.wait()
        with Index.create(space()):
            assert not theirs & set(tmp_path.iterdir())
    assert not any(tmp_path.iterdir())


def test_temporary_files_go_when_it_is_closed(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    index = Index.create(space())
    index.add(documents(10), VECTORS[:10])
    assert any(tmp_path.iterdir())
    index.close()
    index.close()
    assert not any(tmp_path.iterdir())
    maps = Path("/proc/self/maps")
    assert not maps.exists() or str(tmp_path) not in maps.read_text()
