"""Rows of any source checked against each other and put together as one task."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple, TypeVar

from hpdistill.errors import EvaluationError
from hpdistill.evaluate.retrieval.task import RetrievalTask
from hpdistill.progress import Report

__all__ = ["Judgement", "Part", "Text", "assemble", "grade"]

_REPORT_EVERY = 10_000

_Row = TypeVar("_Row")


class Text(NamedTuple):
    """A document or a query."""

    line: int
    id: str
    title: str
    text: str

    @property
    def joined(self) -> str:
        """Title and text as one, which is what is embedded."""
        return f"{self.title} {self.text}".strip()


class Judgement(NamedTuple):
    """That a document answers a query, or (grade 0 or less) that it does not."""

    line: int
    query: str
    document: str
    grade: int


@dataclass(frozen=True)
class Part:
    """Where rows come from, for messages."""

    name: str
    unit: str = "line"

    def at(self, line: int) -> str:
        """Where a row is."""
        return f"{self.name}, {self.unit} {line}"


def assemble(
    name: str,
    documents: tuple[Part, Iterable[Text]],
    queries: tuple[Part, Iterable[Text]],
    judgements: tuple[Part, Iterable[Judgement]],
    *,
    candidates: Mapping[str, Sequence[str]] | None = None,
    notes: Sequence[str] = (),
    report: Report,
) -> RetrievalTask:
    """Make a task of rows; what can be left out is counted in its notes.

    A document of the same id as a query and of the same text is the query itself. A query without
    candidates is left out where others have some, as mteb leaves it out.

    Raises:
        EvaluationError: An id occurs twice, the corpus is empty, every judgement names an unknown
            id, no query has a relevant document, or none of those that have has a candidate.
    """
    found = [*notes]
    corpus, empty_documents = _texts(*documents, "document", report)
    asked, empty_queries = _texts(*queries, "query", report)
    if not corpus:
        raise EvaluationError(f"{documents[0].name} holds no documents")
    if not asked:
        raise EvaluationError(f"{queries[0].name} holds no queries")
    own = {
        query.id: query.id
        for query in asked.values()
        if (document := corpus.get(query.id)) and query.joined in (document.text, document.joined)
    }
    relevant = _relevant(*judgements, asked, corpus, own, found, report)
    kept = [query for query in asked.values() if query.id in relevant]
    if len(kept) < len(asked):
        left_out = next(name for name in asked if name not in relevant)
        found.append(
            f"{len(asked) - len(kept):,} of {len(asked):,} queries have no relevant document in "
            f"{judgements[0].name} and are left out, the first of them {left_out}"
        )
    ranks = None
    if candidates is not None:
        ranks = _candidates(name, candidates, kept, corpus, own, relevant, found)
        kept = [query for query in kept if query.id in ranks]
    found += [
        f"{count:,} {what} in {part.name} have no text and are kept as empty, "
        f"the first of them {first}"
        for what, (part, _), (count, first) in (
            ("documents", documents, empty_documents),
            ("queries", queries, empty_queries),
        )
        if count
    ]
    return RetrievalTask(
        name=name,
        document_ids=list(corpus),
        document_texts=[document.joined for document in corpus.values()],
        query_ids=[query.id for query in kept],
        query_texts=[query.joined for query in kept],
        relevant={query.id: relevant[query.id] for query in kept},
        own={query.id: own[query.id] for query in kept if query.id in own},
        candidates=ranks,
        notes=tuple(found),
    )


_MOST = 10_000
"""The scorer counts up to the highest grade; those of TREC end at 4."""


def grade(value: object, where: str) -> int:
    """A relevance judgement as a whole number.

    Raises:
        EvaluationError: It is none.
    """
    try:
        number = float(value)  # type: ignore[arg-type]
        if number == int(number) and abs(number) <= _MOST:
            return int(number)
    except (TypeError, ValueError, OverflowError):
        pass
    raise EvaluationError(
        f"{where}: {str(value)[:40]!r} is not a grade; allowed: whole numbers to {_MOST}"
    )


def _texts(
    part: Part, rows: Iterable[Text], what: str, report: Report
) -> tuple[dict[str, Text], tuple[int, str]]:
    """Rows by id, how many have no text, and the first that has none."""
    found: dict[str, Text] = {}
    empty: list[str] = []
    for row in _counted(rows, part, report):
        if row.id in found:
            raise EvaluationError(
                f"{part.at(row.line)}: {what} id {row.id!r} again, "
                f"first in {part.unit} {found[row.id].line}; every id must be there once"
            )
        found[row.id] = row
        if not row.joined:
            empty.append(row.id)
    return found, (len(empty), empty[0] if empty else "")


def _relevant(
    part: Part,
    rows: Iterable[Judgement],
    queries: Mapping[str, Text],
    documents: Mapping[str, Text],
    own: Mapping[str, str],
    notes: list[str],
    report: Report,
) -> dict[str, dict[str, int]]:
    """Query id to document id to grade; why rows were left out goes to the notes."""
    relevant: dict[str, dict[str, int]] = {}
    total = twice = selves = 0
    unknown: dict[str, list[Judgement]] = {"query": [], "document": []}
    for row in _counted(rows, part, report):
        total += 1
        if row.query not in queries:
            unknown["query"].append(row)
        elif row.document not in documents:
            unknown["document"].append(row)
        elif own.get(row.query) == row.document:
            selves += 1
        elif row.grade > 0:
            grades = relevant.setdefault(row.query, {})
            twice += row.document in grades
            grades[row.document] = max(row.grade, grades.get(row.document, 0))
    for what, named in unknown.items():
        if named:
            first = named[0].query if what == "query" else named[0].document
            notes.append(
                f"{len(named):,} of {total:,} judgements in {part.name} name an unknown {what} "
                f"and are left out, the first of them {first} in {part.unit} {named[0].line}"
            )
    if total and sum(map(len, unknown.values())) == total:
        raise EvaluationError(
            f"{part.name}: every judgement names an unknown query or document; {notes[-1]}",
            hint="Are these the judgements of another corpus?",
        )
    if twice:
        notes.append(f"{twice:,} judgements in {part.name} repeat a pair; the highest grade counts")
    if selves:
        notes.append(
            f"{selves:,} judgements in {part.name} are of a query's own document, left out"
        )
    if not relevant:
        raise EvaluationError(
            f"no query has a relevant document in {part.name} ({total:,} judgements)",
            hint="A relevant document has a grade of 1 or more.",
        )
    return relevant


def _candidates(
    name: str,
    given: Mapping[str, Sequence[str]],
    queries: Sequence[Text],
    documents: Mapping[str, Text],
    own: Mapping[str, str],
    relevant: Mapping[str, Mapping[str, int]],
    notes: list[str],
) -> dict[str, list[str]]:
    """Query id to what it ranks; the notes say what was left out."""
    found: dict[str, list[str]] = {}
    unknown = missed = 0
    for query in queries:
        known = {one: None for one in given.get(query.id, ()) if one in documents}
        unknown += sum(one not in documents for one in given.get(query.id, ()))
        known.pop(own.get(query.id, ""), None)
        if known:
            # The order given, and that of the corpus, often has the relevant ones first, which
            # would be theirs wherever scores are equal.
            found[query.id] = sorted(known, key=lambda one: blake2b(one.encode()).digest())
            missed += sum(one not in known for one in relevant[query.id])
    if not found:
        raise EvaluationError(f"no query of {name} has a candidate that is in the corpus")
    counts = [len(ids) for ids in found.values()]
    notes.append(
        f"candidates: each query ranks only those that the task gives it, {min(counts):,} to "
        f"{max(counts):,} documents, never the whole corpus; times of search are of that"
    )
    if len(found) < len(queries):
        first = next(query.id for query in queries if query.id not in found)
        notes.append(
            f"{len(queries) - len(found):,} of {len(queries):,} queries have no candidate and are "
            f"left out, the first of them {first}"
        )
    if unknown:
        notes.append(f"{unknown:,} candidates are not in the corpus and are left out")
    if missed:
        notes.append(f"{missed:,} relevant documents are no candidate, so none can find them")
    return found


def _counted(rows: Iterable[_Row], part: Part, report: Report) -> Iterator[_Row]:
    for number, row in enumerate(rows, start=1):
        if number % _REPORT_EVERY == 0:
            report(f"reading {part.name}", number, 0)
        yield row
