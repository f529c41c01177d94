"""Published checkpoints that do not say how their tokens become one vector."""

import torch
from safetensors import safe_open
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize
from torch import nn

from hpdistill.errors import WeightsError
from hpdistill.recipe import HeadRecipe
from hpdistill.student import assemble, backbone, build_student
from hpdistill.weights import ModelSource

__all__ = ["pooled"]


def pooled(source: ModelSource, pooling: str) -> SentenceTransformer:
    """A checkpoint as a sentence encoder.

    Args:
        source: A backbone without modules of its own.
        pooling: `mean` or `cls`; or `pooler`, the first token through the dense layer and tanh that
            BERT and its kind have, as supervised SimCSE was published (Gao et al. 2021).

    Raises:
        WeightsError: It cannot be loaded, or has no such layer.
    """
    plain = build_student(
        str(source.path),
        None,
        HeadRecipe(),
        seed=0,
        pooling="mean" if pooling == "mean" else "cls",
    )
    if pooling != "pooler":
        return plain
    # Without weights of its own, transformers gives it random ones.
    layer = getattr(getattr(backbone(plain), "pooler", None), "dense", None)
    if layer is None or not _has_pooler(source):
        raise WeightsError(f"{source.name} has no pooler layer above its first token")
    dense = Dense(layer.in_features, layer.out_features, activation_function=nn.Tanh())
    with torch.no_grad():
        dense.linear.weight.copy_(layer.weight)
        dense.linear.bias.copy_(layer.bias)
    return assemble(plain, [plain[0], plain[1], dense, Normalize()])


def _has_pooler(source: ModelSource) -> bool:
    for path in source.path.glob("*.safetensors"):
        with safe_open(path, framework="np") as handle:
            if any(name.endswith("pooler.dense.weight") for name in handle.keys()):  # noqa: SIM118
                return True
    return False
