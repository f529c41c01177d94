"""Which strings came before, in eight bytes each."""

import numpy as np

_RECENT = 65_536


class Seen:
    """Hashes of strings: a repeated one is never missed, and hardly ever one taken for another.

    Python's sets take ten times the memory, which counts when ids are tens of millions.
    """

    def __init__(self) -> None:
        self._old = np.empty(0, np.int64)  # sorted
        self._recent: set[int] = set()

    def add(self, text: str) -> bool:
        """Note a string; tells whether it, or one of the same hash, has been noted before."""
        value = hash(text)
        if value in self._recent:
            return True
        place = int(self._old.searchsorted(value))
        if place < len(self._old) and self._old[place] == value:
            return True
        self._recent.add(value)
        # As the old ones grow, they are sorted again less often.
        if len(self._recent) >= max(_RECENT, len(self._old) // 8):
            recent = np.fromiter(self._recent, np.int64, len(self._recent))
            self._old = np.concatenate([self._old, recent])
            self._old.sort(kind="stable")
            self._recent = set()
        return False
