"""Backbones of another shape: fewer layers, narrower, with other heads, cut from a larger one."""

from hpdistill.shape._algebra import Moments
from hpdistill.shape.cut import Batch, Cutter, reshape, token_batches
from hpdistill.shape.spec import MODEL_TYPES, Shape, Sizes

__all__ = [
    "MODEL_TYPES",
    "Batch",
    "Cutter",
    "Moments",
    "Shape",
    "Sizes",
    "reshape",
    "token_batches",
]
