"""Apertium, rule-based machine translation that works offline: one pipeline a direction.

A mode file says which programs translate a pair, each reading the one before. They are started
once, and flush whatever is before a NUL (`-z`), so that each sentence comes back by itself:
nothing can shift, and a crash is known to the sentence.
"""

import contextlib
import os
import re
import selectors
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, cast

from hpdistill.errors import AugmentError
from hpdistill.files import sha256_file

__all__ = ["ApertiumTranslator", "installed_pairs"]

_PLACES = ("/usr/share/apertium", "/usr/local/share/apertium")
_SPECIAL = re.compile(r"([\\^$/\[\]{}<>@~*#+|])")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
# Where a line does not end like a sentence, Apertium is told that it does, as by its own
# apertium-destxt: it tags the last words worse otherwise.
_ENDS = (".", "!", "?")
# An empty blank. Without one, `lt-proc -b` waits for what comes after the NUL.
_BLANK = "[]"
_TRIES = 2
_SILENT_ENDS = 6
_CHUNK = 1 << 16


class ApertiumTranslator:
    """One direction of an installed pair.

    Args:
        source: Language code, such as eng.
        target: Language code, such as spa.
        data: Folder that holds `modes/SOURCE-TARGET.mode`; None: where Apertium is installed, or
            what the environment variable APERTIUM_DATADIR says.
        patience: Seconds without any output after which the pipeline is started anew.

    Raises:
        AugmentError: The pair or one of its programs is not installed.
    """

    def __init__(
        self, source: str, target: str, *, data: Path | None = None, patience: float = 60.0
    ) -> None:
        self.name = f"Apertium {source}-{target}"
        self._patience = patience
        mode = _find_mode(source, target, data)
        self._programs = _programs(mode)
        for arguments in self._programs:
            if shutil.which(arguments[0]) is None:
                raise AugmentError(
                    f"{self.name} needs the program {arguments[0]}, which is not installed",
                    hint="On Debian and Ubuntu: apt-get install apertium",
                )
        files = {part for program in self._programs for part in program if Path(part).is_file()}
        self.identity = {
            "translator": self.name,
            "files": {Path(file).name: sha256_file(Path(file)) for file in sorted(files)},
        }
        self.restarts = 0
        """How often a crash was survived."""
        self._pipeline: _Pipeline | None = None

    def translate(self, texts: Sequence[str]) -> list[str | None]:
        """Translate sentences; see `Translator.translate`.

        A pipeline that ends, or is silent for long, is started anew with the sentence it was at;
        a sentence at which it ends twice is given up.

        Raises:
            AugmentError: It ends whatever it is given, or gives more than it got.
        """
        found: list[str | None] = []
        ended_here = silent_ends = 0
        while True:
            self._pipeline = self._pipeline or _Pipeline(self._programs, self._patience)
            rest = texts[len(found) :]
            answers = self._pipeline.translate([_escaped(text) for text in rest])
            if len(answers) > len(rest):
                raise AugmentError(
                    f"{self.name} gave more than {len(rest):,} translations of {len(rest):,} "
                    "sentences; one for each is needed"
                )
            found += [_unescaped(text, answer) for text, answer in zip(rest, answers, strict=False)]
            if len(found) == len(texts):
                return found
            said = self._pipeline.close()
            self._pipeline = None
            self.restarts += 1
            ended_here, silent_ends = (1, 0) if answers else (ended_here + 1, silent_ends + 1)
            if silent_ends >= _SILENT_ENDS:
                given = found.count(None)
                raise AugmentError(
                    f"{self.name} gave {len(found) - given:,} translations of {len(texts):,} "
                    f"sentences and ends whatever it is given" + (f": {said}" if said else ""),
                    hint=f"Try: echo 'It works.' | apertium {self.name.split()[1]}",
                )
            if ended_here >= _TRIES:
                found.append(None)  # this very sentence ends it
                ended_here = 0

    def close(self) -> None:
        """End the pipeline."""
        if self._pipeline is not None:
            self._pipeline.close()
            self._pipeline = None


