"""What a distillation is worth: the student beside its teacher and the cheap alternatives."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

from hpdistill.corpus import Corpus
from hpdistill.distill.parts import model_of, own_projection, target_projection
from hpdistill.distill.stages import Member, base_model, named, teacher_projection
from hpdistill.encoder import Embeddings, Encoder
from hpdistill.evaluate import (
    StsScores,
    evaluate_fidelity,
    evaluate_sts,
    load_tasks,
    sentences_per_second,
)
from hpdistill.files import read_json
from hpdistill.progress import Report
from hpdistill.projection import Projection
from hpdistill.pytorch import Precision, TorchEncoder
from hpdistill.recipe import Recipe, StudentSpec
from hpdistill.runtime import Encoder as Runtime
from hpdistill.student import untouched, without_head
from hpdistill.teacher import (
    EmbeddedCorpus,
    JointEncoder,
    ProjectedEncoder,
    Remembering,
    StoredEncoder,
    open_store,
    side_by_side,
)

__all__ = ["measure"]

TIMED_SENTENCES = 128

Kind = Literal[
    "teacher",
    "pca",
    "target",
    "other",
    "tokens",
    "untouched",
    "own_pca",
    "closed_form",
    "distilled",
]
"""What a row is: the teacher, whole, cut by its own PCA, or as what the student aims at; an encoder
that stands beside; the student before training (the vectors of its tokens, whole, cut by its own
PCA, with its head solved) and after."""


@dataclass(frozen=True, kw_only=True)
class _Contender:
    """One row to be: a model, and what it makes of the validation sentences."""

    kind: Kind
    name: str
    encoder: Encoder
    vectors: Embeddings
    """Of the validation sentences, (m, width)."""
    backend: str = "torch"
    precision: Precision | Literal["int8"] = "float32"
    in_space: bool = False
    """Whether its vectors are meant to equal the targets."""
    speed: float
    """Sentences/s; of PyTorch in float32."""


def measure(
    recipe: Recipe,
    teacher: Sequence[Member],
    embedded: Sequence[EmbeddedCorpus],
    corpus: Corpus,
    run: Path,
    *,
    store: Path,
    evaluation: Path | None,
    beside: Sequence[Encoder] = (),
    report: Report,
) -> list[dict[str, Any]]:
    """Measure the student of a run, its teacher, and what a user could do without distilling.

    Fidelity is to the teacher the user named, without the anchor, on the validation sentences;
    `cosine` is to the targets. Speed is on this machine, one model at a time, PyTorch in float32.

    Args:
        recipe: The choices.
        teacher: The teacher's encoders, the anchor last if there is one.
        embedded: Their embeddings, in the same order.
        corpus: For the validation sentences.
        run: Holds `targets`, `init` and `model`.
        store: Where embeddings by the teacher, and by the student before anything was done to it,
            are kept: those of the evaluation, too.
        evaluation: Folder of STS tasks, if any.
        beside: Other encoders to give a row.
        report: Progress.

    Returns:
        Flat rows; the first is the teacher, the last the student as its users load it.

    Raises:
        EvaluationError: `evaluation` holds no STS task.
    """
    tasks = load_tasks(evaluation) if evaluation is not None else None
    texts = corpus.texts("validation")
    own = [np.concatenate(list(encoder.shards("validation"))) for encoder in embedded]
    targets = target_projection(run)
    wanted = targets.apply(side_by_side(own, [member.weight for member in teacher]))
    static = recipe.student_spec.static
    contenders = chain(
        _teachers(recipe, teacher, embedded, own, targets, texts),
        _others(beside, texts),
        _tables(recipe, run, texts) if static else _backbones(recipe, run, texts, store, report),
        _distilled(recipe, run, texts),
        _exported(recipe, run, texts),
    )
    rows: list[dict[str, Any]] = []
    reference: Embeddings | None = None
    first: StsScores | None = None
    for contender in contenders:
        reference = contender.vectors if reference is None else reference
        scores = evaluate_fidelity(
            contender.vectors, reference, target_vectors=wanted if contender.in_space else None
        )
        row = {
            "model": contender.name,
            "kind": contender.kind,
            "dim": contender.encoder.dim,
            "backend": contender.backend,
            "precision": contender.precision,
            "parameters": contender.encoder.parameters,
            "parameters_m": contender.encoder.parameters / 1e6,
            "vector_bytes": 4 * contender.encoder.dim,
            "sentences_per_second": contender.speed,
            "spearman": scores.spearman,
            "cosine": scores.cosine if contender.in_space else None,
            "overlap10": scores.overlap10,
        }
        if tasks is not None:
            sts = evaluate_sts(
                contender.encoder, tasks, precision=contender.precision, report=report
            )
            first = first or sts
            row = {**sts.row(reference=first), **row}
        rows.append(row)
    return rows


def _teachers(
    recipe: Recipe,
    teacher: Sequence[Member],
    embedded: Sequence[EmbeddedCorpus],
    own: Sequence[Embeddings],
    targets: Projection,
    texts: Sequence[str],
) -> Iterator[_Contender]:
    """The teacher as it is, cut by its own PCA, and with the anchor: what the student aims at."""
    known = named(teacher)
    weights = [member.weight for member in teacher]
    encoders: list[Encoder] = []
    speeds = []
    for member, stored in zip(teacher, embedded, strict=True):
        encoder = TorchEncoder.load(member.source)
        speeds.append(_speed(encoder, texts))
        encoder.set_precision(stored.precision)
        encoders.append(StoredEncoder(encoder, stored.store))
    label = _joined(known)
    precision = embedded[0].precision
    count = len(known)
    whole = encoders[0] if count == 1 else JointEncoder(encoders[:count], weights[:count])
    vectors = side_by_side(own[:count], weights[:count])
    speed = _one_after_another(speeds[:count])
    yield _Contender(
        kind="teacher",
        name=label,
        encoder=whole,
        vectors=vectors,
        precision=precision,
        speed=speed,
    )
    plain = recipe.projection.settled_whitening(static=recipe.student_spec.static) == 0
    is_target = plain and len(teacher) == count
    cut = targets
    if not is_target:
        cut = teacher_projection(
            embedded[:count],
            known,
            min(recipe.dim, whole.dim),
            centred=recipe.projection.centred,
        )
    yield _Contender(
        kind="pca",
        name=f"{label}, PCA-{cut.dim}",
        encoder=ProjectedEncoder(whole, cut),
        vectors=cut.apply(vectors),
        precision=precision,
        in_space=is_target,
        speed=_projected(speed, cut, vectors),
    )
    if not is_target:
        joint = side_by_side(own, weights)
        yield _Contender(
            kind="target",
            name=f"{_joined(teacher)}, PCA-{recipe.dim}: the target",
            encoder=ProjectedEncoder(JointEncoder(encoders, weights), targets),
            vectors=targets.apply(joint),
            precision=precision,
            in_space=True,
            speed=_projected(_one_after_another(speeds), targets, joint),
        )


def _joined(teacher: Sequence[Member]) -> str:
    """Names as a person gives them, with the weights that tell one teacher from another."""
    named_with_weights = (
        member.source.name if member.weight == 1 else f"{member.source.name}:{member.weight:g}"
        for member in teacher
    )
    return " + ".join(named_with_weights)


def _tables(recipe: Recipe, run: Path, texts: Sequence[str]) -> Iterator[_Contender]:
    """The tokens as the teacher sees them one by one, and the closed form."""
    rows: tuple[tuple[Kind, str, str], ...] = (
        ("tokens", "token vectors", "init/tokens"),
        ("closed_form", "closed form", "init"),
    )
    for kind, name, place in rows:
        encoder = TorchEncoder(model_of(run, place), name=recipe.student)
        yield _Contender(
            kind=kind,
            name=f"{recipe.student}, {name}",
            encoder=encoder,
            vectors=encoder.encode(texts),
            in_space=True,
            speed=_speed(encoder, texts),
        )


def _backbones(
    recipe: Recipe, run: Path, texts: Sequence[str], store: Path, report: Report
) -> Iterator[_Contender]:
    """The student untouched, cut by its own PCA, and with its head solved."""
    name = recipe.student
    spec = StudentSpec.parse(name)
    shape = spec.shape
    # A shape was cut on sentences: it is read again, not cut again.
    initial = model_of(run, "init")
    model = untouched(name) if shape is None else without_head(initial)
    plain = TorchEncoder(model, name=name)
    kept: Encoder = Remembering(plain)
    if shape is None:
        # Not the whole name: a path to the same weights may be another one.
        part = None if spec.layers is None else f"layers {spec.layers}"
        whole = base_model(recipe, report)
        kept = StoredEncoder(plain, open_store(whole, store, "float32", part=part))
    vectors = kept.encode(texts)
    speed = _speed(plain, texts)
    yield _Contender(
        kind="untouched", name=f"{name}, untouched", encoder=kept, vectors=vectors, speed=speed
    )
    own = own_projection(run)
    # Of what the head sees, which a model with a head or pooling of its own does not give.
    if not _ends_alike(model, initial):
        kept = Remembering(TorchEncoder(without_head(initial), name=name))
        vectors = kept.encode(texts)
    yield _Contender(
        kind="own_pca",
        name=f"{name}, own PCA-{own.dim}",
        encoder=ProjectedEncoder(kept, own),
        vectors=own.apply(vectors),
        speed=_projected(speed, own, vectors),
    )
    if recipe.head.init != "random":
        solved = TorchEncoder(initial, name=name)
        yield _Contender(
            kind="closed_form",
            name=f"{name}, closed-form head",
            encoder=solved,
            vectors=solved.encode(texts),
            in_space=True,
            speed=_speed(solved, texts),
        )


def _ends_alike(model: SentenceTransformer, student: SentenceTransformer) -> bool:
    """Whether a model gives what the head of the student sees, at length 1."""
    ours, theirs = model[1], student[1]
    if not isinstance(ours, Pooling) or not isinstance(theirs, Pooling):
        return False
    same = ours.get_config_dict() == theirs.get_config_dict()
    return same and all(isinstance(module, Normalize) for module in list(model)[2:])


def _distilled(recipe: Recipe, run: Path, texts: Sequence[str]) -> Iterator[_Contender]:
    final = TorchEncoder(model_of(run, "model"), name=recipe.student)
    yield _Contender(
        kind="distilled",
        name=f"{recipe.student}, distilled",
        encoder=final,
        vectors=final.encode(texts),
        in_space=True,
        speed=_speed(final, texts),
    )


def _others(beside: Sequence[Encoder], texts: Sequence[str]) -> Iterator[_Contender]:
    for encoder in beside:
        yield _Contender(
            kind="other",
            name=encoder.name,
            encoder=encoder,
            vectors=encoder.encode(texts),
            backend=getattr(encoder, "backend", "torch"),
            precision=getattr(encoder, "precision", "float32"),
            speed=_speed(encoder, texts),
        )


def _exported(recipe: Recipe, run: Path, texts: Sequence[str]) -> Iterator[_Contender]:
    """The student on the runtime, the way that `Encoder.load` takes last; none if not exported."""
    path = run / "model" / "onnx" / "export.json"
    if not path.is_file():
        return
    export = read_json(path)
    precisions = [row["precision"] for row in export["parity"] if row["backend"] != "torch"]
    for precision in sorted(precisions, key=lambda name: bool(name == export["default"])):
        with Runtime.load(run / "model", precision=precision) as encoder:
            yield _Contender(
                kind="distilled",
                name=f"{recipe.student}, distilled",
                encoder=encoder,
                vectors=encoder.encode(texts),
                backend=encoder.backend,
                precision=encoder.precision,
                in_space=True,
                speed=_speed(encoder, texts),
            )


def _speed(encoder: Encoder, texts: Sequence[str]) -> float:
    return sentences_per_second(encoder.encode, texts[:TIMED_SENTENCES])


def _one_after_another(speeds: Sequence[float]) -> float:
    """Of a teacher that asks several encoders."""
    return 1 / sum(1 / speed for speed in speeds)


def _projected(speed: float, projection: Projection, vectors: Embeddings) -> float:
    """Speed of an encoder that is timed already, with a projection behind it."""
    some = vectors[:TIMED_SENTENCES]
    started = time.perf_counter()
    projection.apply(some)
    return len(some) / (len(some) / speed + time.perf_counter() - started)
