"""How good rankings are, by trec_eval's own code, and how sure that is.

Every metric is a figure of each query, so that an interval of the mean and a paired test between
two systems can be had from it. Relevance may be graded: grades count in nDCG, whether they are 1
or more in the others.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hpdistill.errors import UsageError
from hpdistill.extras import extra

if TYPE_CHECKING:
    from hpdistill.evaluate.retrieval.task import RetrievalTask

__all__ = ["DEPTH", "METRICS", "interval", "paired_p", "score"]

METRICS = ("mrr10", "recall1", "recall10", "recall100", "ndcg10", "map")
"""Mean reciprocal rank within 10, recall within 1, 10 and 100, nDCG within 10, and the mean
average precision within `DEPTH`."""
DEPTH = 100
"""Answers of a query that count; further ones are cut, so that all rankings compare."""

_TREC = {
    "recall1": "recall_1",
    "recall10": "recall_10",
    "recall100": "recall_100",
    "ndcg10": "ndcg_cut_10",
    "map": "map",
}
_MRR_DEPTH = 10
_BLOCK_BYTES = 64 << 20


def score(
    task: "RetrievalTask",
    ranked: Sequence[Sequence[str]],
    scores: object = None,  # noqa: ARG001 - the order given is the ranking, ties included
) -> dict[str, NDArray[np.float64]]:
    """Every metric of every query.

    Args:
        task: What was asked, and what is relevant.
        ranked: Document ids, best first, a list for every query of `task.query_ids`, in its order.
            The order counts, whatever the scores. Empty ids and the query's own document are
            passed over, so search for `task.depth(DEPTH)` documents. A query without answers
            scores 0.
        scores: Ignored.

    Returns:
        For each of `METRICS` an array of shape (queries,), float64, 0 to 1.

    Raises:
        UsageError: A ranking names a document twice.
        PackageError: The package pytrec-eval-terrier is not installed.
    """
    evaluator = extra("pytrec_eval", "eval").RelevanceEvaluator
    # trec_eval breaks ties by document id, so it is given places as ids and strictly decreasing
    # scores. It also knows nothing of odd characters in ids that way.
    places = [str(place) for place in range(DEPTH)]
    judged: dict[str, dict[str, int]] = {}
    runs: dict[str, dict[str, float]] = {}
    for number, (query, answers) in enumerate(
        zip(task.query_ids, task.answers(ranked, DEPTH), strict=True)
    ):
        place = dict(zip(answers, places, strict=False))
        if len(place) < len(answers):
            raise UsageError(f"the ranking of query {query} names a document twice")
        judged[str(number)] = {
            place.get(document, f"missing {document_number}"): grade
            for document_number, (document, grade) in enumerate(task.relevant[query].items())
        }
        runs[str(number)] = {name: float(DEPTH - rank) for rank, name in enumerate(place.values())}
    top = {query: dict(list(run.items())[:_MRR_DEPTH]) for query, run in runs.items()}
    by_query = evaluator(judged, set(_TREC.values())).evaluate(runs)
    by_top = evaluator(judged, {"recip_rank"}).evaluate(top)

    def column(rows: dict[str, dict[str, float]], measure: str) -> NDArray[np.float64]:
        # A query without answers is left out by trec_eval.
        return np.array([rows.get(query, {}).get(measure, 0.0) for query in runs], np.float64)

    found = {"mrr10": column(by_top, "recip_rank")}
    return found | {name: column(by_query, measure) for name, measure in _TREC.items()}


def interval(values: ArrayLike, *, seed: int = 0, resamples: int = 10_000) -> tuple[float, float]:
    """Bootstrap 95% interval of a mean: percentiles of the means of samples with replacement.

    Args:
        values: Shape (queries,), at least one.
        seed: Of the samples; the same gives the same interval.
        resamples: How many samples.

    Returns:
        Its lower and its upper end.
    """
    numbers = np.asarray(values, np.float64)
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    for rows in _blocks(resamples, len(numbers)):
        drawn = generator.integers(
            len(numbers), size=(rows.stop - rows.start, len(numbers)), dtype=np.int32
        )
        means[rows] = numbers[drawn].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def paired_p(
    first: ArrayLike, second: ArrayLike, *, seed: int = 0, resamples: int = 10_000
) -> float:
    """Two-sided p of a paired randomisation test: were it chance which system had which figure?

    Args:
        first: Shape (queries,): a metric of each query by one system.
        second: The same queries by the other.
        seed: Of the random exchanges; the same gives the same p.
        resamples: How many exchanges.

    Returns:
        How often a difference of the means at least as large comes by exchanging the systems of
        random queries, what was observed included: 1 / (resamples + 1) to 1.
    """
    differences = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    differences = differences[differences != 0]  # exchanging equals changes nothing
    if not len(differences):
        return 1.0
    # Sums that are equal on paper may differ in the last digits.
    observed = abs(differences.sum()) - 1e-9 * np.abs(differences).sum()
    generator = np.random.default_rng(seed)
    as_large = 0
    for rows in _blocks(resamples, len(differences)):
        shape = (rows.stop - rows.start, len(differences))
        kept = generator.integers(2, size=shape, dtype=np.int8).astype(np.float64)
        sums = 2 * (kept @ differences) - differences.sum()
        as_large += int((np.abs(sums) >= observed).sum())
    return (1 + as_large) / (1 + resamples)


def _blocks(resamples: int, width: int) -> list[slice]:
    """Samples to draw at once, so that memory stays bounded."""
    size = max(1, _BLOCK_BYTES // (8 * width))
    return [slice(start, min(start + size, resamples)) for start in range(0, resamples, size)]
