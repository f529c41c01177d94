"""A run directory: whose it is, which stages are complete, and on what inputs."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpdistill.errors import HpdError, RunError
from hpdistill.files import (
    claimed,
    is_abandoned,
    is_temporary,
    json_hash,
    make_directory,
    read_json,
    write_json,
)
from hpdistill.recipe import Choices

__all__ = [
    "Manifest",
    "Removed",
    "check_owner",
    "clean_run",
    "has_stage",
    "open_run",
    "read_manifest",
]

_MANIFEST = "manifest.json"
_TO_GO_ON = ("checkpoints", "copies", "corpus", "init", "targets")
"""What a run has for its stages only; the rest is its model, its report and its choices."""


class Manifest:
    """`manifest.json`: for every complete stage the hash of its inputs, and what it gave.

    A stage is skipped when it is there with equal inputs, and redone otherwise; but nothing is
    redone in a run that was cleaned.

    Args:
        directory: Of the run.
        header: Versions and machine.
        overwrite: Whether what was cleaned away is made again if it is needed.
    """

    def __init__(self, directory: Path, header: dict[str, Any], *, overwrite: bool = False) -> None:
        self.path = directory / _MANIFEST
        found = read_manifest(directory)
        self._data = {**header, "stages": found["stages"] if found else {}}
        if found is not None and "cleaned" in found and not overwrite:
            self._data["cleaned"] = found["cleaned"]
        if found is None:
            self._save()  # what makes the directory a run

    def stage(
        self,
        name: str,
        inputs: object,
        work: Callable[[], dict[str, Any]],
        *,
        outputs: Sequence[Path] = (),
    ) -> dict[str, Any]:
        """Do a stage unless it is complete with these inputs.

        Args:
            name: Of the stage.
            inputs: Everything that decides its result, as JSON.
            work: Does it, leaves its files in place, returns facts about it as JSON.
            outputs: What it leaves; if one is gone, the stage is not complete.

        Returns:
            The facts, plus `hash` (of the inputs) for the stages that build on it.

        Raises:
            RunError: It would have to be done, and the run was cleaned.
        """
        key = json_hash(inputs)
        complete = self.is_complete(name, inputs)
        missing = [path for path in outputs if not path.exists() and not self._is_cleaned(path)]
        if complete and not missing:
            return {**self.stages[name]["facts"], "hash": key}
        if self.cleaned:
            why = f"{missing[0]} is gone" if complete else "not all that decides it is as it was"
            raise RunError(
                f"{self.path.parent} was cleaned, and its stage {name!r} would have to be done "
                f"again: {why}",
                hint="Give another --out, or --overwrite to make again what was removed: "
                f"{', '.join(self.cleaned)}.",
            )
        # While it runs, it does not count as complete.
        self.stages.pop(name, None)
        self._save()
        started = time.perf_counter()
        facts = work()
        self.stages[name] = {
            "inputs": key,
            "seconds": round(time.perf_counter() - started, 1),
            "peak_memory_mb": peak_memory_mb(),
            "facts": facts,
        }
        self._save()
        return {**facts, "hash": key}

    def forget(self, name: str) -> None:
        """Drop a stage of the recipe before, which this one has not."""
        if self.stages.pop(name, None) is not None:
            self._save()

    def is_complete(self, name: str, inputs: object) -> bool:
        """Whether a stage was done with these inputs."""
        done = self.stages.get(name)
        return done is not None and done["inputs"] == json_hash(inputs)

    @property
    def cleaned(self) -> list[str]:
        """What `clean_run` has removed; empty if the run is whole."""
        names: list[str] = self._data.get("cleaned", [])
        return names

    def _is_cleaned(self, path: Path) -> bool:
        return path.relative_to(self.path.parent).parts[0] in self.cleaned

    @property
    def stages(self) -> dict[str, dict[str, Any]]:
        """Complete stages by name: `inputs`, `seconds`, `peak_memory_mb`, `facts`."""
        stages: dict[str, dict[str, Any]] = self._data["stages"]
        return stages

    def _save(self) -> None:
        write_json(self.path, self._data)


@contextmanager
def open_run(
    directory: Path, recipe: Choices, header: dict[str, Any], *, overwrite: bool
) -> Iterator[Manifest]:
    """Claim a run directory for one process and one recipe.

    Args:
        directory: Made if missing.
        recipe: Kept as `recipe.toml`.
        header: Versions and machine, for the manifest.
        overwrite: Take over a directory of another recipe. Teacher embeddings are kept: they
            are found by the hash of what they were computed from.

    Raises:
        RunError: It holds another recipe's run or something else, cannot be written, or another
            process works in it.
    """
    check_owner(directory, recipe, overwrite=overwrite)
    make_directory(directory)
    with claimed(directory):
        # Again: whoever held the lock may have made it another recipe's.
        check_owner(directory, recipe, overwrite=overwrite)
        # Of a killed process: nobody else may be writing here now, but to embeddings, which several
        # runs may share.
        for leftover in filter(is_abandoned, list(directory.rglob("*.tmp"))):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink(missing_ok=True)  # it may have gone with its directory
        manifest = Manifest(directory, header, overwrite=overwrite)
        path = directory / "recipe.toml"
        if not _holds(path, recipe):
            recipe.save(path)
        yield manifest


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """What the manifest of a run says: its header, and `stages`.

    Args:
        directory: Of the run; need not exist.

    Returns:
        None if there is no manifest, and so no run.

    Raises:
        RunError: It is damaged, or of something else than a run.
    """
    path = directory / _MANIFEST
    hint = f"Give another `out`; with `store={directory / 'targets'}` embeddings are kept."
    try:
        found = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except RunError as error:
        raise RunError(str(error), hint=hint) from error
    stages = found.get("stages") if isinstance(found, dict) else None
    if not isinstance(stages, dict) or not all(
        isinstance(stage, dict) and {"inputs", "facts", "seconds"} <= stage.keys()
        for stage in stages.values()
    ):
        raise RunError(f"{path} is not the manifest of a run", hint=hint)
    return dict(found)


@dataclass(frozen=True)
class Removed:
    """A part of a run that was removed, or would be."""

    path: Path
    bytes: int


def clean_run(directory: Path, *, dry_run: bool = False) -> list[Removed]:
    """Remove from a finished run all that its model does not need; what is not of the run stays.

    The model, the report, the recipe and the manifest stay, and say afterwards that the run is
    complete.

    Args:
        directory: Of a distillation or a contrastive training.
        dry_run: Only say what would go: corpus, targets, embeddings, checkpoints.

    Returns:
        What was removed; empty if nothing was left to remove.

    Raises:
        RunError: It holds no run, or one that is not finished, or another process works in it.
    """
    found = read_manifest(directory)
    if found is None:
        raise RunError(f"{directory} holds no run")
    with claimed(directory):
        found = read_manifest(directory) or found
        last = "report" if "corpus" in found["stages"] else "training"
        if last not in found["stages"] or not (directory / "model" / "modules.json").is_file():
            raise RunError(
                f"the run in {directory} is not finished: what would be removed is needed for that",
                hint="Finish it by the command that began it, or remove the whole directory.",
            )
        parts = [directory / name for name in _TO_GO_ON]
        parts += filter(is_abandoned, sorted(directory.glob("*.tmp")))
        removed = [
            Removed(path, _size(path)) for path in parts if path.is_symlink() or path.exists()
        ]
        if removed and not dry_run:
            # First, so that a run that is killed here does not count as one to be redone.
            names = {*found.get("cleaned", []), *(part.path.name for part in removed)}
            cleaned = [name for name in _TO_GO_ON if name in names]
            write_json(directory / _MANIFEST, {**found, "cleaned": cleaned})
            for part in removed:
                _remove(part.path)
    return removed


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a directory; what a link leads to is elsewhere."""
    files = [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir() or file.is_symlink())


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"cannot remove {error.filename or path}: {error.strerror}") from error


