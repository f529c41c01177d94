"""Teacher embedding and training, ours against sentence-transformers' own, side by side.

    python benchmarks/throughput.py --sentences FILE...

Both get the same sentences, the same model, the same batch size and the same number of steps.
Theirs is `SentenceTransformer.encode`, and `SentenceTransformerTrainer` with `MSELoss`, in
float32. Ours is timed in float32 too, to tell the loop's share from that of bfloat16, and
includes tokenising, validation and checkpoints.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from _results import write
from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MSELoss

from hpdistill.corpus import read_clean
from hpdistill.distill.training import train
from hpdistill.encoder import Embeddings
from hpdistill.loop import TokenCache
from hpdistill.pytorch import TorchEncoder
from hpdistill.recipe import CorpusRecipe, HeadRecipe, TrainingRecipe
from hpdistill.student import build_student

DIM = 128


def main() -> None:
    """Measure and write `results/throughput.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", nargs="+", required=True)
    parser.add_argument("--teacher", default="mpnet")
    parser.add_argument("--student", default="minilm")
    parser.add_argument("--embed", type=int, default=512, help="sentences to embed")
    parser.add_argument("--train", type=int, default=3200, help="sentences to train on")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    corpus = CorpusRecipe(sources=tuple(options.sentences), limit=options.train)
    texts = read_clean(corpus, seed=0)
    np.random.default_rng(0).shuffle(texts)
    embedding = embedding_contenders(options.teacher, texts[: options.embed])
    training = training_contenders(options.student, texts, options.batch_size)
    figures: dict[str, Any] = {"batch_size": options.batch_size, "rounds": options.rounds}
    for name, contenders, count in (
        ("embedding", embedding, options.embed),
        ("training", training, len(texts) // options.batch_size * options.batch_size),
    ):
        seconds: dict[str, list[float]] = {contender: [] for contender in contenders}
        for _ in range(options.rounds):
            for contender, work in contenders.items():
                started = time.perf_counter()
                work()
                seconds[contender].append(time.perf_counter() - started)
                print(
                    name, contender, f"{count / seconds[contender][-1]:.1f} sentences/s", flush=True
                )
        figures[name] = summary(seconds, count)
    print(write("throughput", f"{len(texts)} sentences of {', '.join(corpus.sources)}", figures))


def summary(seconds: dict[str, list[float]], count: int) -> dict[str, Any]:
    """Sentences/s, and the ratio to the first contender within each round."""
    base = next(iter(seconds.values()))
    rows = {}
    for contender, times in seconds.items():
        ratios = [theirs / ours for theirs, ours in zip(base, times, strict=True)]
        rows[contender] = {
            "sentences": count,
            "sentences_per_second": [round(count / second, 1) for second in times],
            "ratio_median": round(statistics.median(ratios), 2),
            "ratio_min": round(min(ratios), 2),
            "ratio_max": round(max(ratios), 2),
        }
    return rows


def embedding_contenders(name: str, texts: list[str]) -> dict[str, Callable[[], object]]:
    """Their encode in float32; ours in both precisions."""
    exact = TorchEncoder.load(name)
    half = TorchEncoder.load(name, precision="bfloat16")
    for encoder in (exact, half):
        encoder.encode(texts[:16])
    return {
        "sentence-transformers encode, float32": lambda: exact.model.encode(texts, batch_size=32),
        "hpdistill, float32": lambda: exact.encode(texts, batch_size=32),
        "hpdistill, bfloat16": lambda: half.encode(texts, batch_size=32),
    }


def training_contenders(
    name: str, texts: list[str], batch_size: int
) -> dict[str, Callable[[], object]]:
    """Their trainer in float32; our loop in both precisions; plain MSE, one epoch."""
    steps = len(texts) // batch_size
    targets = np.random.default_rng(0).standard_normal((len(texts), DIM)).astype(np.float32)
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)

    def theirs() -> None:
        model = build_student(name, DIM, HeadRecipe(), seed=0)
        data = Dataset.from_dict({"sentence": texts, "label": list(targets)})
        with tempfile.TemporaryDirectory() as directory:
            arguments = SentenceTransformerTrainingArguments(
                output_dir=directory,
                per_device_train_batch_size=batch_size,
                max_steps=steps,
                learning_rate=1e-4,
                report_to=[],
                save_strategy="no",
                disable_tqdm=True,
                use_cpu=not torch.cuda.is_available(),
            )
            trainer = SentenceTransformerTrainer(
                model=model, args=arguments, train_dataset=data, loss=MSELoss(model)
            )
            trainer.train()

    def ours(precision: Literal["float32", "bfloat16"]) -> None:
        model = build_student(name, DIM, HeadRecipe(), seed=0)
        encoder = TorchEncoder(model, name=name)
        recipe = TrainingRecipe(
            batch_size=batch_size,
            max_steps=steps,
            evaluate_every=steps,
            similarity_weight=0.0,
            neighbour_weight=0.0,
            dropout=True,
            precision=precision,
            max_tokens=encoder.max_tokens,
        )
        with tempfile.TemporaryDirectory() as directory:
            train(
                model,
                TokenCache(iter([encoder.tokenize(texts)]), max_tokens=recipe.max_tokens),
                targets,
                _norm,
                TokenCache(iter([encoder.tokenize(texts[:64])]), max_tokens=recipe.max_tokens),
                recipe=recipe.settled(),
                seed=0,
                directory=Path(directory),
            )

    return {
        "sentence-transformers trainer with MSELoss, float32": theirs,
        "hpdistill, float32": lambda: ours("float32"),
        "hpdistill, bfloat16 autocast": lambda: ours("bfloat16"),
    }


def _norm(vectors: Embeddings) -> float:
    return float(np.linalg.norm(vectors))


if __name__ == "__main__":
    main()
