"""Temporary directories of indexes that change, gone at the latest when the next one is made."""

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from hpdistill.errors import RunError
from hpdistill.files import lock_on

if TYPE_CHECKING:
    from filelock import BaseFileLock

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
    place = Path(tempfile.gettempdir())
    _remove_abandoned(place)
    directory = place / f"{_PREFIX}{uuid4().hex}"
    # Held as long as this process lives, and before there is anything to remove. It lies beside the
    # directory, all files in which are copied by a save.
    lock = lock_on(_lock_of(directory), wait=True)
    try:
        lock.acquire()
        directory.mkdir(mode=0o700)
    except OSError as error:
        raise RunError(
            f"cannot make a temporary directory in {place}: {error.strerror}",
            hint="Set TMPDIR to a directory that has room.",
        ) from error
    return directory, weakref.finalize(owner, _remove_own, directory, lock, os.getpid())


def _lock_of(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.lock")


def _remove_own(directory: Path, lock: "BaseFileLock", maker: int) -> None:
    # A forked child has a copy of the owner, which the parent goes on using.
    if os.getpid() == maker:
        _remove(directory, lock)


def _remove(directory: Path, lock: "BaseFileLock") -> None:
    shutil.rmtree(directory, ignore_errors=True)
    # In this order Windows can, too. Whoever gets the lock between the two finds nothing to do.
    lock.release()
    with suppress(OSError):
        _lock_of(directory).unlink()


def _remove_abandoned(parent: Path) -> None:
    for file in parent.glob(f"{_PREFIX}*.lock"):
        # Another user's, in use, or removed meanwhile.
        with suppress(OSError):
            lock = lock_on(file)
            lock.acquire()
            _remove(file.with_suffix(""), lock)
