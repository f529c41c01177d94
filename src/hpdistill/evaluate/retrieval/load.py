"""A retrieval task from wherever it lies.

What was wrong with it and could be left out is counted in its notes, what could not is an error.
"""

from pathlib import Path

from hpdistill.errors import EvaluationError, UsageError
from hpdistill.evaluate._files import kind
from hpdistill.evaluate.retrieval import beir, hub, pairs
from hpdistill.evaluate.retrieval.task import RetrievalTask
from hpdistill.progress import Report, silent

__all__ = ["load_retrieval"]

_SOURCES = (
    "Allowed: a folder in BEIR's layout, a file of pairs (.tsv, .csv, .jsonl, also with .gz; "
    ".parquet), quora, mteb:TASK."
)


def load_retrieval(
    source: str,
    *,
    split: str = "test",
    first: str | None = None,
    second: str | None = None,
    label: str | None = None,
    threshold: float | None = None,
    delimiter: str | None = None,
    report: Report = silent,
) -> RetrievalTask:
    """Read a retrieval task.

    Args:
        source: A folder in BEIR's layout; a file of pairs (`.tsv`, `.csv`, `.jsonl`, also with
            `.gz`; `.parquet`); `quora`, the Quora duplicate questions, from the hub; or
            `mteb:TASK[:SUBSET]`, a retrieval task of the `mteb` package.
        split: Which relevance judgements: `qrels/SPLIT.tsv`, the hub's split, or, in a pairs
            file that has a column named split, the rows that hold it there.
        first: Column of the sentences that become queries; of a pairs file, as are the next
            four. None finds the usual names.
        second: Column of the sentences that answer them.
        label: Column that says whether a pair is one. None finds the usual names; without one
            every pair is.
        threshold: The least label that makes a pair, where labels are numbers other than 0, 1.
        delimiter: What divides the columns of `.csv` and `.tsv`: one character, or `tab`. None
            looks for it; what it found is a note of the task, if it is not what the name says.
        report: Called with the number of lines read.

    Raises:
        EvaluationError: There is no such source, it is damaged or malformed (names the file and
            the line), it cannot be reached, or nothing is left to measure on.
        UsageError: An option of pairs is given for something else.
        PackageError: A package that reading it needs is not installed.
    """
    of_pairs = {
        "first": first,
        "second": second,
        "label": label,
        "threshold": threshold,
        "delimiter": delimiter,
    }
    path = Path(source)
    named = [name for name, value in of_pairs.items() if value is not None]
    if named and not path.is_file() and kind(path) not in pairs.FORMATS:
        raise UsageError(f"{source} is no file of pairs, so it has no use for {', '.join(named)}")
    if source == hub.QUORA and not Path(source).exists():
        return hub.load_quora(split=split, report=report)
    if source.startswith(hub.MTEB):
        return hub.load_mteb(source.removeprefix(hub.MTEB), split=split, report=report)
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
        delimiter=delimiter,
        report=report,
    )
