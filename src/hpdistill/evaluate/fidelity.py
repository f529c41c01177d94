"""Fidelity: how far a student agrees with its teacher on sentences that neither was fitted to.

It needs no labels, so it can be measured on one's own sentences and during training. Three
figures, because each is blind to something: the rank correlation of pairwise cosines sees the
whole space and little of what is near; the overlap of neighbour lists sees only what is near,
which is what search returns; the cosine to the target sees whether both live in one space,
which asymmetric search needs.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpdistill.encoder import Embeddings, unit
from hpdistill.errors import EvaluationError
from hpdistill.evaluate._spearman import spearman

__all__ = ["FidelityScores", "evaluate_fidelity"]

_ALL_PAIRS_UP_TO = 1000  # sentences; 499,500 pairs
_PAIRS = 500_000
_NEIGHBOURS = 10
_BLOCK_CELLS = 2**22  # 16 MiB of float32 cosines at a time


@dataclass(frozen=True, kw_only=True)
class FidelityScores:
    """Agreement of one student with one teacher."""

    dim: int
    """Width of the student's vectors."""
    sentences: int
    spearman: float
    """Rank correlation of the pairwise cosines, -1 to 1."""
    cosine: float | None
    """Mean cosine of student to target, -1 to 1; None without a target of the student's width."""
    overlap10: float
    """Mean share of the teacher's ten nearest neighbours that are the student's too, 0 to 1."""

    def row(self, model: str) -> dict[str, Any]:
        """One flat row: `model, dim, sentences, spearman, cosine, overlap10`."""
        return {
            "model": model,
            "dim": self.dim,
            "sentences": self.sentences,
            "spearman": self.spearman,
            "cosine": self.cosine,
            "overlap10": self.overlap10,
        }


def evaluate_fidelity(
    student_vectors: Embeddings,
    teacher_vectors: Embeddings,
    *,
    target_vectors: Embeddings | None = None,
    seed: int = 0,
) -> FidelityScores:
    """Compare the student's and the teacher's vectors of the same sentences.

    Vectors need not be normalised; a zero vector has cosine 0 with everything. All pairs are
    compared up to 1,000 sentences, beyond that 500,000 distinct pairs drawn by the seed. Up to
    eleven sentences, the neighbours are all the other sentences.

    Args:
        student_vectors: Shape (n, d), float32; n at least 3.
        teacher_vectors: Shape (n, w), float32.
        target_vectors: Shape (n, d), float32: the teacher's vectors in the student's space.
            None takes the teacher's own when the widths are equal.
        seed: Draws the pairs; equal seeds give equal figures.

    Returns:
        The scores, deterministic for equal inputs.

    Raises:
        EvaluationError: Different numbers of rows, fewer than 3, a target of another width than
            the student, or a vector that is not finite.
    """
    if target_vectors is None and student_vectors.shape[1] == teacher_vectors.shape[1]:
        target_vectors = teacher_vectors
    count = len(student_vectors)
    _check("student", student_vectors, count)
    _check("teacher", teacher_vectors, count)
    student, teacher = unit(student_vectors), unit(teacher_vectors)
    cosine: float | None = None
    if target_vectors is not None:
        _check("target", target_vectors, count)
        if target_vectors.shape[1] != student.shape[1]:
            raise EvaluationError(
                f"the target's vectors have width {target_vectors.shape[1]}, "
                f"the student's {student.shape[1]}"
            )
        cosine = float(np.einsum("nd,nd->n", student, unit(target_vectors)).mean(dtype=np.float64))
    correlation, overlap = _compare(student, teacher, *_pairs(count, seed))
    return FidelityScores(
        dim=student.shape[1],
        sentences=count,
        spearman=correlation,
        cosine=cosine,
        overlap10=overlap,
    )


def _check(whose: str, vectors: Embeddings, count: int) -> None:
    if len(vectors) != count:
        raise EvaluationError(f"{len(vectors)} {whose} vectors for {count} sentences")
    if count < 3:
        raise EvaluationError(f"fidelity needs at least 3 sentences, and there are {count}")
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        raise EvaluationError(f"the {whose}'s vector of sentence {broken[0] + 1} is not finite")


def _pairs(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct pairs (i, j) with i < j, in the order of i; each array of shape (pairs,)."""
    total = count * (count - 1) // 2
    if count <= _ALL_PAIRS_UP_TO:
        numbers = np.arange(total)
    else:
        generator = np.random.default_rng(seed)
        numbers = np.sort(generator.choice(total, _PAIRS, replace=False, shuffle=False))
    # Pairs are numbered row by row over the upper triangle; row i has count - 1 - i of them.
    rows = np.arange(count)
    row_starts = rows * (count - 1) - rows * (rows - 1) // 2
    first = np.searchsorted(row_starts[:-1], numbers, side="right") - 1
    return first, numbers - row_starts[first] + first + 1


def _compare(
    student: Embeddings,
    teacher: Embeddings,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
) -> tuple[float, float]:
    """Spearman over the pairs, and the neighbour overlap, from one blocked matrix product."""
    count = len(student)
    neighbours = min(_NEIGHBOURS, count - 1)
    height = max(1, _BLOCK_CELLS // count)
    student_cosines = np.empty(len(first), np.float32)
    teacher_cosines = np.empty(len(first), np.float32)
    shared = 0
    for start in range(0, count, height):
        stop = min(start + height, count)
        here = slice(*np.searchsorted(first, (start, stop)))
        rows = np.arange(stop - start)
        nearest = []
        for vectors, cosines in ((student, student_cosines), (teacher, teacher_cosines)):
            block = vectors[start:stop] @ vectors.T  # (rows, n)
            cosines[here] = block[first[here] - start, second[here]]
            block[rows, start + rows] = -np.inf  # a sentence is not its own neighbour
            nearest.append(np.argpartition(block, -neighbours, axis=1)[:, -neighbours:])
        shared += int(np.count_nonzero(nearest[0][:, :, None] == nearest[1][:, None, :]))
    return spearman(student_cosines, teacher_cosines), shared / (count * neighbours)
