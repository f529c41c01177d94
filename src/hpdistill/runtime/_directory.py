"""What a model directory holds for the runtime."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from hpdistill.errors import UsageError, WeightsError
from hpdistill.files import sha256_file
from hpdistill.progress import Report
from hpdistill.runtime._options import NO_LIMIT
from hpdistill.runtime._tokens import read_settings

__all__ = [
    "DEFAULT",
    "DEFAULT_NAME",
    "MADE_TOKENIZER",
    "PROMPT_LENGTH",
    "RANGES",
    "STATIC_INT8",
    "ComputePrecision",
    "ModelDirectory",
    "find_model",
]

ComputePrecision = Literal["float32", "int8"]

DEFAULT = Path(__file__).parent.parent / "models" / "default"
"""The static model that comes with the package."""
DEFAULT_NAME = "default"
RANGES = "embedding_ranges.safetensors"
STATIC_INT8 = "static_int8.safetensors"
PROMPT_LENGTH = "prompt_length"
"""An input that graphs have whose pooling leaves prompts out: so many tokens; 0 if not given."""
MADE_TOKENIZER = "tokenizer.json"
"""In `onnx/`, and only where transformers reads the model's own file in a way of its own."""
_GRAPHS: Mapping[ComputePrecision, tuple[str, ...]] = {
    # As sentence-transformers names them. One made for this processor first; each runs on all.
    "float32": ("model.onnx",),
    "int8": (
        ("model_qint8_arm64.onnx", "model_qint8_avx512_vnni.onnx", "model_quint8_avx2.onnx")
        if platform.machine() in ("arm64", "aarch64")
        else ("model_qint8_avx512_vnni.onnx", "model_quint8_avx2.onnx", "model_qint8_arm64.onnx")
    ),
}
_TABLES: Mapping[ComputePrecision, str] = {
    "float32": "model.safetensors",
    "int8": STATIC_INT8,
}
_EXPORT = "`hpd export MODEL` writes the graphs."


def find_model(model: str | Path, report: Report) -> tuple[str, Path]:
    """Name to load a model again, and its directory, which may lack weights but its graphs'.

    Args:
        model: A directory, a short name or a hub id; `default` is the one in the package.
        report: Progress of fetching and verifying.

    Returns:
        The name is an absolute path if a directory was named.

    Raises:
        WeightsError: It cannot be found, fetched, verified or trusted.
    """
    name = str(model)
    if name == DEFAULT_NAME:
        if not DEFAULT.is_dir():
            raise WeightsError(
                f"this installation has no default model: {DEFAULT} is missing",
                hint="Name a model: Encoder.load(path or name).",
            )
        return name, DEFAULT
    path = _as_directory(name)
    if path is None:
        # Only here, because it reads and hashes all of the weights, of which a graph needs none.
        from hpdistill.weights import resolve

        source = resolve(name, others=[DEFAULT_NAME], report=report)
        if source.source != "path":
            return name, source.path
        path = source.path
    return str(path.absolute()), path.absolute()


