"""What tests of augmentation share: a tiny dictionary, and language pairs made of filters."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dictionary_files import write_wndb

# Reads sentences, each ended by a NUL, and answers one by one; misbehaves at certain words.
PROGRAM = """\
#!{python}
import os, sys
place, *changes = sys.argv[2:]
buffer = b""
while data := os.read(0, 65536):
    buffer += data
    while b"\\0" in buffer:
        text, _, buffer = buffer.partition(b"\\0")
        text = text.decode()
        if "crash" in text:
            sys.exit("it broke")
        if "once" in text and place and not os.path.exists(place):
            open(place, "w").close()
            sys.exit("it broke once")
        if "swallow" in text:
            continue
        answers = 2 if "double" in text else 1
        for change in changes:
            old, _, new = change.partition("=")
            text = text.replace(old, new)
        os.write(1, (text + "\\0").encode() * answers)
"""


@pytest.fixture(scope="session")
def wordnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny WordNet."""
    return write_wndb(tmp_path_factory.mktemp("wordnet") / "dict")


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`pairs({"eng-xxx": "dog=perro"})`: Apertium's data folder with pairs that replace text."""
    program = tmp_path / "replace.py"
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)

    def make(changes: dict[str, str]) -> Path:
        modes = tmp_path / "apertium" / "modes"
        modes.mkdir(parents=True, exist_ok=True)
        for pair, change in changes.items():
            words = " ".join(f"'{part}'" for part in change.split(","))
            crashed = tmp_path / f"{pair}.crashed"
            (modes / f"{pair}.mode").write_text(f"{program} '{crashed}' {words} | {program} '' $2")
        monkeypatch.setenv("APERTIUM_DATADIR", str(modes.parent))
        return modes.parent

    return make
