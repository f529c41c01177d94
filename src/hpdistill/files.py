"""Writing files so that a reader, or a process killed half-way, never sees half of one."""

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpdistill.errors import HpdError, RunError

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = [
    "alone_in",
    "atomic_directory",
    "atomic_path",
    "check_work_directory",
    "check_writable",
    "claimed",
    "clear_os_errors",
    "is_abandoned",
    "is_temporary",
    "json_hash",
    "lock_on",
    "make_directory",
    "read_json",
    "reading_own",
    "remove_leftovers",
    "sha256_file",
    "sync",
    "text_hash",
    "write_json",
]

_QUIET_SECONDS = 60


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary sibling to write to; rename it to `path` when the block succeeds.

    Raises:
        RunError: The disk is full or the place cannot be written; `path` is untouched.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with clear_os_errors(path):
            make_directory(path.parent)
            yield temporary
            with temporary.open("rb+") as handle:
                os.fsync(handle.fileno())
            temporary.replace(path)
    finally:
        # A place that cannot be written may refuse this too; the first reason is the one to tell.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """The same for a directory: built aside, then put in the place of the old one.

    Between removing the old directory and renaming the new one a kill leaves no `path`;
    callers treat a missing directory as work still to be done.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with clear_os_errors(path):
            shutil.rmtree(temporary, ignore_errors=True)
            make_directory(temporary)
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    sync(file)
            if path.exists():
                shutil.rmtree(path)
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_writable(path: Path) -> None:
    """Refuse a place that nothing can be written to, before anything is computed for it.

    A directory is made beside it, or in the nearest directory above it that is there, and removed:
    permissions alone do not say.

    Args:
        path: Need not exist, nor what it lies in.

    Raises:
        RunError: Its name is too long for `atomic_path`, or leads through a file or a circle of
            links; or the system refuses.
    """
    with clear_os_errors(path), suppress(FileNotFoundError):
        Path(f"{path}.{os.getpid()}.tmp").lstat()
    above = next((p for p in path.absolute().parents if p.exists()), path.absolute())
    try:
        with clear_os_errors(path):
            Path(tempfile.mkdtemp(prefix=".hpdistill-", dir=above)).rmdir()
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error


def is_temporary(path: Path) -> bool:
    """Whether a file or directory has the name that `atomic_path` gives while it is written."""
    return _writer(path) is not None


def is_abandoned(path: Path) -> bool:
    """Whether it has such a name, and no other process that lives here gave it."""
    pid = _writer(path)
    return pid is not None and (pid == os.getpid() or not _is_alive(pid))


def remove_leftovers(directory: Path) -> None:
    """Remove what killed processes left half-written in a directory that several may share.

    Only what `atomic_path` and `atomic_directory` name so, whose process is gone, and which nobody
    has touched for a minute: a process of another container or host, which cannot be seen from
    here, may be writing it.
    """
    for path in sorted(directory.glob("*.tmp")):
        pid = _writer(path)
        # What cannot be removed, or went meanwhile, is no reason to fail.
        with suppress(OSError):
            if pid is None or _is_alive(pid) or time.time() - _last_change(path) < _QUIET_SECONDS:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def make_directory(path: Path) -> None:
    """Make a directory and those above it, unless they are there.

    Raises:
        RunError: It cannot be made.
    """
    try:
        with clear_os_errors(path):
            path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make {path}: {error.strerror}") from error


def check_work_directory(path: Path, what: str) -> None:
    """Refuse to work in, and in the end to remove, a directory that somebody else made.

    Ours are empty, or hold a `.lock` or a `key.json`.

    Args:
        path: Need not exist.
        what: Would be kept there, for the message.

    Raises:
        RunError: It is somebody else's, or no directory.
    """
    try:
        if path.is_dir():
            names = [entry.name for entry in path.iterdir() if not is_temporary(entry)]
            if not names or not {".lock", "key.json"}.isdisjoint(names):
                return
        elif not path.exists():
            return
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    raise RunError(f"{path} is in the way: {what} would be kept there", hint="Give another name.")


@contextmanager
def alone_in(directory: Path) -> Iterator[None]:
    """Keep other processes from the work in a directory that is removed when it is done.

    Args:
        directory: Existing; `.lock` in it is ours.

    Raises:
        RunError: Another process works in it, or was just removing it; or it cannot be written.
    """
    if not directory.is_dir():
        raise RunError(f"another process was just finishing in {directory}", hint="Try again.")
    with clear_os_errors(directory), claimed(directory):
        yield


