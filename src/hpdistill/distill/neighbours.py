"""A sentence's nearest targets, and the ranking of candidates that a student learns from them.

The similarity-matrix term compares what happens to meet in a batch, almost all of it far apart;
search is decided among what lies near. Targets are fixed, so that neighbours are found once and
serve as candidates without passing through the student: a memory as large as the corpus.
"""

from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import kl_div, log_softmax, normalize

from hpdistill.encoder import Embeddings, unit
from hpdistill.progress import Report, silent

__all__ = ["Candidates", "Neighbours", "nearest", "ranking_loss"]

KEPT = 64
"""Neighbours that are remembered of each sentence: 256 bytes, however far they reach."""
DRAWN = 8
"""Of those, how many become candidates each time the sentence is met."""
POOL = 2**16
"""Neighbours are looked for among so many sentences, so that a corpus of millions is no square."""
TEMPERATURE = 0.05
"""Cosines are divided by it before the softmax."""
BLOCK = 256
"""Sentences that are compared with the pool at once."""


class Candidates(NamedTuple):
    """What B sentences are to rank."""

    vectors: torch.Tensor
    """Targets of C sentences, shape (C, k), float32."""
    cosines: torch.Tensor
    """How like each is to each sentence of the batch, shape (B, C), float32."""
    own: torch.Tensor
    """Which candidate is the sentence itself, shape (B,), int64."""

    def to(self, device: torch.device) -> Self:
        """The same, on a device."""
        return type(self)(*(tensor.to(device) for tensor in self))


class Neighbours:
    """Draws candidates for a batch; by torch's random numbers, which checkpoints restore.

    Args:
        targets: Of n sentences, shape (n, k), float32; may be memory-mapped.
        teacher: Vectors of the same sentences whose cosines are the right ones, shape (n, any
            width); may be memory-mapped. None: the targets.
        indices: Of each sentence's neighbours, shape (n, any number).
    """

    def __init__(
        self,
        targets: Embeddings,
        teacher: NDArray[np.floating[Any]] | None,
        indices: NDArray[np.int32],
    ) -> None:
        self._targets = targets
        self._teacher = targets if teacher is None else teacher
        self._indices = indices

    @classmethod
    def find(
        cls,
        targets: Embeddings,
        teacher: NDArray[np.floating[Any]] | None = None,
        *,
        count: int,
        device: torch.device | None = None,
        report: Report = silent,
    ) -> Self:
        """Look up the neighbours of all sentences: by their targets, which are the narrower ones.

        Args:
            targets: As for the class.
            teacher: As for the class.
            count: Of the nearest of each sentence that candidates are drawn from.
            device: Computes, as 200,000 sentences take a CPU minutes; None: the CPU.
            report: Progress, in sentences.
        """
        found = nearest(targets, count, kept=KEPT, pool=POOL, device=device, report=report)
        return cls(targets, teacher, found)

    def candidates(self, batch: NDArray[np.int64]) -> Candidates:
        """The batch itself and some neighbours of each of its sentences, none twice.

        Args:
            batch: Indices of B sentences.
        """
        known = self._indices[batch]  # (B, up to KEPT)
        columns = torch.randint(known.shape[1], (len(batch), DRAWN)).numpy()
        drawn = np.take_along_axis(known, columns, axis=1)
        chosen = np.union1d(batch, drawn)
        own = np.searchsorted(chosen, batch)
        right = unit(np.asarray(self._teacher[chosen], np.float32))
        return Candidates(
            torch.from_numpy(np.asarray(self._targets[chosen])),
            torch.from_numpy(right[own] @ right.T),
            torch.from_numpy(own),
        )


def nearest(
    targets: Embeddings,
    count: int,
    *,
    kept: int,
    pool: int,
    device: torch.device | None = None,
    report: Report = silent,
) -> NDArray[np.int32]:
    """Some of the nearest other sentences of each, by cosine, in no order.

    Args:
        targets: Shape (n, k), float32; n of 2 or more.
        count: Of neighbours; fewer where there are not so many others.
        kept: Return so many of them, evenly from the nearest to the last.
        pool: Look among so many sentences, spread evenly.
        device: Computes; None: the CPU.
        report: Progress, in sentences.

    Returns:
        Indices, shape (n, min(kept, count, sentences in the pool - 1)), int32.
    """
    total = len(targets)
    members = np.linspace(0, total - 1, min(pool, total)).astype(np.int64)
    device = device or torch.device("cpu")
    inside = torch.from_numpy(unit(np.asarray(targets[members]))).to(device).T
    count = min(count, len(members) - 1)
    ranks = np.linspace(0, count - 1, min(kept, count)).astype(np.int64)
    found = np.empty((total, len(ranks)), np.int32)
    for start in range(0, total, BLOCK):
        rows = np.arange(start, min(start + BLOCK, total))
        scores = torch.from_numpy(unit(np.asarray(targets[rows]))).to(device) @ inside
        scores[torch.from_numpy(rows[:, None] == members).to(device)] = -torch.inf
        best = scores.topk(count, dim=1, sorted=len(ranks) < count).indices
        found[rows] = members[best[:, ranks].cpu().numpy()]
        report("finding neighbours", len(rows) + start, total)
    return found


def ranking_loss(
    outputs: torch.Tensor,
    candidates: torch.Tensor,
    cosines: torch.Tensor,
    own: torch.Tensor,
    *,
    temperature: float = TEMPERATURE,
) -> torch.Tensor:
    """How differently a student's vector ranks targets than it should.

    A listwise distillation loss (Cao et al. 2007, "Learning to Rank: From Pairwise Approach to
    Listwise Approach", with the teacher's cosines as scores): the student's vector is the query
    and fixed targets are the documents, as in asymmetric search.

    Args:
        outputs: Of the student, shape (B, k), not normalised.
        candidates: Targets to rank, shape (C, k).
        cosines: The right ones of the same sentences to the candidates, shape (B, C).
        own: Which candidate is the sentence itself, shape (B,): not ranked.
        temperature: Cosines are divided by it.

    Returns:
        Scalar: the mean over the batch of KL(p || q), p the softmax of the right cosines, q of the
        student's.
    """
    wanted = cosines / temperature
    reached = normalize(outputs) @ normalize(candidates).T / temperature  # (B, C)
    itself = torch.zeros_like(wanted, dtype=torch.bool).scatter_(1, own[:, None], value=True)
    # Not -inf, whose difference from itself is no number.
    wanted, reached = wanted.masked_fill(itself, -1e4), reached.masked_fill(itself, -1e4)
    return kl_div(
        log_softmax(reached, dim=1),
        log_softmax(wanted, dim=1),
        reduction="batchmean",
        log_target=True,
    )
