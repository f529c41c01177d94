"""The tables that `hpd eval retrieval` prints."""

from collections.abc import Sequence
from typing import Any

from hpdistill.evaluate import Column, Table
from hpdistill.evaluate.retrieval import RetrievalTask

__all__ = ["described", "passed_over", "prompts_used", "tables_of"]


def described(task: RetrievalTask) -> str:
    """What is searched, as a title."""
    return (
        f"{task.name}: {len(task.query_ids):,} queries, {len(task.document_ids):,} documents, "
        f"{sum(map(len, task.relevant.values())):,} relevant"
        + (
            f", {sum(map(len, task.candidates.values())):,} candidates"
            if task.candidates is not None
            else ""
        )
    )


def passed_over(rows: Sequence[dict[str, Any]], dims: Sequence[int]) -> list[str]:
    """Which prefixes were asked for of models that are not so wide.

    Args:
        rows: Of `measure_retrieval`.
        dims: What was asked for.
    """
    widths: dict[str, int] = {}
    for row in rows:
        widths[row["model"]] = max(row["dim"], widths.get(row["model"], 0))
    too_wide = {model: [d for d in dims if d > width] for model, width in widths.items()}
    return [
        f"{model} has {widths[model]} numbers, so it was not measured at "
        f"{', '.join(map(str, wider))}"
        for model, wider in too_wide.items()
        if wider
    ]


def prompts_used(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What models have put before queries and documents; none where they have no prompts.

    Args:
        rows: Of `measure_retrieval`.
    """
    prompts = {
        (row["model"], row["doc_encoder"]): (row["query_prompt"], row["document_prompt"])
        for row in rows
    }
    return [
        f"{model}{f', documents by {teacher}' * bool(teacher)}: "
        f"queries behind the prompt {query!r}, documents behind {document!r}"
        for (model, teacher), (query, document) in prompts.items()
        if query or document
    ]


def tables_of(what: str, rows: Sequence[dict[str, Any]], notes: Sequence[str]) -> list[Table]:
    """Quality; time of all queries together; time of one and memory.

    Args:
        what: As `described`.
        rows: Of `measure_retrieval` and `measure_bm25`.
        notes: Below the first table.
    """
    shown = [{"number": f"({n})", **row} for n, row in enumerate(rows, start=1)]
    for row in shown:
        row["vectors"] = row["precision"] or "words"
        if row["rescore"]:
            row["vectors"] += f" > {row['keep']}"
        row["percent"] = None if row["retention"] is None else 100 * row["retention"]
        row["query_total_ms"] = row["query_ms"] + row.get("encode_query_ms", 0.0)
        row["vector_mb"] = (row["vector_bytes"] + row["kept_bytes"]) / 1e6
        row["index_mb"] = row["index_bytes"] / 1e6
    number = Column(key="number", title="")
    which = [number, Column(key="model", title="model")]
    if any(row["doc_encoder"] for row in rows):
        which.append(Column(key="doc_encoder", title="documents by"))
    which.append(Column(key="dim", title="dim", format="d"))
    which.append(Column(key="vectors", title="vectors"))
    if len({row["engine"] for row in rows if row["engine"] != "bm25"}) > 1:
        which.append(Column(key="engine", title="engine"))
    metrics = {
        "mrr10": "MRR@10",
        "recall1": "R@1",
        "recall10": "R@10",
        "recall100": "R@100",
        "ndcg10": "nDCG@10",
        "map": "MAP",
    }
    quality = Table(
        title=f"Retrieval: {what}",
        columns=[
            *which,
            *(Column(key=k, title=t, format=".4f", best="max") for k, t in metrics.items()),
        ],
        rows=shown,
        notes=notes,
    )
    together = Table(
        title="MRR@10 against (1), and all queries together",
        columns=[
            number,
            Column(key="mrr10_low", title="95% from", format=".4f"),
            Column(key="mrr10_high", title="to", format=".4f"),
            Column(key="percent", title="ret. %", format=".1f"),
            Column(key="p_value", title="p", format=".4f"),
            Column(key="encode_s", title="docs s", format=",.1f"),
            Column(key="encode_queries_s", title="queries s", format=",.2f"),
            Column(key="search_s", title="search s", format=".3f", best="min"),
            Column(key="search_s_1thread", title="1 thread", format=".3f", best="min"),
            Column(key="queries_per_second", title="q/s", format=",.0f", best="max"),
        ],
        rows=shown,
        notes=[
            "95%: bootstrap interval; p: paired randomisation test; docs, queries: encoding them, "
            "when that was done; search: all queries, 100 hits each"
        ],
    )
    single = Table(
        title="One query at a time, and memory",
        columns=[
            number,
            Column(key="encode_query_ms", title="encode ms", format=".2f"),
            Column(key="query_ms", title="search ms", format=".2f", best="min"),
            Column(key="query_total_ms", title="both ms", format=".2f"),
            Column(key="bytes_per_vector", title="B/vector", format=",.0f"),
            Column(key="vector_mb", title="vectors MB", format=",.2f", best="min"),
            Column(key="index_mb", title="index MB", format=",.2f"),
            Column(key="rss_mb", title="memory MB", format=",.0f"),
        ],
        rows=shown,
        notes=[
            "search: 10 hits, one thread; memory: resident, added by loading and searching in a "
            "fresh process"
        ],
    )
    return [quality, together, single]
