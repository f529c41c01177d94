"""Models as the commands of search use them: with ONNX graphs or a table, else by PyTorch."""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hpdistill.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hpdistill.encoder import Embeddings, Encoder, Role
    from hpdistill.notices import Notices
    from hpdistill.progress import Report
    from hpdistill.pytorch import TorchEncoder
    from hpdistill.recipe import CorpusRecipe
    from hpdistill.runtime import EncoderPrecision, Truncation
    from hpdistill.vectorfile import Vectors
    from hpdistill.weights import ModelSource

__all__ = [
    "OpenModel",
    "TorchBlocks",
    "check_names",
    "check_width",
    "find_source",
    "open_model",
    "run_by",
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

    def encode(
        self, texts: Sequence[str], dim: int, role: "Role | None" = None
    ) -> "tuple[Embeddings, int]":
        """Unit vectors of any width up to its own, and how many of the texts were cut."""
        from hpdistill.encoder import encode_as
        from hpdistill.runtime import Encoder

        before = self._truncated
        if isinstance(self.encoder, Encoder):
            vectors = self.encoder.encode(
                list(texts), dim=dim, role=role, allow_unvalidated=True, truncation="ignore"
            )
        else:
            vectors = encode_as(self.encoder, texts, role, dim=dim)
        return vectors, self._truncated - before

    @property
    def _truncated(self) -> int:
        return int(getattr(self.encoder, "truncated", 0))


def check_names(
    models: Sequence[str],
    corpus: "CorpusRecipe | None",
    report: "Report",
    *,
    begun: bool = False,
) -> None:
    """Refuse mistyped models and files before PyTorch is imported, which takes seconds.

    Args:
        models: As `weights.resolve` takes them; one that is not here is fetched.
        corpus: Its sources are looked for, but for those of the hub, which is asked once, later.
        report: Progress of fetching and verifying.
        begun: It is a run's own corpus, in which no choice can be taken back any more.

    Raises:
        WeightsError: A model cannot be found, fetched, verified or trusted.
        CorpusError: A file of sentences is missing or of an unknown format.
        UsageError: Columns or a delimiter are given, and no source has a use for them.
    """
    from hpdistill.corpus.readers import check_source, check_used, is_hub
    from hpdistill.weights import resolve

    if corpus is not None:
        for source in corpus.sources:
            if not is_hub(source):
                check_source(source, **corpus.reading)
        if not begun:
            sources = (*corpus.sources, *(corpus.validation_sources or ()))
            check_used(sources, column=corpus.column, delimiter=corpus.delimiter)
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


def open_model(
    name: str,
    report: "Report",
    *,
    precision: "EncoderPrecision" = "auto",
    threads: int | None = None,
) -> OpenModel:
    """Load a model: by the runtime if it has a graph or a table, else by PyTorch, in float32.

    A model that nothing here can run is refused before it is fetched or unpacked, where its name
    says what it is: the models with short names have no graph.

    Args:
        name: A directory, a short name, a hub id or `default`.
        report: Progress of fetching and verifying.
        precision: In which it computes; int8 needs a graph or a table.
        threads: Cores to use; None: those there are.

    Raises:
        UsageError: It does not have this precision.
        WeightsError: It cannot be found or loaded, or has neither a graph nor PyTorch to run it.
    """
    from hpdistill.runtime import Encoder, ModelDirectory, find_model

    if _is_known(name):
        _check_torch(name, precision)
    again, path = find_model(name, report)
    static = ModelDirectory.read(path).is_static
    if static or any(path.rglob("*.onnx")):
        encoder = Encoder.load(path, precision=precision, threads=threads, report=report)
        encoder.name = name
        return OpenModel(name=again, path=path, encoder=encoder, block=16_384 if static else 4096)
    _check_torch(name, precision)
    import torch

    from hpdistill.pytorch import TorchEncoder
    from hpdistill.weights import resolve

    if threads is not None:
        torch.set_num_threads(threads)
    source = replace(resolve(str(path), report=report), name=name)
    return OpenModel(name=again, path=path, encoder=TorchEncoder.load(source), block=1024)


def _is_known(name: str) -> bool:
    """Whether it is a short name, or another name of such a model, and no directory."""
    from hpdistill.weights import known_models

    names = {alias.casefold() for model in known_models() for alias in model.aliases}
    return name.casefold() in names and not Path(name).is_dir()


def _check_torch(name: str, precision: str) -> None:
    """Refuse a model without a graph if PyTorch cannot run it as it should be run."""
    if not _has_torch():
        raise WeightsError(
            f"{name} has no ONNX graph, and PyTorch, which could run it, is not installed",
            hint="pip install 'hpdistill[train]', or export it where PyTorch is: "
            f"`hpd export {name} --out DIR`.",
        )
    if precision == "int8":
        raise UsageError(
            f"`model_precision=int8` needs an ONNX graph, and {name} has none: PyTorch runs it in "
            "float32",
            hint=f"`hpd export {name} --out DIR` makes one.",
        )


class TorchBlocks:
    """A model that PyTorch runs, as `hpd encode` asks for vectors: of `runtime.Encoder`, a part."""

    backend = "torch"

    def __init__(self, opened: OpenModel) -> None:
        self._encoder = cast("TorchEncoder", opened.encoder)
        self.path = opened.path
        self.name = self._encoder.name
        self.dim = self._encoder.dim
        self.precision = self._encoder.precision
        self.max_tokens = self._encoder.max_tokens

    @property
    def truncated(self) -> int:
        """How many texts were cut so far."""
        return self._encoder.truncated

    @property
    def notices(self) -> "Notices":
        """Of the encoder within."""
        return self._encoder.notices

    @notices.setter
    def notices(self, notices: "Notices") -> None:
        self._encoder.notices = notices

    def encode_blocks(
        self,
        texts: "Iterable[str]",
        *,
        block: int,
        **options: Any,  # noqa: ANN401 - as of encode
    ) -> "Iterator[Vectors]":
        """Embed a stream of texts, block by block."""
        source = iter(texts)
        # What is done should not be lost, nor kept from who waits, for long: it is no fast model.
        while part := list(islice(source, min(block, 1024))):
            yield self.encode(part, **options)

    def encode(
        self,
        texts: "Sequence[str]",
        *,
        batch_size: int,
        normalize: bool,
        dim: int | None,
        role: "Role | None",
        precision: str,
        allow_unvalidated: bool,
        truncation: "Truncation",
    ) -> "Vectors":
        """Embed texts; the options are those of `runtime.Encoder.encode`.

        Raises:
            UsageError: An option that the model does not allow.
        """
        from hpdistill.runtime import ModelDirectory, vectors

        width = check_width(self.path, self.name, self.dim, dim, anyway=allow_unvalidated)
        ranges = None
        if precision == "int8":
            if not normalize:
                raise UsageError("int8 embeddings are those of unit vectors, not of others")
            ranges = ModelDirectory.read(self.path).ranges(width)
        found: Embeddings = self._encoder.encode(
            texts,
            batch_size=batch_size,
            normalize=normalize,
            dim=width,
            role=role,
            truncation=truncation,
        )
        if ranges is not None:
            return vectors.quantize(found, ranges)
        return vectors.pack(found) if precision == "binary" else found

    def close(self) -> None:
        """As there; nothing has to be ended."""


def run_by(opened: OpenModel) -> str:
    """What is to be said of a model that PyTorch runs, else nothing."""
    if _is_runtime(opened.encoder):
        return ""
    return (
        f"{opened.encoder.name} has no ONNX graph and is run by PyTorch; "
        "`hpd export` makes one, which is faster and needs no PyTorch"
    )


def _is_runtime(encoder: "Encoder") -> bool:
    from hpdistill.runtime import Encoder

    return isinstance(encoder, Encoder)


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
