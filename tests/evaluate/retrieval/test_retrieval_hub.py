"""Tasks of the hub and of the mteb package; both are stand-ins here, so this tests the wiring."""

import sys
from collections import defaultdict
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from hpdistill.errors import EvaluationError, PackageError
from hpdistill.evaluate.retrieval import load_retrieval

CORPUS = [{"_id": "1", "title": "", "text": "old?"}, {"_id": "2", "title": "", "text": "age?"}]


@pytest.fixture
def quora(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[object, ...], object]:
    """What the stand-in for `datasets` gives."""
    there: dict[tuple[object, ...], object] = {
        ("BeIR/quora", "corpus", "corpus"): CORPUS,
        ("BeIR/quora", "queries", "queries"): [{"_id": "9", "title": "", "text": "how old?"}],
        ("BeIR/quora-qrels", None, "test"): [{"query-id": 9, "corpus-id": 1, "score": 1}],
    }

    def load_dataset(name: str, config: str | None = None, *, split: str) -> object:
        found = there[name, config, split]
        if isinstance(found, Exception):
            raise found
        return found

    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return there


def test_quora_comes_from_the_hub(quora: dict[tuple[object, ...], object]) -> None:
    task = load_retrieval("quora")
    assert task.name == "quora"
    assert task.document_texts == ["old?", "age?"]
    assert task.query_texts == ["how old?"]
    assert task.relevant == {"9": {"1": 1}}


def test_says_that_the_hub_cannot_be_reached(quora: dict[tuple[object, ...], object]) -> None:
    quora["BeIR/quora", "corpus", "corpus"] = ConnectionError("no route\nto host")
    with pytest.raises(EvaluationError, match=r"^cannot read BeIR/quora from the hub: no route$"):
        load_retrieval("quora")


@pytest.mark.slow  # seconds of trying again
def test_the_hub_itself_is_not_reached_here() -> None:
    with pytest.raises(EvaluationError, match=r"^cannot read BeIR/quora from the hub: "):
        load_retrieval("quora")


class Task:
    """A retrieval task of mteb 2."""

    def __init__(self) -> None:
        self.dataset: Any = defaultdict(lambda: defaultdict(dict))

    def load_data(self) -> None:
        self.corpus = [{"id": row["_id"], "text": row["text"]} for row in CORPUS]

    def convert_v1_dataset_format_to_v2(self) -> None:
        for subset in ("en", "de"):
            self.dataset[subset]["test"] = {
                "corpus": self.corpus,
                "queries": [{"id": "9", "text": f"how old? {subset}"}],
                "relevant_docs": {"9": {"1": 1, "2": 0}},
            }


@pytest.fixture
def mteb(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_task(name: str) -> object:
        return {"Old": Task, "Reranking": Reranking, "STS12": SimpleNamespace}[name]()

    module = ModuleType("mteb")
    module.get_task = get_task  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mteb", module)


@pytest.mark.usefixtures("mteb")
def test_mteb_tasks_go_by_name_and_subset() -> None:
    task = load_retrieval("mteb:Old:de")
    assert task.name == "Old-de"
    assert task.document_texts == ["old?", "age?"]
    assert task.query_texts == ["how old? de"]
    assert task.relevant == {"9": {"1": 1}}


DOCUMENTS = {"d0": "sun", "d1": "rain", "d2": "snow", "q2": "wind"}


class Reranking:
    """A reranking task of the newest mteb 2, which wants to know how many processes may work."""

    given: ClassVar[Any] = {"q1": ["d1", "d2"], "q2": ["d2", "gone", "q2", "d0"]}

    def load_data(self) -> None:
        pass

    def convert_v1_dataset_format_to_v2(self, num_proc: int | None) -> None:
        self.dataset = {
            "default": {
                "test": {
                    "corpus": [{"id": name, "text": text} for name, text in DOCUMENTS.items()],
                    "queries": [
                        {"id": name, "text": DOCUMENTS.get(name, "?")}
                        for name in ("q1", "q2", "q3")
                    ],
                    "relevant_docs": {"q1": {"d1": 1, "d0": 1}, "q2": {"d2": 1}, "q3": {"d0": 1}},
                    "top_ranked": self.given,
                }
            }
        }


@pytest.mark.usefixtures("mteb")
def test_candidates_that_mteb_gives_are_those_of_the_task() -> None:
    task = load_retrieval("mteb:Reranking")
    assert task.candidates is not None
    # In no order that tells, and without a query's own document and what is not there.
    assert {query: sorted(ids) for query, ids in task.candidates.items()} == {
        "q1": ["d1", "d2"],
        "q2": ["d0", "d2"],
    }
    assert task.query_ids == ["q1", "q2"]
    assert task.relevant == {"q1": {"d1": 1, "d0": 1}, "q2": {"d2": 1}}
    assert list(task.notes) == [
        "candidates: each query ranks only those that the task gives it, 2 to 2 documents, never "
        "the whole corpus; times of search are of that",
        "1 of 3 queries have no candidate and are left out, the first of them q3",
        "1 candidates are not in the corpus and are left out",
        "1 relevant documents are no candidate, so none can find them",
    ]
    # What a search of the whole corpus finds beside them does not count.
    assert task.answers([["d0", "d2", "d1"], ["q2", "d1", "d2"]], 2) == [["d2", "d1"], ["d2"]]


@pytest.mark.usefixtures("mteb")
@pytest.mark.parametrize("given", [None, {}])
def test_a_task_without_candidates_ranks_the_corpus(
    given: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Reranking, "given", given)
    task = load_retrieval("mteb:Reranking")
    assert task.candidates is None
    assert task.query_ids == ["q1", "q2", "q3"]


@pytest.mark.usefixtures("mteb")
def test_candidates_of_another_corpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reranking, "given", {"q1": ["x"], "q2": ["y"]})
    with pytest.raises(EvaluationError, match="no query of Reranking has a candidate"):
        load_retrieval("mteb:Reranking")


@pytest.mark.usefixtures("mteb")
@pytest.mark.parametrize(
    ("source", "split", "reason"),
    [
        ("mteb:Old", "test", "has no subset ''; there are: en, de"),
        ("mteb:Old:fr", "test", "has no subset 'fr'"),
        ("mteb:Old:en", "dev", "has no split 'dev'; there are: test"),
        ("mteb:STS12", "test", "is no retrieval task"),
        ("mteb:New", "test", "cannot read mteb:New: New"),
    ],
)
def test_says_what_mteb_does_not_have(source: str, split: str, reason: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        load_retrieval(source, split=split)
    assert reason in str(caught.value)


def test_says_which_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(PackageError, match="needs the Python package mteb"):
        load_retrieval("mteb:QuoraRetrieval")
