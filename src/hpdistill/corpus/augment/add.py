"""Copies of a corpus's training sentences, behind them in its file and linked to them."""

import heapq
import shutil
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from hpdistill.corpus.augment.build import open_augmenter
from hpdistill.corpus.augment.copies import read_copies, write_copies
from hpdistill.corpus.cleaning import exclusion_key, text_digest
from hpdistill.corpus.exclusion import excluded_keys
from hpdistill.corpus.store import SUMMARY, Corpus, checksums
from hpdistill.extras import extra
from hpdistill.files import atomic_path, json_hash, read_json, write_json
from hpdistill.progress import Report, silent
from hpdistill.recipe import AugmentRecipe

__all__ = ["add_copies"]

_BATCH = 8192
_SALT = b"copies"


def add_copies(
    directory: Path,
    recipe: AugmentRecipe,
    *,
    exclude: Sequence[str],
    seed: int,
    work: Path,
    report: Report = silent,
) -> dict[str, Any]:
    """Add copies to what `build_corpus` wrote.

    `train.parquet` then holds the sentences as they are, then the copies in the order of their
    originals, and two more columns: `original`, the row of a copy's original, and `augmenter`,
    both null for originals. A copy has its original's source. No copy is one of a sentence held
    out or excluded, or equals one but for case and punctuation, or equals another sentence.

    Args:
        directory: The corpus; changed in place.
        recipe: Which copies.
        exclude: Evaluation folders and files.
        seed: Of the substitution.
        work: Where unfinished copies are kept, so that a kill costs a block at most.
        report: Progress.

    Returns:
        The corpus's summary, as now written to `summary.json`: `train` counts the copies, too.

    Raises:
        AugmentError: An augmenter is not there or fails; finished blocks are kept.
        WeightsError: A Marian model cannot be found or is not to be trusted.
        PackageError: An extra is not installed.
    """
    corpus = Corpus.open(directory)
    excluded = excluded_keys(exclude)
    excluded |= {exclusion_key(text) for text in chain(*corpus.chunks("validation", _BATCH))}
    files, summaries = [], []
    for method in recipe.methods:
        with open_augmenter(method, recipe, seed=seed, report=report) as augmenter:
            key = json_hash(
                [dict(augmenter.identity), corpus.text_hash, sorted(map(bytes.hex, excluded))]
            )
            out = work / f"{method}-{key[:16]}.jsonl"
            about = out.with_suffix(".json")
            if not (out.is_file() and about.is_file()):
                write_copies(
                    chain.from_iterable(corpus.chunks("train", _BATCH)),
                    augmenter,
                    out,
                    excluded=excluded,
                    overwrite=True,
                    summary_file=about,
                    total=corpus.count("train"),
                    report=report,
                )
        files.append(out)
        summaries.append(read_json(about))
    for path in work.iterdir():
        if path not in files and path.with_suffix(".jsonl") not in files:
            shutil.rmtree(path) if path.is_dir() else path.unlink()  # of another recipe
    copies = _distinct(corpus, files, {s["augmenter"]: s for s in summaries})
    added = _append(directory / "train.parquet", copies)
    summary = {
        **corpus.summary,
        "train": corpus.count("train") + added[0],
        "originals": corpus.count("train"),
        "copies": summaries,
        "text_hash": json_hash([corpus.text_hash, added[1]]),
        "files": checksums(directory),
    }
    write_json(directory / SUMMARY, summary)
    return summary


def _distinct(
    corpus: Corpus, files: Sequence[Path], summaries: dict[str, dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Copies of all methods in the order of their originals, none equal to another sentence."""
    met = {text_digest(text, _SALT) for text in chain(*corpus.chunks("train", _BATCH))}
    for line in heapq.merge(*map(read_copies, files), key=lambda line: int(line["row"])):
        digest = text_digest(line["text"], _SALT)
        if digest in met:
            summary = summaries[line["augmenter"]]
            summary["kept"] -= 1
            summary["dropped"]["duplicate"] += 1
            continue
        met.add(digest)
        yield line


def _append(path: Path, copies: Iterator[dict[str, Any]]) -> tuple[int, str]:
    """Write the file anew, with copies behind; returns how many, and the hash of their texts."""
    pa, parquet = extra("pyarrow"), extra("pyarrow.parquet")
    kinds = {"original": pa.int64(), "augmenter": pa.dictionary(pa.int32(), pa.string())}
    added, digests = 0, []
    with parquet.ParquetFile(path) as file, atomic_path(path) as temporary:
        schema = file.schema_arrow
        for name, kind in kinds.items():
            schema = schema.append(pa.field(name, kind))
        sources: list[str] = []
        with parquet.ParquetWriter(
            temporary,
            schema,
            compression="zstd",
            use_dictionary=["source", "augmenter"],
            write_page_checksum=True,
        ) as writer:
            for batch in file.iter_batches(batch_size=65_536):
                table = pa.Table.from_batches([batch])
                sources += table["source"].to_pylist()
                for name, kind in kinds.items():
                    table = table.append_column(pa.field(name, kind), pa.nulls(len(table), kind))
                writer.write_table(table.cast(schema))
            while lines := [line for _, line in zip(range(65_536), copies, strict=False)]:
                rows = [line["row"] for line in lines]
                columns = {
                    "text": [line["text"] for line in lines],
                    "source": [sources[row] for row in rows],
                    "original": rows,
                    "augmenter": [line["augmenter"] for line in lines],
                }
                writer.write_table(
                    pa.table(
                        [pa.array(columns[f.name]).cast(f.type) for f in schema], schema=schema
                    )
                )
                added += len(lines)
                digests.append(json_hash([columns["text"], rows]))
    return added, json_hash(digests)
