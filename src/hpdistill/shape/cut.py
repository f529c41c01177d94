"""Cut a backbone to another shape in closed form, on what sentences make of it.

The state of a token between two sublayers is a sum to which each adds: a linear stream, but for
the norms. So one rotation serves all layers: PCA of the states of all of them, of which the first
`width` directions stay. Heads keep the directions of query-key and value-output that matter on
the sentences, and layers the feed-forward neurons that do.

That alone loses much, since every layer passes on what it got wrong. So the layers are made in
order, and each of their matrices is solved by ridge regression from what the student's own
layers below compute to what the source computes at that place; a layer that stays also answers
for the dropped ones above it. The penalty is on leaving the rotated weights, so that few
sentences give these. Compared with other maps in `benchmarks/shape_init.py`.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import nn

from hpdistill.errors import UsageError
from hpdistill.progress import Report, silent
from hpdistill.pytorch import TYPICAL_TOKENS, TorchEncoder, pad
from hpdistill.recipe import Shape, Sizes
from hpdistill.shape._algebra import LineFit, Moments, low_rank
from hpdistill.shape._blocks import Block, attention, blocks, distance_bias, normed

__all__ = ["Batch", "Cutter", "reshape", "token_batches"]

TOKENS = 40_000
"""Tokens of the sample that are used."""

Batch = tuple[torch.Tensor, torch.Tensor]
"""Token ids, int64, and which of them are tokens, bool; both of shape (B, T)."""

EMBEDDINGS = ("word_embeddings", "position_embeddings", "token_type_embeddings")


def reshape(
    model: SentenceTransformer,
    shape: Shape,
    texts: Sequence[str],
    *,
    seed: int,
    report: Report = silent,
) -> None:
    """Give a model's transformer another shape, in place.

    Args:
        model: Starts with a transformer.
        shape: What it is to become.
        texts: A sample of the corpus; some thousand sentences are enough.
        seed: Of the directions that a head has beyond those of the source's heads.
        report: Progress.

    Raises:
        UsageError: The backbone cannot have this shape, or there are no sentences.
    """
    transformer = model[0]
    assert isinstance(transformer, Transformer)
    sizes = shape.settle(transformer.auto_model.config)
    if not texts:
        raise UsageError("a shape is cut on what the source makes of sentences; none were given")
    device = model.device
    source = transformer.auto_model.cpu()
    cutter = Cutter(source, sizes, token_batches(model, texts), seed=seed, report=report)
    transformer.model = cutter.cut().to(device)


def token_batches(
    model: SentenceTransformer, texts: Sequence[str], *, tokens: int = TOKENS
) -> list[Batch]:
    """Sentences as batches of about equal length; of many, an even part of about `tokens`."""
    encoder = TorchEncoder(model, name="source")
    rows = encoder.tokenize(texts)
    rows = sorted(rows[:: -(-sum(map(len, rows)) // tokens) or 1], key=len, reverse=True)
    batches: list[Batch] = []
    start = 0
    while start < len(rows):
        count = max(1, 64 * TYPICAL_TOKENS // max(1, len(rows[start])))
        features = pad(rows[start : start + count], encoder.pad_id)
        batches.append((features["input_ids"], features["attention_mask"].bool()))
        start += count
    return batches


@dataclass
class _Seen:
    """What the first pass learns of a layer."""

    context: Moments
    """Of what `out` takes."""
    neurons: torch.Tensor
    """Sums and sums of squares of what `down` takes, shape (2, ffn), float64."""

    @property
    def variance(self) -> torch.Tensor:
        """Of each neuron, shape (ffn,), float64."""
        mean = self.neurons / max(self.context.count, 1)
        return mean[1] - mean[0].square()


class _Trace(NamedTuple):
    """What a layer of the source computes on the way, each (B, T, ...)."""

    context: torch.Tensor
    middle: torch.Tensor
    """Between its two parts."""
    acts: torch.Tensor
    """Of the neurons."""
    before: torch.Tensor
    """Before its last norm."""
    after: torch.Tensor


@dataclass
class Cutter:
    """Makes a small backbone out of a large one; `cut` does all of it, once."""

    source: Any
    sizes: Sizes
    batches: list[Batch]
    seed: int = 0
    report: Report = silent
    strength: float = 0.1
    """Penalty of the regressions, see `Moments.solve`."""

    def __post_init__(self) -> None:
        config = copy.deepcopy(self.source.config)
        config.hidden_size = self.sizes.width
        config.num_attention_heads = self.sizes.heads
        config.intermediate_size = self.sizes.ffn
        config.num_hidden_layers = len(self.sizes.layers)
        self._random = torch.Generator().manual_seed(self.seed)
        self._model = type(self.source)(config).eval()
        self._heads = self.source.config.num_attention_heads
        self._blocks = blocks(self.source)
        # The states of both, batch by batch, each (B, T, width), at the place that is being made.
        self._large: list[torch.Tensor] = []
        self._small: list[torch.Tensor] = []

    def cut(self) -> Any:  # noqa: ANN401 - a model of the source's class
        """The small backbone; the source is left as it was."""
        done, steps = 0, len(self.sizes.layers) + 1
        with torch.no_grad():
            self._survey()
            self.report("cutting the backbone", 1, steps)
            self._embeddings()
            at = 0
            for done, layer in enumerate(self.sizes.layers):
                self._advance(range(at, layer))
                at = self.follows(done)
                self._attention(done, layer)
                self._feed_forward(done, layer, at)
                self.report("cutting the backbone", done + 2, steps)
            self._pooler()
        return self._model

    def basis(self, states: Moments) -> torch.Tensor:
        """R, shape (source width, width), float64: small states approximate h R.

        Not centred: how long states are is in the mean as well, and norms divide by that. Norms
        also take off the mean of the new dimensions; these are turned so that this mean is the
        least of the directions kept, and not some of each.

        Args:
            states: Of all layers, after each sublayer.
        """
        _, vectors = torch.linalg.eigh(states.second)  # ascending
        width = self.sizes.width
        kept = vectors.flip(1)[:, :width]
        kept = kept * kept[kept.abs().argmax(0), torch.arange(width)].sign()
        # Householder's reflection of the last axis onto the direction of the mean.
        mirror = torch.full((width, 1), width**-0.5, dtype=torch.float64)
        mirror[-1] -= 1
        length = float(mirror.square().sum())
        if length > 0:  # not of one dimension
            kept = kept - (2 / length) * torch.linalg.multi_dot([kept, mirror, mirror.T])
        return torch.as_tensor(kept)

    def image(self, norm: nn.LayerNorm) -> torch.Tensor:
        """F, shape (source width, width), float64: what is before a norm, as the student has it.

        A norm takes the mean off, divides, and multiplies by its gain, which differs between
        dimensions; a rotated student can do that to rotated dimensions only. So mean and gain
        are within F, up to a factor that the student's norm removes.
        """
        if self.sizes.width == len(self._rotation):
            return self._rotation
        gain = norm.weight.double()
        gain = gain * gain.sum() / gain.square().sum()
        centring = torch.eye(len(gain), dtype=torch.float64) - 1 / len(gain)
        return torch.matmul(centring * gain, self._rotation)

    def follows(self, index: int) -> int:
        """The source's layer at whose input the student's layer `index` aims; or its end."""
        layers = self.sizes.layers
        return layers[index + 1] if index + 1 < len(layers) else len(self._blocks)

    def _survey(self) -> None:
        """Run the source once: the rotation, and what its heads and neurons are worth."""
        width = self.source.config.hidden_size
        neurons = self.source.config.intermediate_size
        states = Moments(width)
        self._seen = {
            layer: _Seen(Moments(width), torch.zeros(2, neurons, dtype=torch.float64))
            for layer in self.sizes.layers
        }
        for ids, mask in self.batches:
            state = self.source.embeddings(input_ids=ids)
            self._large.append(state)
            states.add(state[mask])
            for layer, block in enumerate(self._blocks):
                trace = self._run(block, state, mask)
                state = trace.after
                states.add(trace.middle[mask])
                states.add(state[mask])
                if layer in self._seen:
                    self._seen[layer].context.add(trace.context[mask])
                    acts = trace.acts[mask].double()
                    self._seen[layer].neurons += torch.stack([acts.sum(0), acts.square().sum(0)])
        same = self.sizes.width == width
        self._rotation = torch.eye(width, dtype=torch.float64) if same else self.basis(states)

    def _run(self, block: Block, state: torch.Tensor, mask: torch.Tensor) -> _Trace:
        """A layer of the source."""
        bias = distance_bias(self.source, state)
        context = attention(block, state, mask, bias, heads=self._heads)
        middle = block.norm1(state + block.out(context))
        acts = block.act(block.up(middle))
        before = middle + block.down(acts)
        return _Trace(context, middle, acts, before, block.norm2(before))

    def _advance(self, layers: range) -> None:
        """Take the source's states through layers below the first that stays."""
        for layer in layers:
            for index, (_, mask) in enumerate(self.batches):
                trace = self._run(self._blocks[layer], self._large[index], mask)
                self._large[index] = trace.after

    def _embeddings(self) -> None:
        source, small = self.source.embeddings, self._model.embeddings
        image = self.image(source.LayerNorm)
        for name in EMBEDDINGS:
            if hasattr(source, name):
                table = getattr(source, name).weight.double() @ image
                getattr(small, name).weight.copy_(table)
        hook = small.LayerNorm.register_forward_pre_hook(
            lambda _, args: self._small.append(args[0])
        )
        for ids, _ in self.batches:
            small(input_ids=ids)
        hook.remove()
        self._set_norm(small.LayerNorm)

    def _set_norm(self, norm: nn.LayerNorm) -> None:
        """Fit a norm's gain and bias to the source's states, and take the student through it."""
        fit = LineFit(self.sizes.width)
        rotation = self._rotation.float()
        for small, large, (_, mask) in zip(self._small, self._large, self.batches, strict=True):
            fit.add(normed(norm, small[mask]), large[mask] @ rotation)
        gain, shift = fit.solve()
        norm.weight.copy_(gain)
        norm.bias.copy_(shift)
        self._small = [norm(small) for small in self._small]

    def _set(self, linear: nn.Linear, moments: Moments, prior: torch.Tensor) -> None:
        weight, bias = moments.solve(prior, strength=self.strength)
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)

    def _back(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The B, c with which B z + c is the source's state, as well as the student's z tells."""
        moments = Moments(self.sizes.width, len(self._rotation))
        for small, large, (_, mask) in zip(self._small, self._large, self.batches, strict=True):
            moments.add(small[mask], large[mask])
        return moments.solve(self._rotation, strength=self.strength)

    def _attention(self, index: int, layer: int) -> None:
        """Solve the attention of the student's layer `index`, which is the source's `layer`."""
        block, own = self._blocks[layer], blocks(self._model)[index]
        image = self.image(block.norm1)
        prior = self._set_heads(own, block, layer, image)
        moments = Moments(self.sizes.width, self.sizes.width)
        contexts = []
        for place, (_, mask) in enumerate(self.batches):
            small, large = self._small[place], self._large[place]
            bias = distance_bias(self._model, small)
            contexts.append(attention(own, small, mask, bias, heads=self.sizes.heads))
            bias = distance_bias(self.source, large)
            context = attention(block, large, mask, bias, heads=self._heads)
            before = large + block.out(context)
            moments.add(contexts[-1][mask], (before @ image.float() - small)[mask])
            self._large[place] = block.norm1(before)
        self._set(own.out, moments, prior)
        pairs = zip(self._small, contexts, strict=True)
        self._small = [small + own.out(context) for small, context in pairs]
        self._set_norm(own.norm1)

    def _set_heads(self, own: Block, block: Block, layer: int, image: torch.Tensor) -> torch.Tensor:
        """Set query, key and value; returns what `out` is without data."""
        back, shift = self._back()
        states = Moments(len(back))
        for large, (_, mask) in zip(self._large, self.batches, strict=True):
            states.add(large[mask])
        context = self._seen[layer].context.covariance
        width = len(back) // self._heads
        outs = []
        for new, old in enumerate(self._choose_heads(layer)):
            theirs = slice(old * width, (old + 1) * width)
            ours = slice(new * self.sizes.head_width, (new + 1) * self.sizes.head_width)
            query, key, value = (
                (linear.weight[theirs].double(), linear.bias[theirs].double())
                for linear in (block.query, block.key, block.value)
            )
            out = image.T @ block.out.weight[:, theirs].double()
            mean = query[0] @ states.mean + query[1]
            # Keys without their mean: softmax does not see what it adds to every score.
            turns = self._directions(
                query[0] @ states.covariance @ query[0].T + torch.outer(mean, mean),
                key[0] @ states.covariance @ key[0].T,
            )
            into, out_of = self._directions(context[theirs, theirs], out.T @ out)
            # Scores are divided by the root of the head's width.
            keep_scale = (self.sizes.head_width / width) ** 0.25
            for linear, (weight, bias), turn in (
                (own.query, query, turns[0] * keep_scale),
                (own.key, key, turns[1] * keep_scale),
                (own.value, value, into),
            ):
                linear.weight[ours] = (turn.T @ weight @ back).float()
                linear.bias[ours] = (turn.T @ (weight @ shift + bias)).float()
            outs.append(out @ out_of)
        return torch.cat(outs, dim=1)

    def _directions(
        self, left: torch.Tensor, right: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`low_rank` to a head's width; a head wider than the source's has room to learn in."""
        width, wanted = len(left), self.sizes.head_width
        if wanted < width:
            return low_rank(left, right, wanted)
        same = torch.eye(width, wanted, dtype=torch.float64)
        # Of the directions beyond, one side is random and the other 0: nothing changes at first.
        room = torch.randn(width, wanted, generator=self._random, dtype=torch.float64) * width**-0.5
        return torch.where(torch.arange(wanted) < width, same, room), same

    def _choose_heads(self, layer: int) -> list[int]:
        """The heads that add most to the states; MPNet's are the same in all layers."""
        shared = self.source.config.model_type == "mpnet"
        worth = torch.zeros(self._heads, dtype=torch.float64)
        for other in self.sizes.layers if shared else (layer,):
            out = self._blocks[other].out.weight.double()
            covariance = self._seen[other].context.covariance
            # The variance of what a head adds: the trace of O_h C_h O_h^T.
            energy = covariance * (out.T @ out)
            width = len(energy) // self._heads
            energy = energy.view(self._heads, width, self._heads, width).sum((1, 3)).diagonal()
            worth += energy / energy.sum().clamp(min=1e-12)
        kept = _largest(worth, self.sizes.heads)
        if shared:
            table = self.source.encoder.relative_attention_bias.weight[:, kept]
            self._model.encoder.relative_attention_bias.weight.copy_(table)
        return [int(head) for head in kept]

    def _feed_forward(self, index: int, layer: int, end: int) -> None:
        """Solve the rest of layer `index`, which also answers for the source's up to `end`."""
        block, own = self._blocks[layer], blocks(self._model)[index]
        last = self._blocks[end - 1]
        back, shift = self._back()
        down = self.image(block.norm2).T @ block.down.weight.double()
        kept = _largest(self._seen[layer].variance * down.square().sum(0), self.sizes.ffn)
        weight, bias = block.up.weight[kept].double(), block.up.bias[kept].double()
        own.up.weight.copy_(weight @ back)
        own.up.bias.copy_(weight @ shift + bias)
        image = self.image(last.norm2).float()
        moments = Moments(self.sizes.ffn, self.sizes.width)
        for place, (_, mask) in enumerate(self.batches):
            small, large = self._small[place], self._large[place]
            before = large + block.down(block.act(block.up(large)))
            large = block.norm2(before)
            for dropped in self._blocks[layer + 1 : end]:
                trace = self._run(dropped, large, mask)
                before, large = trace.before, trace.after
            self._large[place] = large
            acts = own.act(own.up(small[mask]))
            moments.add(acts, before[mask] @ image - small[mask])
        self._set(own.down, moments, down[:, kept])
        self._small = [small + own.down(own.act(own.up(small))) for small in self._small]
        self._set_norm(own.norm2)

    def _pooler(self) -> None:
        """Nothing here reads it, but most files have it."""
        if self.source.pooler is None:
            self._model.pooler = None
            return
        dense, own = self.source.pooler.dense, self._model.pooler.dense
        own.weight.copy_(self._rotation.T @ dense.weight.double() @ self._rotation)
        own.bias.copy_(self._rotation.T @ dense.bias.double())


def _largest(worth: torch.Tensor, count: int) -> torch.Tensor:
    """Where the largest so many are, in rising order of place."""
    return worth.argsort(descending=True, stable=True)[:count].sort().values
