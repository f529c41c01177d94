"""The contrastive loss of a batch, in memory that does not grow with the batch."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from hpdistill.loop import TokenCache, forward, random_states, set_random_states
from hpdistill.pytorch import intake_of, rows_that_fit

__all__ = ["Contrast"]


class Contrast:
    """Gradients of SimCSE's loss (Gao et al. 2021, equations 1 and 5).

    Of the i-th example in a batch of N, with h the anchor, h+ the positive and, if there is a
    third column, h- the negative, c the cosine and t the temperature:

        -log exp(c(h_i, h_i+)/t) / sum_j (exp(c(h_i, h_j+)/t) + exp(c(h_i, h_j-)/t))

    and the mean of it over the batch. The loss itself is sentence-transformers'.

    A batch whose activations do not fit is embedded twice, in parts: first for the gradient of
    the loss with respect to the embeddings, then, with the same dropout, for that of the weights
    (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup").

    Args:
        model: Its last module normalises.
        columns: Of n examples each: anchors, positives and, if any, negatives. A positive that is
            its anchor differs from it by dropout.
        temperature: t.
        bfloat16: Whether matrix products of the backbone are computed in it.
        tokens_at_once: Whose activations fit, padding included; None: as many as usual.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        columns: Sequence[TokenCache],
        *,
        temperature: float,
        bfloat16: bool,
        tokens_at_once: int | None = None,
    ) -> None:
        self._model = model
        self._columns = columns
        self._loss = MultipleNegativesRankingLoss(model, scale=1 / temperature)
        self._bfloat16 = bfloat16
        self._intake = intake_of(model)
        self._tokens_at_once = tokens_at_once or self._intake.tokens_at_once

    def __call__(self, batch: NDArray[np.int64]) -> Iterator[float]:
        """Add the gradients of a batch, given by the indices of its examples; yields its loss."""
        rows = [row for column in self._columns for row in column.rows(batch)]
        lengths = np.array([max(1, len(row)) for row in rows])
        # By length over all columns, so that little padding is computed.
        order = np.argsort(-lengths, kind="stable")
        parts = list(self._parts(order, lengths, len(batch)))
        inputs = [[rows[index] for index in part] for part in parts]
        place = torch.from_numpy(np.argsort(order)).to(self._model.device)
        padded = (len(part) * self._intake.padded(int(lengths[part[0]])) for part in parts)
        if sum(padded) <= self._tokens_at_once:
            outputs = [self._forward(part) for part in inputs]
            loss = self._of(torch.cat(outputs)[place], len(batch))
            loss.backward()  # type: ignore[no-untyped-call]
            yield loss.item()
            return
        states, vectors = [], []
        with torch.no_grad():
            for part in inputs:
                states.append(random_states(self._model.device))
                vectors.append(self._forward(part))
        whole = torch.cat(vectors).requires_grad_()
        loss = self._of(whole[place], len(batch))
        loss.backward()  # type: ignore[no-untyped-call]
        assert whole.grad is not None
        gradients = torch.split(whole.grad, [len(part) for part in parts])
        for part, state, gradient in zip(inputs, states, gradients, strict=True):
            set_random_states(state, self._model.device)
            self._forward(part).backward(gradient)  # type: ignore[no-untyped-call]
        yield loss.item()

    def _parts(
        self, order: NDArray[np.int64], lengths: NDArray[np.int64], most: int
    ) -> Iterator[NDArray[np.int64]]:
        start = 0
        while start < len(order):
            longest = int(lengths[order[start]])
            count = min(most, rows_that_fit(self._intake, longest, self._tokens_at_once))
            yield order[start : start + count]
            start += count

    def _forward(self, rows: list[list[int]]) -> torch.Tensor:
        return forward(self._model, rows, bfloat16=self._bfloat16)

    def _of(self, vectors: torch.Tensor, count: int) -> torch.Tensor:
        """The loss of embeddings (columns * count, width), column by column."""
        labels = torch.empty(0)  # this loss has none
        return self._loss.compute_loss_from_embeddings(list(torch.split(vectors, count)), labels)
