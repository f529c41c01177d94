"""The student: a compact backbone, its own pooling, a dense head to k, normalisation.

Or, if static, a table of token vectors and normalisation; see `hpdistill.static`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    StaticEmbedding,
    Transformer,
)
from tokenizers import Tokenizer
from torch import nn
from transformers import PreTrainedModel

from hpdistill.encoder import Embeddings
from hpdistill.errors import UsageError, WeightsError
from hpdistill.files import read_json, write_json
from hpdistill.head import ridge, rotated_pca
from hpdistill.progress import Report, silent
from hpdistill.pytorch import TorchEncoder, best_device, load_model
from hpdistill.recipe import HeadRecipe, PoolingMode, StudentSpec
from hpdistill.runtime import NO_LIMIT
from hpdistill.shape import reshape
from hpdistill.weights import ModelSource, resolve

__all__ = [
    "assemble",
    "backbone",
    "build_static",
    "build_student",
    "check_student",
    "is_sentence_encoder",
    "is_static",
    "keep_layers",
    "pooled_backbone",
    "save_student",
    "set_head",
    "untouched",
    "without_head",
]

ACTIVATIONS: dict[str, type[nn.Module]] = {"identity": nn.Identity, "tanh": nn.Tanh}

LEGACY_TYPES = {
    kind: f"sentence_transformers.models.{kind}"
    for kind in (
        "Transformer",
        "Pooling",
        "Dense",
        "Dropout",
        "LayerNorm",
        "Normalize",
        "StaticEmbedding",
        "WeightedLayerPooling",
    )
}

LEGACY_POOLING: dict[PoolingMode, str] = {
    "cls": "cls_token",
    "max": "max_tokens",
    "mean": "mean_tokens",
    "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "weightedmean": "weightedmean_tokens",
    "lasttoken": "lasttoken",
}
"""Keys of sentence-transformers 2 to 5, in the order in which they lay several side by side."""


def is_sentence_encoder(source: ModelSource) -> bool:
    """Whether a model directory is a finished sentence encoder, not only a backbone."""
    return (source.path / "modules.json").is_file()


def build_student(
    spec: str,
    dim: int | None,
    head: HeadRecipe,
    *,
    seed: int,
    pooling: PoolingMode | None = None,
    texts: Sequence[str] = (),
    report: Report = silent,
) -> SentenceTransformer:
    """Assemble a student; its head is random until `set_head`.

    Args:
        spec: See `StudentSpec.parse`.
        dim: Width k of its embeddings; None: no head, but the backbone's own width.
        head: Activation of the head.
        seed: Of the random head.
        pooling: How tokens' vectors become one; None: as in the model, which is what its layers
            were trained for. A bare backbone has the mean, or the last token if it is a decoder.
        texts: A sample of the corpus; only a shape needs it.
        report: Progress.

    Raises:
        UsageError: The spec is malformed, names layers that the model lacks or a shape that it
            cannot have, or k is not positive.
        WeightsError: The model cannot be found, verified, trusted or loaded.
    """
    parsed, model = _load(spec, dim, report)
    if parsed.shape is not None:
        reshape(model, parsed.shape, texts, seed=seed, report=report)
    transformer = _transformer(model)
    torch.manual_seed(seed)
    pool = _pooling(model, pooling, transformer.get_embedding_dimension())
    if dim is None:
        return assemble(model, [transformer, pool, Normalize()])
    dense = Dense(
        pool.get_embedding_dimension(),
        dim,
        bias=True,
        activation_function=ACTIVATIONS[head.activation](),
    )
    return assemble(model, [transformer, pool, dense, Normalize()])


def _pooling(model: SentenceTransformer, chosen: PoolingMode | None, width: int) -> Pooling:
    own = next((module for module in model if isinstance(module, Pooling)), None)
    pool: Pooling = Pooling(
        width,
        pooling_mode=chosen or (own.pooling_mode if own else "mean"),
        include_prompt=own.include_prompt if own else True,
    )
    return pool


def check_student(spec: str, dim: int | None, *, report: Report = silent) -> None:
    """Refuse a student that cannot be built, without building it or any sentence.

    Raises:
        UsageError: As `build_student`.
        WeightsError: As `build_student`.
    """
    parsed, model = _load(spec, dim, report)
    if parsed.shape is not None:
        parsed.shape.settle(_transformer(model).auto_model.config)


def _load(spec: str, dim: int | None, report: Report) -> tuple[StudentSpec, SentenceTransformer]:
    """The model of a student that is not static, with the layers it is to have."""
    if dim is not None and dim < 1:
        raise UsageError(f"dim is {dim}; allowed: 1 or more")
    parsed = StudentSpec.parse(spec)
    model = load_model(resolve(parsed.model, report=report).path)
    if not isinstance(model[0], Transformer):
        kind = type(model[0]).__name__
        raise UsageError(
            f"{parsed.model} starts with a {kind}; a student's backbone is a transformer"
        )
    if parsed.layers is not None:
        keep_layers(model[0], parsed.layers)
    return parsed, model


def build_static(tokenizer: Tokenizer, vectors: NDArray[np.float32]) -> SentenceTransformer:
    """Assemble a static student.

    Args:
        tokenizer: Without truncation.
        vectors: Of each of its tokens, shape (vocabulary, k), float32; copied.
    """
    table = StaticEmbedding(tokenizer, embedding_weights=torch.from_numpy(vectors.copy()))
    return SentenceTransformer(modules=[table, Normalize()], device=best_device())


def is_static(model: SentenceTransformer) -> bool:
    """Whether a model is a table of token vectors."""
    return isinstance(model[0], StaticEmbedding)


def backbone(student: SentenceTransformer) -> PreTrainedModel:
    """The Hugging Face model within a student."""
    model: PreTrainedModel = _transformer(student).auto_model
    return model


def keep_layers(transformer: Transformer, layers: Sequence[int]) -> None:
    """Keep some layers of a transformer, in place, in their order.

    Raises:
        UsageError: The model has no such layer, or its layers cannot be told.
    """
    model = transformer.auto_model
    total = model.config.num_hidden_layers
    stacks = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.ModuleList) and len(child) == total
    ]
    if len(stacks) != 1:
        raise UsageError(f"cannot tell the layers of a {type(model).__name__}")
    parent, name, stack = stacks[0]
    missing = [layer for layer in layers if layer >= total]
    if missing:
        raise UsageError(
            f"layer {missing[0]} does not exist; this model has layers 0 to {total - 1}"
        )
    if _weight_names(stack[layers[0]]) != _weight_names(stack[0]):
        raise UsageError(
            f"the first layer of a {type(model).__name__} differs from the others; "
            "the layers kept must start with 0"
        )
    setattr(parent, name, nn.ModuleList([stack[layer] for layer in layers]))
    types = getattr(model.config, "layer_types", None)
    if types is not None:
        model.config.layer_types = [types[layer] for layer in layers]
    model.config.num_hidden_layers = len(layers)


def _weight_names(layer: nn.Module) -> set[str]:
    return {name for name, _ in layer.named_parameters()}


def untouched(spec: str) -> SentenceTransformer:
    """A student of no other shape before anything was done to it: backbone, pooling, normalisation.

    A finished sentence encoder that is used whole keeps its own pooling.
    """
    parsed = StudentSpec.parse(spec)
    model = load_model(resolve(parsed.model).path)
    if parsed.layers is None:
        return model
    transformer = model[0]
    assert isinstance(transformer, Transformer)
    keep_layers(transformer, parsed.layers)
    return assemble(model, [transformer, model[1], Normalize()])


def without_head(student: SentenceTransformer) -> SentenceTransformer:
    """A student from `build_student`, less its head; of a shape, the untouched student."""
    return assemble(student, [student[0], student[1], Normalize()])


def set_head(
    student: SentenceTransformer, pooled: Embeddings, targets: Embeddings, recipe: HeadRecipe
) -> None:
    """Solve the head from the pooled backbone to the targets, in place.

    Args:
        student: From `build_student`.
        pooled: From `pooled_backbone`, for a sample of n training sentences, (n, width).
        targets: Their targets, shape (n, k), float32.
        recipe: `ridge` and its strength, or `rotation`. A `tanh` head is solved for the targets'
            arctanh.
    """
    dense = _head(student)
    if recipe.activation == "tanh":
        targets = np.arctanh(np.clip(targets, -0.999, 0.999))
    if recipe.init == "rotation":
        weight = rotated_pca(pooled, targets)
        bias = np.zeros(len(weight), np.float32)
    else:
        weight, bias = ridge(pooled, targets, strength=recipe.ridge_strength)
    with torch.no_grad():
        dense.linear.weight.copy_(torch.from_numpy(weight))
        dense.linear.bias.copy_(torch.from_numpy(bias))


def pooled_backbone(
    student: SentenceTransformer, texts: Sequence[str], *, report: Report = silent
) -> Embeddings:
    """What the head sees: shape (len(texts), backbone width), float32, not normalised."""
    trunk = assemble(student, [student[0], student[1]])
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        report("reading the untrained student", done, len(texts))

    return TorchEncoder(trunk, name="backbone").encode(texts, normalize=False, advance=advance)


def save_student(student: SentenceTransformer, directory: Path) -> None:
    """Write a student, or any model of its modules, in the form that every reader understands.

    sentence-transformers 6 writes module paths and pooling keys that servers do not parse yet;
    all of 3 to 6 and Text Embeddings Inference read the older form, so that is what is written.

    Args:
        student: From `build_student`, `build_static` or `assemble`.
        directory: Existing and empty.

    Raises:
        WeightsError: The written configuration is not what was expected.
    """
    student.save(str(directory), create_model_card=False, safe_serialization=True)
    modules = read_json(directory / "modules.json")
    for module, entry in zip(student, modules, strict=True):
        kind = entry["type"].rpartition(".")[2]
        if kind not in LEGACY_TYPES:
            raise WeightsError(f"a model with a module of type {kind} cannot be written")
        entry["name"] = str(entry["idx"])
        if isinstance(module, Pooling):
            config = legacy_pooling(module)
        elif isinstance(module, Dense):
            config = _legacy_dense(module)
        else:
            entry["type"] = LEGACY_TYPES[kind]
            continue
        if config is not None:
            entry["type"] = LEGACY_TYPES[kind]
            write_json(directory / entry["path"] / "config.json", config)
    if is_static(student):
        # Releases 3 to 5 take a first module without a folder for a transformer.
        modules[0]["path"] = "0_StaticEmbedding"
        (directory / modules[0]["path"]).mkdir()
        for name in ("model.safetensors", "tokenizer.json"):
            (directory / name).rename(directory / modules[0]["path"] / name)
    else:
        write_json(directory / "sentence_bert_config.json", _legacy_transformer(student))
    write_json(directory / "modules.json", modules)


def _legacy_transformer(student: SentenceTransformer) -> dict[str, Any]:
    """Settings of a transformer that all releases read, and those of its own it cannot do without.

    What a tokenizer was told when it was loaded is in its own files since.
    """
    transformer = _transformer(student)
    limit = student.max_seq_length
    settings: dict[str, Any] = {
        "max_seq_length": limit if limit is not None and limit < NO_LIMIT else None,
        "do_lower_case": bool(getattr(transformer, "do_lower_case", False)),
    }
    if "message" in transformer.modality_config or transformer.processing_kwargs:
        settings |= transformer.get_config_dict()
    return settings


def legacy_pooling(pooling: Pooling) -> dict[str, int | bool] | None:
    """Configuration of a pooling, as sentence-transformers 2 to 5 wrote it.

    None: it lays several poolings side by side in an order that this form cannot say.
    """
    modes = pooling.pooling_mode
    chosen = (modes,) if isinstance(modes, str) else tuple(modes)
    if chosen != tuple(mode for mode in LEGACY_POOLING if mode in chosen):
        return None
    return {
        "word_embedding_dimension": pooling.embedding_dimension,
        **{f"pooling_mode_{key}": mode in chosen for mode, key in LEGACY_POOLING.items()},
        "include_prompt": pooling.include_prompt,
    }


def _legacy_dense(dense: Dense) -> dict[str, Any] | None:
    """Configuration of a dense layer as releases 2 to 5 wrote it; None: they do not know such."""
    places = {dense.module_input_name, dense.module_output_name}
    if getattr(dense, "use_residual", False) or places != {"sentence_embedding"}:
        return None
    activation = type(dense.activation_function)
    return {
        "in_features": dense.in_features,
        "out_features": dense.out_features,
        "bias": dense.linear.bias is not None,
        "activation_function": f"{activation.__module__}.{activation.__name__}",
    }


def assemble(model: SentenceTransformer, modules: list[nn.Module]) -> SentenceTransformer:
    """Other modules in the place of a model's own, on its device, with its limit and prompts."""
    assembled = SentenceTransformer(
        modules=modules,
        device=str(model.device),
        prompts={name: prompt or "" for name, prompt in model.prompts.items()},
        default_prompt_name=model.default_prompt_name,
    )
    assembled.max_seq_length = model.max_seq_length
    return assembled


def _transformer(model: SentenceTransformer) -> Transformer:
    first = model[0]
    assert isinstance(first, Transformer)
    transformer: Transformer = first
    return transformer


def _head(student: SentenceTransformer) -> Dense:
    dense = student[2]
    assert isinstance(dense, Dense)
    return dense
