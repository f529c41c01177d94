"""Small retrieval tasks for the tests."""

from collections.abc import Mapping, Sequence

from hpdistill.evaluate.retrieval import RetrievalTask


def make_task(
    relevant: Mapping[str, Mapping[str, int]],
    *,
    documents: Sequence[str] | Mapping[str, str],
    queries: Mapping[str, str] | None = None,
    own: Mapping[str, str] | None = None,
    candidates: Mapping[str, Sequence[str]] | None = None,
) -> RetrievalTask:
    """A task whose texts are the ids unless they are given."""
    texts = documents if isinstance(documents, Mapping) else {name: name for name in documents}
    asked = queries if queries is not None else {name: name for name in relevant}
    return RetrievalTask(
        name="small",
        document_ids=list(texts),
        document_texts=list(texts.values()),
        query_ids=list(relevant),
        query_texts=[asked[query] for query in relevant],
        relevant=relevant,
        own=own or {},
        candidates=candidates,
    )
