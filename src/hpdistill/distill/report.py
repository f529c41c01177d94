"""The tables of a run, its report files and its model card."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hpdistill.evaluate import TASKS, Column, Table, html_page
from hpdistill.files import atomic_path, write_json
from hpdistill.machine import machine, versions
from hpdistill.recipe import Recipe
from hpdistill.weights import known_models

__all__ = ["report_tables", "write_report"]

TASK_TITLES = {"STSBenchmark": "STS-B", "SICKRelatedness": "SICK-R"}

COLUMNS = (
    Column(key="model", title="model"),
    Column(key="backend", title="on"),
    Column(key="precision", title="precision"),
    Column(key="dim", title="dim", format="d"),
    Column(key="parameters_m", title="params M", format=".1f"),
    Column(key="vector_bytes", title="bytes", format="d"),
    Column(key="sentences_per_second", title="sent/s", format=".0f"),
    Column(key="spearman", title="fidelity", format=".4f"),
    Column(key="cosine", title="cosine", format=".4f"),
    Column(key="overlap10", title="top-10", format=".3f"),
)


def report_tables(rows: Sequence[dict[str, Any]], stages: dict[str, Any]) -> list[Table]:
    """The rows as tables that fit a terminal: cost and fidelity; then STS, if it was measured.

    Args:
        rows: Of `measure`.
        stages: Of the manifest; says whether training was of use, and which graphs there are.
    """
    tables = [Table(columns=COLUMNS, rows=rows, notes=_notes(stages))]
    if not any("average_present" in row for row in rows):
        return tables
    present = [task for task in TASKS if any(row.get(task) is not None for row in rows)]
    columns = [
        Column(key="model", title="model"),
        Column(key="precision", title="precision"),
        *(Column(key=task, title=TASK_TITLES.get(task, task), format=".2f") for task in present),
        Column(key="average_present", title=f"mean of {len(present)}", format=".2f"),
        Column(key="retention", title="retention %", format=".1f"),
    ]
    missing = [task for task in TASKS if task not in present]
    notes = [f"Not in the evaluation folder: {', '.join(missing)}."] if missing else []
    return [*tables, Table(columns=columns, rows=rows, notes=notes)]


def _notes(stages: dict[str, Any]) -> list[str]:
    """What a user should know who sees no gain from training, or misses a graph."""
    notes = []
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
) -> None:
    """Write `report.json`, `report.md`, `report.html` and the model card."""
    tables = report_tables(rows, stages)
    markdown = "\n".join(table.to_markdown() for table in tables)
    document = {
        "command": "distill",
        "versions": versions(),
        "machine": machine(),
        "recipe": recipe.to_dict(),
        "evaluation": str(evaluation) if evaluation else None,
        "stages": stages,
        "rows": list(rows),
    }
    write_json(run / "report.json", document)
    title = f"{recipe.student} at {recipe.dim}, distilled from {rows[0]['model']}"
    _write(run / "report.md", f"# {title}\n\n{markdown}")
    _write(run / "report.html", html_page(title, [table.to_html() for table in tables]))
    _write(run / "model" / "README.md", _card(recipe, rows[0]["model"], markdown, stages))


def _card(recipe: Recipe, teacher: str, markdown: str, stages: dict[str, Any]) -> str:
    corpus = stages["corpus"]["facts"]
    training = stages["training"]["facts"]
    sentences = corpus.get("originals", corpus["train"])
    made = stages["copies"]["facts"]["copies"] if "copies" in stages else {}
    copies = "".join(f" and {by['kept']:,} copies by {name}" for name, by in made.items())
    spec = recipe.student_spec
    batch_size = recipe.training.settled(static=spec.static).batch_size
    names = [spec.model, *(member.model for member in recipe.teachers)]
    licences = {m.name: m.licence for m in known_models()}
    chain = [
        f"- `{name}`: {licences.get(name, 'see its own model card')}"
        for name in dict.fromkeys(filter(None, names))
    ]
    return f"""---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [sentence-transformers, feature-extraction, hpdistill]
---
# {recipe.student} at {recipe.dim} numbers, in the space of {teacher}

Distilled with hpdistill: the student's vectors approximate
its teacher's, projected to {recipe.dim} dimensions by PCA (Zhao et al., Findings of ACL 2022).

```python
from sentence_transformers import SentenceTransformer

vectors = SentenceTransformer("path/to/this/directory").encode(["How are you?"])
```

Without PyTorch, and faster:

```python
from hpdistill import Encoder

vectors = Encoder.load("path/to/this/directory").encode(["How are you?"])
```

`projection.safetensors` puts the teacher's own vectors into the same space; `hpd.json` names the
teacher by the hash of its weights.

## Measured

{markdown}
Fidelity: Spearman of pairwise cosines against the teacher's on {corpus["validation"]:,} sentences
that were not trained on. Speed: one model after the other; PyTorch in float32.

## Made from

{sentences:,} unlabelled sentences{copies}; {training["steps"]:,} steps of
{batch_size} in {training["seconds"] / 60:.0f} minutes ({training["precision"]}), of which step
{training["best_step"]:,} was kept. All choices: `recipe.toml`.

Licences of what it was made from:

{chr(10).join(chain)}
- the sentences: {", ".join(recipe.corpus.sources)}
"""


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, "utf-8")
