"""A sentence's nearest targets, and the ranking of candidates that a student learns from them.

The similarity-matrix term compares what happens to meet in a batch, almost all of it far apart;
search is decided among what lies near. Targets are fixed, so that neighbours are found once and
serve as candidates without passing through the student: a memory as large as the corpus.
"""

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import kl_div, log_softmax, normalize

from hpdistill.encoder import Embeddings, unit
from hpdistill.progress import Report, silent

__all__ = ["Neighbours", "nearest", "ranking_loss"]

COUNT = 32
"""Neighbours that are known of each sentence."""
DRAWN = 8
"""Of those, how many become candidates each time the sentence is met."""
POOL = 2**16
"""Neighbours are looked for among so many sentences, so that a corpus of millions is no square."""
TEMPERATURE = 0.05
"""Cosines are divided by it before the softmax."""
BLOCK = 256
"""Sentences that are compared with the pool at once."""


class Neighbours:
    """Draws candidates for a batch; by torch's random numbers, which checkpoints restore."""

    def __init__(self, targets: Embeddings, indices: NDArray[np.int32]) -> None:
        self._targets = targets
        self._indices = indices

    @classmethod
    def find(
        cls, targets: Embeddings, *, device: torch.device | None = None, report: Report = silent
    ) -> Self:
        """Look up the neighbours of all sentences.

        Args:
            targets: Shape (n, k), float32; may be memory-mapped.
            device: Computes, as 200,000 sentences take a CPU minutes; None: the CPU.
            report: Progress, in sentences.
        """
        return cls(targets, nearest(targets, COUNT, pool=POOL, device=device, report=report))

    def candidates(self, batch: NDArray[np.int64]) -> tuple[NDArray[np.int64], torch.Tensor]:
        """The batch itself and some neighbours of each of its sentences, none twice.

        Args:
            batch: Indices of B sentences.

        Returns:
            Indices of C sentences, shape (C,), ascending; their targets, shape (C, k), float32.
        """
        known = self._indices[batch]  # (B, COUNT)
        columns = torch.randint(known.shape[1], (len(batch), DRAWN)).numpy()
        drawn = np.take_along_axis(known, columns, axis=1)
        chosen = np.union1d(batch, drawn)
        return chosen, torch.from_numpy(np.asarray(self._targets[chosen]))


def nearest(
    targets: Embeddings,
    count: int,
    *,
    pool: int,
    device: torch.device | None = None,
    report: Report = silent,
) -> NDArray[np.int32]:
    """The nearest other sentences of each, by cosine, in no order.

    Args:
        targets: Shape (n, k), float32; n of 2 or more.
        count: Of neighbours; fewer where there are not so many others.
        pool: Look among so many sentences, spread evenly.
        device: Computes; None: the CPU.
        report: Progress, in sentences.

    Returns:
        Indices, shape (n, min(count, sentences in the pool - 1)), int32.
    """
    total = len(targets)
    members = np.linspace(0, total - 1, min(pool, total)).astype(np.int64)
    device = device or torch.device("cpu")
    inside = torch.from_numpy(unit(np.asarray(targets[members]))).to(device).T
    count = min(count, len(members) - 1)
    found = np.empty((total, count), np.int32)
    for start in range(0, total, BLOCK):
        rows = np.arange(start, min(start + BLOCK, total))
        scores = torch.from_numpy(unit(np.asarray(targets[rows]))).to(device) @ inside
        scores[torch.from_numpy(rows[:, None] == members).to(device)] = -torch.inf
        found[rows] = members[scores.topk(count, dim=1, sorted=False).indices.cpu().numpy()]
        report("finding neighbours", len(rows) + start, total)
    return found


def ranking_loss(
    outputs: torch.Tensor,
    targets: torch.Tensor,
    candidates: torch.Tensor,
    own: torch.Tensor,
    *,
    temperature: float = TEMPERATURE,
) -> torch.Tensor:
    """How differently a student's vector ranks targets than the sentence's own target does.

    A listwise distillation loss (Cao et al. 2007, "Learning to Rank: From Pairwise Approach to
    Listwise Approach", with the teacher's cosines as scores): the student's vector is the query
    and fixed targets are the documents, as in asymmetric search.

    Args:
        outputs: Of the student, shape (B, k), not normalised.
        targets: Of the same sentences, shape (B, k).
        candidates: Targets to rank, shape (C, k).
        own: Which candidate is the sentence itself, shape (B,): not ranked.
        temperature: Cosines are divided by it.

    Returns:
        Scalar: the mean over the batch of KL(p || q), p the softmax of the targets' cosines to the
        candidates, q of the student's.
    """
    documents = normalize(candidates).T
    wanted = normalize(targets) @ documents / temperature  # (B, C)
    reached = normalize(outputs) @ documents / temperature
    itself = torch.zeros_like(wanted, dtype=torch.bool).scatter_(1, own[:, None], value=True)
    # Not -inf, whose difference from itself is no number.
    wanted, reached = wanted.masked_fill(itself, -1e4), reached.masked_fill(itself, -1e4)
    return kl_div(
        log_softmax(reached, dim=1),
        log_softmax(wanted, dim=1),
        reduction="batchmean",
        log_target=True,
    )
