"""Vectors of texts, computed once: what is on disk for a model and these texts is not redone.

DIRECTORY/KEY.npy       float32, shape (texts, width); appears when all is encoded
DIRECTORY/KEY.json      how long that took, and the checksum; so far, while it is encoded
DIRECTORY/KEY.npy.part  blocks encoded so far, from which a killed encoding goes on
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from hpdistill.encoder import Embeddings, Encoder, Role, prompt_of
from hpdistill.errors import RunError
from hpdistill.evaluate._encode import encode_sentences
from hpdistill.files import json_hash, make_directory, read_json, sha256_file, text_hash, write_json
from hpdistill.progress import Report, silent
from hpdistill.vectorfile import open_vectors
from hpdistill.weights._fetch import cache_root

__all__ = ["CachedVectors", "cached_vectors"]

# As many as `encode_sentences` takes at once, so that what a kill costs is seconds.
_BLOCK = 1024
_WARM_UP = 16


@dataclass(frozen=True, kw_only=True)
class CachedVectors:
    """Vectors of texts, and what they cost."""

    vectors: Embeddings
    """Shape (texts, width), float32, memory-mapped, read-only; rows of length 1."""
    seconds: float
    """Of encoding, warm, when it was done: also if that was long ago."""
    from_cache: bool
    """Whether all of them were there already."""
    path: Path
    note: str = ""
    """What was wrong with the vectors that were there, if they had to be computed again."""


def cached_vectors(
    encoder: Encoder,
    texts: Sequence[str],
    *,
    identity: str,
    role: Role | None = None,
    directory: Path | None = None,
    report: Report = silent,
) -> CachedVectors:
    """Encode texts, or take the vectors from the cache; killed at any moment, it goes on.

    Args:
        encoder: Asked for unit vectors of its full width.
        texts: At least one.
        identity: Everything but the texts that decides the vectors: the hash of the model's weights
            (`Encoder.space`), and the precision and back end that compute them.
        role: What the texts are to a search; None: neither.
        directory: Where the cache lies; None is `vectors` in hpdistill's cache folder
            (`HPDISTILL_CACHE`, or `hpdistill` in the user's).
        report: Called with the number of texts encoded, those that were there already included.

    Raises:
        EvaluationError: The encoder gives a vector that is not finite.
        RunError: The cache cannot be written, the disk is full (what is complete is kept), or
            another process is encoding the same.
        WeightsError: There is no directory, and this user has no home.
    """
    folder = cache_root() / "vectors" if directory is None else directory
    content = text_hash(texts)
    facts = {"identity": identity, "texts": content}
    if prompt_of(encoder, role) != prompt_of(encoder, None):
        facts["prompt"] = prompt_of(encoder, role)
    key = json_hash({**facts, "width": encoder.dim})
    path, record = folder / f"{key}.npy", folder / f"{key}.json"
    shape, note = (len(texts), encoder.dim), ""
    if path.is_file():
        try:
            known = _check(path, record, shape)
        except ValueError as error:
            note = f"the cached vectors of {encoder.name} in {path} are damaged: {error}"
            path.unlink(missing_ok=True)
        else:
            return CachedVectors(
                vectors=_mapped(path), seconds=known["seconds"], from_cache=True, path=path
            )
    make_directory(folder)
    seconds = _encode(encoder, texts, path, record, facts, role, report)
    return CachedVectors(
        vectors=_mapped(path), seconds=seconds, from_cache=False, path=path, note=note
    )


def _encode(
    encoder: Encoder,
    texts: Sequence[str],
    path: Path,
    record: Path,
    key: dict[str, str],
    role: Role | None,
    report: Report,
) -> float:
    """Write the vectors; returns the seconds that took, in earlier processes too."""
    encoder.encode(texts[:_WARM_UP])
    with open_vectors(path, key, width=encoder.dim, dtype=np.float32, overwrite=True) as writer:
        left = writer.resume(texts)
        seconds = _so_far(record, writer.resumed)
        while block := list(islice(left, _BLOCK)):
            started = time.perf_counter()
            vectors = encode_sentences(encoder, block, role=role)
            seconds += time.perf_counter() - started
            writer.append(block, vectors)
            _write_record(record, encoder, writer.rows, seconds, key)
            report(f"{encoder.name}: texts", writer.rows, len(texts))
        # Again, for blocks that were there when a kill came before their record.
        _write_record(record, encoder, writer.rows, seconds, key)
        writer.finish(report)
    _seal(path, record)
    return seconds


def _write_record(
    record: Path, encoder: Encoder, rows: int, seconds: float, key: dict[str, str]
) -> None:
    write_json(record, {"encoder": encoder.name, "rows": rows, "seconds": seconds} | key)


def _seal(path: Path, record: Path) -> dict[str, Any]:
    """Add the checksum of a complete file to its record."""
    known: dict[str, Any] = read_json(record) | {"sha256": sha256_file(path)}
    write_json(record, known)
    return known


def _so_far(record: Path, rows: int) -> float:
    """What encoding the rows that are there has taken."""
    try:
        known = read_json(record) if rows else {}
        # A kill may come between a block and its record.
        return float(known["seconds"] * rows / known["rows"]) if known else 0.0
    except (RunError, OSError, KeyError, TypeError, ZeroDivisionError):
        return 0.0


def _check(path: Path, record: Path, shape: tuple[int, int]) -> dict[str, Any]:
    """The record of vectors that are whole.

    Raises:
        ValueError: They are not; says why.
    """
    try:
        known: dict[str, Any] = read_json(record)
        float(known["seconds"])
        if "sha256" not in known and known["rows"] == shape[0]:
            known = _seal(path, record)  # killed just before that
        elif known["sha256"] != sha256_file(path):
            raise ValueError("the checksum is another")
        if (found := _mapped(path).shape) != shape:
            raise ValueError(f"shape {found}, expected {shape}")
    except (RunError, OSError, EOFError, KeyError, TypeError) as error:
        raise ValueError(f"its record {record.name} is missing or damaged") from error
    return known


def _mapped(path: Path) -> Embeddings:
    vectors: Embeddings = np.load(path, mmap_mode="r", allow_pickle=False)
    return vectors
