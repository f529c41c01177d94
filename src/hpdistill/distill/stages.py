"""The arrows of a distillation: corpus -> targets -> student -> training -> model.

Each function does one stage, leaves its files in place atomically, and returns facts about it. The
untrained student is made next door, in `students`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from hpdistill.corpus import Corpus, Split, build_corpus, content_hashes, even_mask
from hpdistill.corpus.augment import add_copies, open_augmenter
from hpdistill.distill.parts import KEPT, model_of, target_projection, targets_of
from hpdistill.distill.rows import write_rows
from hpdistill.distill.training import train
from hpdistill.encoder import Embeddings, unit
from hpdistill.evaluate import evaluate_fidelity
from hpdistill.files import atomic_directory, atomic_path, reading_own
from hpdistill.loop import TokenCache, Trained, checkpoint_directory
from hpdistill.notices import Notices, shown
from hpdistill.progress import Report, caution, silent
from hpdistill.projection import Projection, check_dim, fit_pca
from hpdistill.pytorch import TorchEncoder
from hpdistill.recipe import AugmentRecipe, Recipe
from hpdistill.static import (
    check_vocabulary,
    read_tokenizer,
)
from hpdistill.student import (
    check_student,
    is_sentence_encoder,
    is_static,
)
from hpdistill.teacher import EmbeddedCorpus, embed_corpus, side_by_side
from hpdistill.weights import ModelSource, resolve

__all__ = [
    "Member",
    "augmenter_identities",
    "base_model",
    "check_corpus",
    "check_models",
    "corpus_inputs",
    "embed",
    "filter_copies",
    "held_out_vectors",
    "joint_shards",
    "make_corpus",
    "make_targets",
    "members",
    "named",
    "teacher_projection",
    "train_student",
]


@dataclass(frozen=True)
class Member:
    """One encoder of the teacher."""

    source: ModelSource
    weight: float
    anchor: bool = False
    """Whether it is the untrained student, which the user did not name."""


def members(recipe: Recipe, report: Report) -> list[Member]:
    """The teacher's encoders, the untrained student among them if the recipe says so.

    Raises:
        WeightsError: One cannot be found, verified or trusted.
    """
    found = [Member(resolve(t.model, report=report), t.weight) for t in recipe.teachers]
    if recipe.student_spec.static:
        return found
    base = base_model(recipe, report)
    weight = recipe.anchor
    if weight is None:
        weight = 1.0 if is_sentence_encoder(base) else 0.0
    if weight > 0 and base.sha256 not in {member.source.sha256 for member in found}:
        found.append(Member(base, weight, anchor=True))
    return found


def named(teacher: Sequence[Member]) -> list[Member]:
    """The encoders that the user named: all but the anchor, which is the last if there is one."""
    return [member for member in teacher if not member.anchor]


def base_model(recipe: Recipe, report: Report) -> ModelSource:
    """The model that the student is made from; of a static one, the model of its tokenizer."""
    name = recipe.student_spec.model or recipe.teachers[0].model
    return resolve(name, report=report)


def corpus_inputs(recipe: Recipe, report: Report) -> dict[str, Any]:
    """What decides the corpus: the recipe's part, the seed, and the content of every source.

    Raises:
        AugmentError: There is no such augmenter here.
    """
    contents = content_hashes(recipe.corpus.reads)
    choices = recipe.corpus.identity()
    if not recipe.corpus.validation_sources:
        # Runs from before there was this choice stay complete.
        del choices["validation_sources"]
    inputs = {"recipe": choices, "seed": recipe.seed, "contents": contents}
    if recipe.augment is None:
        return inputs
    return {**inputs, "augmenters": augmenter_identities(recipe.augment, recipe.seed, report)}


def augmenter_identities(
    augment: AugmentRecipe | None, seed: int, report: Report = silent
) -> list[Any]:
    """What decides the copies that each method makes.

    Raises:
        AugmentError: There is no such augmenter here.
    """
    identities: list[Any] = []
    if augment is None:
        return identities
    for method in augment.methods:
        with open_augmenter(method, augment, seed=seed, report=report) as augmenter:
            identities.append(augmenter.identity)
    return identities


def check_models(recipe: Recipe, teacher: Sequence[Member], report: Report) -> None:
    """Refuse what the models rule out, before any text is read.

    Raises:
        UsageError: k is larger than the teacher's width, or the student names layers that its
            model lacks, a shape that it cannot have, or a vocabulary that its tokenizer refuses.
    """
    check_dim(recipe.dim, width=sum(TorchEncoder.load(member.source).dim for member in teacher))
    if recipe.student_spec.static:
        check_vocabulary(read_tokenizer(base_model(recipe, report).path), recipe.static)
    else:
        check_student(recipe.student, recipe.dim, report=report)


def check_corpus(recipe: Recipe, corpus: Corpus) -> None:
    """Refuse a corpus that is too small, before hours of embedding it.

    Raises:
        UsageError: k is larger than the sentences allow.
        CorpusError: Too few sentences to hold some out.
    """
    corpus.check_held_out()
    fitted = min(corpus.count("train"), recipe.projection.fit_sentences or corpus.count("train"))
    check_dim(recipe.dim, width=recipe.dim, sentences=fitted)


def make_corpus(recipe: Recipe, run: Path, report: Report) -> dict[str, Any]:
    """Read, clean and split the sentences into `RUN/corpus`, with copies if the recipe says so.

    Copies are kept in `RUN/copies`, block by block, until the whole is there.
    """
    with atomic_directory(run / "corpus") as temporary:
        summary = build_corpus(recipe.corpus, temporary, seed=recipe.seed, report=report).to_dict()
        if recipe.augment is not None:
            summary = add_copies(
                temporary,
                recipe.augment,
                exclude=recipe.corpus.exclude,
                seed=recipe.seed,
                work=run / "copies",
                report=report,
            )
    return summary


def filter_copies(
    embedded: Sequence[EmbeddedCorpus],
    teacher: Sequence[Member],
    corpus: Corpus,
    threshold: float,
    run: Path,
) -> dict[str, Any]:
    """Decide which copies mean what their originals do, in `RUN/corpus/kept.npy`.

    Args:
        embedded: The whole corpus, by each encoder of the teacher.
        teacher: Its encoders.
        corpus: The whole corpus.
        threshold: The least cosine of the teacher's vectors.
        run: The run directory.
    """
    copies = corpus.copies()
    first = corpus.originals

    def of_originals() -> Iterator[NDArray[np.float32]]:
        start = 0
        for shard in joint_shards(embedded, teacher, "train"):
            if start >= first:
                return
            low, high = np.searchsorted(copies.originals, [start, start + len(shard)])
            yield from shard[copies.originals[low:high] - start]
            start += len(shard)

    def of_copies() -> Iterator[NDArray[np.float32]]:
        start = 0
        for shard in joint_shards(embedded, teacher, "train"):
            if start >= first:  # a shard holds no copies beside originals
                yield from shard
            start += len(shard)

    pairs = zip(of_originals(), of_copies(), strict=True)
    cosines = np.fromiter((a @ b for a, b in pairs), np.float32, len(copies.originals))
    good = cosines >= threshold if threshold > 0 else np.ones(len(cosines), np.bool_)
    kept = np.concatenate([np.ones(first, np.bool_), good])
    with atomic_path(run / KEPT) as temporary, temporary.open("wb") as handle:
        np.save(handle, kept, allow_pickle=False)
    made = np.array(copies.augmenters, dtype=np.str_)
    return {
        "threshold": threshold,
        "copies": {
            name: {
                "kept": int(good[made == name].sum()),
                "dissimilar": int((~good[made == name]).sum()),
                "similarity": round(float(cosines[made == name].mean()), 4),
            }
            for name in sorted(set(copies.augmenters))
        },
    }


def embed(
    teacher: list[Member], corpus: Corpus, recipe: Recipe, store: Path, report: Report
) -> list[EmbeddedCorpus]:
    """Embed the corpus with each encoder; resumable at each shard."""
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


def held_out_vectors(embedded: Sequence[EmbeddedCorpus], teacher: Sequence[Member]) -> Embeddings:
    """The named teacher's unit vectors of the validation split, shape (m, sum of widths)."""
    known = named(teacher)
    shards = joint_shards(embedded[: len(known)], known, "validation")
    return np.concatenate(list(shards))


