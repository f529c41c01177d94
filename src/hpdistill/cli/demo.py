"""`hpd demo`: the main job in minutes, everything printed is computed in that run."""

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from hpdistill.demo import Answer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command `demo`."""
    app.command()(demo)


def demo(
    *,
    out: Annotated[Path, typer.Option(metavar="RUN", help="Run directory.")] = Path("runs/demo"),
    sentences: Annotated[int, typer.Option(min=200, help="Sentences of documentation.")] = 9000,
    seed: Annotated[int, typer.Option()] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start anew.")] = False,
) -> None:
    """Distil mpnet into minilm on Python's documentation, index it, ask both some questions."""
    from hpdistill.cli._shared import out as console
    from hpdistill.cli._shared import print_table, progress, require_train_extra

    require_train_extra()
    from hpdistill.demo import (
        QUESTIONS,
        answer,
        answer_from,
        demo_passages,
        demo_recipe,
        index_passages,
        load_teacher_for_search,
    )
    from hpdistill.runtime import Encoder

    passages = demo_passages()
    texts = [text for _, text in passages]
    started = time.perf_counter()
    static = Encoder.load()
    static.name = "static, comes with hpdistill"
    at_once = answer(static, passages)
    console.print(
        f"Ready at once: the static student that comes with hpdistill, loaded and asked about "
        f"{len(passages):,} passages of documentation in {time.perf_counter() - started:.1f} s:"
    )
    for question, found in zip(QUESTIONS, at_once, strict=True):
        console.print(_answers(question, {"static": found}))
    # Only now, because it takes seconds to import.
    from hpdistill.distill import distill, report_tables

    recipe = demo_recipe(sentences=sentences, seed=seed)
    console.print(
        f"Teacher mpnet, student minilm at {recipe.dim} numbers, {sentences:,} sentences of the "
        "documentation of the Python packages installed here."
    )
    with progress() as report:
        result = distill(recipe, out, beside=[static], overwrite=overwrite, report=report)
    for table in report_tables(result.rows, result.stages):
        print_table(table)
    teacher, student = result.rows[0], result.rows[-1]
    console.print(
        f"The student: {teacher['parameters'] / student['parameters']:.1f} times fewer parameters, "
        f"{teacher['vector_bytes'] / student['vector_bytes']:.0f} times smaller vectors, "
        f"{student['sentences_per_second'] / teacher['sentences_per_second']:.1f} times the speed."
    )
    console.print(f"\nThe same questions to the same {len(passages):,} passages:")
    by_teacher = answer(load_teacher_for_search(texts), passages)
    with (
        Encoder.load(result.model) as encoder,
        index_passages(encoder, passages, out / "index") as index,
    ):
        by_student = answer_from(index, encoder)
        vectors = f"{index.vector_bytes / 1e3:,.0f} kB"
    for question, left, right in zip(QUESTIONS, by_teacher, by_student, strict=True):
        console.print(_answers(question, {"teacher": left, "student": right}))
    console.print(f"The model: {result.model}  (report: {out / 'report.html'})")
    console.print(
        f"Its index of the {len(passages):,} passages, {vectors} of int8 vectors: {out / 'index'}"
    )
    console.print("Ask it something yourself:")
    # On one line however long, so that it can be copied.
    console.print(
        f'  hpd search {shlex.quote(str(out / "index"))} "{QUESTIONS[-1]}"',
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _answers(question: str, found: "dict[str, list[Answer]]") -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(question), title_justify="left", box=box.SIMPLE_HEAD, expand=True)
    for name in found:
        table.add_column(name, ratio=1)
    for answers in zip(*found.values(), strict=True):
        table.add_row(*map(_cell, answers))
    return table


def _cell(found: "Answer") -> str:
    from rich.markup import escape

    text = found.text if len(found.text) < 120 else found.text[:119] + "…"
    return f"[bold]{escape(found.name)}[/] {found.score:.2f}\n{escape(text)}"
