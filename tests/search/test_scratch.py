"""Directories of indexes that change: nothing stays of them, however their process ends."""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hpdistill.search._scratch import scratch_directory

KILLED = """
import os, signal
from hpdistill.search._scratch import scratch_directory
class Owner: pass
owner = Owner()
directory, _ = scratch_directory(owner)
(directory / "vectors").write_text("large")
print(directory, flush=True)
END
"""


class Owner:
    """Of a directory."""


@pytest.fixture(autouse=True)
def _own_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def ended(end: str) -> tuple[Path, int]:
    """The directory of a process that has ended, and how."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED.replace("END", end)],
        capture_output=True,
        text=True,
        check=False,
    )
    return Path(done.stdout.strip()), done.returncode


def test_a_process_that_ends_leaves_nothing(tmp_path: Path) -> None:
    directory, code = ended("")
    assert (directory.parent, code) == (tmp_path, 0)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_leaves_goes_with_the_next_index(tmp_path: Path) -> None:
    directory, code = ended("os.kill(os.getpid(), signal.SIGKILL)")
    assert (directory / "vectors").is_file()
    assert code == -signal.SIGKILL
    owner = Owner()
    mine, remove = scratch_directory(owner)
    assert sorted(tmp_path.iterdir()) == [mine, mine.with_name(f"{mine.name}.lock")]
    remove()
    assert not list(tmp_path.iterdir())


def test_what_another_process_works_in_is_kept() -> None:
    one, two = Owner(), Owner()
    first, _ = scratch_directory(one)
    second, _ = scratch_directory(two)
    assert first.is_dir()
    assert second.is_dir()
    del one
    assert not first.exists()
    assert second.is_dir()
