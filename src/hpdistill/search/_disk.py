"""An index on disk.

    INDEX/index.json              says which generation counts, and how large its files are
    INDEX/generation-000007/      never changed once index.json names it
    INDEX/.lock                   while somebody saves

A generation is written whole, and synced, before index.json is replaced; the one before is removed
after that.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpdistill.errors import RunError, SearchError
from hpdistill.files import (
    clear_os_errors,
    lock_on,
    make_directory,
    remove_leftovers,
    sha256_file,
    sync,
    write_json,
)
from hpdistill.search import local
from hpdistill.search._approximate import Approximate
from hpdistill.search._checks import check_choices, check_search_options, checked_ranges
from hpdistill.search.backend import Backend, Engine, Settings
from hpdistill.search.space import Space

__all__ = ["Saved", "check_place", "check_version", "open_index", "save_index", "version_of"]

_FORMAT = 2
_POINTER = "index.json"
_PREFIX = "generation-"
_LOCK = ".lock"
_SMALL = 1 << 20
"""Files up to this size have a checksum, and those of FAISS, which trusts what it reads."""
_TRIES = 5


@dataclass(frozen=True, kw_only=True)
class Saved:
    """What index.json says about an index, besides its files."""

    space: Space
    engine: Engine
    settings: Settings
    count: int


def save_index(
    path: Path, saved: Saved, backend: Backend, *, known: str | None, token: str
) -> None:
    """Write an index to a directory; see `Index.save`.

    Args:
        path: The directory.
        saved: What to say about the index.
        backend: Writes the files.
        known: The version there that the index goes on from; None if from none.
        token: For this save alone: by it `version_of` finds the new version, even if Ctrl-C came
            when index.json named it already.

    Raises:
        RunError: The disk is full, the place cannot be written, it holds something else, or
            another version than `known`.
    """
    check_place(path, overwrite=True)
    make_directory(path)
    with clear_os_errors(path), _alone(path):
        check_version(path, known)
        remove_leftovers(path)
        number = 1 + max((_number(old) for old in path.glob(f"{_PREFIX}*")), default=0)
        directory = path / f"{_PREFIX}{number:06d}"
        try:
            directory.mkdir()
            state = backend.save(directory)
            files = {
                file.relative_to(directory).as_posix(): _entry(file)
                for file in sorted(directory.rglob("*"))
                if file.is_file()
            }
            _sync_directories(directory)
            pointer = {**_pointer(saved, number, state, files), "token": token}
            write_json(path / _POINTER, pointer)
        except BaseException:
            if version_of(path, token) is None:
                shutil.rmtree(directory, ignore_errors=True)
            raise
        sync(path)
        for old in path.glob(f"{_PREFIX}*"):
            if old != directory:
                shutil.rmtree(old, ignore_errors=True)


def version_of(path: Path, token: str) -> str | None:
    """The version that was saved with this token, if it is what is there now."""
    try:
        pointer = _read(path)
    except SearchError:
        return None
    return _version(pointer) if pointer.get("token") == token else None


def check_place(path: Path, *, overwrite: bool) -> None:
    """Refuse a place for an index that holds something.

    What a killed save has left of an index is nothing.

    Args:
        path: Of the index to come; need not exist.
        overwrite: Whether an index that is there may go.

    Raises:
        RunError: There is an index, or something else.
    """
    if path.exists() and (not path.is_dir() or _is_something_else(path)):
        raise RunError(f"{path} is there already and is no index", hint="Give another name.")
    if not overwrite and (path / _POINTER).exists():
        raise RunError(
            f"{path} exists already",
            hint="Give another name, or `overwrite=True`; `add` adds to it.",
        )


def check_version(path: Path, known: str | None) -> None:
    """Refuse a place whose index is not the one that is gone on from.

    Args:
        path: Of the index.
        known: Its version when it was loaded or saved; None if it was neither.

    Raises:
        RunError: Another process has saved there since.
    """
    if known is None or not (path / _POINTER).exists():
        return
    if _version(_read(path)) != known:
        raise RunError(
            f"the index at {path} was changed by another process meanwhile",
            hint="Nothing was written. Load it again, and add again what is to be added.",
        )


def open_index(
    path: Path, *, space: Space | None, mmap: bool, options: Mapping[str, Any]
) -> tuple[Saved, Backend, str]:
    """Open an index; see `Index.load`.

    Returns:
        What is said about it, what searches, and its version.

    Raises:
        SearchError: There is none, it is damaged, or of another space.
        UsageError: The engine has no such option of searching.
    """
    for last in (*[False] * (_TRIES - 1), True):
        pointer = _read(path)
        saved, directory = _described(path, pointer)
        if space is not None:
            saved.space.check(space)
        check_search_options(saved.engine, options, saved.space.dim)
        saved.settings.options = {**saved.settings.options, **options}
        try:
            _check_files(directory, pointer["files"])
            backend = _open(saved, directory, pointer["state"], mmap=mmap)
            return saved, backend, _version(pointer)
        except (SearchError, FileNotFoundError) as error:
            # Another process may have saved meanwhile, and removed this generation.
            if not last and _version(_read(path)) != _version(pointer):
                continue
            if isinstance(error, SearchError):
                raise
            raise SearchError(f"the index at {path} lacks {error.filename}") from error
        except PermissionError as error:
            raise SearchError(f"cannot read {error.filename}: permission denied") from error
    raise AssertionError


def _open(saved: Saved, directory: Path, state: Mapping[str, Any], *, mmap: bool) -> Backend:
    if saved.engine == "milvus":
        from hpdistill.search import milvus

        return milvus.load(saved.settings, directory, state, space=saved.space)
    return local.load(saved.settings, saved.engine, directory, state, mmap=mmap)


def _pointer(
    saved: Saved, number: int, state: Mapping[str, Any], files: Mapping[str, Any]
) -> dict[str, Any]:
    settings = saved.settings
    return {
        "format": _FORMAT,
        "engine": saved.engine,
        "precision": settings.precision,
        "keep": settings.keep,
        "space": saved.space.to_dict(),
        "count": saved.count,
        "options": dict(settings.options),
        "generation": number,
        "files": files,
        "state": dict(state),
        "ranges": None if settings.ranges is None else settings.ranges.tolist(),
    }


def _read(path: Path) -> dict[str, Any]:
    pointer = path / _POINTER
    try:
        value = json.loads(pointer.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SearchError(f"there is no index at {path}", hint="`hpd index` builds one.") from error
    except (OSError, ValueError) as error:
        raise SearchError(f"{pointer} cannot be read: {error}") from error
    if not isinstance(value, dict) or value.get("format") != _FORMAT:
        found = value.get("format") if isinstance(value, dict) else None
        raise SearchError(
            f"{pointer} is of format {found!r}; this version reads {_FORMAT}",
            hint="Build the index again: `hpd index`.",
        )
    return value


def _described(path: Path, pointer: Mapping[str, Any]) -> tuple[Saved, Path]:
    try:
        engine, precision, keep = pointer["engine"], pointer["precision"], pointer["keep"]
        check_choices(engine, precision, keep)
        space = Space.from_dict(pointer["space"])
        ranges = pointer["ranges"]
        settings = Settings(
            dim=space.dim,
            precision=precision,
            keep=keep,
            ranges=ranges and checked_ranges(np.array(ranges, np.float32), space.dim),
            options=dict(pointer["options"]),
        )
        saved = Saved(space=space, engine=engine, settings=settings, count=pointer["count"])
        directory = path / f"{_PREFIX}{pointer['generation']:06d}"
        dict(pointer["files"]), dict(pointer["state"])
    except SearchError:
        raise
    except Exception as error:
        raise SearchError(
            f"{path / _POINTER} is damaged: {type(error).__name__}: {error}",
            hint="Build the index again.",
        ) from error
    return saved, directory


def _check_files(directory: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    for name, entry in files.items():
        file = directory / name
        size = file.stat().st_size
        if size != entry["bytes"]:
            raise SearchError(
                f"{file} is damaged: it has {size:,} bytes, not {entry['bytes']:,}",
                hint="Build the index again.",
            )
        if "sha256" in entry and sha256_file(file) != entry["sha256"]:
            raise SearchError(
                f"{file} is damaged: its checksum is wrong", hint="Build the index again."
            )


def _entry(file: Path) -> dict[str, Any]:
    """Sync a file and describe it."""
    sync(file)
    size = file.stat().st_size
    if size <= _SMALL or file.name == Approximate.FILE:
        return {"bytes": size, "sha256": sha256_file(file)}
    return {"bytes": size}


def _is_something_else(path: Path) -> bool:
    """Whether a directory holds anything but an index, or what a killed process left of one."""
    names = [entry.name for entry in path.iterdir()]
    if _POINTER not in names:
        return any(not name.startswith((_PREFIX, _POINTER, _LOCK)) for name in names)
    # A damaged one of ours may be overwritten; one that another program wrote may not.
    if any(name.startswith(_PREFIX) for name in names):
        return False
    try:
        value = json.loads((path / _POINTER).read_text("utf-8"))
    except (OSError, ValueError):
        return True
    return not (isinstance(value, dict) and value.keys() >= {"format", "generation", "engine"})


def _version(pointer: Mapping[str, Any]) -> str:
    """What tells a saved index from any other that was or will be saved there.

    Generations are counted anew where an index was removed and built again.
    """
    return f"{pointer.get('generation')} {pointer.get('token')}"


def _number(generation: Path) -> int:
    with suppress(ValueError):
        return int(generation.name.removeprefix(_PREFIX))
    return 0


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other process saves here."""
    file = path / _LOCK
    with lock_on(file, wait=True):
        try:
            yield
        finally:
            # No part of the index. Whoever waits for it makes it anew; Windows keeps it.
            with suppress(OSError):
                file.unlink()


def _sync_directories(directory: Path) -> None:
    for path in (*directory.rglob("*"), directory, directory.parent):
        if path.is_dir():
            sync(path)
