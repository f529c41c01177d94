"""Backbones of another shape: fewer layers, narrower, with other heads, cut from a larger one."""

from hpdistill.shape._algebra import Moments
from hpdistill.shape.cut import Batch, Cutter, reshape, token_batches

__all__ = [
    "Batch",
    "Cutter",
    "Moments",
    "reshape",
    "token_batches",
]
