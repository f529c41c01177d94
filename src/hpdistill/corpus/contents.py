"""What sources hold now: whether work that was done on them is still good."""

import importlib.metadata
import platform
from collections.abc import Sequence
from pathlib import Path

from hpdistill.corpus._folder import files_below
from hpdistill.corpus._lines import reading
from hpdistill.corpus.readers import files_of_source
from hpdistill.files import sha256_file

__all__ = ["content_hashes"]


def content_hashes(names: Sequence[str]) -> dict[str, str]:
    """What the named sources and folders hold now; a hub's dataset goes by its name.

    Raises:
        CorpusError: One cannot be read or fetched.
    """
    contents: dict[str, str] = {}
    for name in names:
        if name == "pydoc":
            packages = {
                f"{d.metadata['Name']}=={d.version}" for d in importlib.metadata.distributions()
            }
            contents[name] = f"python {platform.python_version()}: {', '.join(sorted(packages))}"
        elif Path(name).is_dir():
            for inner in files_below(Path(name)):
                # Whether a link that leads nowhere matters, the reader of the folder says.
                contents[str(inner)] = _sha256(inner) if inner.exists() else ""
        elif files := files_of_source(name):
            contents[name] = ", ".join(map(_sha256, files))
    return contents


def _sha256(path: Path) -> str:
    with reading(path):
        return sha256_file(path)
