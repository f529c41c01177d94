"""The parts of a layer under one name each, and what a layer computes, step by step.

BERT, RoBERTa and MPNet are the same network (post-norm, Devlin et al. 2019) under different
names; MPNet adds a table of biases by distance that all layers share.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

__all__ = ["Block", "attention", "blocks", "distance_bias", "normed"]


@dataclass(frozen=True)
class Block:
    """One transformer layer: x = norm1(x + out(attention(x))), then x = norm2(x + down(up(x)))."""

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    out: nn.Linear
    norm1: nn.LayerNorm
    up: nn.Linear
    act: Callable[[torch.Tensor], torch.Tensor]
    down: nn.Linear
    norm2: nn.LayerNorm


def blocks(model: Any) -> list[Block]:  # noqa: ANN401 - one of four model classes
    """The layers of a BERT, RoBERTa or MPNet."""
    found = []
    for layer in model.encoder.layer:
        attention = layer.attention
        if model.config.model_type == "mpnet":
            inner = attention.attn
            linears = inner.q, inner.k, inner.v, inner.o
            norm = attention.LayerNorm
        else:
            inner = attention.self
            linears = inner.query, inner.key, inner.value, attention.output.dense
            norm = attention.output.LayerNorm
        up, output = layer.intermediate, layer.output
        found.append(
            Block(*linears, norm, up.dense, up.intermediate_act_fn, output.dense, output.LayerNorm)
        )
    return found


def distance_bias(model: Any, states: torch.Tensor) -> torch.Tensor | None:  # noqa: ANN401
    """What MPNet adds to attention scores, shape (B, heads, T, T); None for the others."""
    if model.config.model_type != "mpnet":
        return None
    bias: torch.Tensor = model.encoder.compute_position_bias(states)
    return bias


def attention(
    block: Block,
    states: torch.Tensor,
    mask: torch.Tensor,
    bias: torch.Tensor | None,
    *,
    heads: int,
) -> torch.Tensor:
    """What `block.out` takes.

    Args:
        block: The layer.
        states: Its input, shape (B, T, width), float32.
        mask: Which positions hold tokens, shape (B, T), bool.
        bias: From `distance_bias`.
        heads: Number of them.

    Returns:
        Shape (B, T, heads * head width), float32.
    """

    def split(flat: torch.Tensor) -> torch.Tensor:
        return flat.view(*flat.shape[:2], heads, -1).transpose(1, 2)  # (B, heads, T, head width)

    allowed = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)[:, None, None, :]
    allowed = allowed.to(states.device) if bias is None else allowed.to(states.device) + bias
    context = nn.functional.scaled_dot_product_attention(
        split(block.query(states)),
        split(block.key(states)),
        split(block.value(states)),
        attn_mask=allowed,
    )
    return context.transpose(1, 2).flatten(2)


def normed(norm: nn.LayerNorm, states: torch.Tensor) -> torch.Tensor:
    """Mean 0 and variance 1 in each position, before gain and bias."""
    return nn.functional.layer_norm(states, norm.normalized_shape, eps=norm.eps)
