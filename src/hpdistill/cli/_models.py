"""Models as the commands of search use them: with ONNX graphs or a table, else by PyTorch."""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hpdistill.errors import UsageError

if TYPE_CHECKING:
    from hpdistill.encoder import Embeddings, Encoder
    from hpdistill.progress import Report
    from hpdistill.recipe import CorpusRecipe
    from hpdistill.weights import ModelSource

__all__ = [
    "OpenModel",
    "check_names",
    "check_width",
    "find_source",
    "open_model",
    "weights_of",
]


@dataclass(frozen=True, kw_only=True)
class OpenModel:
    """A model that is ready to encode."""

    name: str
    """To load it again: a short name, a hub id, or an absolute path."""
    path: Path
    encoder: "Encoder"
    block: int
    """Texts that are a good amount of work at once."""

    @property
    def space(self) -> str:
        """Identity of the space of its vectors."""
        from hpdistill.runtime import space_of

        return space_of(self.path)

    def encode(self, texts: Sequence[str], dim: int) -> "tuple[Embeddings, int]":
        """Unit vectors of any width up to its own, and how many of the texts were cut."""
        from hpdistill.runtime import Encoder

        before = self._truncated
        if isinstance(self.encoder, Encoder):
            vectors = self.encoder.encode(
                list(texts), dim=dim, allow_unvalidated=True, truncation="ignore"
            )
        else:
            vectors = self.encoder.encode(texts, dim=dim)
        return vectors, self._truncated - before

    @property
    def _truncated(self) -> int:
        return int(getattr(self.encoder, "truncated", 0))


def check_names(models: Sequence[str], corpus: "CorpusRecipe | None", report: "Report") -> None:
    """Refuse mistyped models and files before PyTorch is imported, which takes seconds.

    Args:
        models: As `weights.resolve` takes them; one that is not here is fetched.
        corpus: Its sources are looked for, but for those of the hub, which is asked once, later.
        report: Progress of fetching and verifying.

    Raises:
        WeightsError: A model cannot be found, fetched, verified or trusted.
        CorpusError: A file of sentences is missing or of an unknown format.
    """
    from hpdistill.corpus.readers import check_source, is_hub
    from hpdistill.weights import resolve

    if corpus is not None:
        for source in corpus.sources:
            if not is_hub(source):
                check_source(source, column=corpus.column)
    for name in models:
        resolve(name, report=report)


def find_source(name: str, report: "Report") -> "ModelSource":
    """As `weights.resolve`; `default` is the model in the package.

    Raises:
        WeightsError: It cannot be found, fetched, verified or trusted.
    """
    from hpdistill.runtime import DEFAULT, DEFAULT_NAME
    from hpdistill.weights import ModelSource, resolve

    if name == DEFAULT_NAME:
        return ModelSource(name=name, path=DEFAULT, source="package", sha256="")
    return resolve(name, others=[DEFAULT_NAME], report=report)


def open_model(name: str, report: "Report") -> OpenModel:
    """Load a model.

    Raises:
        WeightsError: It cannot be found or loaded, or has neither a graph nor PyTorch to run it.
    """
    from hpdistill.runtime import Encoder, ModelDirectory, find_model

    again, path = find_model(name, report)
    static = ModelDirectory.read(path).is_static
    if not static and _has_torch() and not any(path.rglob("*.onnx")):
        from hpdistill.pytorch import TorchEncoder

        return OpenModel(
            name=again, path=path, encoder=TorchEncoder.load(str(path), report=report), block=1024
        )
    encoder = Encoder.load(path, report=report)
    encoder.name = name
    return OpenModel(name=again, path=path, encoder=encoder, block=16_384 if static else 4096)


def check_width(path: Path, name: str, width: int, dim: int | None, *, anyway: bool) -> int:
    """The width to cut vectors to.

    Args:
        path: Of the model.
        name: Of the model, for messages.
        width: Of its vectors.
        dim: Asked for; None is all of it.
        anyway: Allow widths that were not measured.

    Raises:
        UsageError: The model does not have it.
    """
    from hpdistill.runtime import ModelDirectory

    if dim is None:
        return width
    if not 1 <= dim <= width:
        raise UsageError(f"dim is {dim}; {name} has 1 to {width}")
    measured = sorted({width, *ModelDirectory.read(path).prefixes})
    if dim not in measured and not anyway:
        raise UsageError(
            f"dim is {dim}; {name} was measured at {', '.join(map(str, measured))}",
            hint="--allow-unvalidated cuts its vectors elsewhere.",
        )
    return dim


def weights_of(path: Path) -> Mapping[str, str]:
    """Sha256 of the files of a model that decide its vectors, wherever it lies."""
    from hpdistill.files import sha256_file
    from hpdistill.weights import vocabulary_files

    files = {
        file for pattern in ("*.json", "*.safetensors", "*.onnx*") for file in path.rglob(pattern)
    }
    files |= {file for folder in (path, *path.rglob("*/")) for file in vocabulary_files(folder)}
    # Rewritten by measurements and by exports that change no weight.
    aside = ("hpd.json", "export.json", "report.json", "embedding_ranges.safetensors")
    return {
        str(file.relative_to(path)): sha256_file(file)
        for file in sorted(files)
        if file.name not in aside
    }


def _has_torch() -> bool:
    return all(map(importlib.util.find_spec, ("torch", "sentence_transformers")))
