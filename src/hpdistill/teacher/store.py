"""Embeddings of one encoder on disk, in shards that are whole or absent.

    STORE/<encoder>-<weights>/<precision>/
        manifest.json            the encoder, what its precision was chosen on, and every shard
        <text hash>.npy          vectors of one chunk of texts, (sentences, width)
        <text hash>.texts        a hash of each of these texts, 16 bytes
        .lock                    of whoever writes the manifest

A shard is found by the hash of its texts, and a directory holds one encoder at one precision, so
that nothing of another teacher, precision or text can be mixed in; several runs share a store. The
hashes of single texts give another chunk the vectors of those it shares with the ones here: a
corpus that grew, or was cut otherwise, costs its new sentences only.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hpdistill.encoder import Embeddings
from hpdistill.errors import RunError, StoreError
from hpdistill.files import (
    atomic_path,
    json_hash,
    lock_on,
    read_json,
    remove_leftovers,
    sha256_file,
    text_hash,
    write_json,
)
from hpdistill.teacher.lookup import Lookup, hashes_of

__all__ = ["Store", "text_hash"]

FORMAT = 1


class Gathered(NamedTuple):
    """What shards have of some texts, and of which."""

    known: NDArray[np.bool_]
    """Which of the n texts were found, shape (n,)."""
    vectors: Embeddings
    """Of those, in their order, shape (found, width), float32; (0, 0) if there is none."""
    seconds: float
    """Their share of what their shards took to compute."""


class Store:
    """Shards of one encoder at one precision.

    Args:
        directory: Where the shards lie; made when the first one is written.
        encoder: What identifies the encoder: sha256 of its weights and of its configuration, and
            `precision`.

    Raises:
        StoreError: The directory holds another encoder's shards, or its manifest was edited.
    """

    def __init__(self, directory: Path, encoder: dict[str, Any]) -> None:
        self.directory = directory
        self.encoder = encoder
        self._verified: set[str] = set()
        self._lookup: tuple[list[str], Lookup] | None = None
        remove_leftovers(directory)
        self._shards: dict[str, dict[str, Any]] = self._read()

    def __contains__(self, key: str) -> bool:
        """Whether the shard of the texts that hash to `key` is there."""
        return key in self._shards and self._path(key).is_file()

    @property
    def shards(self) -> dict[str, dict[str, Any]]:
        """Text hash to `file`, `shape`, `sha256`, `seconds`, and `unread` if texts were."""
        return dict(self._shards)

    def write(
        self,
        key: str,
        vectors: Embeddings,
        *,
        seconds: float,
        texts: Sequence[str] = (),
        unread: Mapping[str, int] | None = None,
    ) -> None:
        """Add a shard, atomically.

        Args:
            key: Text hash.
            vectors: Shape (n, width), float32; stored as float16 when the encoder computed in
                bfloat16, whose error is 8 times larger than what float16 rounds away.
            seconds: What computing it took; kept for reports.
            texts: Its n texts, for `gather` to find them one by one; without them it cannot.
            unread: Kept for reports: how many texts the encoder did not read, and why.
        """
        precision = np.float16 if self.encoder["precision"] == "bfloat16" else np.float32
        path = self.directory / f"{key[:32]}.npy"
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            np.save(handle, vectors.astype(precision), allow_pickle=False)
        shape = list(vectors.shape)
        digest, took = sha256_file(path), round(seconds, 2)
        entry: dict[str, Any] = {
            "file": path.name,
            "shape": shape,
            "sha256": digest,
            "seconds": took,
            **({"unread": dict(unread)} if unread else {}),
        }
        if texts:
            hashes_path = path.with_suffix(".texts")
            with atomic_path(hashes_path) as temporary:
                hashes_of(texts).tofile(temporary)
            entry["texts_sha256"] = sha256_file(hashes_path)
        # Another run may add shards to a shared store meanwhile.
        with lock_on(self.directory / ".lock", wait=True):
            self._shards = {**self._read(), **self._shards, key: entry}
            body = {"format": FORMAT, "encoder": self.encoder, "shards": self._shards}
            write_json(self.directory / "manifest.json", {**body, "checksum": json_hash(body)})
        self._verified.add(key)

    def gather(self, texts: Sequence[str]) -> Gathered:
        """The vectors of those texts that shards have, whatever chunks they were in.

        What other processes add after the first call is not seen. A shard that is damaged gives
        nothing; `read` is what names it.
        """
        keys, lookup = self._lookup = self._lookup or self._make_lookup()
        shard, row = lookup.find(texts)
        parts: list[Embeddings] = []
        places: list[NDArray[np.intp]] = []
        seconds = 0.0
        for number in np.unique(shard[shard >= 0]):
            place = np.flatnonzero(shard == number)
            try:
                vectors = self._open(keys[number])
            except StoreError:
                shard[place] = -1
                continue
            parts.append(np.asarray(vectors[row[place]], dtype=np.float32))
            places.append(place)
            seconds += self._shards[keys[number]]["seconds"] * len(place) / len(vectors)
        if not parts:
            return Gathered(np.zeros(len(texts), np.bool_), np.empty((0, 0), np.float32), 0.0)
        ordered = np.concatenate(parts)[np.argsort(np.concatenate(places))]
        return Gathered(shard >= 0, ordered, seconds)

    def _make_lookup(self) -> tuple[list[str], Lookup]:
        found = {}
        for key, entry in self._shards.items():
            path = self._path(key).with_suffix(".texts")
            # Shards of before the hashes were kept have none, and are only found whole.
            if key in self and path.is_file() and sha256_file(path) == entry.get("texts_sha256"):
                found[key] = np.fromfile(path, "<u8").reshape(-1, 2)
        return list(found), Lookup(list(found.values()))

    def read(self, key: str) -> Embeddings:
        """Vectors of the shard `key`, shape (n, width), float32.

        Raises:
            StoreError: The shard is missing, cut short or altered.
        """
        return np.array(self._open(key), dtype=np.float32)

    def _open(self, key: str) -> NDArray[Any]:
        if key not in self:
            path = self.directory / f"{key[:32]}.npy"
            raise StoreError(f"shard {path} is missing", hint="Run again to have it computed.")
        entry, path = self._shards[key], self._path(key)
        hint = f"Delete {path} and run again: only this shard is computed anew."
        if key not in self._verified:
            found = sha256_file(path)
            if found != entry["sha256"]:
                raise StoreError(
                    f"shard {path} is damaged: sha256 {found}, expected {entry['sha256']}",
                    hint=hint,
                )
            self._verified.add(key)
        vectors: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        if list(vectors.shape) != entry["shape"]:
            shapes = f"{list(vectors.shape)}, expected {entry['shape']}"
            raise StoreError(f"shard {path} is of shape {shapes}", hint=hint)
        return vectors

    def _path(self, key: str) -> Path:
        # Only the name's last part: a manifest must not point outside its directory.
        return self.directory / Path(self._shards[key]["file"]).name

    def _read(self) -> dict[str, dict[str, Any]]:
        path = self.directory / "manifest.json"
        if not path.is_file():
            return {}
        try:
            manifest = read_json(path)
        except RunError as error:
            raise StoreError(str(error), hint=error.hint) from error
        hint = f"Delete {self.directory} to have these embeddings computed again."
        checksum = manifest.pop("checksum", None) if isinstance(manifest, dict) else None
        if checksum is None or checksum != json_hash(manifest):
            raise StoreError(f"{path} was edited or damaged: its checksum does not fit", hint=hint)
        if manifest.get("format") != FORMAT or manifest["encoder"] != self.encoder:
            raise StoreError(f"{path} belongs to another encoder, {manifest['encoder']}", hint=hint)
        shards: dict[str, dict[str, Any]] = manifest["shards"]
        return shards
