"""Files of sentence pairs, in the style of STS, NLI and Quora, as a search for duplicates.

All distinct sentences of the file are the corpus, negative pairs' included. Every pair that is
one (a label says so, or a score that reaches the threshold) makes its first sentence a query and
its second a relevant document; the other direction, and what could be concluded over several
pairs, does not count. A query's own sentence is in the corpus too and is not among its answers.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpdistill.errors import EvaluationError
from hpdistill.evaluate._files import (
    TABLES,
    divided_note,
    pair_columns,
    row_unit,
    sentence_of,
    table,
)
from hpdistill.evaluate.retrieval._assemble import Judgement, Part, Text, assemble
from hpdistill.evaluate.retrieval.task import RetrievalTask
from hpdistill.progress import Report, silent

__all__ = ["FORMATS", "load_pairs"]

FORMATS = TABLES
"""Each but `.parquet` also with `.gz` behind it."""

_LABELS = (
    "is_duplicate",
    "label",
    "score",
    "gold_label",
    "similarity",
    "entailment_judgment",
    "relatedness_score",
)
_YES = {"entailment", "duplicate", "paraphrase", "positive", "true", "yes"}
# SNLI and its kin write "-" where the annotators did not agree.
_NO = {"neutral", "contradiction", "not_entailment", "not_duplicate", "negative", "false", "no"} | {
    "-",
    "",
}


def load_pairs(
    path: Path,
    *,
    split: str = "test",
    first: str | None = None,
    second: str | None = None,
    label: str | None = None,
    threshold: float | None = None,
    delimiter: str | None = None,
    report: Report = silent,
) -> RetrievalTask:
    """Read a file of pairs; see `hpdistill.evaluate.retrieval.load_retrieval`.

    Raises:
        EvaluationError: The file cannot be read, lacks a column, has a label that says neither yes
            nor no, or no pair in it is one.
    """
    rows = table(path, delimiter)
    try:
        line, head = next(rows)
    except StopIteration:
        raise EvaluationError(f"{path} is empty") from None
    place = row_unit(path)
    first, second, label = pair_columns(
        list(head), first, second, label, usual=_LABELS, where=f"{path}, {place} {line}"
    )
    may_split = "split" not in (first, second, label)
    of_split = may_split and "split" in head

    ids: dict[str, int] = {}
    pairs: list[tuple[int, str, str, str | float]] = []
    skipped = 0
    for number, row in _all(line, head, rows):
        where = f"{path}, {place} {number}"
        if may_split and ("split" in row) != of_split:
            raise EvaluationError(
                f"{where}: it has {'no' if of_split else 'a'} split, unlike the line before it"
            )
        if of_split and row["split"] != split:
            continue
        one, other = (sentence_of(row, column, where).strip() for column in (first, second))
        skipped += not one or not other or one == other
        for sentence in filter(None, (one, other)):
            ids.setdefault(sentence, len(ids))
        if one and other and one != other:
            pairs.append((number, one, other, _label(row, label, where)))
    if of_split and not ids:
        raise EvaluationError(
            f"{path} has a column split, and no row in which it is {split!r}",
            hint="Choose another split, or rename the column.",
        )
    judgements = _judgements(path, pairs, label, threshold)
    texts = {sentence: str(number) for sentence, number in ids.items()}
    asked = dict.fromkeys(one for _, one, _, yes in judgements if yes)
    positive = sum(yes for *_, yes in judgements)
    notes = [note] if (note := divided_note(path, delimiter)) else []
    notes.append(
        f"{positive:,} of {len(pairs):,} pairs are duplicates: their first "
        f"sentences are {len(asked):,} queries, all {len(ids):,} distinct sentences the corpus"
    )
    if skipped:
        notes.append(
            f"{skipped:,} pairs have an empty sentence or the same one twice and are left out"
        )
    if not asked:
        raise EvaluationError(
            f"no pair in {path} is one: of {len(pairs):,}, none reaches "
            + (f"threshold {threshold:g}" if threshold is not None else "a label that says so")
        )
    part = Part(str(path), place)
    return assemble(
        path.name.split(".")[0],
        (part, (Text(0, number, "", text) for text, number in texts.items())),
        (part, (Text(0, texts[text], "", text) for text in asked)),
        (part, [Judgement(line, texts[a], texts[b], 1) for line, a, b, yes in judgements if yes]),
        notes=notes,
        report=report,
    )


def _all(
    line: int, head: Mapping[str, Any], rest: Iterator[tuple[int, Mapping[str, Any]]]
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    yield line, head
    yield from rest


def _label(row: Mapping[str, Any], column: str | None, where: str) -> str | float:
    """A number, where it is one, or a lower-case word."""
    if column is None:
        return "yes"
    value = row.get(column)
    if isinstance(value, bool) or value is None:
        return str(bool(value)).lower()
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        word = str(value).strip().lower()
        if word not in _YES | _NO:
            raise EvaluationError(
                f"{where}: {column} is {str(value)[:40]!r}; allowed: a number, "
                f"{', '.join(sorted(_YES))}, or {', '.join(sorted(_NO - {''}))}"
            ) from None
        return word
    if not math.isfinite(number):
        raise EvaluationError(f"{where}: {column} is {value}, expected a finite number")
    return number


def _judgements(
    path: Path,
    pairs: Sequence[tuple[int, str, str, str | float]],
    label: str | None,
    threshold: float | None,
) -> list[tuple[int, str, str, bool]]:
    """Line, sentences, and whether they are a pair."""
    numbers = {value for *_, value in pairs if isinstance(value, float)}
    if threshold is None and not numbers <= {0.0, 1.0}:
        raise EvaluationError(
            f"{path}: {label} goes from {min(numbers):g} to {max(numbers):g}; from where on is it "
            "a pair?",
            hint="Give a threshold: the least score of a pair.",
        )
    least = 1.0 if threshold is None else threshold
    return [
        (line, one, other, value >= least if isinstance(value, float) else value in _YES)
        for line, one, other, value in pairs
    ]
