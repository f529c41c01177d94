"""The poster's tables, computed: rows planned, made and measured, one after another."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpdistill.errors import EvaluationError, HpdError, UsageError
from hpdistill.evaluate import TASKS, StsData, load_tasks
from hpdistill.evaluate.retrieval import RetrievalTask, load_retrieval
from hpdistill.progress import Report, silent
from hpdistill.reproduce.plan import Planned, plan
from hpdistill.reproduce.row import Catalogue, load_catalogue
from hpdistill.reproduce.scale import load_scale
from hpdistill.reproduce.supply import StandIn, Supply, load_stand_ins, parse_models

if TYPE_CHECKING:
    from hpdistill.reproduce.make import Made, Materials
    from hpdistill.reproduce.measure import Measured

__all__ = ["Reproduced", "reproduce"]


@dataclass(frozen=True)
class Reproduced:
    """The tables as data."""

    rows: list[dict[str, Any]]
    """One flat row each; see `reproduce`."""
    notes: list[str]
    """What is to be known of all: the scale, stand-ins, what is missing and why."""
    catalogue: Catalogue


def reproduce(
    names: Sequence[str],
    out: Path,
    *,
    scale: str = "cpu",
    sentences: Sequence[str] = (),
    nli: Sequence[str] = (),
    data: Path | None = None,
    retrieval: str | None = None,
    exclude: Sequence[str] = (),
    models: Sequence[str] = (),
    store: Path | None = None,
    augment: str | None = None,
    seed: int = 0,
    stand_ins: Mapping[str, StandIn] | None = None,
    report: Report = silent,
) -> Reproduced:
    """Make and measure rows of the poster's tables; what is complete is not done again.

    Args:
        names: Rows, patterns of rows, or `sts` and `retrieval`; none means all of the poster. What
            they rest on is made, too.
        out: Models and figures are kept here.
        scale: `tiny`, `cpu` or `full`: how much is spent on a row.
        sentences: Sources of unlabelled sentences; none: the scale's, or those of `nli`.
        nli: Sources of labelled pairs for SimCSE; none: the scale's.
        data: Folder of STS tasks.
        retrieval: A retrieval task, as `load_retrieval` takes it.
        exclude: Further evaluation folders and files whose sentences are not trained on; those of
            `data` and of a folder or file `retrieval` never are.
        models: `NAME=MODEL`: weights for a row or for a hub id that a row is made from.
        store: Where embeddings of the corpus are kept; None: in `out`.
        augment: Copies of the sentences for distilled rows, `wordnet`, `backtranslate` or both with
            a comma between, or `none`; None: the scale's.
        seed: Of every training and sample.
        stand_ins: By hub id, what is used where it cannot be had; None: the package's.
        report: Progress.

    Returns:
        Flat rows in the order of the tables: `row, title, kind, how, scale, seed, tables`;
        `weights_kind` (`own`, `given`, `stand-in`), `weights` (`own`, or what was used instead),
        `missing` (why it cannot be made here, or None), `model` (its directory); `made_s, steps,
        sentences, excluded_sentences, copies, triplets, excluded_pairs, fidelity`; `dim,
        precision, parameters, sentences_per_second`; the STS tasks, `average, average_present,
        tasks_present, sts_pairs` (how many were scored); `teacher`, and `retention` against it;
        `mrr10, search_s, vector_bytes` and the rest of `measure_retrieval`; `mrr_retention,
        search_ratio, memory_ratio` against the teacher. What others published has the same names
        behind `poster_`; `poster_average_present` is of the tasks that are measured here. None
        where there is no figure.

    Raises:
        UsageError: An unknown row, scale or model name, or nothing to measure by or train on.
        HpdError: Whatever making or measuring a row raises; the message names the row. Rows that
            were complete are kept.
    """
    catalogue = load_catalogue()
    chosen = catalogue.select(names)
    size = load_scale(scale).augmented(augment)
    if data is None and retrieval is None:
        raise UsageError(
            "there is nothing to measure by", hint="Give `data=DIR`, `retrieval=SRC`, or both."
        )
    whole = load_tasks(data) if data is not None else None
    tasks = size.tasks(whole) if whole is not None else None
    supply = Supply(
        given=parse_models(models, rows=catalogue.rows, weights=catalogue.weights),
        stand_ins=load_stand_ins() if stand_ins is None else stand_ins,
        report=report,
    )
    pairs = tuple(nli) or size.nli
    planned = plan(catalogue, chosen, supply, labelled=bool(pairs))
    excluded = [*exclude, *([str(data)] if data is not None else [])]
    searched = task = None
    if retrieval is not None and any(
        "retrieval" in catalogue.tables_of(one.row.name) for one in planned
    ):
        searched = load_retrieval(retrieval, report=report)
        task = size.task(searched)
    if retrieval is not None and Path(retrieval).exists():
        excluded.append(retrieval)
    # Here, since they bring PyTorch: what a user mistypes is told before that is loaded.
    from hpdistill.reproduce.make import Materials, make
    from hpdistill.reproduce.measure import Bench

    materials = Materials(
        out=out,
        scale=size,
        sentences=tuple(sentences) or size.sentences or pairs,
        validation_sentences=None if sentences else size.validation_sentences,
        nli=pairs,
        exclude=tuple(excluded),
        development=_development(data),
        store=store if store is not None else out / "store",
        seed=seed,
    )
    _check_sentences(planned, materials)
    bench = Bench(
        tasks=tasks,
        retrieval=task,
        timed=size.timed_sentences,
        vectors=out / "vectors",
        report=report,
    )
    made: dict[str, Made] = {}
    measured: dict[str, Measured] = {}
    for one in planned:
        if one.missing:
            continue
        name = one.row.name
        with _naming(name):
            below = made.get(one.row.rests_on or "")
            made[name] = make(one, below, materials, _named(name, report))
            measured[name] = bench.measure(made[name], tables=catalogue.tables_of(name))
    rows = _rows(catalogue, planned, made, measured)
    scored = tasks.pairs if tasks is not None else None
    rows = [
        {
            **row,
            "scale": size.name,
            "seed": seed,
            "sts_pairs": scored if row["average_present"] is not None else None,
        }
        for row in rows
    ]
    notes = [
        f"Scale {size.name}: {size.title}",
        *_partly(whole, tasks, searched, task),
        *_notes(planned, rows, tasks),
    ]
    return Reproduced(rows, notes, catalogue)


def _development(data: Path | None) -> Path | None:
    """The folder of STS tasks if it has the development set, too."""
    if data is None:
        return None
    try:
        load_tasks(data, dev=True)
    except EvaluationError:
        return None
    return data


def _check_sentences(planned: Sequence[Planned], materials: "Materials") -> None:
    needing = [
        one.row.name
        for one in planned
        if not one.missing and not one.given and one.row.kind in ("hpd", "whitening", "pca")
    ]
    if needing and not materials.sentences:
        raise UsageError(
            f"{needing[0]} needs sentences, and none are given",
            hint="Give `sentences=SRC`, or `nli=FILE`, whose sentences then serve.",
        )


@contextmanager
def _naming(row: str) -> Iterator[None]:
    """Say of which row an error is."""
    try:
        yield
    except HpdError as error:
        raise type(error)(f"{row}: {error}", hint=error.hint) from error


def _named(row: str, report: Report) -> Report:
    def tell(task: str, done: int, total: int) -> None:
        report(f"{row}: {task}", done, total)

    return tell


def _rows(
    catalogue: Catalogue,
    planned: Sequence[Planned],
    made: "Mapping[str, Made]",
    measured: "Mapping[str, Measured]",
) -> list[dict[str, Any]]:
    first = next((name for name in catalogue.teachers if name in measured), None)
    first_known = next(
        (one.row.name for one in planned if one.row.name in catalogue.teachers), None
    )
    rows = []
    for one in planned:
        name = one.row.name
        own = one.row.hpd.teacher if one.row.hpd is not None else None
        if one.row.pca is not None:
            own = one.row.pca.of
        if name in catalogue.teachers:
            own = name
        teacher = own if own in measured else first
        rows.append(
            {
                "row": name,
                "title": one.row.title,
                "kind": one.row.kind,
                "how": one.row.how,
                "tables": ", ".join(catalogue.tables_of(name)),
                "weights_kind": one.kind,
                "weights": one.from_what,
                "missing": one.missing or None,
                **_facts(made.get(name)),
                **_figures(measured.get(name), measured.get(teacher or "")),
                "teacher": teacher if name in measured else None,
                **_poster(catalogue, name, own or first_known, measured.get(name)),
            }
        )
    return rows


_FACTS = (
    "made_s",
    "steps",
    "sentences",
    "excluded_sentences",
    "copies",
    "triplets",
    "excluded_pairs",
    "fidelity",
)


def _facts(made: "Made | None") -> dict[str, Any]:
    facts = made.facts if made is not None else {}
    return {
        "model": str(made.source.path) if made is not None else None,
        **{name: facts.get(name) for name in _FACTS},
    }


_RETRIEVAL = (
    "documents",
    "queries",
    "mrr10",
    "recall1",
    "recall10",
    "recall100",
    "ndcg10",
    "map",
    "encode_s",
    "encode_queries_s",
    "search_s",
    "queries_per_second",
    "query_ms",
    "vector_bytes",
    "bytes_per_vector",
    "index_bytes",
)


def _figures(own: "Measured | None", teacher: "Measured | None") -> dict[str, Any]:
    row: dict[str, Any] = {
        "dim": own.dim if own is not None else None,
        "precision": "float32" if own is not None else None,
        "parameters": own.parameters if own is not None else None,
        "sentences_per_second": own.sentences_per_second if own is not None else None,
        **dict.fromkeys((*TASKS, "average", "average_present", "tasks_present", "retention")),
    }
    if own is not None and own.sts is not None:
        scores = own.sts.row(reference=teacher.sts if teacher is not None else None)
        row |= {key: value for key, value in scores.items() if key != "model"}
    search = own.retrieval if own is not None else None
    row |= {key: search[key] if search is not None else None for key in _RETRIEVAL}
    theirs = teacher.retrieval if teacher is not None else None
    row |= dict.fromkeys(("mrr_retention", "search_ratio", "memory_ratio"))
    if search is not None and theirs is not None:
        row["search_ratio"] = theirs["search_s"] / search["search_s"]
        row["memory_ratio"] = theirs["vector_bytes"] / search["vector_bytes"]
        if theirs["mrr10"]:
            row["mrr_retention"] = 100 * search["mrr10"] / theirs["mrr10"]
    return row


def _poster(
    catalogue: Catalogue, name: str, teacher: str | None, measured: "Measured | None"
) -> dict[str, Any]:
    """What was published of a row, and of it what compares with what was measured."""
    row = catalogue.rows[name]
    known = asdict(row.poster)
    figures = {f"poster_{key}": value for key, value in known.items() if key != "source"}
    figures["poster_dim"] = row.width
    present: float | None = None
    if measured is not None and measured.sts is not None:
        values = [known[task] for task, score in measured.sts.tasks.items() if score is not None]
        if values and None not in values:
            present = sum(values) / len(values)
    figures["poster_average_present"] = present
    theirs = catalogue.rows[teacher].poster.average if teacher is not None else None
    own = row.poster.average
    figures["poster_retention"] = 100 * own / theirs if own and theirs else None
    figures["poster_source"] = row.poster.source or None
    return figures


def _partly(
    whole: StsData | None,
    tasks: StsData | None,
    searched: RetrievalTask | None,
    task: RetrievalTask | None,
) -> list[str]:
    """What the scale measures by where it is not all that there is."""
    notes = []
    if whole is not None and tasks is not None and tasks.pairs < whole.pairs:
        most = max(task.pairs for task in tasks.tasks)
        notes.append(
            f"STS is scored by {tasks.pairs:,} of {whole.pairs:,} pairs, at most {most:,} of a "
            "task: its scores compare with no others."
        )
    if searched is not None and task is not None:
        documents, queries = len(task.document_ids), len(task.query_ids)
        if (documents, queries) != (len(searched.document_ids), len(searched.query_ids)):
            notes.append(
                f"Retrieval is {queries:,} of {len(searched.query_ids):,} queries over "
                f"{documents:,} of {len(searched.document_ids):,} documents: its figures compare "
                "with no others."
            )
    return notes


def _notes(
    planned: Sequence[Planned],
    rows: Sequence[Mapping[str, Any]],
    tasks: StsData | None,
) -> list[str]:
    substitutes = dict.fromkeys(weights for one in planned for weights in one.substitutes)
    notes = [
        weights.note or f"{weights.wanted} is {weights.use}, as the user says."
        for weights in substitutes
    ]
    notes += [f"{one.row.title} is not made here: {one.missing}." for one in planned if one.missing]
    notes += [f"{one.row.title}: {one.row.note}" for one in planned if one.row.note]
    dropped = [
        f"{most:,} {what}"
        for key, what in (("excluded_sentences", "sentences"), ("excluded_pairs", "labelled pairs"))
        if (counts := [row[key] for row in rows if row[key] is not None])
        and (most := max(counts)) >= 0
    ]
    if dropped:
        notes.append(
            "Kept out of training because the evaluation holds them: " + ", ".join(dropped) + "."
        )
    if tasks is not None and tasks.missing:
        notes.append(f"Not in the evaluation folder: {', '.join(tasks.missing)}.")
    if tasks is not None:
        notes += [
            f"{name} lacks {', '.join(subsets)}: its score compares with no published one."
            for name, subsets in tasks.incomplete.items()
        ]
    return notes
