"""Embeddings to one file, a block at a time: killed at any moment, the same work goes on.

    OUT                    absent, or the old one, until all is done
    OUT.part/              gone when it is
        key.json           what decides the vectors; those of another model are not mixed in
        blocks.jsonl       a line for every complete block
        vectors.npy        of a `.npy`: room for the header, then block after block
        000000.parquet     of a `.parquet`: a file for every block

A block counts when its line is there and its bytes have the checksum in that line, so neither a
kill nor a power cut can leave half of one.
"""

import io
import json
import os
import shutil
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hpdistill.errors import RunError, UsageError
from hpdistill.extras import extra
from hpdistill.files import (
    alone_in,
    atomic_path,
    check_work_directory,
    clear_os_errors,
    make_directory,
    read_json,
    text_hash,
    write_json,
)
from hpdistill.progress import Report, silent

__all__ = [
    "FORMATS",
    "VectorWriter",
    "Vectors",
    "check_output",
    "json_lines",
    "open_vectors",
    "raw_bytes",
]

FORMATS = (".npy", ".parquet")
"""By the suffix of the file."""

Vectors: TypeAlias = NDArray[Any]
"""Row-major matrix of shape (rows, width): float32, int8, or bits packed into uint8."""


def check_output(out: Path, *, overwrite: bool) -> None:
    """Refuse a file that cannot be written, before anything is computed for it.

    Raises:
        UsageError: It is of no format that can be written, or a package for it is missing.
        RunError: It is there already and is not to be overwritten, or is a directory.
    """
    if out.suffix not in FORMATS:
        raise UsageError(
            f"cannot write {out}: the name must end in {' or '.join(FORMATS)}",
            hint="Or write to standard output, as -.",
        )
    if out.is_dir():
        raise RunError(f"{out} is a directory; name a file")
    if out.exists() and not overwrite:
        raise RunError(f"{out} exists already", hint="Give another name, or `overwrite=True`.")
    if out.suffix == ".parquet":
        _pyarrow()


@contextmanager
def open_vectors(
    out: Path,
    key: Mapping[str, object],
    *,
    width: int,
    dtype: DTypeLike,
    overwrite: bool = False,
) -> Iterator["VectorWriter"]:
    """Write vectors to a file, going on after what an interrupted process has left of it.

    Args:
        out: A `.npy`, or a `.parquet` of the columns `text` and `embedding`. It appears, or
            replaces the old one, when the writer's `finish` returns.
        key: What decides the vectors, besides the texts; flat, as JSON.
        width: Of a row.
        dtype: Of the vectors: float32, int8 or uint8.
        overwrite: Replace a file that is there, and drop an unfinished one of another key or
            other texts. An unfinished one of this key is gone on with all the same.

    Yields:
        Takes blocks of texts and their vectors.

    Raises:
        UsageError: `out` is of no format that can be written, or a package for it is missing.
        RunError: It is there already, cannot be written, was begun with another key, or another
            process is writing it.
    """
    check_output(out, overwrite=overwrite)
    part = out.with_name(f"{out.name}.part")
    check_work_directory(part, "unfinished vectors")
    make_directory(part)
    with alone_in(part), clear_os_errors(out):
        # Again: whoever held the lock may have finished it.
        check_output(out, overwrite=overwrite)
        _claim(part, dict(key), overwrite=overwrite)
        store = _STORES[out.suffix](part, width, np.dtype(dtype).newbyteorder("<"))
        try:
            with closing(VectorWriter(out, store, overwrite=overwrite)) as writer:
                yield writer
        finally:
            if not _read_journal(part / "blocks.jsonl"):
                shutil.rmtree(part, ignore_errors=True)  # nothing was done, or all


@dataclass(frozen=True, kw_only=True)
class _Block:
    """A line of the journal."""

    rows: int
    texts: str
    """Hash of the texts."""
    truncated: int
    checksum: int


