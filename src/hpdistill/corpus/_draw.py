"""Which texts are sampled and which of those are held out."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray


class Draw(NamedTuple):
    """The texts whose keys are smallest are kept; the smallest of all are the validation split.

    So a text's lot depends on itself and the seed, not on its place, and a larger limit only
    adds to the sample.
    """

    kept: int
    validation: int
    last_kept: np.uint64
    last_validation: np.uint64

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
