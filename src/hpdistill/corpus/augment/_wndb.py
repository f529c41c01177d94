"""WordNet's own dictionary files, as Debian and nltk ship them: the format of wndb(5WN).

A small reader, since nltk's wants a file that Debian leaves out (`lexnames`), and refuses
directories that are not on its path. Of 155,000 words only the index is kept; a synset is read
from its place in the file.
"""

import hashlib
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from hpdistill.errors import AugmentError

_FILES = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
_MARKER = re.compile(r"\((?:a|p|ip)\)$")  # where an adjective may stand

Bytes = Callable[[str], bytes]


class Wndb:
    """WordNet from `index.noun`, `data.noun` and so on.

    Args:
        place: A folder that holds them, or a `.zip` as nltk's downloader leaves it.

    Raises:
        AugmentError: One is missing or is of another format.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self._index: dict[str, dict[str, list[int]]] = {}
        self._data: dict[str, bytes] = {}
        digest = hashlib.sha256()
        read = _reader(place)
        for pos, name in _FILES.items():
            try:
                index, data = read(f"index.{name}"), read(f"data.{name}")
            except (OSError, KeyError, zipfile.BadZipFile) as error:
                raise AugmentError(f"{place} holds no WordNet: cannot read {name}") from error
            digest.update(index + data)
            self._data[pos] = data
            try:
                self._index[pos] = _read_index(index)
            except (ValueError, IndexError) as error:
                raise _damaged(place, f"index.{name}") from error
        self.identity = f"sha256 {digest.hexdigest()}"

    def senses(self, lemma: str, pos: str) -> list[list[str]]:
        """Words of each sense, the most frequent sense first; `pos` is n, v, a or r.

        Raises:
            AugmentError: The index points to no synset.
        """
        return [self._words(pos, offset) for offset in self._index[pos].get(lemma, ())]

    def _words(self, pos: str, offset: int) -> list[str]:
        data = self._data[pos]
        line = data[offset : data.find(b"\n", offset)].decode()
        fields = line.split(" ")
        if fields[0] != f"{offset:08}" or len(fields) < 6:
            raise _damaged(self.place, f"data.{_FILES[pos]}")
        return synset_words(fields)


def synset_words(fields: Sequence[str]) -> list[str]:
    """The words of a synset, given the fields of its line in a data file."""
    count = int(fields[3], 16)
    return [_MARKER.sub("", word) for word in fields[4 : 4 + 2 * count : 2]]


def _read_index(index: bytes) -> dict[str, list[int]]:
    """Offsets of the senses of every word."""
    found = {}
    for line in index.decode().splitlines():
        if not line.startswith(" "):  # the licence
            fields = line.split()
            found[fields[0]] = [int(offset) for offset in fields[-int(fields[2]) :]]
    return found


def _reader(place: Path) -> Bytes:
    if place.suffix != ".zip":
        return lambda name: (place / name).read_bytes()

    def read(name: str) -> bytes:
        with zipfile.ZipFile(place) as bundle:
            return bundle.read(f"{place.stem}/{name}")

    return read


def _damaged(place: Path, name: str) -> AugmentError:
    return AugmentError(f"{place}: {name} is not of WordNet's dictionary format")
