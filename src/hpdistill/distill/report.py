"""What a distillation is worth: the student beside its teacher and the cheap alternatives."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpdistill.corpus import Corpus
from hpdistill.distill.stages import Member, own_projection, teacher_projection
from hpdistill.encoder import Embeddings, Encoder
from hpdistill.evaluate import (
    TASKS,
    Column,
    StsScores,
    Table,
    evaluate_fidelity,
    evaluate_sts,
    html_page,
    load_tasks,
)
from hpdistill.files import atomic_path, write_json
from hpdistill.machine import machine, versions
from hpdistill.progress import Report
from hpdistill.projection import Projection
from hpdistill.pytorch import Precision, TorchEncoder, load_model
from hpdistill.recipe import Recipe
from hpdistill.student import StudentSpec, untouched
from hpdistill.teacher import (
    EmbeddedCorpus,
    JointEncoder,
    ProjectedEncoder,
    Remembering,
    side_by_side,
)
from hpdistill.weights import known_models

__all__ = ["COLUMNS", "measure", "report_tables", "write_report"]

TIMED_SENTENCES = 128

TASK_TITLES = {"STSBenchmark": "STS-B", "SICKRelatedness": "SICK-R"}

COLUMNS = (
    Column(key="model", title="model"),
    Column(key="dim", title="dim", format="d"),
    Column(key="parameters_m", title="params M", format=".1f"),
    Column(key="vector_bytes", title="bytes", format="d"),
    Column(key="sentences_per_second", title="sent/s", format=".0f"),
    Column(key="spearman", title="fidelity", format=".4f"),
    Column(key="cosine", title="cosine", format=".4f"),
    Column(key="overlap10", title="top-10", format=".3f"),
)


def measure(
    recipe: Recipe,
    teacher: Sequence[Member],
    embedded: Sequence[EmbeddedCorpus],
    corpus: Corpus,
    run: Path,
    *,
    evaluation: Path | None,
    report: Report,
) -> list[dict[str, Any]]:
    """Measure the student of a run, its teacher, and what a user could do without distilling.

    Fidelity is to the teacher the user named, without the anchor, on the validation sentences;
    `cosine` is to the targets. Speed is in float32 on this machine, one model at a time.

    Args:
        recipe: The choices.
        teacher: The teacher's encoders, the anchor last if there is one.
        embedded: Their embeddings, in the same order.
        corpus: For the validation sentences.
        run: Holds `targets`, `init` and `model`.
        evaluation: Folder of STS tasks, if any.
        report: Progress.

    Returns:
        Flat rows; the first is the teacher, the last the student.
    """
    texts = corpus.texts("validation")
    targets = Projection.load(run / "targets" / "projection.safetensors")
    parts = [np.concatenate(list(encoder.shards("validation"))) for encoder in embedded]
    weights = [member.weight for member in teacher]
    named = len(recipe.teachers)
    reference = side_by_side(parts[:named], weights[:named])
    wanted = targets.apply(side_by_side(parts, weights))
    tasks = load_tasks(evaluation) if evaluation is not None else None
    teacher_scores: StsScores | None = None
    rows: list[dict[str, Any]] = []

    def add(
        name: str,
        encoder: Encoder,
        vectors: Embeddings,
        precision: Precision,
        *,
        timed: bool = False,
    ) -> None:
        nonlocal teacher_scores
        same_width = vectors.shape[1] == wanted.shape[1]
        in_space = same_width and name not in foreign
        scores = evaluate_fidelity(
            vectors, reference, target_vectors=wanted if same_width else None
        )
        row = {
            "model": name,
            "dim": encoder.dim,
            "precision": precision,
            "parameters": encoder.parameters,
            "parameters_m": encoder.parameters / 1e6,
            "vector_bytes": 4 * encoder.dim,
            "sentences_per_second": None,
            "spearman": scores.spearman,
            "cosine": scores.cosine if in_space else None,
            "overlap10": scores.overlap10,
        }
        if timed:
            row["sentences_per_second"] = _speed(encoder, texts[:TIMED_SENTENCES])
        if tasks is not None:
            sts = evaluate_sts(encoder, tasks, precision=precision, report=report)
            teacher_scores = teacher_scores or sts
            row |= {k: v for k, v in sts.row(reference=teacher_scores).items() if k not in row}
        rows.append(row)

    label = " + ".join(member.source.name for member in teacher[:named])
    student = recipe.student
    k = recipe.dim
    foreign = {label, f"{student}, untouched", f"{student}, own PCA-{k}", f"{label}, PCA-{k}"}

    encoders = []
    for member, embeddings in zip(teacher, embedded, strict=True):
        encoder = TorchEncoder.load(member.source)
        speed = _speed(encoder, texts[:TIMED_SENTENCES])
        encoder.set_precision(embeddings.precision)
        encoders.append((Remembering(encoder), speed))
    ours = [encoder for encoder, _ in encoders]
    whole: Encoder = ours[0] if named == 1 else JointEncoder(ours[:named], weights[:named])
    precision = embedded[0].precision
    add(label, whole, reference, precision)
    rows[0]["sentences_per_second"] = 1 / sum(1 / speed for _, speed in encoders[:named])
    cut = teacher_projection(embedded[:named], teacher[:named], min(k, whole.dim))
    add(f"{label}, PCA-{k}", ProjectedEncoder(whole, cut), cut.apply(reference), precision)
    if len(teacher) > named:
        joint = ProjectedEncoder(JointEncoder(ours, weights), targets)
        add(f"{label} + {teacher[-1].source.name}, PCA-{k}: the target", joint, wanted, precision)
    del encoders, ours, whole

    plain = Remembering(TorchEncoder(untouched(recipe.student), name=student))
    vectors = plain.encode(texts)
    add(f"{student}, untouched", plain, vectors, "float32", timed=True)
    own = own_projection(run)
    add(
        f"{student}, own PCA-{own.dim}", ProjectedEncoder(plain, own), own.apply(vectors), "float32"
    )
    if recipe.head.init == "ridge":
        initial = TorchEncoder(load_model(run / "init"), name="init")
        add(f"{student}, closed-form head", initial, initial.encode(texts), "float32")
    final = TorchEncoder(load_model(run / "model"), name="model")
    add(f"{student}, distilled", final, final.encode(texts), "float32", timed=True)
    return rows


def _speed(encoder: Encoder, texts: Sequence[str]) -> float:
    """Sentences/s, after a warm-up."""
    plain = encoder.inner if isinstance(encoder, Remembering) else encoder
    plain.encode(texts[:16])
    started = time.perf_counter()
    plain.encode(texts)
    return len(texts) / (time.perf_counter() - started)


def report_tables(rows: Sequence[dict[str, Any]]) -> list[Table]:
    """The rows as tables that fit a terminal: cost and fidelity; then STS, if it was measured."""
    tables = [Table(columns=COLUMNS, rows=rows)]
    if not any("average_present" in row for row in rows):
        return tables
    present = [task for task in TASKS if any(row.get(task) is not None for row in rows)]
    columns = [
        Column(key="model", title="model"),
        *(Column(key=task, title=TASK_TITLES.get(task, task), format=".2f") for task in present),
        Column(key="average_present", title=f"mean of {len(present)}", format=".2f"),
        Column(key="retention", title="retention %", format=".1f"),
    ]
    missing = [task for task in TASKS if task not in present]
    notes = [f"Not in the evaluation folder: {', '.join(missing)}."] if missing else []
    return [*tables, Table(columns=columns, rows=rows, notes=notes)]


def write_report(
    recipe: Recipe,
    run: Path,
    rows: Sequence[dict[str, Any]],
    stages: dict[str, Any],
    evaluation: Path | None,
) -> None:
    """Write `report.json`, `report.md`, `report.html` and the model card."""
    tables = report_tables(rows)
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
    names = [StudentSpec.parse(recipe.student).model, *(member.model for member in recipe.teachers)]
    licences = {m.name: m.licence for m in known_models()}
    chain = [f"- `{name}`: {licences.get(name, 'see its own model card')}" for name in names]
    return f"""---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [sentence-transformers, feature-extraction, hpdistill]
---
# {recipe.student} at {recipe.dim} numbers, in the space of {teacher}

Distilled with [hpdistill](https://pypi.org/project/hpdistill/): the student's vectors approximate
its teacher's, projected to {recipe.dim} dimensions by PCA (Zhao et al., Findings of ACL 2022).

```python
from sentence_transformers import SentenceTransformer

vectors = SentenceTransformer("path/to/this/directory").encode(["How are you?"])
```

`projection.safetensors` puts the teacher's own vectors into the same space; `hpd.json` names the
teacher by the hash of its weights.

## Measured

{markdown}
Fidelity: Spearman of pairwise cosines against the teacher's on {corpus["validation"]:,} sentences
that were not trained on. Speed: float32, one model after the other.

## Made from

{corpus["train"]:,} unlabelled sentences; {training["steps"]:,} steps of
{recipe.training.batch_size} in {training["seconds"] / 60:.0f} minutes ({training["precision"]}).
All choices: `recipe.toml`.

Licences of what it was made from:

{chr(10).join(chain)}
- the sentences: {", ".join(recipe.corpus.sources)}
"""


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, "utf-8")
