"""Copies of a stream of sentences to one file: killed at any moment, the same call goes on.

    OUT                absent, or the old one, until all is done; a JSON line for every copy
    OUT.part/          gone when it is
        key.json       what decides the copies; those made otherwise are not mixed in
        000000.json    a block: the hash of its sentences, their copies, what was dropped

A block is written aside and renamed, so neither a kill nor a power cut leaves half of one.
"""

import json
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from hpdistill.corpus.augment.filter import REASONS, Judge, fault
from hpdistill.corpus.cleaning import clean, exclusion_key, text_digest
from hpdistill.errors import CorpusError, RunError, UsageError
from hpdistill.files import (
    alone_in,
    atomic_path,
    check_work_directory,
    check_writable,
    clear_os_errors,
    json_hash,
    make_directory,
    read_json,
    text_hash,
    write_json,
)
from hpdistill.progress import Report, silent

__all__ = ["Augmenter", "CopiesSummary", "check_copies_output", "read_copies", "write_copies"]

BLOCK = 500
"""Sentences between two writes."""

_SALT = b"copies"


class Augmenter(Protocol):
    """Says sentences in other words."""

    @property
    def name(self) -> str:
        """Of the method, `wordnet` or `backtranslate`."""
        ...

    @property
    def identity(self) -> Mapping[str, object]:
        """What decides its copies, as JSON."""
        ...

    def copies(self, texts: Sequence[str]) -> list[str | None]:
        """A copy of each text; None where there is none.

        Raises:
            AugmentError: It fails altogether.
        """
        ...

    def close(self) -> None:
        """End its processes."""
        ...


@dataclass
class CopiesSummary:
    """What became of the sentences."""

    augmenter: str
    sentences: int = 0
    kept: int = 0
    """Copies written."""
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    """Sentences without a copy, by reason: see `REASONS`."""
    resumed: int = 0
    """Sentences whose copies were there already."""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "augmenter": self.augmenter,
            "sentences": self.sentences,
            "kept": self.kept,
            "dropped": dict(self.dropped),
        }


def check_copies_output(out: Path, *, overwrite: bool) -> None:
    """Refuse a file that cannot be written, before anything is made for it.

    Raises:
        UsageError: Its name does not end in .jsonl.
        RunError: It is there already and is not to be overwritten, is a directory, or is a name
            that nothing can be written to.
    """
    if out.suffix != ".jsonl":
        raise UsageError(f"cannot write {out}: the name must end in .jsonl")
    check_writable(out)
    if out.is_dir():
        raise RunError(f"{out} is a directory; name a file")
    if out.exists() and not overwrite:
        raise RunError(f"{out} exists already", hint="Give another name, or `overwrite=True`.")


def write_copies(
    texts: Iterable[str],
    augmenter: Augmenter,
    out: Path,
    *,
    excluded: Collection[bytes] = frozenset(),
    judge: Judge | None = None,
    judge_identity: object = None,
    overwrite: bool = False,
    summary_file: Path | None = None,
    total: int = 0,
    report: Report = silent,
) -> CopiesSummary:
    """Write the good copies of sentences, each linked to its original.

    A line of the file holds `row` (of the original, from 0, among the texts), `original`, `text`,
    `augmenter` and, with a judge, `similarity`. Lines are in the order of the texts.

    Args:
        texts: Sentences; each is cleaned first, and those that are excluded get no copy.
        augmenter: Makes the copies.
        out: A `.jsonl`; it appears when all is done.
        excluded: What `exclusion_key` gives for evaluation sentences; neither they nor their
            copies, nor a copy that equals one, are written.
        judge: Drops copies that mean something else; None keeps them.
        judge_identity: What decides its opinion, as JSON.
        overwrite: Replace a file that is there, and drop unfinished copies made otherwise.
        summary_file: Where to keep the summary, as JSON; it is there when `out` is.
        total: Texts there are, for the report; 0 if unknown.
        report: Progress.

    Raises:
        UsageError: `out` is no `.jsonl`.
        CorpusError: There are no texts.
        RunError: It is there already, cannot be written, unfinished copies were made otherwise,
            or another process is writing it.
        AugmentError: The augmenter fails; finished blocks are kept.
    """
    check_copies_output(out, overwrite=overwrite)
    part = out.with_name(f"{out.name}.part")
    key = {
        "augmenter": json.loads(json.dumps(augmenter.identity)),
        "judge": judge and [judge_identity or judge.encoder.name, judge.threshold],
        "excluded": json_hash(sorted(digest.hex() for digest in excluded)),
    }
    with _claimed(part, key, overwrite=overwrite), clear_os_errors(out):
        summary = CopiesSummary(augmenter.name)
        work = _Work(augmenter, excluded, judge, summary)
        source = iter(texts)
        blocks = 0
        stale = False
        while block := list(islice(source, BLOCK)):
            path = part / f"{blocks:06}.json"
            found = _read_block(path, block) if not stale else None
            if found is None:
                # What follows was made of texts that stood elsewhere, and may repeat others.
                stale = True
                found = {"texts": text_hash(block), **work.make(block)}
                write_json(path, found)
            else:
                summary.resumed += len(block)
            work.count(block, found)
            blocks += 1
            report(f"copies: {augmenter.name}", summary.sentences, total)
        if blocks == 0:
            shutil.rmtree(part, ignore_errors=True)
            raise CorpusError("no sentences to make copies of")
        with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8") as handle:
            for number in range(blocks):
                for line in read_json(part / f"{number:06}.json")["copies"]:
                    handle.write(json.dumps(line, ensure_ascii=False) + "\n")
            if summary_file is not None:
                write_json(summary_file, summary.to_dict())
        shutil.rmtree(part, ignore_errors=True)
    return summary


