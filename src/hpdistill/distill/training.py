"""The student learns to reproduce its targets."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from torch.nn.functional import normalize

from hpdistill.distill.neighbours import Candidates, Neighbours, ranking_loss
from hpdistill.encoder import Embeddings
from hpdistill.loop import TokenCache, Trained, embed_tokens, fit, forward, use_bfloat16
from hpdistill.progress import Report, silent
from hpdistill.pytorch import Intake, intake_of, rows_that_fit
from hpdistill.recipe import SettledTraining, prefixes_of
from hpdistill.student import is_static

__all__ = ["distillation_loss", "split_long", "train"]


def distillation_loss(
    outputs: torch.Tensor,
    targets: torch.Tensor,
    candidates: Candidates | None = None,
    *,
    similarity_weight: float,
    neighbour_weight: float = 0.0,
    prefixes: Sequence[int] = (),
    prefix_weight: float = 0.0,
) -> torch.Tensor:
    """Squared error to the targets, of the batch's similarities, of rankings; of prefixes, too.

    The first term is the MSE of the paper (section 3.3) divided by the mean square of the
    targets, so that a learning rate means the same for every k. The second compares cosines
    within the batch; times k/2, an isotropic error weighs as much in it as in the first. The third
    is `ranking_loss`.

    A prefix is compared like a whole vector: its first d numbers with the target's first d
    (Kusupati et al. 2022, "Matryoshka Representation Learning", equation 1). It ranks as the whole
    vectors should.

    Args:
        outputs: Head outputs h, shape (B, k), not normalised.
        targets: Targets y, shape (B, k).
        candidates: What the third term ranks; None: there is none.
        similarity_weight: Of the second term.
        neighbour_weight: Of the third.
        prefixes: Widths d below k.
        prefix_weight: Of the mean of the prefixes' losses beside that of whole vectors.

    Returns:
        Scalar: L_k + prefix_weight * mean_d L_d, where L_d, over the first d numbers, is
        sum |h - y|^2 / sum |y|^2 + weight * d/2 * mean_{i != j} (cos(h_i, h_j) - cos(y_i, y_j))^2
        + weight * ranking.
    """

    def of_width(dim: int) -> torch.Tensor:
        ours = outputs[:, :dim]
        loss = _loss(ours, targets[:, :dim], similarity_weight)
        if candidates is None:
            return loss
        vectors = candidates.vectors[:, :dim]
        ranked = ranking_loss(ours, vectors, candidates.cosines, candidates.own)
        return loss + neighbour_weight * ranked

    loss = of_width(outputs.shape[1])
    if prefix_weight == 0 or not prefixes:
        return loss
    return loss + prefix_weight * torch.stack([of_width(dim) for dim in prefixes]).mean()


def _loss(outputs: torch.Tensor, targets: torch.Tensor, similarity_weight: float) -> torch.Tensor:
    error = (outputs - targets).square().sum() / targets.square().sum()
    count, dim = outputs.shape
    if similarity_weight == 0 or count < 2:
        return error
    ours, theirs = normalize(outputs), normalize(targets)
    difference = ours @ ours.T - theirs @ theirs.T  # (B, B)
    # The diagonal is 0 but for rounding.
    relational = difference.square().sum() / (count * (count - 1))
    return error + similarity_weight * dim / 2 * relational


def train(
    student: SentenceTransformer,
    tokens: TokenCache,
    targets: Embeddings,
    validate: Callable[[Embeddings], float],
    validation_tokens: TokenCache,
    *,
    recipe: SettledTraining,
    seed: int,
    directory: Path,
    ranking: Callable[[], NDArray[np.floating[Any]]] | None = None,
    start_may_win: bool = True,
    report: Report = silent,
) -> Trained:
    """Train a student in place and leave it with its best weights.

    Goes on from the newest checkpoint in `directory`; an unbroken run gives the same weights.

    Args:
        student: From `build_student` or `build_static`; its last module normalises.
        tokens: Of n training sentences.
        targets: Shape (n, k), float32; may be memory-mapped.
        validate: Scores embeddings of the validation sentences, (m, k) float32; higher is better.
        validation_tokens: Of m validation sentences.
        recipe: The choices.
        seed: Decides batches and dropout.
        directory: Of checkpoints.
        ranking: Gives unit vectors of the training sentences, shape (n, any width), whose cosines
            say how neighbours are ranked; asked once, if that is learnt. None: the targets.
        start_may_win: Whether the weights it starts with count among the best; those of a random
            head must not, whose similarities can rank well in any space but the target's.
        report: Progress, in sentences.

    Raises:
        RunError: A checkpoint cannot be written; the ones before are kept.
    """
    # A static student has no matrix products.
    bfloat16 = use_bfloat16(recipe, student.device.type) and not is_static(student)
    intake = intake_of(student)
    prefixes = prefixes_of(targets.shape[1])[:-1]

    @cache
    def neighbours() -> Neighbours:
        # Only when a batch needs them: of a finished training, or of none, nothing is to be found.
        teacher = None if ranking is None else ranking()
        return Neighbours.find(
            targets, teacher, count=recipe.neighbours, device=student.device, report=report
        )

    def backward(batch: NDArray[np.int64]) -> Iterator[float]:
        for part in split_long(batch, tokens.lengths, intake):
            wanted = torch.from_numpy(np.asarray(targets[part])).to(student.device)
            outputs = forward(student, tokens.rows(part), bfloat16=bfloat16)
            drawn = None
            if recipe.neighbour_weight > 0:
                drawn = neighbours().candidates(part).to(student.device)
            loss = distillation_loss(
                outputs,
                wanted,
                drawn,
                similarity_weight=recipe.similarity_weight,
                neighbour_weight=recipe.neighbour_weight,
                prefixes=prefixes,
                prefix_weight=recipe.prefix_weight,
            ) * (len(part) / len(batch))
            loss.backward()  # type: ignore[no-untyped-call]
            yield loss.item()

    def score() -> float:
        return validate(embed_tokens(student, validation_tokens, bfloat16=bfloat16))

    return fit(
        student,
        backward,
        score,
        lengths=tokens.lengths,
        recipe=recipe,
        seed=seed,
        directory=directory,
        bfloat16=bfloat16,
        start_may_win=start_may_win,
        report=report,
    )


def split_long(
    batch: NDArray[np.int64], lengths: NDArray[np.int32], intake: Intake
) -> list[NDArray[np.int64]]:
    """Cut a batch of long sentences into parts that fit in memory.

    Args:
        batch: Indices of sentences.
        lengths: Tokens of every sentence.
        intake: Of the student; says how many tokens fit.

    Returns:
        The batch itself, or parts of it.
    """
    fitting = rows_that_fit(intake, int(lengths[batch].max()), intake.tokens_at_once)
    if fitting >= len(batch):
        return [batch]
    # A power of two divides most batches, which leaves one shape a length and no small last part.
    count = 1 << (fitting.bit_length() - 1)
    return [batch[start : start + count] for start in range(0, len(batch), count)]
