"""How a backbone is best cut to a smaller shape, before any training.

    python benchmarks/shape_init.py --sentences FILE...

Each way makes a backbone of the same shape out of the same source, on the same sentences. Then
the head alone is solved, by ridge regression to the source's own vectors, and its vectors of
sentences that neither saw are compared with the source's: Spearman of pairwise cosines.
"""

import argparse
import copy
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from _results import write
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling

from hpdistill.corpus import read_clean
from hpdistill.evaluate import evaluate_fidelity
from hpdistill.head import ridge
from hpdistill.pytorch import TorchEncoder, load_model
from hpdistill.recipe import CorpusRecipe, Shape, Sizes
from hpdistill.shape import Batch, Cutter, Moments, token_batches
from hpdistill.student import backbone, keep_layers, pooled_backbone
from hpdistill.weights import resolve

RIDGE_STRENGTH = 1e-3
NO_DATA = 1e9
"""Penalty that leaves the weights what the map alone makes them; only biases follow the data."""


class Apart(Cutter):
    """Each layer aims at its own output; the dropped layers are nobody's."""

    def follows(self, index: int) -> int:
        """The layer after its own."""
        return self.sizes.layers[index] + 1


class Chosen(Cutter):
    """The dimensions of the states that vary most stay, the others go: norms stay norms."""

    def basis(self, states: Moments) -> torch.Tensor:
        """Columns of the identity."""
        variance = states.covariance.diagonal()
        kept = variance.argsort(descending=True, stable=True)[: self.sizes.width].sort().values
        return torch.eye(len(variance), dtype=torch.float64)[:, kept]

    def image(self, norm: torch.nn.LayerNorm) -> torch.Tensor:
        """The chosen dimensions, as they are."""
        del norm
        return self._rotation


class ChosenApart(Apart, Chosen):
    """Both."""


Way = Callable[[Any, Sizes, list[Batch]], Any]


def cutting(kind: type[Cutter], strength: float = Cutter.strength) -> Way:
    """A way that a `Cutter` does."""
    return lambda source, sizes, batches: kind(source, sizes, batches, strength=strength).cut()


def random(source: Any, sizes: Sizes, _: list[Batch]) -> Any:  # noqa: ANN401
    """Weights of a new model."""
    config = copy.deepcopy(source.config)
    config.hidden_size, config.num_hidden_layers = sizes.width, len(sizes.layers)
    config.num_attention_heads, config.intermediate_size = sizes.heads, sizes.ffn
    torch.manual_seed(0)
    return type(source)(config).eval()


WAYS: dict[str, Way] = {
    "random weights": random,
    "dimensions chosen by variance, weights cut": cutting(ChosenApart, strength=NO_DATA),
    "PCA of the states, weights rotated and cut": cutting(Apart, strength=NO_DATA),
    "dimensions chosen by variance, layers solved": cutting(Chosen),
    "PCA, layers solved, each for itself": cutting(Apart),
    "PCA, layers solved, also for the dropped ones (ours)": cutting(Cutter),
}


def main() -> None:
    """Measure and write `results/shape-init.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", nargs="+", required=True)
    parser.add_argument("--source", default="minilm")
    parser.add_argument("--shape", default="layers=4,width=312,heads=12,ffn=1200")
    parser.add_argument("--fit", type=int, default=2500, help="sentences to cut and solve on")
    parser.add_argument("--held-out", type=int, default=2000)
    parser.add_argument("--strengths", type=float, nargs="*", default=[], help="ours, with others")
    parser.add_argument("--layers", nargs="*", default=[], help="ours, with others: 0+2+3+5")
    options = parser.parse_args()
    limit = options.fit + options.held_out
    corpus = CorpusRecipe(sources=tuple(options.sentences), limit=limit)
    texts = read_clean(corpus, seed=0)
    np.random.default_rng(0).shuffle(texts)
    held_out, fit = texts[: options.held_out], texts[options.held_out :]
    path = resolve(options.source).path
    model = load_model(path, device="cpu")
    source = backbone(model)
    shape = Shape.parse(options.shape)[1]
    sizes = shape.settle(source.config)
    batches = token_batches(model, fit)
    encoder = TorchEncoder(model, name=options.source)
    targets, wanted = encoder.encode(fit), encoder.encode(held_out)

    def measure(name: str, small: SentenceTransformer, seconds: float) -> dict[str, Any]:
        weight, bias = ridge(pooled_backbone(small, fit), targets, strength=RIDGE_STRENGTH)
        vectors = pooled_backbone(small, held_out) @ weight.T + bias
        scores = evaluate_fidelity(vectors, wanted)
        row = {
            "way": name,
            "parameters": sum(weight.numel() for weight in small[0].parameters()),
            "spearman": round(scores.spearman, 4),
            "overlap10": round(scores.overlap10, 4),
            "seconds": round(seconds, 1),
        }
        print(row, flush=True)
        return row

    def trunk(part: Any) -> SentenceTransformer:  # noqa: ANN401
        small = load_model(path, device="cpu")
        small[0].model = part
        pooling = Pooling(part.config.hidden_size, pooling_mode="mean")
        return SentenceTransformer(modules=[small[0], pooling], device="cpu")

    rows = [measure("the source itself: what the head can reach", trunk(source), 0)]
    fewer = load_model(path, device="cpu")
    keep_layers(fewer[0], sizes.layers)  # type: ignore[arg-type]
    rows.append(measure("its layers alone, full width", trunk(backbone(fewer)), 0))
    ways = WAYS | {
        f"ours, penalty {strength:g}": cutting(Cutter, strength=strength)
        for strength in options.strengths
    }
    trials = [(name, way, sizes) for name, way in ways.items()]
    for text in options.layers:
        layers = Shape.parse(f"layers={text}")[1].layers
        other = replace(shape, layers=layers).settle(source.config)
        trials.append((f"ours, layers {text}", cutting(Cutter), other))
    for name, way, wanted_sizes in trials:
        started = time.perf_counter()
        small = way(source, wanted_sizes, batches)
        rows.append(measure(name, trunk(small), time.perf_counter() - started))
    figures = {
        "source": options.source,
        "shape": options.shape,
        "layers": list(sizes.layers),
        "fit_sentences": len(fit),
        "fit_tokens": int(sum(mask.sum() for _, mask in batches)),
        "held_out_sentences": len(held_out),
        "rows": rows,
    }
    print(write("shape-init", f"{len(texts)} sentences of {', '.join(corpus.sources)}", figures))


if __name__ == "__main__":
    main()