@contextmanager
def claimed(directory: Path) -> Iterator[None]:
    """Keep other processes from a directory that stays.

    Args:
        directory: Made if missing; `.lock` in it is ours.

    Raises:
        RunError: Another process works in it, or it cannot be written.
    """
    lock = lock_on(directory / ".lock")
    try:
        lock.acquire()
    except TimeoutError as error:
        raise RunError(f"another process is working in {directory}") from error
    except OSError as error:
        raise RunError(f"cannot write {directory}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def lock_on(path: Path, *, wait: bool = False) -> "BaseFileLock":
    """A lock that one process at a time holds, and that is free again when its process is gone.

    Neither what a forked child does nor its life touches the lock of its parent. The file stays.

    Args:
        path: Made, with the directories above it.
        wait: Whether `acquire` waits until the lock is free, or raises a TimeoutError.
    """
    from filelock import FileLock  # takes long to import

    # Of whatever thread: what holds it may be collected in another one.
    return FileLock(path, blocking=wait, thread_local=False)


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - whatever json can hold
    """Write `value` as indented JSON, atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    try:
        data = text.encode()
    except UnicodeEncodeError:  # a file's name need not be Unicode
        data = (json.dumps(value, indent=2) + "\n").encode()
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def read_json(path: Path) -> Any:  # noqa: ANN401 - whatever json can hold
    """Read a JSON file that hpdistill wrote.

    Raises:
        RunError: It is not valid JSON any more.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise RunError(
            f"{path} is damaged: {error}", hint="Delete it to have it written again."
        ) from error


@contextmanager
def reading_own(path: Path, hint: str, *faults: type[Exception]) -> Iterator[None]:
    """Say in one line that what hpdistill wrote cannot be read any more.

    Args:
        path: What is read.
        hint: What to do about it.
        faults: What reading it raises when it is damaged.

    Raises:
        RunError: It is damaged.
    """
    try:
        yield
    except faults as error:
        reason = str(error).strip().partition("\n")[0]
        raise RunError(f"{path} is damaged: {reason}", hint=hint) from error


def json_hash(value: Any) -> str:  # noqa: ANN401 - whatever json can hold
    """Sha256 of a JSON value in canonical form, in hexadecimal."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    # A file's name need not be Unicode.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def text_hash(texts: Iterable[str]) -> str:
    """Sha256 over texts and their boundaries, in hexadecimal."""
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def sha256_file(path: Path) -> str:
    """Sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@contextmanager
def clear_os_errors(
    path: Path | str,
    hint: str = "What was complete is kept: make room, then run the same command again.",
) -> Iterator[None]:
    """Say in one line why the system refuses to write `path`.

    Args:
        path: What is written, for the message.
        hint: Where there is no room.

    Raises:
        RunError: The disk is full, or the place cannot be written.
    """
    no_room = {
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "the disk quota is used up",
        errno.EFBIG: "the file would be larger than the system allows",
    }
    reasons = no_room | {
        errno.EACCES: "permission denied",
        errno.EPERM: "permission denied",
        errno.EROFS: "the file system is read-only",
        errno.ENOTDIR: "a part of this path is a file, not a directory",
        errno.EEXIST: "a part of this path is a file, not a directory",
        errno.EISDIR: "it is a directory",
        errno.ENAMETOOLONG: "the name is too long",
        errno.ELOOP: "too many symbolic links",
    }
    try:
        yield
    except HpdError:
        raise
    except Exception as error:
        number = _system_error(error)
        # NumPy reports a short write by an OSError without a number.
        unnumbered = number is None and type(error) is OSError
        if number not in reasons and not unnumbered:
            raise
        reason = str(error).splitlines()[0] if unnumbered else reasons[number or 0]
        full = unnumbered or number in no_room
        raise RunError(f"cannot write {path}: {reason}", hint=hint if full else "") from error


def sync(path: Path) -> None:
    """Have a file or directory on the disk, not only in memory that a power cut takes."""
    windows = os.name == "nt"
    if windows and path.is_dir():  # which it cannot open
        return
    handle = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _writer(path: Path) -> int | None:
    """The process that gave a temporary file or directory its name."""
    found = re.search(r"\.(\d+)\.tmp$", path.name)
    return int(found[1]) if found else None


def _is_alive(pid: int) -> bool:
    if os.name == "nt":  # where 0 is Ctrl-C, and is sent
        try:
            import psutil
        except ImportError:
            return True
        return bool(psutil.pid_exists(pid))
    try:
        os.kill(pid, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's; a name that is not ours
        return True
    return True


def _last_change(path: Path) -> float:
    """When a file, or anything in a directory, was last written to."""
    return max(inner.lstat().st_mtime for inner in (path, *path.rglob("*")))


def _system_error(error: Exception) -> int | None:
    """The system's number of an error; libraries written in Rust have it in their text only."""
    number = getattr(error, "errno", None)
    found = re.search(r"\(os error (\d+)\)", str(error)) if number is None else None
    return int(found[1]) if found else number
