"""Tasks that others keep: Quora's duplicate questions on the hub, and those of the mteb package."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hpdistill.errors import EvaluationError, HpdError
from hpdistill.evaluate.retrieval._assemble import Judgement, Part, Text, assemble, grade
from hpdistill.evaluate.retrieval.beir import text_of
from hpdistill.evaluate.retrieval.task import RetrievalTask
from hpdistill.extras import extra
from hpdistill.progress import Report, silent

__all__ = ["MTEB", "QUORA", "load_mteb", "load_quora"]

QUORA = "quora"
MTEB = "mteb:"

_QUORA = "BeIR/quora"
_FILES = "Or name a folder in BEIR's layout, or a file of pairs."


def load_quora(*, split: str = "test", report: Report = silent) -> RetrievalTask:
    """Quora's duplicate questions in BEIR's selection: 523,000 questions, 10,000 queries.

    Args:
        split: `test` or `validation`.
        report: Called with the number of rows read.

    Raises:
        EvaluationError: The hub cannot be reached and nothing is cached.
        PackageError: The package datasets is not installed.
    """
    load = extra("datasets").load_dataset
    with _clear_errors(f"{_QUORA} from the hub"):
        report("fetching Quora's questions", 0, 0)
        corpus = load(_QUORA, "corpus", split="corpus")
        queries = load(_QUORA, "queries", split="queries")
        judgements = load(f"{_QUORA}-qrels", split=split)
        return assemble(
            QUORA,
            *_texts(_QUORA, corpus, queries),
            (Part(f"{_QUORA}-qrels, {split}", "row"), _judgements(judgements)),
            report=report,
        )


def load_mteb(name: str, *, split: str = "test", report: Report = silent) -> RetrievalTask:
    """A retrieval or reranking task of the mteb package, version 2.

    Where it gives every query its candidates (`top_ranked`), those are what is ranked.

    Args:
        name: `TASK` or `TASK:SUBSET`.
        split: Which judgements.
        report: Called with the number of rows read.

    Raises:
        EvaluationError: There is no such task, subset or split, it is no retrieval task, or the
            hub cannot be reached.
        PackageError: The package mteb is not installed.
    """
    mteb = extra("mteb", hint="pip install 'mteb>=2'")
    task_name, _, subset = name.partition(":")
    with _clear_errors(f"{MTEB}{name}"):
        task = mteb.get_task(task_name)
        convert: Callable[..., None] | None = getattr(task, "convert_v1_dataset_format_to_v2", None)
        if convert is None:
            raise EvaluationError(
                f"{MTEB}{task_name} is no retrieval task of mteb 2 or newer",
                hint="hpdistill reads retrieval tasks only; for an old mteb: pip install 'mteb>=2'",
            )
        report(f"fetching {task_name}", 0, 0)
        task.load_data()
        # From 2.4 on it wants to know how many processes may work.
        needs = "num_proc" in inspect.signature(convert).parameters
        convert(**({"num_proc": None} if needs else {}))
        data = _chosen(_chosen(task.dataset, subset, "subset", name), split, "split", name)
        relevant = (
            Judgement(0, str(query), str(document), grade(score, f"{MTEB}{name}, query {query}"))
            for query, documents in data["relevant_docs"].items()
            for document, score in documents.items()
        )
        return assemble(
            name.replace(":", "-"),
            *_texts(f"{MTEB}{name}", data["corpus"], data["queries"]),
            (Part(f"{MTEB}{name}, {split}", "row"), relevant),
            candidates=_candidates(data.get("top_ranked")),
            report=report,
        )


def _texts(
    name: str, corpus: Iterable[dict[str, Any]], queries: Iterable[dict[str, Any]]
) -> tuple[tuple[Part, Iterator[Text]], tuple[Part, Iterator[Text]]]:
    def read(part: Part, rows: Iterable[dict[str, Any]]) -> Iterator[Text]:
        for number, row in enumerate(rows):
            yield text_of(row, part.at(number), number)

    documents, asked = Part(f"{name}, corpus", "row"), Part(f"{name}, queries", "row")
    return (documents, read(documents, corpus)), (asked, read(asked, queries))


def _judgements(rows: Iterable[Mapping[str, Any]]) -> Iterator[Judgement]:
    for number, row in enumerate(rows):
        score = grade(row["score"], f"{_QUORA}-qrels, row {number}")
        yield Judgement(number, str(row["query-id"]), str(row["corpus-id"]), score)


def _candidates(given: Mapping[Any, Iterable[Any]] | None) -> dict[str, list[str]] | None:
    return (
        {str(query): [str(one) for one in ids] for query, ids in given.items()} if given else None
    )


def _chosen(among: Mapping[str, Any], wanted: str, what: str, name: str) -> Any:  # noqa: ANN401
    """The part asked for, or the only one where none is."""
    # mteb's mappings make what is missing, so asking for it would not fail.
    if wanted in among:
        return among[wanted]
    if not wanted and len(among) == 1:
        return next(iter(among.values()))
    raise EvaluationError(
        f"{MTEB}{name} has no {what} {wanted!r}; there are: {', '.join(among)}",
        hint="The form is mteb:TASK:SUBSET."
        if what == "subset"
        else "Choose one of them as the split.",
    )


@contextmanager
def _clear_errors(source: str) -> Iterator[None]:
    try:
        yield
    except HpdError:
        raise
    # What requests, httpx, fsspec, pyarrow, datasets and mteb raise comes through as it is.
    except Exception as error:
        lines = str(error.args[0] if error.args else error).splitlines() or [type(error).__name__]
        offline = isinstance(error, OSError)
        raise EvaluationError(
            f"cannot read {source}: {lines[0]}",
            hint=f"Check the network. {_FILES}" if offline else _FILES,
        ) from error