def has_stage(directory: Path, name: str) -> bool:
    """Whether a directory holds a run, of any recipe, that has completed a stage.

    Raises:
        RunError: As `read_manifest`.
    """
    return name in (read_manifest(directory) or {}).get("stages", {})


def peak_memory_mb() -> int:
    """Largest resident memory of this process so far, in MB (10^6 bytes)."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        used = psutil.Process().memory_info()
        return int(getattr(used, "peak_wset", used.rss)) // 10**6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 10**6


def check_owner(directory: Path, recipe: Choices, *, overwrite: bool) -> None:
    """Refuse a place whose files are not those of a run, or of another run.

    The manifest is what makes it a run: a `recipe.toml` alone may be one that the user wrote, and
    what lies beside it the user's.
    """
    if not _is_unicode(directory):
        raise RunError(
            f"{directory} cannot hold a run: its name is not Unicode",
            hint="Arrow, which keeps sentences there, cannot open such a path.",
        )
    if not directory.exists():
        return
    if not directory.is_dir():
        raise RunError(f"{directory} is a file; `out` must name a directory")
    kept = directory / "recipe.toml"
    manifest = read_manifest(directory)
    if manifest is None:
        allowed = {".lock", kept.name} if not kept.exists() or _holds(kept, recipe) else {".lock"}
        for entry in directory.iterdir():
            if entry.name not in allowed and not is_temporary(entry):
                raise RunError(
                    f"{directory} is not empty and holds no run", hint="Give `out` a new directory."
                )
    elif manifest["stages"] and not overwrite and not _holds(kept, recipe):
        # A run that failed on its sources, before any stage was complete, has nothing to lose.
        raise RunError(
            f"{directory} holds a run of another recipe",
            hint="Give another `out`, or `overwrite=True` to replace it; "
            "teacher embeddings that still fit are kept. `hpd distill --resume --evaluate DIR` "
            "measures it on other data.",
        )


def _is_unicode(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _holds(path: Path, recipe: Choices) -> bool:
    try:
        return type(recipe).load(path).hash == recipe.hash
    except HpdError:
        return False
