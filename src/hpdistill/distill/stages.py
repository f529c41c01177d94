"""The arrows of a distillation: corpus -> targets -> student -> training -> model.

Each function does one stage, leaves its files in place atomically, and returns facts about it.
"""

import importlib.metadata
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, compress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from hpdistill.corpus import Corpus, Split, build_corpus
from hpdistill.distill.training import TokenCache, Trained, train
from hpdistill.encoder import Embeddings, unit
from hpdistill.evaluate import evaluate_fidelity
from hpdistill.files import atomic_directory, atomic_path, sha256_file
from hpdistill.progress import Report
from hpdistill.projection import Projection, check_dim, fit_pca
from hpdistill.pytorch import TorchEncoder, load_model
from hpdistill.recipe import Recipe
from hpdistill.student import (
    StudentSpec,
    build_student,
    is_sentence_encoder,
    pooled_backbone,
    save_student,
    set_head,
)
from hpdistill.teacher import EmbeddedCorpus, embed_corpus, side_by_side
from hpdistill.weights import ModelSource, resolve

__all__ = [
    "Member",
    "base_model",
    "corpus_inputs",
    "embed",
    "joint_shards",
    "make_corpus",
    "make_student",
    "make_targets",
    "members",
    "own_projection",
    "teacher_projection",
    "train_student",
]


@dataclass(frozen=True)
class Member:
    """One encoder of the teacher."""

    source: ModelSource
    weight: float


def members(recipe: Recipe, report: Report) -> list[Member]:
    """The teacher's encoders, the untrained student among them if the recipe says so.

    Raises:
        WeightsError: One cannot be found, verified or trusted.
    """
    found = [Member(resolve(t.model, report=report), t.weight) for t in recipe.teachers]
    base = base_model(recipe, report)
    weight = recipe.anchor
    if weight is None:
        weight = 1.0 if is_sentence_encoder(base) else 0.0
    if weight > 0 and base.sha256 not in {member.source.sha256 for member in found}:
        found.append(Member(base, weight))
    return found


def base_model(recipe: Recipe, report: Report) -> ModelSource:
    """The model that the student is made from."""
    return resolve(StudentSpec.parse(recipe.student).model, report=report)


def corpus_inputs(recipe: Recipe) -> dict[str, Any]:
    """What decides the corpus: the recipe's part, the seed, and the content of every source."""
    contents: dict[str, str] = {}
    for name in (*recipe.corpus.sources, *recipe.corpus.exclude):
        path = Path(name)
        if path.is_file():
            contents[name] = sha256_file(path)
        elif path.is_dir():
            for inner in sorted(p for p in path.rglob("*") if p.is_file()):
                contents[str(inner)] = sha256_file(inner)
        elif name == "pydoc":
            packages = {
                f"{d.metadata['Name']}=={d.version}" for d in importlib.metadata.distributions()
            }
            contents[name] = f"python {platform.python_version()}: {', '.join(sorted(packages))}"
    return {"recipe": asdict(recipe.corpus), "seed": recipe.seed, "contents": contents}


def make_corpus(recipe: Recipe, run: Path, report: Report) -> dict[str, Any]:
    """Read, clean and split the sentences into `RUN/corpus`."""
    with atomic_directory(run / "corpus") as temporary:
        summary = build_corpus(recipe.corpus, temporary, seed=recipe.seed, report=report)
    return summary.to_dict()


def embed(
    teacher: list[Member], corpus: Corpus, recipe: Recipe, store: Path, report: Report
) -> list[EmbeddedCorpus]:
    """Embed the corpus with each encoder; resumable at each shard.

    Raises:
        UsageError: There are fewer training sentences than k; found before hours of embedding.
    """
    check_dim(recipe.dim, width=recipe.dim, sentences=corpus.count("train"))
    return [
        embed_corpus(member.source, corpus, store, recipe=recipe.teacher, report=report)
        for member in teacher
    ]


def joint_shards(
    embedded: Sequence[EmbeddedCorpus], teacher: Sequence[Member], split: Split
) -> Iterator[Embeddings]:
    """The teacher's unit vectors, shard by shard, shape (n_i, sum of widths)."""
    weights = [member.weight for member in teacher]
    for parts in zip(*(encoder.shards(split) for encoder in embedded), strict=True):
        yield side_by_side(parts, weights)


