"""What lies in a folder of data."""

import os
from collections.abc import Iterator
from pathlib import Path

from hpdistill.corpus._lines import reading

__all__ = ["files_below"]


def files_below(folder: Path) -> Iterator[Path]:
    """Files at any depth, in order, also behind links; a link that leads nowhere is one of them.

    Raises:
        CorpusError: A folder cannot be listed: what is in it would be missed in silence.
    """

    def refuse(error: OSError) -> None:
        raise error

    seen = set()
    with reading(folder):
        for root, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
            folders.sort()
            if (real := os.path.realpath(root)) in seen:  # a link back
                folders.clear()
                continue
            seen.add(real)
            yield from (
                path
                for name in sorted(names)
                # Not pipes and sockets, which would be waited for.
                if (path := Path(root, name)).is_file() or not path.exists()
            )
