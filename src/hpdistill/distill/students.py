"""The student that training starts from: assembled and its head solved; or, static, all of it."""

from collections.abc import Iterator, Sequence
from functools import cache, partial
from itertools import chain, compress
from pathlib import Path
from typing import Any

import numpy as np

from hpdistill.corpus import Corpus, Split, even_mask
from hpdistill.distill.parts import target_projection, targets_of
from hpdistill.distill.stages import Member, base_model, joint_shards
from hpdistill.encoder import Embeddings, unit
from hpdistill.evaluate import evaluate_fidelity
from hpdistill.files import atomic_directory
from hpdistill.progress import Report
from hpdistill.projection import fit_pca
from hpdistill.pytorch import TorchEncoder
from hpdistill.recipe import Recipe
from hpdistill.static import (
    STRENGTHS,
    closed_form,
    count_tokens,
    fit_vocabulary,
    frequency_weights,
    mean_matrix,
    read_tokenizer,
    token_texts,
)
from hpdistill.student import (
    build_static,
    build_student,
    pooled_backbone,
    save_student,
    set_head,
)
from hpdistill.teacher import EmbeddedCorpus, fill, side_by_side, text_hash

__all__ = ["make_student"]

TOKEN_CHUNK = 4096
"""Tokens that are embedded between two writes to the store."""


def make_student(
    recipe: Recipe,
    teacher: Sequence[Member],
    embedded: Sequence[EmbeddedCorpus],
    corpus: Corpus,
    run: Path,
    report: Report,
) -> dict[str, Any]:
    """Make the student that training starts from, of whichever kind, in `RUN/init`."""
    if recipe.student_spec.static:
        return make_static(recipe, teacher, embedded, corpus, run, report)
    return make_transformer(recipe, corpus, run, report)


def make_static(
    recipe: Recipe,
    teacher: Sequence[Member],
    embedded: Sequence[EmbeddedCorpus],
    corpus: Corpus,
    run: Path,
    report: Report,
) -> dict[str, Any]:
    """Solve a static student in closed form and write it to `RUN/init`.

    Beside it, in `RUN/init/tokens`: the tokens through teacher and projection, weighted by
    frequency, the cheap alternative that distillation has to beat.
    """

    def chunks(split: Split = "train") -> Iterator[list[str]]:
        return corpus.chunks(split, 16384)

    base = read_tokenizer(base_model(recipe, report).path)
    tokenizer = fit_vocabulary(base, chunks, recipe.static)
    joint = side_by_side(
        embed_tokens_alone(teacher, embedded, token_texts(tokenizer), report),
        [member.weight for member in teacher],
    )
    projection = target_projection(run)
    weights = frequency_weights(count_tokens(tokenizer, chunks()), recipe.static.frequency_weight)
    tokens = weights[:, None] * unit(projection.apply(joint))
    held_out = np.concatenate(list(joint_shards(embedded, teacher, "validation")))
    held_out_means = mean_matrix(tokenizer, chunks("validation"))
    strength = recipe.static.strength
    solved = closed_form(
        mean_matrix(tokenizer, chunks()),
        targets_of(run, "train"),
        tokens,
        strengths=STRENGTHS if strength is None else [strength],
        score=lambda vectors: evaluate_fidelity(held_out_means @ vectors, held_out).spearman,
    )
    with atomic_directory(run / "init") as temporary:
        save_student(build_static(tokenizer, solved.vectors), temporary)
        (temporary / "tokens").mkdir()
        save_student(build_static(tokenizer, tokens), temporary / "tokens")
    return {
        "parameters": solved.vectors.size,
        "tokens": len(tokens),
        "strength": solved.strength,
        "fidelity": {str(tried): score for tried, score in solved.scores.items()},
    }


def embed_tokens_alone(
    teacher: Sequence[Member],
    embedded: Sequence[EmbeddedCorpus],
    texts: Sequence[str],
    report: Report,
) -> list[Embeddings]:
    """Embed what tokens say, each as a text of its own; kept in the store like sentences.

    Returns:
        Of each encoder of the teacher, shape (len(texts), width), rows of length 1; zero where
        the text is empty.
    """
    spoken = [text for text in texts if text]
    result: list[Embeddings] = []
    for member, stored in zip(teacher, embedded, strict=True):
        parts: list[Embeddings] = []
        source, store = member.source, stored.store
        load = cache(partial(TorchEncoder.load, source, precision=stored.precision))
        task = f"tokens: {source.name}"
        for start in range(0, len(spoken), TOKEN_CHUNK):
            chunk = spoken[start : start + TOKEN_CHUNK]
            fill(store, chunk, load, task=task, before=start, total=len(spoken), report=report)
            parts.append(store.read(text_hash(chunk)))
        vectors = np.concatenate(parts)
        whole = np.zeros((len(texts), vectors.shape[1]), np.float32)
        whole[[bool(text) for text in texts]] = vectors
        result.append(whole)
    return result


def make_transformer(recipe: Recipe, corpus: Corpus, run: Path, report: Report) -> dict[str, Any]:
    """Assemble the untrained student, solve its head, and write it to `RUN/init`.

    Beside it: the PCA of the untouched student's own unit vectors, the cheap alternative that
    distillation has to beat.
    """
    wanted = even_mask(corpus.count("train"), recipe.head.ridge_sentences)
    sample = list(compress(chain.from_iterable(corpus.chunks("train", 8192)), wanted))
    student = build_student(
        recipe.student,
        recipe.dim,
        recipe.head,
        seed=recipe.seed,
        pooling=recipe.pooling,
        texts=sample,
        report=report,
    )
    pooled = pooled_backbone(student, sample, report=report)
    if recipe.head.init != "random":
        set_head(student, pooled, targets_of(run, "train")[wanted], recipe.head)
    own = min(recipe.dim, pooled.shape[1], len(sample))
    with atomic_directory(run / "init") as temporary:
        save_student(student, temporary)
        fit_pca([unit(pooled)], own).save(temporary / "own_pca.safetensors")
    return {"parameters": sum(weight.numel() for weight in student.parameters())}