def make_targets(
    embedded: list[EmbeddedCorpus],
    teacher: list[Member],
    corpus: Corpus,
    recipe: Recipe,
    run: Path,
) -> dict[str, Any]:
    """Fit the projection and write it with both splits' targets to `RUN/targets`."""
    wanted = even_mask(corpus.count("train"), recipe.projection.fit_sentences)

    def sample() -> Iterator[Embeddings]:
        start = 0
        for shard in joint_shards(embedded, teacher, "train"):
            yield shard[wanted[start : start + len(shard)]]
            start += len(shard)

    projection = fit_pca(
        sample(),
        recipe.dim,
        centred=recipe.projection.centred,
        whitening=recipe.projection.settled_whitening(static=recipe.student_spec.static),
    )
    targets = run / "targets"
    projection.save(targets / "projection.safetensors")
    for split in ("train", "validation"):
        write_rows(
            targets / f"{split}.npy",
            (unit(projection.apply(shard)) for shard in joint_shards(embedded, teacher, split)),
            (corpus.count(split), recipe.dim),
            np.float32,
        )
    return {"explained_share": round(projection.explained_share, 4), "width": projection.width}


def train_student(
    recipe: Recipe,
    embedded: Callable[[], Sequence[EmbeddedCorpus]],
    teacher: Sequence[Member],
    corpus: Corpus,
    run: Path,
    key: str,
    report: Report,
) -> tuple[SentenceTransformer, Trained, list[str]]:
    """Train the student of `RUN/init`; it is best at what it is taught of held-out sentences.

    That is, where it finds most of the nearest neighbours by the teacher that the user named, if
    it learns to rank those; else where its similarities rank like the targets'. Over all pairs
    they do not rank like the teacher's where targets are whitened, nor like the targets' where the
    teacher ranks: the untrained student would win. So it would among neighbours by the anchor,
    which it has not left yet.

    Args:
        recipe: The choices.
        embedded: Gives both splits by each encoder of the teacher; asked if it ranks neighbours.
        teacher: Its encoders, the anchor last if there is one.
        corpus: Both splits.
        run: Holds `init` and `targets`.
        key: Hash of all that decides the training; checkpoints of another are dropped.
        report: Progress.

    Returns:
        The student, how its training went, and in words which training sentences it did not read
        whole.
    """
    student = model_of(run, "init")
    encoder = TorchEncoder(student, name="student")
    limit = min(recipe.training.max_tokens, encoder.max_tokens)
    notices = Notices()

    def token_chunks(split: Split) -> Iterator[list[list[int]]]:
        for texts in corpus.chunks(split, 16384):
            rows = encoder.tokenize(texts)
            if split == "train":
                found = Notices(named=_namer(texts))
                found.add(
                    len(rows), encoder.cut(texts, rows, most=limit), encoder.mostly_unknown(rows)
                )
                notices.extend(found)
            yield rows

    choices = recipe.training.settled(static=is_static(student))
    by_teacher = choices.ranking == "teacher" and choices.neighbour_weight > 0
    if by_teacher:
        held_out = held_out_vectors(embedded(), teacher)
    else:
        held_out = targets_of(run, "validation")

    def validate(outputs: Embeddings) -> float:
        scores = evaluate_fidelity(outputs, held_out)
        return scores.overlap10 if by_teacher else scores.spearman

    directory = checkpoint_directory(run, key)
    whole = directory / "teacher.npy"

    def ranking() -> NDArray[np.floating[Any]]:
        if not whole.is_file():
            shape = (corpus.count("train"), target_projection(run).width)
            # Rounding moves a cosine by less than 0.001, a fiftieth of the loss's temperature.
            write_rows(whole, joint_shards(embedded(), teacher, "train"), shape, np.float16)
        with reading_own(whole, f"Delete {whole} to have it made again.", OSError, ValueError):
            vectors: NDArray[np.floating[Any]] = np.load(whole, mmap_mode="r", allow_pickle=False)
        return vectors

    tokens = TokenCache(token_chunks("train"), max_tokens=limit)
    unread = notices.lines("the student in training", limit)
    for line in unread:
        caution(line)
    trained = train(
        student,
        tokens,
        targets_of(run, "train"),
        validate,
        TokenCache(token_chunks("validation"), max_tokens=limit),
        ranking=ranking if by_teacher else None,
        recipe=choices,
        seed=recipe.seed,
        directory=directory,
        start_may_win=is_static(student) or recipe.head.init != "random",
        report=report,
    )
    with suppress(PermissionError):  # of Windows, while it is mapped; it goes with the checkpoints
        whole.unlink(missing_ok=True)
    return student, trained, unread


def _namer(texts: Sequence[str]) -> Callable[[int], str]:
    return lambda place: shown(texts[place])


def teacher_projection(
    embedded: Sequence[EmbeddedCorpus], teacher: Sequence[Member], dim: int, *, centred: bool
) -> Projection:
    """PCA of some of the teacher's encoders alone, on the whole training split."""
    return fit_pca(joint_shards(embedded, teacher, "train"), dim, centred=centred)