class _Pipeline:
    """Programs that read one another, alive until closed."""

    def __init__(self, programs: Sequence[Sequence[str]], patience: float) -> None:
        self._patience = patience
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the pipeline
        self._processes: list[subprocess.Popen[bytes]] = []
        source: int | IO[bytes] = subprocess.PIPE
        for arguments in programs:
            # They are those of the mode file, which Apertium itself would give to a shell.
            process = subprocess.Popen(  # noqa: S603
                arguments,
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=self._errors,
            )
            if self._processes:
                cast("IO[bytes]", source).close()  # so that a program's end reaches those before
            self._processes.append(process)
            source = cast("IO[bytes]", process.stdout)
        self._in = cast("IO[bytes]", self._processes[0].stdin)
        self._out = cast("IO[bytes]", source)

    def translate(self, lines: Sequence[str]) -> list[str]:
        """Answers in order; fewer than the lines if the pipeline ended or was long silent."""
        feeder = threading.Thread(target=self._feed, args=(lines,), daemon=True)
        feeder.start()
        parts: list[bytes] = []
        left = len(lines)
        with selectors.DefaultSelector() as selector:
            selector.register(self._out, selectors.EVENT_READ)
            while left > 0 and selector.select(self._patience):
                data = os.read(self._out.fileno(), _CHUNK)
                if not data:
                    break
                parts.append(data)
                left -= data.count(b"\0")
        if left > 0:
            self._end()  # or the feeder may wait for ever
        feeder.join()
        whole = b"".join(parts).split(b"\0")[:-1]
        return [answer.decode("utf-8", "replace") for answer in whole]

    def close(self) -> str:
        """End all programs; returns the last line that one of them complained with."""
        self._end()
        with contextlib.suppress(OSError):
            self._in.close()  # what it still holds has nowhere to go
        self._out.close()
        for process in self._processes:
            process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        self._errors.close()
        return said[-1] if said else ""

    def _feed(self, lines: Sequence[str]) -> None:
        # An end in between is seen by the reader.
        with contextlib.suppress(OSError, ValueError):
            for line in lines:
                self._in.write(line.encode("utf-8", "replace") + b"\0")
            self._in.flush()

    def _end(self) -> None:
        for process in self._processes:
            process.kill()


def installed_pairs(data: Path | None = None) -> list[str]:
    """Directions that Apertium has here, such as eng-spa."""
    folder = _data_folder(data) / "modes"
    return sorted(path.stem for path in folder.glob("*.mode")) if folder.is_dir() else []


def _data_folder(data: Path | None) -> Path:
    if data is not None:
        return data
    if chosen := os.environ.get("APERTIUM_DATADIR"):
        return Path(chosen)
    return Path(next((place for place in _PLACES if Path(place).is_dir()), _PLACES[0]))


def _find_mode(source: str, target: str, data: Path | None) -> Path:
    mode = _data_folder(data) / "modes" / f"{source}-{target}.mode"
    if mode.is_file():
        return mode
    pairs = installed_pairs(data)
    there = f"installed: {', '.join(pairs)}" if pairs else "no pair is"
    first, second = sorted((source, target))
    raise AugmentError(
        f"Apertium has no pair {source}-{target} installed; {there}",
        hint=f"On Debian and Ubuntu: apt-get install apertium apertium-{first}-{second} "
        "(apt-cache search apertium- lists pairs)",
    )


def _programs(mode: Path) -> list[list[str]]:
    """The programs of a mode file, told to flush at NUL and not to mark unknown words."""
    found = []
    for command in mode.read_text("utf-8").strip().split("|"):
        program, *arguments = shlex.split(command)
        # $1 is how to generate, $2 is for displaying ambiguity.
        arguments = ["-n" if part == "$1" else part for part in arguments if part != "$2"]
        found.append([program, "-z", *arguments])
    return found


def _escaped(text: str) -> str:
    clean = " ".join(text.replace("\0", " ").split())
    return _SPECIAL.sub(r"\\\1", clean) + ("" if clean.endswith(_ENDS) else ".") + _BLANK


def _unescaped(text: str, answer: str) -> str:
    answer = answer.strip().removesuffix(_BLANK)
    if not text.rstrip().endswith(_ENDS):
        answer = answer.removesuffix(".")
    return _ESCAPED.sub(r"\1", answer)