def make_targets(
    embedded: list[EmbeddedCorpus],
    teacher: list[Member],
    corpus: Corpus,
    recipe: Recipe,
    run: Path,
) -> dict[str, Any]:
    """Fit the projection and write it with both splits' targets to `RUN/targets`."""
    wanted = evenly(corpus.count("train"), recipe.projection.fit_sentences)

    def sample() -> Iterator[Embeddings]:
        start = 0
        for shard in joint_shards(embedded, teacher, "train"):
            yield shard[wanted[start : start + len(shard)]]
            start += len(shard)

    projection = fit_pca(sample(), recipe.dim, centred=recipe.projection.centred)
    targets = run / "targets"
    projection.save(targets / "projection.safetensors")
    for split in ("train", "validation"):
        shape = (corpus.count(split), recipe.dim)
        with atomic_path(targets / f"{split}.npy") as temporary:
            array = open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
            start = 0
            for shard in joint_shards(embedded, teacher, split):
                array[start : start + len(shard)] = unit(projection.apply(shard))
                start += len(shard)
            array.flush()
            del array
    return {"explained_share": round(projection.explained_share, 4), "width": projection.width}


def make_student(recipe: Recipe, corpus: Corpus, run: Path, report: Report) -> dict[str, Any]:
    """Assemble the untrained student, solve its head, and write it to `RUN/init`.

    Beside it: the PCA of the untouched student's own unit vectors, the cheap alternative that
    distillation has to beat.
    """
    student = build_student(
        recipe.student, recipe.dim, recipe.head, seed=recipe.seed, report=report
    )
    wanted = evenly(corpus.count("train"), recipe.head.ridge_sentences)
    sample = list(compress(chain.from_iterable(corpus.chunks("train", 8192)), wanted))
    pooled = pooled_backbone(student, sample, report=report)
    if recipe.head.init == "ridge":
        targets = np.load(run / "targets" / "train.npy", mmap_mode="r", allow_pickle=False)
        set_head(student, pooled, targets[wanted], recipe.head)
    own = min(recipe.dim, pooled.shape[1], len(sample))
    with atomic_directory(run / "init") as temporary:
        save_student(student, temporary)
        fit_pca([unit(pooled)], own).save(temporary / "own_pca.safetensors")
    return {"parameters": sum(weight.numel() for weight in student.parameters())}


def train_student(
    recipe: Recipe,
    corpus: Corpus,
    run: Path,
    teacher_validation: Embeddings,
    key: str,
    report: Report,
) -> tuple[SentenceTransformer, Trained]:
    """Train the student of `RUN/init` to its best validation fidelity.

    Args:
        recipe: The choices.
        corpus: Both splits.
        run: Holds `init` and `targets`.
        teacher_validation: The teacher's unit vectors of the validation split, (m, width).
        key: Hash of all that decides the training; checkpoints of another are dropped.
        report: Progress.
    """
    checkpoints = run / "checkpoints" / key[:16]
    for other in checkpoints.parent.glob("*"):
        if other != checkpoints:
            shutil.rmtree(other)
    student = load_model(run / "init")
    encoder = TorchEncoder(student, name="student")

    def token_chunks(split: Split) -> Iterator[list[list[int]]]:
        for texts in corpus.chunks(split, 16384):
            yield encoder.tokenize(texts)

    def validate(outputs: Embeddings) -> float:
        return evaluate_fidelity(outputs, teacher_validation).spearman

    limit = min(recipe.training.max_tokens, encoder.max_tokens)
    trained = train(
        student,
        TokenCache(token_chunks("train"), max_tokens=limit),
        np.load(run / "targets" / "train.npy", mmap_mode="r", allow_pickle=False),
        validate,
        TokenCache(token_chunks("validation"), max_tokens=limit),
        recipe=recipe.training,
        seed=recipe.seed,
        directory=checkpoints,
        report=report,
    )
    return student, trained


def teacher_projection(
    embedded: Sequence[EmbeddedCorpus], teacher: Sequence[Member], dim: int
) -> Projection:
    """PCA of some of the teacher's encoders alone, uncentred, on the whole training split."""
    return fit_pca(joint_shards(embedded, teacher, "train"), dim)


def evenly(count: int, limit: int | None) -> NDArray[np.bool_]:
    """Mask of at most `limit` rows spread evenly over `count`: sources lie one after another."""
    mask = np.zeros(count, np.bool_)
    mask[np.linspace(0, count - 1, min(count, limit or count)).astype(np.int64)] = True
    return mask


def own_projection(run: Path) -> Projection:
    """The PCA of the untouched student's own vectors."""
    return Projection.load(run / "init" / "own_pca.safetensors")
