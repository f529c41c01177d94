"""Other people's libraries as contenders of `speed.py`, run by the interpreter that has them.

The process answers as `hpdistill.evaluate._worker` does; of hpdistill it needs the source, on
PYTHONPATH, and NumPy. Back ends: `fastembed` in the batches asked for, `fastembed-default` in its
own (256), `model2vec` with its defaults.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from hpdistill.evaluate._worker import Loaded, serve


def load(backend: str, name: str, path: Path, threads: int) -> Loaded:
    """Load a model directory with one of the libraries."""
    if backend == "model2vec":
        return load_model2vec(path)
    return load_fastembed(backend, name, path, threads)


def load_fastembed(backend: str, name: str, path: Path, threads: int) -> Loaded:
    """The float32 graph of a model with mean pooling, as fastembed runs a custom model."""
    text_embedding = import_module("fastembed").TextEmbedding
    description = import_module("fastembed.common.model_description")
    graph = next(path / g for g in ("onnx/model.onnx", "model.onnx") if (path / g).is_file())
    text_embedding.add_custom_model(
        model=name,
        pooling=description.PoolingType.MEAN,
        normalization=True,
        sources=description.ModelSource(hf=name),
        dim=384,
        model_file=str(graph.relative_to(path)),
    )
    model = text_embedding(name, specific_model_path=str(path), threads=threads)

    def encode(texts: Any, *, batch_size: int) -> object:  # noqa: ANN401
        size = 256 if backend == "fastembed-default" else batch_size
        return list(model.embed(texts, batch_size=size))

    dim = len(next(iter(model.embed(["dim"]))))
    limit = model.model.tokenizer.truncation["max_length"]
    return Loaded(encode=encode, facts=lambda: facts(backend, "float32", dim, limit, graph))


def load_model2vec(path: Path) -> Loaded:
    """A static model."""
    model = import_module("model2vec").StaticModel.from_pretrained(str(path))

    def encode(texts: Any, *, batch_size: int) -> object:  # noqa: ANN401, ARG001
        return model.encode(texts)

    file = path / "model.safetensors"
    return Loaded(
        encode=encode,
        facts=lambda: facts(
            "model2vec", str(model.embedding.dtype), model.dim, model.max_length, file
        ),
    )


def facts(backend: str, precision: str, dim: int, limit: int, file: Path) -> dict[str, Any]:
    """What a row tells of a contender; the weights are not counted here."""
    return {
        "backend": backend,
        "precision": precision,
        "dim": dim,
        "parameters": None,
        "max_tokens": limit,
        "file_mb": round(file.stat().st_size / 1e6, 2),
    }


if __name__ == "__main__":
    serve(load)
