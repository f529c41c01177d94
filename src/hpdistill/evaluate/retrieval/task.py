"""A retrieval task: a corpus, queries, and which documents answer which query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, compress

import numpy as np

from hpdistill.corpus import even_mask

__all__ = ["RetrievalTask"]


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
    candidates: Mapping[str, Sequence[str]] | None = None
    """Query id to the ids of the documents that it ranks, and no others, in an order that says
    nothing; keys are `query_ids`, none is empty. None: every query ranks the whole corpus."""
    notes: Sequence[str] = ()
    """What was left out or looks wrong, a sentence each, with counts and the first case."""

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """Document id to its place in the corpus."""
        return {document: row for row, document in enumerate(self.document_ids)}

    def at_most(self, *, documents: int, queries: int) -> "RetrievalTask":
        """Some of the queries over some of the documents: to try something out.

        Figures compare with no others: of fewer documents, fewer are mistaken for an answer.

        Args:
            documents: The most that are kept, spread evenly over the corpus. Those that answer a
                query that is kept, are it, or are its candidates stay, however many they are.
            queries: The most that are kept, spread evenly.
        """
        asked = even_mask(len(self.query_ids), queries)
        chosen = list(compress(self.query_ids, asked))
        needed = {document for query in chosen for document in self.relevant[query]}
        needed.update(self.own[query] for query in chosen if query in self.own)
        candidates = self.candidates
        if candidates is not None:
            candidates = {query: candidates[query] for query in chosen}
            needed.update(chain.from_iterable(candidates.values()))
        kept = np.fromiter((one in needed for one in self.document_ids), np.bool_)
        others = np.flatnonzero(~kept)
        kept[others[even_mask(len(others), max(0, documents - int(kept.sum())))]] = True
        return replace(
            self,
            document_ids=list(compress(self.document_ids, kept)),
            document_texts=list(compress(self.document_texts, kept)),
            query_ids=chosen,
            query_texts=list(compress(self.query_texts, asked)),
            relevant={query: self.relevant[query] for query in chosen},
            own={query: self.own[query] for query in chosen if query in self.own},
            candidates=candidates,
        )

    def depth(self, k: int) -> int:
        """How many documents to search for, so that k are left when the query's own one goes."""
        return min(k + bool(self.own), len(self.document_ids))

    def answers(self, ranked: Sequence[Sequence[str]], k: int) -> list[list[str]]:
        """The first k answers of each query.

        Args:
            ranked: Document ids, best first, a list for every query of `query_ids`, in its
                order. Empty ids (an index had too few answers) are passed over, and so are the
                query's own document and those that are not among its candidates.
            k: How many to keep of each.
        """
        found = []
        for query, documents in zip(self.query_ids, ranked, strict=True):
            own = self.own.get(query)
            known = None if self.candidates is None else set(self.candidates[query])
            found.append(
                [
                    document
                    for document in documents
                    if document and document != own and (known is None or document in known)
                ][:k]
            )
        return found
