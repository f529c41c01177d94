"""What sources hold now: whether work that was done on them is still good."""

import importlib.metadata
import platform
from collections.abc import Sequence
from pathlib import Path

from hpdistill.corpus.readers import files_of_source
from hpdistill.files import sha256_file

__all__ = ["content_hashes"]


def content_hashes(names: Sequence[str]) -> dict[str, str]:
    """What the named sources and folders hold now; a hub's dataset goes by its name."""
    contents: dict[str, str] = {}
    for name in names:
        if name == "pydoc":
            packages = {
                f"{d.metadata['Name']}=={d.version}" for d in importlib.metadata.distributions()
            }
            contents[name] = f"python {platform.python_version()}: {', '.join(sorted(packages))}"
        elif Path(name).is_dir():
            for inner in sorted(p for p in Path(name).rglob("*") if p.is_file()):
                contents[str(inner)] = sha256_file(inner)
        elif files := files_of_source(name):
            contents[name] = ", ".join(map(sha256_file, files))
    return contents