class VectorWriter:
    """Blocks in, in order; made by `open_vectors`.

    First `resume`, then `append` block after block, at the end `finish`.
    """

    def __init__(self, out: Path, store: "_Store", *, overwrite: bool) -> None:
        self.resumed = 0
        """Rows that were there already."""
        self._out = out
        self._store = store
        self._overwrite = overwrite
        self._journal = store.part / "blocks.jsonl"
        self._lines: io.FileIO | None = None  # open once a block is added
        self._done: list[_Block] = []

    @property
    def rows(self) -> int:
        """Rows so far, those that were there already included."""
        return _rows(self._done)

    @property
    def truncated(self) -> int:
        """Texts that were cut, among all so far."""
        return sum(block.truncated for block in self._done)

    def resume(self, texts: Iterable[str]) -> Iterator[str]:
        """Pass over the texts of the blocks that are complete already.

        Args:
            texts: All texts, from the first one on.

        Returns:
            Those that are left to be embedded and added.

        Raises:
            RunError: What is there was computed from other texts, from the first block on.
        """
        source = iter(texts)
        there = self._store.sound(_read_journal(self._journal))
        for block in there:
            ahead = list(islice(source, block.rows))
            if text_hash(ahead) != block.texts:
                if not self._done and not self._overwrite:
                    raise _begun(self._store.part, _rows(there), "other texts")
                # The input has changed here; what is done is still that of the texts before.
                return chain(ahead, source)
            self._done.append(block)
            self.resumed += block.rows
        return source

    def append(self, texts: Sequence[str], vectors: Vectors, *, truncated: int = 0) -> None:
        """Add a block.

        Args:
            texts: What was embedded.
            vectors: Shape (len(texts), width).
            truncated: How many of the texts were cut.

        Raises:
            RunError: The disk is full; the blocks before this one are kept.
        """
        with clear_os_errors(self._out):
            if self._lines is None:
                # Lines of blocks that are about to be overwritten, and half a line of a kill, go.
                with atomic_path(self._journal) as temporary:
                    temporary.write_text("".join(map(_line, self._done)), "utf-8")
                self._lines = self._journal.open("ab", buffering=0)
            checksum = self._store.append(self._done, texts, vectors)
            block = _Block(
                rows=len(texts), texts=text_hash(texts), truncated=truncated, checksum=checksum
            )
            _write(self._lines, _line(block).encode())
        self._done.append(block)

    def finish(self, report: Report = silent) -> None:
        """Put the file in its place; blocks that the input did not reach are left out.

        Args:
            report: Progress of joining the blocks, where that takes time.

        Raises:
            RunError: The disk is full; all blocks are kept.
        """
        with clear_os_errors(self._out):
            complete = self._store.join(self._done, report)
            with complete.open("rb+") as handle:
                os.fsync(handle.fileno())
            self.close()
            complete.replace(self._out)
            self._journal.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the files."""
        self._store.close()
        if self._lines is not None:
            self._lines.close()


class _Store(ABC):
    """How blocks lie in the directory of an unfinished file."""

    def __init__(self, part: Path, width: int, dtype: "np.dtype[Any]") -> None:
        self.part = part
        self.width = width
        self.dtype = dtype

    def sound(self, journaled: Sequence[_Block]) -> list[_Block]:
        """Those before the first one whose bytes are missing or damaged."""
        good: list[_Block] = []
        for block in journaled:
            data = self.read(good, block)
            if data is None or zlib.crc32(data) != block.checksum:
                break
            good.append(block)
        return good

    @abstractmethod
    def read(self, before: Sequence[_Block], block: _Block) -> bytes | None:
        """The bytes of a block, if it is there."""

    @abstractmethod
    def append(self, before: Sequence[_Block], texts: Sequence[str], vectors: Vectors) -> int:
        """Write a block behind others; returns the checksum of its bytes."""

    @abstractmethod
    def join(self, blocks: Sequence[_Block], report: Report) -> Path:
        """Make one file of the blocks."""

    @abstractmethod
    def close(self) -> None:
        """Release the files."""


class _Npy(_Store):
    """One file, to which blocks are added; how many rows its header names is known at the end."""

    def __init__(self, part: Path, width: int, dtype: "np.dtype[Any]") -> None:
        super().__init__(part, width, dtype)
        self._path = part / "vectors.npy"
        self._path.touch()
        self._file = self._path.open("rb+", buffering=0)

    def read(self, before: Sequence[_Block], block: _Block) -> bytes | None:
        self._file.seek(self._end(before))
        return self._file.read(block.rows * self._row_bytes)

    def append(self, before: Sequence[_Block], texts: Sequence[str], vectors: Vectors) -> int:
        assert vectors.shape == (len(texts), self.width), vectors.shape
        data = np.ascontiguousarray(vectors, self.dtype).tobytes()
        self._file.seek(self._end(before))
        _write(self._file, data)
        return zlib.crc32(data)

    def join(self, blocks: Sequence[_Block], report: Report) -> Path:  # noqa: ARG002
        self._file.truncate(self._end(blocks))
        self._file.seek(0)
        _write(self._file, self._header(_rows(blocks)))
        return self._path

    def close(self) -> None:
        self._file.close()

    @property
    def _row_bytes(self) -> int:
        return self.width * self.dtype.itemsize

    def _end(self, blocks: Sequence[_Block]) -> int:
        return len(self._header(0)) + _rows(blocks) * self._row_bytes

    def _header(self, rows: int) -> bytes:
        """As long for any number of rows: NumPy leaves room for the first axis to grow."""
        buffer = io.BytesIO()
        descr = np.lib.format.dtype_to_descr(self.dtype)
        header = {"descr": descr, "fortran_order": False, "shape": (rows, self.width)}
        np.lib.format.write_array_header_1_0(buffer, header)
        return buffer.getvalue()


class _Parquet(_Store):
    """A file for every block, since a Parquet file that is closed takes no more."""

    def read(self, before: Sequence[_Block], block: _Block) -> bytes | None:  # noqa: ARG002
        path = self._path(len(before))
        return path.read_bytes() if path.is_file() else None

    def append(self, before: Sequence[_Block], texts: Sequence[str], vectors: Vectors) -> int:
        assert vectors.shape == (len(texts), self.width), vectors.shape
        pa, parquet = _pyarrow()
        flat = pa.array(np.ascontiguousarray(vectors, self.dtype).reshape(-1))
        columns = [
            pa.array([_unicode(text) for text in texts], pa.string()),
            pa.FixedSizeListArray.from_arrays(flat, self.width),
        ]
        buffer = io.BytesIO()
        parquet.write_table(pa.table(columns, schema=self._schema()), buffer, **_PARQUET)
        with self._path(len(before)).open("wb", buffering=0) as file:
            _write(file, buffer.getbuffer())
        return zlib.crc32(buffer.getbuffer())

    def join(self, blocks: Sequence[_Block], report: Report) -> Path:
        _, parquet = _pyarrow()
        path = self.part / "joined.parquet"
        # Opened here: Arrow takes no name that is not Unicode.
        with (
            path.open("wb") as file,
            parquet.ParquetWriter(file, self._schema(), **_PARQUET) as writer,
        ):
            for number, block in enumerate(blocks):
                with self._path(number).open("rb") as source:
                    table = parquet.read_table(source)
                writer.write_table(table, row_group_size=block.rows)
                report("joining blocks", number + 1, len(blocks))
        return path

    def close(self) -> None:
        pass

    def _path(self, number: int) -> Path:
        return self.part / f"{number:06}.parquet"

    def _schema(self) -> Any:  # noqa: ANN401 - a pyarrow schema
        pa, _ = _pyarrow()
        embedding = pa.list_(pa.from_numpy_dtype(self.dtype), self.width)
        return pa.schema([("text", pa.string()), ("embedding", embedding)])


_STORES: dict[str, type[_Store]] = {".npy": _Npy, ".parquet": _Parquet}

# Embeddings are as good as random to a compressor: time lost, a few per cent won.
_PARQUET = {
    "compression": {"text": "zstd", "embedding.list.element": "none"},
    "use_dictionary": False,
    "write_page_checksum": True,
}


def _claim(part: Path, key: dict[str, object], *, overwrite: bool) -> None:
    """Make the directory one of this key."""
    path = part / "key.json"
    if path.is_file():
        before = read_json(path)
        if before == key:
            return
        rows = _rows(_read_journal(part / "blocks.jsonl"))
        if rows and not overwrite:
            changed = [name for name in key if before.get(name) != key[name]]
            raise _begun(part, rows, f"another {', another '.join(changed)}")
        # First of all: without it the rest, should a kill leave it, counts for nothing.
        (part / "blocks.jsonl").unlink(missing_ok=True)
    write_json(path, key)
    for left in part.iterdir():
        if left.name not in ("key.json", ".lock"):
            left.unlink()


def _begun(part: Path, rows: int, reason: str) -> RunError:
    return RunError(
        f"{part} holds {rows:,} unfinished vectors of {reason}",
        hint="Give another name to keep them, or `overwrite=True` to drop them; or remove that "
        "folder.",
    )


def _read_journal(path: Path) -> list[_Block]:
    """Blocks up to a line that a kill left half-written."""
    found: list[_Block] = []
    if path.is_file():
        for line in path.read_text("utf-8", errors="replace").splitlines(keepends=True):
            try:
                found.append(_Block(**json.loads(line)))
            except (ValueError, TypeError):
                break
    return found


def _line(block: _Block) -> str:
    return json.dumps(asdict(block)) + "\n"


def _rows(blocks: Sequence[_Block]) -> int:
    return sum(block.rows for block in blocks)


def _write(file: "io.FileIO", data: "bytes | memoryview") -> None:
    """All of it: one call may write less, on a disk that is nearly full."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _unicode(text: str) -> str:
    """Parquet holds UTF-8: a lone surrogate, which JSON can smuggle in, becomes U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _pyarrow() -> tuple[Any, Any]:
    task, hint = "writing .parquet", "pip install 'hpdistill[search]', or write .npy."
    return extra("pyarrow", task=task, hint=hint), extra("pyarrow.parquet", task=task, hint=hint)


def raw_bytes(vectors: Vectors) -> bytes:
    """Rows one after another, nothing between them; little-endian."""
    return np.ascontiguousarray(vectors, vectors.dtype.newbyteorder("<")).tobytes()


def json_lines(vectors: Vectors) -> bytes:
    """A JSON array of numbers for every row, with all the digits that float32 has."""
    number = "%.9g" if vectors.dtype.kind == "f" else "%d"
    line = f"[{', '.join([number] * vectors.shape[1])}]\n"
    return "".join(line % tuple(row) for row in vectors.tolist()).encode()
