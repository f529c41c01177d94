"""The deliverable: a model directory that others load, with what ties it to its teacher."""

from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from hpdistill.corpus import Corpus
from hpdistill.distill.parts import target_projection
from hpdistill.distill.stages import Member
from hpdistill.encoder import Embeddings
from hpdistill.evaluate import evaluate_fidelity
from hpdistill.files import atomic_directory, write_json
from hpdistill.loop import Trained
from hpdistill.pytorch import TorchEncoder
from hpdistill.recipe import Recipe, prefixes_of
from hpdistill.student import is_static, save_student
from hpdistill.teacher import encoder_identity
from hpdistill.weights import ModelSource

__all__ = ["write_model"]

FORMAT = 1


def write_model(
    student: SentenceTransformer,
    recipe: Recipe,
    teacher: list[Member],
    corpus: Corpus,
    run: Path,
    *,
    validation: Embeddings,
    trained: Trained,
) -> None:
    """Write `RUN/model`: weights, configuration, `projection.safetensors`, `hpd.json`.

    Args:
        student: Trained.
        recipe: The choices.
        teacher: Its encoders.
        corpus: For the validation sentences.
        run: Holds `targets/projection.safetensors`.
        validation: The named teacher's unit vectors of the validation split, (m, width), to which
            the fidelity of each prefix is measured.
        trained: How the training went.
    """
    projection = target_projection(run)
    vectors = TorchEncoder(student, name="student").encode(corpus.texts("validation"))
    prefixes = {
        str(dim): round(evaluate_fidelity(vectors[:, :dim], validation).spearman, 4)
        for dim in prefixes_of(recipe.dim)
    }
    description: dict[str, Any] = {
        "format": FORMAT,
        "dim": recipe.dim,
        "prefixes": prefixes,
        "teacher": [
            {"model": _to_find(m.source), "weight": m.weight, **encoder_identity(m.source)}
            for m in teacher
        ],
        "projection": {
            "file": "projection.safetensors",
            "centred": projection.centred,
            "whitening": recipe.projection.settled_whitening(static=is_static(student)),
            "explained_share": round(projection.explained_share, 4),
        },
        "student": recipe.student,
        "recipe": recipe.hash,
        "corpus": {"text_hash": corpus.text_hash, "sentences": corpus.count("train")},
        "training": {
            "steps": trained.steps,
            "best_step": trained.best_step,
            "precision": trained.precision,
        },
    }
    with atomic_directory(run / "model") as temporary:
        save_student(student, temporary)
        projection.save(temporary / "projection.safetensors")
        recipe.save(temporary / "recipe.toml")
        write_json(temporary / "hpd.json", description)


def _to_find(source: ModelSource) -> str:
    """By what a model is found from any directory."""
    return str(source.path) if source.source == "path" else source.name
