"""Texts to disk: a spool first, then, when the draw is known, the files of both splits."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from hpdistill.corpus._draw import Draw
from hpdistill.corpus._stream import CleanStream
from hpdistill.corpus.store import SPLITS
from hpdistill.extras import extra
from hpdistill.progress import Report

_ROW_GROUP = 65_536
# A batch of texts is one Arrow string array, which holds 2 GiB at most.
_BATCH_CHARACTERS = 1 << 26


def write_spool(stream: CleanStream, path: Path) -> int:
    """Write all texts of the cleaning to a temporary Arrow stream; returns how many."""
    pa = extra("pyarrow")
    # A file's name need not be Unicode, which Parquet wants.
    named = [source.source.encode(errors="replace").decode() for source in stream.sources]
    names = pa.array(named, pa.string())
    schema = pa.schema([("text", pa.string()), ("source", pa.dictionary(pa.int32(), pa.string()))])
    total = 0
    with (
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_stream(
            sink, schema, options=pa.ipc.IpcWriteOptions(compression="lz4")
        ) as writer,
    ):
        for texts, sources in _batches(stream):
            total += len(texts)
            source = pa.DictionaryArray.from_arrays(pa.array(sources, pa.int32()), names)
            batch = pa.record_batch([pa.array(texts, pa.string()), source], schema=schema)
            writer.write_batch(batch)
    return total


def _batches(stream: CleanStream) -> Iterator[tuple[list[str], list[int]]]:
    texts: list[str] = []
    sources: list[int] = []
    characters = 0
    for text, source in stream:
        texts.append(text)
        sources.append(source)
        characters += len(text)
        if len(texts) == _ROW_GROUP or characters >= _BATCH_CHARACTERS:
            yield texts, sources
            texts, sources, characters = [], [], 0
    if texts:
        yield texts, sources


def write_splits(
    stream: CleanStream, draw: Draw, spool: Path, total: int, out: Path, report: Report
) -> str:
    """Distribute the spool to both files, correct the tallies, and hash the texts."""
    pa = extra("pyarrow")
    keys = stream.keys
    kept_of = np.zeros(len(stream.sources), np.int64)
    done = 0
    with pa.OSFile(str(spool), "rb") as handle, pa.ipc.open_stream(handle) as reader:
        writers = {split: _SplitWriter(out / f"{split}.parquet", reader.schema) for split in SPLITS}
        for batch in reader:
            own = keys[done : done + len(batch)]
            train, held_out = draw.splits(own, done)
            writers["train"].write(batch.filter(pa.array(train)))
            writers["validation"].write(batch.filter(pa.array(held_out)))
            indices = batch.column("source").indices.to_numpy()
            kept_of += np.bincount(indices[train | held_out], minlength=len(kept_of))
            done += len(batch)
            report("writing sentences", done, total)
    for summary, kept_count in zip(stream.sources, kept_of.tolist(), strict=True):
        summary.dropped["not_sampled"] = summary.kept - kept_count
        summary.kept = kept_count
    hashes = {split: writer.close() for split, writer in writers.items()}
    return sha256("\n".join(f"{split} {hashes[split]}" for split in SPLITS).encode()).hexdigest()


class _SplitWriter:
    """One Parquet file in row groups of even size, and the hash of its texts."""

    def __init__(self, path: Path, schema: Any) -> None:  # noqa: ANN401 - a pyarrow schema
        self._writer = extra("pyarrow.parquet").ParquetWriter(
            path, schema, compression="zstd", use_dictionary=["source"], write_page_checksum=True
        )
        self._held: list[Any] = []
        self._rows = 0
        self._characters = 0
        self._hash = sha256()

    def write(self, batch: Any) -> None:  # noqa: ANN401 - a pyarrow record batch
        if not len(batch):
            return
        self._hash.update(
            "".join(f"{text}\n" for text in batch.column("text").to_pylist()).encode()
        )
        self._held.append(batch)
        self._rows += len(batch)
        self._characters += batch.column("text").nbytes
        if self._rows >= _ROW_GROUP or self._characters >= _BATCH_CHARACTERS:
            self._flush()

    def close(self) -> str:
        """Finish the file; returns the sha256 of its texts, each followed by a line end."""
        self._flush()
        self._writer.close()
        return self._hash.hexdigest()

    def _flush(self) -> None:
        if self._held:
            table = extra("pyarrow").Table.from_batches(self._held)
            self._writer.write_table(table, row_group_size=self._rows)
        self._held, self._rows, self._characters = [], 0, 0
