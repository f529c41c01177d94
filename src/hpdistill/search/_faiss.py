"""FAISS, where it is installed."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpdistill.errors import SearchError
from hpdistill.extras import extra
from hpdistill.files import clear_os_errors

__all__ = ["load_faiss", "read_index", "search_threads", "write_index"]


def _after_fork() -> None:
    # A child has none of the threads that its parent's searches have left waiting, and the thread
    # that forked would wait for them for ever.
    if faiss := sys.modules.get("faiss"):
        faiss.omp_set_num_threads(1)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)


def load_faiss() -> Any:  # noqa: ANN401 - a module without types
    """The module.

    Raises:
        PackageError: It is not installed.
    """
    return extra("faiss", "search", task="searching")


@contextmanager
def search_threads(count: int) -> Iterator[None]:
    """Within the block, searches of this thread use so many threads.

    Args:
        count: One or more.

    Raises:
        PackageError: FAISS is not installed.
    """
    faiss = load_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def read_index(path: Path, *, binary: bool, mmap: bool) -> Any:  # noqa: ANN401 - FAISS has no types
    """An index from its file, whose checksum has been found right: FAISS trusts what it reads.

    Raises:
        SearchError: FAISS cannot read it.
    """
    faiss = load_faiss()
    flags = faiss.IO_FLAG_MMAP_IFC if mmap else 0
    try:
        if binary:
            return faiss.read_index_binary(str(path), flags)
        return faiss.read_index(str(path), flags)
    except RuntimeError as error:
        raise SearchError(
            f"{path} cannot be read by FAISS {faiss.__version__}: {str(error).splitlines()[0]}",
            hint="Build the index again with this version.",
        ) from error


def write_index(index: Any, path: Path, *, binary: bool) -> None:  # noqa: ANN401 - FAISS has no types
    """An index to its file.

    Raises:
        RunError: The disk is full or the place cannot be written.
    """
    faiss = load_faiss()
    write = faiss.write_index_binary if binary else faiss.write_index
    # Through Python, because FAISS reports a full disk without the system's error number.
    with clear_os_errors(path), path.open("wb") as handle:
        failed: list[OSError] = []

        def put(data: bytes) -> int:
            try:
                return handle.write(data)
            except OSError as error:
                failed.append(error)
                return 0

        try:
            write(index, faiss.PyCallbackIOWriter(put, 1 << 22))
        except RuntimeError:
            if not failed:
                raise
        if failed:
            raise failed[0]
