"""Ways to run a model on this machine: which of them a model directory has, and loading it.

Importing this loads neither torch nor ONNX Runtime; `load_backend` imports what it needs, so the
import is part of what it takes to load.
"""

import importlib.util
from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpdistill.encoder import ByRole, Embeddings, Role, unit
from hpdistill.errors import HpdError
from hpdistill.evaluate._worker import Loaded

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from hpdistill.pytorch import Precision

__all__ = ["DEFAULT_BACKENDS", "Backend", "load_backend", "missing"]


class Backend(StrEnum):
    """What computes, and in which precision."""

    runtime = "runtime"
    """`hpdistill.Encoder` with what it chooses by itself."""
    onnx_int8 = "onnx-int8"
    onnx_float32 = "onnx-float32"
    static_int8 = "static-int8"
    static_float32 = "static-float32"
    torch_float32 = "torch-float32"
    torch_bfloat16 = "torch-bfloat16"
    sentence_transformers = "sentence-transformers"
    """`SentenceTransformer.encode` in float32, as most models are run today."""

    @property
    def needs_torch(self) -> bool:
        """Whether it is PyTorch; else it is the runtime."""
        return self.value.startswith(("torch-", "sentence-"))


DEFAULT_BACKENDS = (Backend.runtime, Backend.torch_float32)
"""What a model is measured on unless told otherwise, as far as it has them."""


def missing(model: Path, backend: Backend) -> str:
    """Why a model cannot run on a back end; empty when it can.

    Args:
        model: A model directory.
        backend: One of them.
    """
    if backend.needs_torch:
        for package in ("torch", "sentence_transformers"):
            if importlib.util.find_spec(package) is None:
                return f"{package} is not installed (pip install 'hpdistill[train]')"
        return "" if _weight_files(model) else "it has no model.safetensors"
    from hpdistill.runtime import ModelDirectory

    kind, _, precision = backend.partition("-")
    try:
        directory = ModelDirectory.read(model)
        if kind in ("onnx", "static") and directory.is_static != (kind == "static"):
            return f"it is {'a static model' if directory.is_static else 'no static model'}"
        directory.choose(precision or "auto")
    except HpdError as error:
        return f"{error} ({error.hint})" if error.hint else str(error)
    return ""


def load_backend(backend: str, name: str, path: Path, threads: int) -> Loaded:
    """Load a model on a back end, limited to so many threads.

    Args:
        backend: A `Backend`.
        name: What reports call the model.
        path: Its directory, safe to load (from `weights.resolve`).
        threads: Used by one call of `encode`.

    Raises:
        HpdError: The model cannot be loaded this way.
    """
    chosen = Backend(backend)
    if chosen.needs_torch:
        return _load_torch(chosen, name, path, threads)
    return _load_runtime(chosen, path, threads)


def _load_runtime(backend: Backend, path: Path, threads: int) -> Loaded:
    from hpdistill.runtime import Encoder, ModelDirectory

    precision: Any = backend.partition("-")[2] or "auto"
    encoder = Encoder.load(path, precision=precision, threads=threads)

    def facts() -> dict[str, Any]:
        _, file = ModelDirectory.read(path).choose(precision)
        return {
            "backend": encoder.backend,
            "precision": encoder.precision,
            "dim": encoder.dim,
            "parameters": encoder.parameters,
            "max_tokens": _limit(encoder.max_tokens),
            "file_mb": _megabytes(file, *file.parent.glob(f"{file.name}[._]data")),
        }

    return Loaded(
        # Lengths above a model's limit are meant to be cut here.
        encode=partial(encoder.encode, truncation="ignore"),
        encoder=encoder,
        facts=facts,
    )


def _load_torch(backend: Backend, name: str, path: Path, threads: int) -> Loaded:
    import torch

    from hpdistill.pytorch import TorchEncoder, load_model

    torch.set_num_threads(threads)
    precision: Precision = "bfloat16" if backend is Backend.torch_bfloat16 else "float32"
    # The processor on purpose: the contenders share what they are compared on.
    model = load_model(path, device="cpu")
    encoder = TorchEncoder(model, name=name, precision=precision)
    plain = backend is Backend.sentence_transformers
    return Loaded(
        encode=partial(model.encode, show_progress_bar=False) if plain else encoder.encode,
        encoder=_Plain(model, encoder) if plain else encoder,
        facts=lambda: {
            "backend": backend.value if plain else "torch",
            "precision": precision,
            "dim": encoder.dim,
            "parameters": encoder.parameters,
            "max_tokens": _limit(encoder.max_tokens),
            "file_mb": _megabytes(*_weight_files(path)),
        },
    )


class _Plain(ByRole):
    """`SentenceTransformer.encode` itself as an Encoder."""

    def __init__(self, model: "SentenceTransformer", like: Any) -> None:  # noqa: ANN401 - TorchEncoder
        self._model = model
        self.name: str = like.name
        self.dim: int = like.dim
        self.parameters: int = like.parameters

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        normalize: bool = True,
        dim: int | None = None,
        role: Role | None = None,
    ) -> Embeddings:
        """As `hpdistill.encoder.Encoder.encode`."""
        from hpdistill.pytorch import reference_vectors

        vectors = reference_vectors(self._model, texts, role, batch_size=batch_size)
        return unit(vectors, dim=dim) if normalize else vectors[:, :dim]


def _limit(tokens: int | None) -> int | None:
    from hpdistill.runtime import NO_LIMIT

    return int(tokens) if tokens is not None and tokens < NO_LIMIT else None


def _weight_files(path: Path) -> list[Path]:
    # Not projection.safetensors and the ranges: no encoder reads them.
    return [*path.glob("model*.safetensors"), *path.glob("[0-9]_*/model*.safetensors")]


def _megabytes(*files: Path) -> float:
    return round(sum(file.stat().st_size for file in files) / 1e6, 2)
