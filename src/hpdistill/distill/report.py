"""The tables of a run, its report files and its model card."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpdistill.card import source_name, write_card
from hpdistill.distill.advice import advise, measure_of, shortfall
from hpdistill.distill.labels import shortened
from hpdistill.distill.picture import picture
from hpdistill.evaluate import TASKS, Column, Section, Table, html_page
from hpdistill.files import atomic_path, write_json
from hpdistill.recipe import Recipe

__all__ = ["report_tables", "write_report"]

TASK_TITLES = {"STSBenchmark": "STS-B", "SICKRelatedness": "SICK-R"}

COLUMNS = (
    Column(
        key="label",
        title="model",
        meaning="What was measured: first the teacher, then what one can do without distilling, "
        "last the student, by PyTorch and by `Encoder.load` where that takes it.",
    ),
    Column(
        key="backend",
        title="on",
        meaning="What computes it: `torch` as sentence-transformers does; `onnx` and `static` "
        "without PyTorch.",
    ),
    Column(
        key="precision",
        title="precision",
        meaning="In which numbers it computes; under `torch`, speed is always that of float32.",
    ),
    Column(
        key="dim",
        title="dim",
        format="d",
        meaning="Numbers in a vector. Fewer is better: a search takes less memory and time.",
    ),
    Column(
        key="parameters_m",
        title="params M",
        format=".1f",
        meaning="Weights of the model, in millions. Fewer is better.",
    ),
    Column(
        key="vector_bytes",
        title="bytes",
        format="d",
        meaning="Of one vector in float32, 4 a number. Fewer is better.",
    ),
    Column(
        key="sentences_per_second",
        title="sent/s",
        format=".0f",
        meaning="Sentences embedded a second on this machine, one model after the other, timed "
        "once. More is better.",
    ),
    Column(
        key="spearman",
        title="fidelity",
        format=".4f",
        meaning="Rank correlation (Spearman) of the cosines of any two held-out sentences with "
        "the teacher's, at most 1. More is better.",
    ),
    Column(
        key="cosine",
        title="cosine",
        format=".4f",
        meaning="Of a vector to its target, the teacher's vector projected, at most 1; only of "
        "rows in that space. More is better; for search by one model alone it does not matter.",
    ),
    Column(
        key="overlap10",
        title="top-10",
        format=".3f",
        meaning="Share of the teacher's ten nearest held-out sentences that are among the row's "
        "own ten, at most 1. More is better, above all for search.",
    ),
)

STAGES = {
    "corpus": "reading and cleaning the text, holding sentences out",
    "teacher": "embedding it with the teacher",
    "copies": "dropping copies that mean something else",
    "targets": "fitting the projection, projecting",
    "student": "making the student before its training",
    "training": "training",
    "export": "graphs for ONNX Runtime, compared and timed",
    "report": "measuring the rows above",
}

REASONS = {
    "empty": "without any text",
    "too_short": "of too few words",
    "too_long": "of too many words",
    "duplicate": "equal to one before it",
    "excluded": "in the evaluation data, or too near to it",
    "not_sampled": "beyond the limit that was asked for",
}
"""Why sentences are dropped; a reason that is not here is shown by its name."""


COUNTS = {
    "split": "Texts of too many words to be learnt from whole.",
    "parts": "The passages or sentences that those were split into; each was then kept or dropped.",
}
"""What is shown of a source where there were such texts."""


def report_tables(rows: Sequence[dict[str, Any]], stages: dict[str, Any]) -> list[Table]:
    """The rows as tables that fit a terminal: cost and fidelity; then STS, if it was measured.

    Args:
        rows: Of a distillation, the teacher first.
        stages: Of the manifest; says whether training was of use, and which graphs there are.
    """
    cost, *scores = _tables(rows)
    advice = advise(rows)
    said = [advice.sentence, advice.rule] if advice else []
    return [replace(cost, notes=[*_warnings(rows, stages), *said]), *scores]


def _tables(rows: Sequence[dict[str, Any]]) -> list[Table]:
    cost = Table(columns=COLUMNS, rows=rows, title="Cost, and likeness to the teacher")
    if not any("average_present" in row for row in rows):
        return [cost]
    present = [task for task in TASKS if any(row.get(task) is not None for row in rows)]
    columns = [
        Column(key="label", title="model"),
        Column(key="dim", title="dim", format="d"),
        *(Column(key=task, title=TASK_TITLES.get(task, task), format=".2f") for task in present),
        Column(
            key="average_present",
            title=f"mean of {len(present)}",
            format=".2f",
            meaning="Of the tasks, each 100 times the rank correlation (Spearman) of cosines with "
            "what people judged. More is better.",
        ),
        Column(
            key="retention",
            title="retention %",
            format=".1f",
            meaning="That mean as a percentage of the teacher's. More is better.",
        ),
    ]
    missing = [task for task in TASKS if task not in present]
    notes = [f"Not in the evaluation folder: {', '.join(missing)}."] if missing else []
    title = "Semantic textual similarity (STS)"
    return [cost, Table(columns=columns, rows=rows, notes=notes, title=title)]


def _warnings(rows: Sequence[dict[str, Any]], stages: dict[str, Any]) -> list[str]:
    """What a user should know who sees no gain from training, or misses a graph."""
    below = shortfall(rows)
    notes = [below] if below else []
    training = stages["training"]["facts"]
    if training["steps"] > 0 and training["best_step"] == 0:
        notes.append(
            f"None of {training['steps']:,} steps found a student more like its teacher than the "
            "untrained one, which was kept: give more --epochs or more sentences."
        )
    if seen := stages["report"]["facts"].get("evaluation_seen"):
        notes.append(
            f"{seen:,} sentences of this evaluation were trained on: only those of the evaluation "
            "that a run began with are kept out."
        )
    refused = stages["export"]["facts"]["refused"] if "export" in stages else {}
    notes += [
        f"There is no export in {precision}: it disagrees with the student, {reason}."
        for precision, reason in refused.items()
    ]
    return notes


def write_report(
    recipe: Recipe,
    run: Path,
    rows: Sequence[dict[str, Any]],
    stages: dict[str, Any],
    evaluation: Path | None,
    *,
    measured_on: Mapping[str, Any],
) -> None:
    """Write `report.json`, `report.md`, `report.html` and the model card.

    Args:
        recipe: The choices.
        run: The run directory, its model complete.
        rows: Of `labelled`.
        stages: Of the manifest.
        evaluation: The folder of STS tasks, if any.
        measured_on: `machine` and `versions` of when the rows were measured.
    """
    advice = advise(rows)
    document = {
        "command": "distill",
        **measured_on,
        "recipe": recipe.to_dict(),
        "evaluation": str(evaluation) if evaluation else None,
        "stages": stages,
        "corpus": _counts(stages),
        "warnings": [*_warnings(rows, stages), *_unread(stages)],
        "advice": {"label": advice.row["label"], "sentence": advice.sentence, "rule": advice.rule}
        if advice
        else None,
        "rows": list(rows),
    }
    write_json(run / "report.json", document)
    title = (
        f"{shortened(recipe, recipe.student)} at {recipe.dim}, distilled from {rows[0]['label']}"
    )
    numbered = [{"number": number, **row} for number, row in enumerate(rows, 1)]
    number = Column(key="number", title="#", format="d")
    measured = _measured(rows, stages)
    sections = [
        Section(
            lead=[advice.sentence] if advice else [],
            paragraphs=[*_warnings(rows, stages), *([advice.rule] if advice else [])],
            picture=picture(rows, measure_of(rows), advice.row if advice else None),
        ),
        replace(
            measured,
            tables=[
                replace(table, columns=[number, *table.columns], rows=numbered)
                for table in measured.tables
            ],
        ),
        _text(stages),
        _training(recipe, stages),
        _time(stages),
        _machine(measured_on),
        Section(
            title="Recipe",
            paragraphs=[
                "`hpd distill --recipe recipe.toml --out NEW` does the same again; options change "
                "single choices."
            ],
            code=recipe.to_toml(),
            code_title="All choices, as recipe.toml holds them",
        ),
    ]
    page = html_page(title, [section.to_html() for section in sections])
    _write(run / "report.html", page)
    markdown = [f"# {title}\n", *(section.to_markdown() for section in sections)]
    _write(run / "report.md", "\n".join(markdown))
    where = measured_on["machine"]
    speed = f"Speed: {where['cpu']}, {where['cores']} cores, {where.get('gpu', 'no GPU')}."
    card = replace(measured, paragraphs=[*_warnings(rows, stages), *measured.paragraphs, speed])
    _write_card(recipe, run / "model", rows, stages, card)


def _unread(stages: dict[str, Any]) -> list[str]:
    """Which sentences a teacher or the student read in part or not at all."""
    stage = stages["training"]["facts"]
    encoders = stages["teacher"]["facts"]["encoders"]
    lines = [line for one in (*encoders, stage) for line in one.get("unread", [])]
    return [f"{line}." for line in lines]


def _counts(stages: dict[str, Any]) -> dict[str, Any]:
    """Texts read, split, into how many parts, kept, and dropped by reason."""
    facts = stages["corpus"]["facts"]
    names = ("read", "split", "parts", "kept", "train", "validation", "dropped")
    return {name: facts[name] for name in names if name in facts}


def _measured(rows: Sequence[dict[str, Any]], stages: dict[str, Any]) -> Section:
    tables = _tables(rows)
    held_out = stages["corpus"]["facts"]["validation"]
    return Section(
        title="Measured",
        paragraphs=[
            f"Likeness to the teacher is measured on {held_out:,} sentences that were not trained "
            "on."
        ],
        tables=tables,
        terms=[meaning for table in tables for meaning in table.meanings],
    )


def _text(stages: dict[str, Any], *, public: bool = False) -> Section:
    """What was read, what became of it, and why.

    Args:
        stages: Of the manifest.
        public: Without the folders of this machine.
    """
    facts = stages["corpus"]["facts"]
    kept = facts.get("originals", facts["train"])
    made = stages["copies"]["facts"]["copies"] if "copies" in stages else {}
    copies = "".join(f" and {by['kept']:,} copies by {name}" for name, by in made.items())
    paragraphs = [
        f"Trained on {kept:,} unlabelled sentences{copies}; {facts['validation']:,} were held out."
    ]
    for name, by in made.items():
        paragraphs.append(
            f"Copies by {name} whose meaning moved (cosine to the original below "
            f"{stages['copies']['facts']['threshold']:g}) were dropped: {by['dissimilar']:,}."
        )
    rows = [
        {
            "source": source_name(one["source"]) if public else one["source"],
            **{key: value for key, value in one.items() if isinstance(value, int)},
            **one["dropped"],
        }
        for one in facts["sources"]
    ]
    if len(rows) > 1:
        keys = dict.fromkeys(key for row in rows for key in row if key != "source")
        total = {key: sum(row.get(key, 0) for row in rows) for key in keys}
        rows.append({"source": "all", **total})
    reasons = dict.fromkeys(key for one in facts["sources"] for key in one["dropped"])
    # Counts of the source come first; of the reasons those that dropped something.
    counted = dict.fromkeys(
        key
        for row in rows
        for key in row
        if key != "source" and key not in reasons and (key not in COUNTS or rows[-1].get(key))
    )
    shown = [*counted, *(key for key in reasons if any(row.get(key) for row in rows))]
    dropped = {key: rows[-1][key] for key in shown if key in reasons}
    if not dropped:
        paragraphs.append("Nothing that was read was dropped.")
    if not public:  # they name sentences
        paragraphs += _unread(stages)
    columns = [Column(key="source", title="source")]
    columns += [
        Column(
            key=key,
            title=key.replace("_", " "),
            format=",d",
            meaning=f"Dropped: {REASONS[key]}." if key in REASONS else COUNTS.get(key, ""),
        )
        for key in shown
    ]
    table = Table(
        columns=columns, rows=rows, title="Sentences by source, and why some were dropped"
    )
    return Section(title="Text", paragraphs=paragraphs, tables=[table], terms=table.meanings)


def _training(recipe: Recipe, stages: dict[str, Any]) -> Section:
    facts = stages["training"]["facts"]
    choices = recipe.training.settled(static=recipe.student_spec.static)
    kept = (
        f"step {facts['best_step']:,} was kept, the best on the sentences held out"
        if facts["best_step"]
        else "the student as it was before the first was kept"
    )
    encoders = [
        shortened(recipe, one["name"]) + (f" (weight {one['weight']:g})" * (one["weight"] != 1))
        for one in stages["teacher"]["facts"]["encoders"]
    ]
    named, anchor = encoders[: len(recipe.teachers)], encoders[len(recipe.teachers) :]
    beside = "".join(f", and {name} itself, untrained, as the anchor" for name in anchor)
    paragraphs = [
        f"{facts['steps']:,} steps of {choices.batch_size} in {facts['seconds'] / 60:.1f} minutes "
        f"({facts['precision']}); {kept}."
        if facts["steps"]
        else "No step was trained: the student is in closed form.",
        f"Teacher: {', '.join(named)}{beside}. Student: {shortened(recipe, recipe.student)} at "
        f"{recipe.dim} numbers.",
    ]
    return Section(title="Training", paragraphs=paragraphs)


def _time(stages: dict[str, Any]) -> Section:
    rows = [
        {"name": name, "what": STAGES.get(name, name), **stage} for name, stage in stages.items()
    ]
    seconds = sum(stage["seconds"] for stage in stages.values())
    peak = max(stage["peak_memory_mb"] for stage in stages.values())
    columns = (
        Column(key="name", title="stage"),
        Column(key="what", title="what"),
        Column(key="seconds", title="seconds", format=",.1f"),
        Column(key="peak_memory_mb", title="peak MB", format=",d"),
    )
    return Section(
        title="Time",
        paragraphs=[
            f"{seconds / 60:.1f} minutes in all, peak memory {peak:,} MB. Of a stage that was "
            "interrupted, the time is that of the last attempt."
        ],
        tables=[Table(columns=columns, rows=rows, title="Time and memory by stage")],
    )


def _machine(measured_on: Mapping[str, Any]) -> Section:
    machine = measured_on["machine"]
    facts = {
        "processor": machine["cpu"],
        "cores": machine["cores"],
        "its instructions for this": ", ".join(machine.get("instructions", [])) or "not known",
        "GPU": machine.get("gpu", "none"),
        "system": machine["system"],
        "versions": ", ".join(f"{name} {v}" for name, v in measured_on["versions"].items()),
    }
    return Section(title="Machine", terms=[(name, str(value)) for name, value in facts.items()])


def _write_card(
    recipe: Recipe,
    model: Path,
    rows: Sequence[dict[str, Any]],
    stages: dict[str, Any],
    measured: Section,
) -> None:
    student, teacher = shortened(recipe, recipe.student), str(rows[0]["label"])
    plain = next(r for r in rows if r["kind"] == "distilled" and r["backend"] == "torch")
    text, training = _text(stages, public=True), _training(recipe, stages)
    made_from = replace(
        text,
        title="Made from",
        paragraphs=[
            *text.paragraphs,
            *training.paragraphs,
            "All choices: `recipe.toml`, in which paths of the machine that made it stand, too.",
        ],
    )
    write_card(
        model,
        title=f"{student} at {recipe.dim} numbers, in the space of {teacher}",
        summary=(
            "Distilled with hpdistill: a small sentence-embedding model whose vectors approximate "
            f"those of {teacher}, projected to {recipe.dim} dimensions by PCA (Homomorphic "
            "Projective Distillation, [Zhao et al., Findings of ACL "
            "2022](https://arxiv.org/abs/2203.07687)). `projection.safetensors` puts the "
            "teacher's own vectors into the same space; `hpd.json` names the teacher by the hash "
            "of its weights."
        ),
        sections=[
            measured,
            made_from,
        ],
        name=f"{student} distilled to {recipe.dim}",
        models=[recipe.student_spec.model, *(one.model for one in recipe.teachers)],
        sources=recipe.corpus.sources,
        tags=["distillation"],
        scores={task: plain[task] for task in TASKS if plain.get(task) is not None},
    )


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, "utf-8")
