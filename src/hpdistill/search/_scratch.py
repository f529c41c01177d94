"""Temporary directories of indexes that change, gone at the latest when the next one is made."""

import fcntl
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hpdistill.errors import RunError

__all__ = ["scratch_directory"]

_PREFIX = "hpdistill-index-"


def scratch_directory(owner: object) -> tuple[Path, Callable[[], object]]:
    """Make a directory under TMPDIR that lives as long as its owner.

    A process that is killed leaves its directories; they are removed here, for whoever comes next.

    Args:
        owner: Something that can be referred to weakly.

    Returns:
        The directory, and what removes it; calling that twice does no harm.

    Raises:
        RunError: It cannot be made.
    """
    _remove_abandoned(Path(tempfile.gettempdir()))
    try:
        directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
    except OSError as error:
        raise RunError(
            f"cannot make a temporary directory in {tempfile.gettempdir()}: {error.strerror}",
            hint="Set TMPDIR to a directory that has room.",
        ) from error
    # Held as long as this process lives; under its name only once it is held. It lies beside the
    # directory, all files in which are copied by a save.
    unheld = directory.with_name(f"{directory.name}.new")
    lock = os.open(unheld, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    unheld.rename(_lock_of(directory))
    return directory, weakref.finalize(owner, _remove_own, directory, lock, os.getpid())


def _lock_of(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.lock")


def _remove_own(directory: Path, lock: int, maker: int) -> None:
    # A forked child has a copy of the owner, which the parent goes on using.
    if os.getpid() == maker:
        _remove(directory, lock)


def _remove(directory: Path, lock: int) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    _lock_of(directory).unlink(missing_ok=True)
    os.close(lock)


def _remove_abandoned(parent: Path) -> None:
    for file in parent.glob(f"{_PREFIX}*.lock"):
        # Another user's, or removed meanwhile.
        with suppress(OSError):
            lock = os.open(file, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
            else:
                _remove(file.with_suffix(""), lock)