def read_copies(path: Path) -> Iterator[dict[str, Any]]:
    """The lines that `write_copies` wrote."""
    with path.open(encoding="utf-8") as handle:
        for line in handle:
            yield json.loads(line)


class _Work:
    """Blocks of sentences to blocks of copies, and what was met so far."""

    def __init__(
        self,
        augmenter: Augmenter,
        excluded: Collection[bytes],
        judge: Judge | None,
        summary: CopiesSummary,
    ) -> None:
        self._augmenter = augmenter
        self._excluded = excluded
        self._judge = judge
        self._summary = summary
        self._seen: set[bytes] = set()

    def make(self, block: Sequence[str]) -> dict[str, Any]:
        """Copies of a block's sentences, and how many were dropped why."""
        dropped = dict.fromkeys(REASONS, 0)
        originals = [clean(text) for text in block]
        good = [
            number
            for number, text in enumerate(originals)
            if text and not (self._excluded and exclusion_key(text) in self._excluded)
        ]
        dropped["none"] += sum(not text for text in originals)
        dropped["excluded"] += sum(map(bool, originals)) - len(good)
        copies = self._augmenter.copies([originals[number] for number in good])
        met = self._seen | {_digest(text) for text in originals}
        found: list[dict[str, Any]] = []
        for number, made in zip(good, copies, strict=True):
            text = clean(made or "")
            reason = fault(originals[number], text, self._excluded) if made else "none"
            if reason is None and (digest := _digest(text)) in met:
                reason = "duplicate"
            if reason is not None:
                dropped[reason] += 1
                continue
            met.add(digest)
            found.append(
                {
                    "row": self._summary.sentences + number,
                    "original": originals[number],
                    "text": text,
                    "augmenter": self._augmenter.name,
                }
            )
        if self._judge is not None and found:
            found = self._judged(self._judge, found, dropped)
        return {"copies": found, "dropped": dropped}

    def count(self, block: Sequence[str], found: Mapping[str, Any]) -> None:
        """Take note of a block, made now or before."""
        self._seen |= {_digest(clean(text)) for text in block}
        self._seen |= {_digest(line["text"]) for line in found["copies"]}
        self._summary.sentences += len(block)
        self._summary.kept += len(found["copies"])
        for reason, count in found["dropped"].items():
            self._summary.dropped[reason] += count

    @staticmethod
    def _judged(
        judge: Judge, lines: list[dict[str, Any]], dropped: dict[str, int]
    ) -> list[dict[str, Any]]:
        similarities = judge.similarities(
            [line["original"] for line in lines], [line["text"] for line in lines]
        )
        for line, similarity in zip(lines, similarities, strict=True):
            line["similarity"] = round(similarity, 4)
        kept = [line for line in lines if line["similarity"] >= judge.threshold]
        dropped["dissimilar"] += len(lines) - len(kept)
        return kept


def _digest(text: str) -> bytes:
    return text_digest(text, _SALT)


def _read_block(path: Path, block: Sequence[str]) -> dict[str, Any] | None:
    """A block that is there and was made of these texts."""
    try:
        found: dict[str, Any] = read_json(path)
    except (OSError, RunError):
        return None
    return found if found.get("texts") == text_hash(block) else None


@contextmanager
def _claimed(part: Path, key: dict[str, object], *, overwrite: bool) -> Iterator[None]:
    """Make the directory one of this key and of this process alone."""
    check_work_directory(part, "unfinished copies")
    make_directory(part)
    with alone_in(part):
        blocks = sorted(part.glob("[0-9]*.json"))
        before = read_json(part / "key.json") if (part / "key.json").is_file() else None
        if before != key:
            if blocks and not overwrite:
                raise RunError(
                    f"{part} holds unfinished copies that were made otherwise",
                    hint="Give another name to keep them, or `overwrite=True` to drop them.",
                )
            for path in blocks:
                path.unlink()
            write_json(part / "key.json", key)
        yield
