"""`hpd eval retrieval`."""

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from hpdistill.cli._models import find_source
from hpdistill.cli.evaluate._shared import (
    Computing,
    JsonOption,
    Models,
    Precision,
    Runs,
    RunsOption,
    load,
    parse_numbers,
    print_notes,
)

if TYPE_CHECKING:
    from hpdistill.encoder import Embeddings, Encoder
    from hpdistill.evaluate import Table
    from hpdistill.evaluate.retrieval import CachedVectors, Entrant, RetrievalTask
    from hpdistill.progress import Report
    from hpdistill.teacher.space import TeacherParts
    from hpdistill.weights import ModelSource

__all__ = ["retrieval"]

_SINGLE_QUERIES = 50
"""Queries encoded one at a time."""
_BLOCK = 65_536

_Choice = TypeVar("_Choice", bound=StrEnum)


class Stored(StrEnum):
    """Of the vectors that are searched."""

    float32 = "float32"
    int8 = "int8"
    binary = "binary"


class Kept(StrEnum):
    """Of the vectors that rescore."""

    float32 = "float32"
    int8 = "int8"


class Engine(StrEnum):
    """What searches."""

    flat = "flat"
    hnsw = "hnsw"
    ivf_pq = "ivf-pq"


def retrieval(
    models: Models,
    data: Annotated[
        str,
        typer.Option(
            metavar="SRC",
            help="Folder of BEIR's layout; file of pairs (.tsv, .csv, .jsonl); quora; mteb:TASK.",
        ),
    ],
    split: Annotated[str, typer.Option(help="Which judgements.")] = "test",
    dims: Annotated[
        str | None,
        typer.Option(metavar="N,N...", help="Also measure these prefixes, as 128,64,32,16."),
    ] = None,
    precision: Annotated[
        str, typer.Option(metavar="P,P...", help="Of the vectors: float32, int8, binary.")
    ] = "float32",
    rescore: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Also rank the best N of int8 and binary again, by kept vectors."
        ),
    ] = None,
    keep: Annotated[
        Kept | None,
        typer.Option(help="Those vectors. [default: int8 for binary, float32 for int8]"),
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="E,E...", help="flat (exact), hnsw, ivf-pq.")
    ] = "flat",
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="ENGINE.NAME=N", help="Of an engine, as hnsw.ef_search=128."),
    ] = None,
    doc_encoder: Annotated[
        str | None,
        typer.Option(
            metavar="TEACHER",
            help="Also measure each distilled model with documents by its teacher and projection.",
        ),
    ] = None,
    backend: RunsOption = Runs.torch,
    compute: Annotated[
        Precision | None,
        typer.Option(
            help="In which the models compute; int8 with onnx and runtime, bfloat16 with torch.",
            show_default="float32, or what the runtime chooses",
        ),
    ] = None,
    bm25: Annotated[bool, typer.Option(help="Measure BM25, too.")] = True,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of a search. [default: all cores]")
    ] = None,
    first: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Pairs: sentences that become queries.")
    ] = None,
    second: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Pairs: sentences that answer them.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Pairs: whether they are one.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Pairs: the least label of one, where it is a number.")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Keep vectors here. [default: in hpdistill's cache folder]"
        ),
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the tables as Markdown.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw MRR against bytes a vector and against queries a second: "
            "NAME.png makes NAME-bytes.png and NAME-speed.png.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure search: quality, time and memory of every model, width and precision, one table.

    The first model at its full width, by float32 vectors, is what the others are compared with.
    Vectors are kept, so that a further configuration costs its search only.
    """
    from hpdistill.cli._shared import err, out, print_json, print_table, progress
    from hpdistill.evaluate import check_plot
    from hpdistill.evaluate.retrieval import (
        Matrix,
        load_retrieval,
        measure_bm25,
        measure_retrieval,
        plot_retrieval,
    )
    from hpdistill.files import atomic_path
    from hpdistill.machine import available_cores

    matrix = Matrix(
        dims=parse_numbers(dims, "--dims"),
        engines=[one.value for one in _parse_choices(engine, Engine, "--engine")],
        precisions=[one.value for one in _parse_choices(precision, Stored, "--precision")],
        rescore=rescore,
        keep=keep.value if keep else None,
        options=_parse_options(option),
    )
    computing = Computing.of(backend, compute, option="--compute")
    if plot is not None:
        check_plot(plot)
    with progress() as report, TemporaryDirectory(prefix="hpdistill-retrieval-") as scratch:
        task = load_retrieval(
            data,
            split=split,
            first=first,
            second=second,
            label=label,
            threshold=threshold,
            report=report,
        )
        bench = _Bench(task, computing, cache, Path(scratch), report)
        entrants = bench.entrants([find_source(name, report) for name in models], doc_encoder)
        rows = measure_retrieval(
            task, entrants, matrix, threads=threads or available_cores(), report=report
        )
        if bm25:
            rows.append(measure_bm25(task, rows[0]))
    notes = [_described(task), *task.notes, *bench.notes]
    tables = _tables(rows, notes)
    # Printed before files are written: what was measured is there whatever becomes of those.
    if as_json:
        print_json("eval retrieval", rows)
        print_notes(err, notes)
    else:
        for table in tables:
            print_table(table)
    if markdown is not None:
        with atomic_path(markdown) as temporary:
            temporary.write_text("\n".join(table.to_markdown() for table in tables), "utf-8")
    if plot is not None:
        pictures = plot_retrieval(rows, plot)
        print_notes(err if as_json else out, [f"Pictures: {', '.join(map(str, pictures))}"])


class _Bench:
    """Turns models into entrants, one at a time: no two of them need be in memory at once."""

    def __init__(
        self,
        task: "RetrievalTask",
        computing: Computing,
        cache: Path | None,
        scratch: Path,
        report: "Report",
    ) -> None:
        self._task = task
        self._computing = computing
        self._cache = cache
        self._scratch = scratch
        self._report = report
        self.notes: list[str] = []

    def entrants(
        self, sources: "Sequence[ModelSource]", doc_encoder: str | None
    ) -> "Iterator[Entrant]":
        """Each model, and each distilled one with documents by its teacher."""
        from hpdistill.teacher.space import teacher_parts

        asymmetric = {}
        if doc_encoder is not None:
            distilled = [one for one in sources if (one.path / "projection.safetensors").is_file()]
            if not distilled:
                raise typer.BadParameter(
                    "none of the models is a distilled one, whose teacher it could be",
                    param_hint="'--doc-encoder'",
                )
            for source in distilled:
                # Before anything is encoded: a wrong teacher is refused at once.
                asymmetric[source.path] = teacher_parts(
                    source.path, teacher=doc_encoder, report=self._report
                )
        for source in sources:
            entrant = self._symmetric(source)
            yield entrant
            if source.path in asymmetric:
                yield self._by_teacher(entrant, str(doc_encoder), asymmetric[source.path])

    def _symmetric(self, source: "ModelSource") -> "Entrant":
        from hpdistill.evaluate.retrieval import Entrant

        encoder, used, identity = self._open(source, self._computing)
        documents = self._vectors(encoder, self._task.document_texts, identity)
        queries = self._vectors(encoder, self._task.query_texts, identity)
        return Entrant(
            name=source.name,
            documents=documents.vectors,
            queries=queries.vectors,
            facts={
                "computes_in": used,
                "parameters": encoder.parameters,
                "encode_s": documents.seconds,
                "encode_queries_s": queries.seconds,
                "encode_query_ms": 1000 * _single_seconds(encoder, self._task.query_texts),
            },
        )

    def _by_teacher(self, student: "Entrant", name: str, parts: "TeacherParts") -> "Entrant":
        from hpdistill.evaluate.retrieval import Entrant

        half = self._computing.precision is Precision.bfloat16
        computing = Computing.of(Runs.torch, Precision.bfloat16 if half else Precision.float32)
        members = []
        for source in parts.sources:
            encoder, _, identity = self._open(source, computing)
            members.append(self._vectors(encoder, self._task.document_texts, identity))
            del encoder  # before the next is loaded
        seconds = sum(member.seconds for member in members)
        return Entrant(
            name=student.name,
            doc_encoder=name,
            documents=self._projected(parts, [member.vectors for member in members]),
            queries=student.queries,
            facts={**student.facts, "encode_s": seconds},
        )

    def _projected(self, parts: "TeacherParts", members: "Sequence[Embeddings]") -> "Embeddings":
        """In a file, since a corpus may not fit in memory at this width either."""
        import numpy as np

        from hpdistill.files import clear_os_errors

        path = self._scratch / f"{len(list(self._scratch.iterdir()))}.f32"
        shape = (len(members[0]), parts.projection.dim)
        with clear_os_errors(path), path.open("wb") as file:
            for start in range(0, shape[0], _BLOCK):
                block = [np.asarray(member[start : start + _BLOCK]) for member in members]
                file.write(np.ascontiguousarray(parts.project(block)).tobytes())
        return np.memmap(path, np.float32, mode="r", shape=shape)

    def _vectors(self, encoder: "Encoder", texts: Sequence[str], identity: str) -> "CachedVectors":
        from hpdistill.evaluate.retrieval import cached_vectors

        found = cached_vectors(
            encoder, texts, identity=identity, directory=self._cache, report=self._report
        )
        if found.note:
            self.notes.append(f"{found.note}; computed again")
        return found

    def _open(self, source: "ModelSource", computing: Computing) -> "tuple[Encoder, str, str]":
        """The encoder, the precision that it computes in, and what decides its vectors."""
        from hpdistill.cli._models import weights_of
        from hpdistill.files import json_hash
        from hpdistill.runtime import ModelDirectory

        if ModelDirectory.read(source.path).is_static and computing.runs is not Runs.runtime:
            computing = Computing(Runs.runtime, None)
        encoder, used = load(source, computing, self._report)
        weights = dict(weights_of(source.path))
        if computing.runs is Runs.torch:
            # An export beside the weights changes nothing here.
            weights = {name: sha for name, sha in weights.items() if ".onnx" not in name}
        identity = {"weights": weights, "by": computing.runs.value, "in": used}
        return encoder, used, json_hash(identity)


def _single_seconds(encoder: "Encoder", texts: Sequence[str]) -> float:
    encoder.encode(texts[:1])
    seconds = []
    for text in texts[:_SINGLE_QUERIES]:
        started = time.perf_counter()
        encoder.encode([text])
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _parse_choices(text: str, kind: type[_Choice], option: str) -> list[_Choice]:
    names = list(dict.fromkeys(text.split(",")))
    known = [one.value for one in kind]
    if unknown := [name for name in names if name not in known]:
        raise typer.BadParameter(
            f"{unknown[0]!r} is none of {', '.join(known)}", param_hint=f"'{option}'"
        )
    return [kind(name) for name in names]


def _parse_options(given: list[str] | None) -> Any:  # noqa: ANN401 - by engine, by name
    found: dict[str, dict[str, Any]] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        engine, dot, option = name.partition(".")
        if not (equals and dot and engine in list(Engine)):
            raise typer.BadParameter(
                f"{text!r} is not ENGINE.NAME=N, such as hnsw.ef_search=128",
                param_hint="'--option'",
            )
        try:
            found.setdefault(engine, {})[option] = json.loads(value)
        except ValueError:
            found.setdefault(engine, {})[option] = value
    return found


def _described(task: "RetrievalTask") -> str:
    return (
        f"{task.name}: {len(task.query_ids):,} queries, {len(task.document_ids):,} documents, "
        f"{sum(map(len, task.relevant.values())):,} relevant"
    )


def _tables(rows: "Sequence[dict[str, Any]]", notes: Sequence[str]) -> "list[Table]":
    from hpdistill.evaluate import Column, Table

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
        title=f"Retrieval: {notes[0]}",
        columns=[
            *which,
            *(Column(key=k, title=t, format=".4f", best="max") for k, t in metrics.items()),
        ],
        rows=shown,
        notes=notes[1:],
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
