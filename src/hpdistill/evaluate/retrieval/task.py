"""A retrieval task: a corpus, queries, and which documents answer which query.

`load_retrieval` reads one from wherever it lies and brings it into this form; what was wrong with
it and could be left out is counted in the notes, what could not is an error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from hpdistill.errors import EvaluationError
from hpdistill.evaluate.retrieval._files import kind
from hpdistill.progress import Report, silent

__all__ = ["RetrievalTask", "load_retrieval"]

_SOURCES = (
    "Allowed: a folder in BEIR's layout, a file of pairs (.tsv, .csv, .jsonl, also with .gz), "
    "quora, mteb:TASK."
)


@dataclass(frozen=True, kw_only=True)
class RetrievalTask:
    """Everything that an encoder, an index and the metrics need."""

    name: str
    document_ids: Sequence[str]
    """Distinct; the order of the corpus."""
    document_texts: Sequence[str]
    """Title and text, joined by a space and stripped; beside `document_ids`."""
    query_ids: Sequence[str]
    """Distinct; only queries with a relevant document."""
    query_texts: Sequence[str]
    relevant: Mapping[str, Mapping[str, int]]
    """Query id to document id to grade, 1 or more; keys are `query_ids`, none is empty."""
    own: Mapping[str, str] = field(default_factory=dict)
    """Query id to the id of the document that is the query itself, which is no answer to it."""
    notes: Sequence[str] = ()
    """What was left out or looks wrong, a sentence each, with counts and the first case."""

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """Document id to its place in the corpus."""
        return {document: row for row, document in enumerate(self.document_ids)}

    def depth(self, k: int) -> int:
        """How many documents to search for, so that k are left when the query's own one goes."""
        return min(k + bool(self.own), len(self.document_ids))

    def answers(self, ranked: Sequence[Sequence[str]], k: int) -> list[list[str]]:
        """The first k answers of each query.

        Args:
            ranked: Document ids, best first, a list for every query of `query_ids`, in its
                order. Empty ids (an index had too few answers) are passed over, and so is the
                query's own document.
            k: How many to keep of each.
        """
        return [
            [document for document in documents if document and document != self.own.get(query)][:k]
            for query, documents in zip(self.query_ids, ranked, strict=True)
        ]


def load_retrieval(
    source: str,
    *,
    split: str = "test",
    first: str | None = None,
    second: str | None = None,
    label: str | None = None,
    threshold: float | None = None,
    report: Report = silent,
) -> RetrievalTask:
    """Read a retrieval task.

    Args:
        source: A folder in BEIR's layout; a file of pairs (`.tsv`, `.csv`, `.jsonl`, also with
            `.gz`); `quora`, the Quora duplicate questions, from the hub; or
            `mteb:TASK[:SUBSET]`, a retrieval task of the `mteb` package.
        split: Which relevance judgements: `qrels/SPLIT.tsv`, the hub's split, or, in a pairs
            file that has a column named split, the rows that hold it there.
        first: Column of the sentences that become queries; of a pairs file, as are the next
            three. None finds the usual names.
        second: Column of the sentences that answer them.
        label: Column that says whether a pair is one. None finds the usual names; without one
            every pair is.
        threshold: The least label that makes a pair, where labels are numbers other than 0, 1.
        report: Called with the number of lines read.

    Raises:
        EvaluationError: There is no such source, it is damaged or malformed (names the file and
            the line), it cannot be reached, or nothing is left to measure on.
        UsageError: A package that reading it needs is not installed.
    """
    # Here, since the readers make what this module defines.
    from hpdistill.evaluate.retrieval import beir, hub, pairs

    if source == hub.QUORA and not Path(source).exists():
        return hub.load_quora(split=split, report=report)
    if source.startswith(hub.MTEB):
        return hub.load_mteb(source.removeprefix(hub.MTEB), split=split, report=report)
    path = Path(source)
    if path.is_dir():
        return beir.load_beir(path, split=split, report=report)
    if not path.exists():
        raise EvaluationError(f"{source} does not exist", hint=_SOURCES)
    if kind(path) not in pairs.FORMATS:
        raise EvaluationError(f"{source} is of no format that can be read", hint=_SOURCES)
    return pairs.load_pairs(
        path,
        split=split,
        first=first,
        second=second,
        label=label,
        threshold=threshold,
        report=report,
    )