@dataclass(frozen=True)
class ModelDirectory:
    """Where the parts of a model are, by its JSON files."""

    path: Path
    kinds: Sequence[str]
    """Of its modules; the first is Transformer or StaticEmbedding."""
    folder: Path
    """Of the first module."""
    normalizes: bool
    export: Mapping[str, Any]
    """`onnx/export.json`; empty where another tool wrote the graph."""
    prefixes: Mapping[int, float]
    """Widths that were measured, with their fidelity to the teacher; empty if none were."""
    leaves_prompt_out: bool = False
    """Whether the tokens of a prompt are read, but not pooled."""
    truncate_dim: int | None = None
    """To so many numbers the model's own settings cut its vectors."""

    @classmethod
    def read(cls, path: Path) -> "ModelDirectory":
        """Read the JSON files.

        Raises:
            WeightsError: They are missing, damaged, or point outside.
        """
        modules = _modules(path)
        export = read_settings(path / "onnx" / "export.json")
        if not isinstance(export.get("files", {}), dict):
            raise WeightsError(f"{path / 'onnx' / 'export.json'} is damaged: files is no object")
        try:
            described = read_settings(path / "hpd.json").get("prefixes", {})
            prefixes = {int(dim): float(value) for dim, value in described.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise WeightsError(f"{path / 'hpd.json'} is damaged: {error}") from error
        return cls(
            path=path,
            kinds=tuple(kind for kind, _ in modules),
            folder=modules[0][1],
            normalizes=any(kind == "Normalize" for kind, _ in modules),
            export=export,
            prefixes=dict(sorted(prefixes.items())),
            leaves_prompt_out=any(
                read_settings(folder / "config.json").get("include_prompt") is False
                for kind, folder in modules
                if kind == "Pooling"
            ),
            truncate_dim=read_settings(path / "config_sentence_transformers.json").get(
                "truncate_dim"
            ),
        )

    @property
    def exported_limit(self) -> int | None:
        """Tokens that the model reads by what was exported; None: an export does not say."""
        if "max_tokens" not in self.export:
            return None
        limit = self.export["max_tokens"]
        return NO_LIMIT if limit is None else int(limit)

    @property
    def made_tokenizer(self) -> Path | None:
        """The tokenizer beside the graphs, where transformers made another than the model's file.

        Raises:
            WeightsError: It is missing or not the one that was exported.
        """
        entry = self.export.get("tokenizer") or {}
        if not entry:
            return None
        file = self.path / "onnx" / MADE_TOKENIZER
        if not file.is_file() or sha256_file(file) != entry.get("sha256"):
            raise WeightsError(
                f"{file} is missing or not the file that was exported",
                hint=f"Export it again: `hpd export {self.path}`.",
            )
        return file

    @property
    def is_static(self) -> bool:
        """Whether it is a table of token vectors."""
        return self.kinds[0] == "StaticEmbedding"

    def check_static(self) -> None:
        """Refuse what no table of token vectors can do.

        Raises:
            WeightsError: A module behind the table changes more than lengths.
        """
        others = [kind for kind in self.kinds[1:] if kind not in ("Normalize", "Dropout")]
        if others:
            raise WeightsError(
                f"{self.path} has a {others[0]} behind its table of token vectors; without "
                "PyTorch, only Normalize is done there"
            )

    def choose(self, wanted: str) -> tuple[ComputePrecision, Path]:
        """The file to compute with.

        Args:
            wanted: `auto`, `float32` or `int8`.

        Raises:
            UsageError: The model does not have this precision, or nothing has.
            WeightsError: The file is missing or not the one that was exported.
        """
        if wanted not in ("auto", "float32", "int8"):
            raise UsageError(f"precision is {wanted!r}; allowed: auto, float32, int8")
        if self.is_static:
            self.check_static()
        files = self._tables() if self.is_static else self._graphs()
        if not files:
            what = "no table of token vectors" if self.is_static else "no ONNX graph"
            raise WeightsError(f"{self.path} has {what}", hint="" if self.is_static else _EXPORT)
        best = self.export.get("default", "float32")
        # A static model may hold int8 only.
        chosen = (best if best in files else next(iter(files))) if wanted == "auto" else wanted
        if chosen not in files:
            raise UsageError(
                f"{self.path} has no {wanted} version; it has {', '.join(files)}",
                hint="" if self.is_static else f"`hpd export {self.path} --precision {wanted}`",
            )
        self._check(chosen, files[chosen])
        return chosen, files[chosen]

    def ranges(self, dim: int) -> NDArray[np.float32]:
        """Lowest and highest value of each of the first `dim` dimensions, shape (2, dim).

        Raises:
            UsageError: They were not fitted for this width.
            WeightsError: The file is damaged.
        """
        file = self.path / RANGES
        try:
            with safe_open(file, framework="numpy") as tensors:
                widths = sorted(tensors.keys(), key=lambda key: (len(key), key))
                found = tensors.get_tensor(str(dim)) if str(dim) in widths else None
        except FileNotFoundError:
            widths, found = [], None
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"{file} is damaged: {error}") from error
        if found is None:
            raise UsageError(
                f"int8 embeddings of {dim} dimensions need {RANGES}, which {self.path} has for "
                f"{', '.join(widths) or 'none'}",
                hint="`hpd export` fits them. Or ask for precision float32 or binary.",
            )
        if found.shape != (2, dim):
            raise WeightsError(f"{file} is damaged: {dim!r} has the shape {found.shape}")
        return np.asarray(found, np.float32)

    def _graphs(self) -> dict[ComputePrecision, Path]:
        """The graph of each precision: those exported, else those with the usual names."""
        found: dict[ComputePrecision, Path] = {}
        places = [self.path / "onnx", self.folder / "onnx", self.path]
        for precision, names in _GRAPHS.items():
            entry = self._exported(precision)
            if entry:
                found[precision] = self.path / "onnx" / entry["file"]
            elif not self.export:
                there = [place / name for place in places for name in names]
                if usual := next((file for file in there if file.is_file()), None):
                    found[precision] = usual
        return found

    def _tables(self) -> dict[ComputePrecision, Path]:
        files = {precision: self.folder / name for precision, name in _TABLES.items()}
        return {precision: file for precision, file in files.items() if file.is_file()}

    def _exported(self, precision: str) -> dict[str, Any]:
        """What export.json says about one file; empty if nothing."""
        entry: dict[str, Any] = self.export.get("files", {}).get(precision) or {}
        name = entry.get("file") if isinstance(entry, dict) else None
        if entry and (not isinstance(name, str) or Path(name).name != name):
            raise WeightsError(
                f"{self.path / 'onnx' / 'export.json'} is damaged: {name!r} is no name of a file"
            )
        return entry

    def _check(self, precision: str, file: Path) -> None:
        """Compare a graph with what was exported."""
        hint = f"Export it again: `hpd export {self.path}`."
        if not file.is_file():
            raise WeightsError(f"{file} is missing", hint=hint)
        entry = {} if self.is_static else self._exported(precision)
        size, wanted = file.stat().st_size, entry.get("bytes")
        if wanted is not None and size != wanted:
            raise WeightsError(
                f"{file} is damaged: {size:,} bytes where {wanted:,} were exported", hint=hint
            )
        if "sha256" in entry and sha256_file(file) != entry["sha256"]:
            raise WeightsError(
                f"{file} is not the file that was exported: its sha256 is another", hint=hint
            )


def _as_directory(name: str) -> Path | None:
    """The model directory that a name means; None where it is left to `weights.resolve`."""
    try:
        path = Path(name).expanduser()
        parts = ("modules.json", "config.json", "onnx", "model.onnx")
        return path if any((path / part).exists() for part in parts) else None
    except (OSError, RuntimeError, ValueError):
        return None


def _modules(path: Path) -> list[tuple[str, Path]]:
    """Kind and folder of each module; without modules.json a transformer and no more."""
    file = path / "modules.json"
    if not file.is_file():
        return [("Transformer", path)]
    try:
        entries = json.loads(file.read_text("utf-8"))
        modules = [
            (str(entry["type"]).rpartition(".")[2], path / str(entry["path"])) for entry in entries
        ]
    except (OSError, ValueError, RecursionError, LookupError, TypeError) as error:
        raise WeightsError(f"{file} is damaged: a list of modules was expected") from error
    if not modules:
        raise WeightsError(f"{file} is damaged: it names no module")
    for _, folder in modules:
        if not folder.resolve().is_relative_to(path.resolve()):
            raise WeightsError(f"{file} points outside its folder: {folder}")
    return modules
