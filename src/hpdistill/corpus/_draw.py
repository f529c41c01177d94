"""Which texts are sampled and which of those are held out."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def even_mask(count: int, limit: int | None) -> Mask:
    """Mask of at most `limit` of `count` places, spread evenly over them; None: all."""
    mask = np.zeros(count, np.bool_)
    most = count if limit is None else min(count, limit)
    mask[np.linspace(0, count - 1, most).astype(np.int64)] = True
    return mask


class Draw(NamedTuple):
    """The texts whose keys are smallest are kept; the smallest of all are the validation split.

    So a text's lot depends on itself and the seed, not on its place, and a larger limit only
    adds to the sample. Where the validation has sources of its own, each split is drawn so from
    its own texts.
    """

    kept: int
    """Of both splits together."""
    validation: int
    last_kept: np.uint64
    last_validation: np.uint64
    boundary: int | None = None
    """Place of the first text of the validation's own sources, if it has any."""

    @classmethod
    def of(cls, keys: NDArray[np.uint64], kept: int, validation: int) -> Self:
        """Draw exactly so many.

        Args:
            keys: Shape (texts,), distinct.
            kept: 1 to the number of texts.
            validation: 1 to `kept`; of those kept.
        """
        ordered = np.partition(keys, (validation - 1, kept - 1))
        return cls(kept, validation, ordered[kept - 1], ordered[validation - 1])

    @classmethod
    def apart(cls, keys: NDArray[np.uint64], boundary: int, train: int, validation: int) -> Self:
        """Draw exactly so many from the texts before the boundary and from those behind it.

        Args:
            keys: Shape (texts,), distinct.
            boundary: 1 to the number of texts - 1.
            train: 1 to `boundary`.
            validation: 1 to the number of texts behind the boundary.
        """
        last_train = np.partition(keys[:boundary], train - 1)[train - 1]
        last_validation = np.partition(keys[boundary:], validation - 1)[validation - 1]
        return cls(train + validation, validation, last_train, last_validation, boundary)

    def splits(self, keys: NDArray[np.uint64], start: int) -> tuple[Mask, Mask]:
        """Which texts are trained on and which are held out.

        Args:
            keys: Of some texts that follow each other, shape (n,).
            start: Place of the first of them among all.

        Returns:
            Two masks of shape (n,), never both true.
        """
        held_out = keys <= self.last_validation
        kept = keys <= self.last_kept
        if self.boundary is None:
            return kept & ~held_out, held_out
        own = np.arange(start, start + len(keys)) >= self.boundary
        return kept & ~own, held_out & own
