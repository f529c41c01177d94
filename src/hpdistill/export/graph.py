"""One ONNX graph of a whole sentence-transformers model: tokens in, sentence embeddings out."""

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Dropout,
    LayerNorm,
    Normalize,
    Pooling,
    Transformer,
)
from torch import nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask

from hpdistill.errors import ExportError
from hpdistill.pytorch import leaves_prompt_out
from hpdistill.runtime import PROMPT_LENGTH

__all__ = ["OPSET", "OUTPUTS", "check_exportable", "write_graph"]

OPSET = 17
OUTPUTS = ("last_hidden_state", "sentence_embedding")
"""Names that servers look for: the second is what they take instead of pooling themselves."""

_AFTER_TRANSFORMER = (Pooling, Dense, Dropout, LayerNorm, Normalize)


class _Pipeline(nn.Module):
    """All modules as one function of tensors, which is what an exporter traces."""

    def __init__(self, model: SentenceTransformer, inputs: tuple[str, ...]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(model)
        self.inputs = inputs

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features: dict[str, torch.Tensor] = dict(zip(self.inputs, tensors, strict=True))
        prompt_length = features.pop(PROMPT_LENGTH, None)
        for index, stage in enumerate(self.stages):
            features = stage(features)
            if index == 0:
                tokens = features["token_embeddings"]  # (B, T, width)
                if prompt_length is not None:
                    # Rows are padded behind their tokens, so a prompt is the first of them.
                    place = features["attention_mask"].cumsum(1)  # (B, T), from 1
                    features["attention_mask"] = (place > prompt_length) * features[
                        "attention_mask"
                    ]
        return tokens, features["sentence_embedding"]  # (B, dim)


def check_exportable(model: SentenceTransformer) -> None:
    """Refuse a model that has no place in such a graph, before anything is computed.

    Raises:
        ExportError: Names what it is.
    """
    transformer = model[0]
    others = [type(module).__name__ for module in list(model)[1:]]
    if not isinstance(transformer, Transformer) or not all(
        isinstance(module, _AFTER_TRANSFORMER) for module in list(model)[1:]
    ):
        raise ExportError(
            f"cannot export a model of {', '.join([type(transformer).__name__, *others])}; "
            "allowed: Transformer, Pooling, then any of Dense, Dropout, LayerNorm, Normalize"
        )
    if "message" in transformer.modality_config:
        raise ExportError(
            "cannot export a model that reads its texts through a chat template",
            hint="It runs with PyTorch: `hpd eval --backend torch`.",
        )
    if "token_type_ids" in model.tokenizer.model_input_names and any(
        model.tokenizer("")["token_type_ids"]
    ):
        raise ExportError(
            f"cannot export a {type(transformer.auto_model).__name__}: its special tokens are of "
            "types of their own, which graphs are not given"
        )
    for module in model:
        if (
            isinstance(module, Pooling)
            and not module.include_prompt
            and "weightedmean" in module.pooling_mode
        ):
            raise ExportError(
                "cannot export a weighted mean that leaves the prompt out (include_prompt is false)"
            )


def write_graph(model: SentenceTransformer, path: Path) -> None:
    """Write transformer, pooling, head and normalisation as one float32 graph.

    Inputs `input_ids`, `attention_mask` and, where the model takes it, `token_type_ids`: int64
    of shape (batch, length), both dynamic. Where pooling leaves prompts out, also
    `prompt_length`, int64 of no dimension, which may be left out and is then 0. Outputs
    `last_hidden_state` (batch, length, width) and `sentence_embedding` (batch, dim), float32.

    Args:
        model: Passed `check_exportable`; on the CPU, in float32; its attention is switched to the
            explicit form.
        path: Of the graph, weights included.

    Raises:
        ExportError: A module that has no place in such a graph, or PyTorch cannot trace it.
    """
    check_exportable(model)
    transformer = model[0]
    backbone: Any = transformer.auto_model
    # ONNX Runtime recognises attention that is written out, and fuses it when it loads.
    backbone.set_attn_implementation("eager")
    taken = inspect.signature(backbone.forward).parameters
    wanted = ("input_ids", "attention_mask", "token_type_ids")
    known = model.tokenizer.model_input_names
    inputs = tuple(name for name in wanted if name in known and name in taken)
    axes = {name: {0: "batch", 1: "length"} for name in (*inputs, OUTPUTS[0])}
    if leaves_prompt_out(model):
        inputs = (*inputs, PROMPT_LENGTH)
    ids = torch.full((2, 7), int(model.tokenizer.unk_token_id or 0))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0  # a padded row, so that nothing is traced as if there were none
    examples = {
        "input_ids": ids,
        "attention_mask": mask,
        "token_type_ids": torch.zeros_like(ids),
        PROMPT_LENGTH: torch.tensor(2),
    }
    with warnings.catch_warnings(), _traceable_masks():
        # The tracing exporter warns of itself and of every shape it looks at; the parity
        # report, on sentences of many lengths, is what tells whether it went well.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                _Pipeline(model, inputs).eval(),
                tuple(examples[name] for name in inputs),
                str(path),
                input_names=list(inputs),
                output_names=list(OUTPUTS),
                dynamic_axes={**axes, OUTPUTS[1]: {0: "batch"}},
                opset_version=OPSET,
                # Of PyTorch's two exporters, the one whose graphs ONNX Runtime fuses.
                dynamo=False,
            )
        except (RuntimeError, TypeError, torch.onnx.errors.OnnxExporterError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ExportError(f"PyTorch cannot export this model: {reason}") from error
    if PROMPT_LENGTH in inputs:
        # An input with a value of its own need not be given: to other loaders it is not there.
        graph = onnx.load(str(path))
        graph.graph.initializer.append(
            numpy_helper.from_array(torch.tensor(0).numpy(), PROMPT_LENGTH)
        )
        onnx.save(graph, str(path))


@contextmanager
def _traceable_masks() -> Iterator[None]:
    """Attention masks by broadcasting, where transformers would use `vmap`, which cannot be traced.

    It does so for masks that a model composes itself, such as the two-sided windows of Gemma 3.
    """

    def mask(*given: Any, **options: Any) -> torch.Tensor:  # noqa: ANN401 - those of transformers
        return eager_mask(*given, **{**options, "use_vmap": False})

    before = ALL_MASK_ATTENTION_FUNCTIONS["eager"]
    ALL_MASK_ATTENTION_FUNCTIONS["eager"] = mask
    try:
        yield
    finally:
        ALL_MASK_ATTENTION_FUNCTIONS["eager"] = before
