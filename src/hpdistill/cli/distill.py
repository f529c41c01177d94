"""`hpd distill`: sentences and a teacher in, a small model and its measured table out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpdistill.cli._command import named
from hpdistill.cli._settings import Settings, apply, parse_settings

if TYPE_CHECKING:
    from hpdistill.distill import Plan
    from hpdistill.recipe import Recipe

__all__ = ["register"]

_TEACHER = "Teacher: path, hub id or short name; :WEIGHT after it when there are several."
_STUDENT = (
    "Backbone: path, hub id, short name, layers:MODEL:0,2,4, or "
    "shape:layers=4,width=312,heads=12,ffn=1200,from=MODEL; "
    "static (or static:MODEL, for its tokenizer) is a student without one."
)
_SOURCE = (
    "Sentences: a file, hf:DATASET[:config][:split][:column], allnli[:PATH][:train|dev|test], or "
    "pydoc. Repeat for more."
)


_KEYS = {
    "teachers": "teacher",
    "student": "student",
    "dim": "dim",
    "seed": "seed",
    "anchor": "anchor",
    "corpus.sources": "sentences",
    "corpus.column": "column",
    "corpus.delimiter": "delimiter",
    "corpus.split": "split",
    "corpus.encoding": "encoding",
    "corpus.errors": "errors",
    "corpus.exclude": "exclude",
    "corpus.limit": "limit",
    "corpus.validation": "validation",
    "corpus.validation_sources": "validation_sentences",
    "augment.methods": "augment",
    "augment.translator": "translator",
    "augment.min_similarity": "min_similarity",
    "teacher.precision": "teacher_precision",
    "projection.centred": "centred",
    "projection.whitening": "target_whitening",
    "pooling": "pooling",
    "head.init": "head",
    "head.activation": "activation",
    "training.epochs": "epochs",
    "training.max_steps": "max_steps",
    "training.batch_size": "batch_size",
    "training.learning_rate": "learning_rate",
    "training.similarity_weight": "similarity_weight",
    "training.neighbour_weight": "neighbour_weight",
    "training.neighbours": "neighbours",
    "training.ranking": "ranking",
    "training.prefix_weight": "prefix_weight",
    "training.precision": "precision",
}
"""Keys of a recipe that have an option, and its parameter here; `--set` gives the others."""


def register(app: typer.Typer) -> None:
    """Add the command `distill`."""
    app.command()(distill)


@named({**_KEYS, "evaluation": "evaluate"})
def distill(
    *,
    sentences: Annotated[
        list[str] | None, typer.Option(metavar="SRC", help=_SOURCE, rich_help_panel="Text")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            "--text-column",
            help="Column of tabular sources; repeat it to join several.",
            rich_help_panel="Text",
        ),
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(
            metavar="C",
            help="What divides columns of .csv and .tsv. [default: found in the first rows]",
            rich_help_panel="Text",
        ),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Of text files. [default: utf-8]", rich_help_panel="Text")
    ] = None,
    errors: Annotated[
        str | None,
        typer.Option(help="Undecodable bytes: strict, replace or ignore.", rich_help_panel="Text"),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Evaluation folder whose sentences are kept out.",
            rich_help_panel="Text",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Texts of over 200 words (max_words of a recipe): learn from their passages or "
            "sentences, or none of them. [default: passages]",
            rich_help_panel="Text",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Sample so many sentences.", rich_help_panel="Text")
    ] = None,
    validation: Annotated[
        int | None, typer.Option(help="Sentences held out. [default: 2000]", rich_help_panel="Text")
    ] = None,
    validation_sentences: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SRC",
            help="Hold out sentences of these sources only. Repeat for more.",
            rich_help_panel="Text",
        ),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            metavar="METHODS",
            help="Train on copies, too: wordnet, backtranslate, or both with a comma between. "
            "[augment] of a recipe says how.",
            rich_help_panel="Text",
        ),
    ] = None,
    translator: Annotated[
        str | None,
        typer.Option(
            help="Of --augment backtranslate: apertium or marian. [default: apertium]",
            rich_help_panel="Text",
        ),
    ] = None,
    min_similarity: Annotated[
        float | None,
        typer.Option(
            help="Drop copies whose cosine to their original is less. [default: 0.8]",
            rich_help_panel="Text",
        ),
    ] = None,
    teacher: Annotated[
        list[str] | None, typer.Option(metavar="T", help=_TEACHER, rich_help_panel="Teacher")
    ] = None,
    teacher_precision: Annotated[
        str | None,
        typer.Option(help="auto, float32 or bfloat16. [default: auto]", rich_help_panel="Teacher"),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep teacher embeddings here, for several runs: each embeds its new sentences.",
            rich_help_panel="Teacher",
        ),
    ] = None,
    student: Annotated[
        str | None, typer.Option(metavar="S", help=_STUDENT, rich_help_panel="Student")
    ] = None,
    dim: Annotated[
        int | None,
        typer.Option(help="Width k of the embeddings. [default: 128]", rich_help_panel="Student"),
    ] = None,
    pooling: Annotated[
        str | None,
        typer.Option(
            help="Of its tokens: mean, cls, lasttoken, ... [default: as in the model]",
            rich_help_panel="Student",
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(help="ridge, rotation or random. [default: ridge]", rich_help_panel="Student"),
    ] = None,
    activation: Annotated[
        str | None,
        typer.Option(
            help="Of the head: identity or tanh. [default: identity]", rich_help_panel="Student"
        ),
    ] = None,
    anchor: Annotated[
        float | None,
        typer.Option(
            help="Weight of the untrained student beside the teacher; 0 is the paper's method. "
            "[default: 1 if it is a finished sentence encoder]",
            rich_help_panel="Targets",
        ),
    ] = None,
    centred: Annotated[
        bool | None,
        typer.Option(
            "--centred", help="Subtract the mean before projecting.", rich_help_panel="Targets"
        ),
    ] = None,
    target_whitening: Annotated[
        float | None,
        typer.Option(
            help="Divide the targets' components by this power of their standard deviations: 0 is "
            "the paper's PCA, 1 whitens. [default: 0.3; static: 0]",
            rich_help_panel="Targets",
        ),
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(
            help="Passes over the corpus. [default: 2; static: 4]", rich_help_panel="Training"
        ),
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(help="Stop after so many steps.", rich_help_panel="Training")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="[default: 64; static: 512]", rich_help_panel="Training")
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Its peak. [default: 1e-4; static: 1e-2]", rich_help_panel="Training"),
    ] = None,
    similarity_weight: Annotated[
        float | None,
        typer.Option(
            help="Of the similarity-matrix loss beside the MSE. [default: 0; static: 1]",
            rich_help_panel="Training",
        ),
    ] = None,
    neighbour_weight: Annotated[
        float | None,
        typer.Option(
            help="Of ranking each sentence's nearest targets. [default: 2; static: 0]",
            rich_help_panel="Training",
        ),
    ] = None,
    neighbours: Annotated[
        int | None,
        typer.Option(
            help="That ranking draws from so many of the nearest. [default: 512]",
            rich_help_panel="Training",
        ),
    ] = None,
    ranking: Annotated[
        str | None,
        typer.Option(
            help="By whose cosines: teacher or targets. [default: teacher]",
            rich_help_panel="Training",
        ),
    ] = None,
    prefix_weight: Annotated[
        float | None,
        typer.Option(
            help="Of the losses of vectors cut to 16, 32, 64... numbers. [default: 0]",
            rich_help_panel="Training",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Of training: auto, float32 or bfloat16. [default: auto]",
            rich_help_panel="Training",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="[default: 0]", rich_help_panel="Training")
    ] = None,
    recipe_file: Annotated[
        Path | None,
        typer.Option(
            "--recipe", metavar="FILE", help="Replay a recipe.toml.", rich_help_panel="Recipe"
        ),
    ] = None,
    settings: Settings = None,
    out: Annotated[
        Path,
        typer.Option(
            metavar="RUN", help="Run directory; the model is RUN/model.", rich_help_panel="Output"
        ),
    ],
    evaluate: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="STS folder to measure the table on; its sentences are kept out of the corpus. "
            "With --resume it may be another one.",
            rich_help_panel="Output",
        ),
    ] = None,
    export: Annotated[
        bool,
        typer.Option(
            help="End with the model's ONNX graphs, float32 and int8.", rich_help_panel="Output"
        ),
    ] = True,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Say what it would take: texts, steps, disk, time; do nothing.",
            rich_help_panel="Output",
        ),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with RUN by its own recipe; needs no other option.",
            rich_help_panel="Output",
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace a run of another recipe.", rich_help_panel="Output"
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print the table as one JSON object.", rich_help_panel="Output"
        ),
    ] = False,
) -> None:
    """Distil a student. Interrupted, the same command goes on where it stopped."""
    options = locals()
    from hpdistill.cli._models import check_names
    from hpdistill.cli._shared import (
        in_steps,
        print_json,
        print_table,
        progress,
        require_train_extra,
    )
    from hpdistill.cli._shared import out as console
    from hpdistill.errors import UsageError
    from hpdistill.manifest import read_manifest
    from hpdistill.recipe import Recipe

    given = {key: options[name] for key, name in _KEYS.items() if options[name] is not None}
    taken = {key: f"--{_KEYS[key].replace('_', '-')}" for key in given}
    chosen = parse_settings(settings, Recipe, taken)
    # On resuming, it decides what is measured and nothing else.
    recipe = _recipe(out, recipe_file, given, chosen, None if resume else evaluate, resume)
    static = recipe.student_spec.static
    if static and any(key.startswith("head.") for key in (*given, *chosen)):
        raise UsageError("a static student has no head, so that choices of one are of no use")
    if resume:
        known = read_manifest(out) or {}
        store = store or _path(known.get("store"))
        evaluate = evaluate or _path(known.get("evaluation"))
        export = export and bool(known.get("export", True))
    batch_size = recipe.training.settled(static=static).batch_size
    require_train_extra()
    with progress() as report:
        student = recipe.student_spec.model
        teachers = [encoder.model for encoder in recipe.teachers]
        names = [*teachers, *([student] if student else [])]
        check_names(names, recipe.corpus, report, begun=resume)
        from hpdistill.distill import distill as run
        from hpdistill.distill import plan as make_plan
        from hpdistill.distill import report_tables

        rest: dict[str, Any] = {
            "store": store,
            "evaluation": evaluate,
            "export": export,
            "overwrite": overwrite,
        }
        if plan:
            made = make_plan(recipe, out, **rest, report=report)
        else:
            result = run(recipe, out, **rest, report=in_steps(report, batch_size))
    if plan:
        _print_plan(made, recipe, out, as_json=as_json)
        return
    if as_json:
        print_json("distill", result.rows)
        return
    for table in report_tables(result.rows, result.stages):
        print_table(table)
    seconds = sum(stage["seconds"] for stage in result.stages.values())
    peak = max(stage["peak_memory_mb"] for stage in result.stages.values())
    if cleaned := (read_manifest(out) or {}).get("cleaned"):
        console.print(
            f"{out} is complete, and was cleaned: nothing was computed, and there is no more "
            f"{', '.join(cleaned)}",
            highlight=False,
            markup=False,
        )
    console.print(f"{result.model}: {seconds / 60:.1f} min, peak memory {peak:,} MB")


def _print_plan(plan: "Plan", recipe: "Recipe", out: Path, *, as_json: bool) -> None:
    from hpdistill.cli._shared import out as console
    from hpdistill.cli._shared import print_json, print_table, say
    from hpdistill.evaluate import Column, Table

    whole = {"stage": "all", "seconds": plan.seconds, "bytes": plan.bytes}
    rows = [*plan.rows, whole]
    if as_json:
        facts = {**plan.texts, "steps": plan.steps, "batch_size": plan.batch_size}
        print_json("distill --plan", [*plan.rows, {**whole, **facts}])
        return
    dropped = [
        f"{count:,} {reason.replace('_', ' ')}"
        for reason, count in plan.texts.items()
        if reason not in ("read", "train", "validation")
    ]
    without = f" (dropped: {', '.join(dropped)})" if dropped else ""
    say(
        console,
        f"texts: {plan.texts['train']:,} to learn from and {plan.texts['validation']:,} held out, "
        f"of {plan.texts['read']:,} read{without}",
    )
    say(console, f"steps: {plan.steps:,}, of {plan.batch_size:,} texts each")
    shown = [
        {"stage": row["stage"], "minutes": row["seconds"] / 60, "disk": row["bytes"] / 1e6}
        for row in rows
    ]
    columns = [
        Column(key="stage", title="stage"),
        Column(key="minutes", title="minutes", format=",.1f"),
        Column(key="disk", title="MB on disk", format=",.1f"),
    ]
    print_table(Table(columns=columns, rows=shown))
    say(console, "minutes: an estimate, by the speed of a sample on this machine as it is now")
    if recipe.augment is not None:
        say(console, "copies by [augment] are not counted: each adds to every stage")
    say(console, f"nothing was written to {out}")


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _recipe(
    out: Path,
    recipe_file: Path | None,
    given: dict[str, Any],
    chosen: dict[str, Any],
    evaluate: Path | None,
    resume: bool,
) -> "Recipe":
    """The recipe of a file, of the run, or of the options; options change a file's choices.

    Args:
        out: The run directory.
        recipe_file: Of `--recipe`.
        given: What options say, by keys of the recipe.
        chosen: What `--set` says.
        evaluate: Evaluation folder, whose sentences are kept out.
        resume: Take the recipe of the run.
    """
    from hpdistill.errors import RunError, UsageError
    from hpdistill.recipe import Recipe, WeightedModel

    base: dict[str, Any] = {}
    kept = out / "recipe.toml"
    if resume:
        if recipe_file is not None:
            raise UsageError("--resume goes on with the recipe of the run; leave out --recipe")
        if not kept.is_file():
            raise RunError(f"{out} holds no run to resume")
        base = Recipe.load(kept).to_dict()
    elif recipe_file is not None:
        base = Recipe.load(recipe_file).to_dict()
    if "teachers" in given:
        parsed = [WeightedModel.parse(name) for name in given["teachers"]]
        given["teachers"] = [{"model": p.model, "weight": p.weight} for p in parsed]
    if "augment.methods" in given:
        given["augment.methods"] = given["augment.methods"].split(",")
    apply(base, chosen)
    # Beside the recipe's own, never instead: its evaluation sentences would come in.
    own = base.get("corpus", {}).get("exclude", [])
    added = [*given.pop("corpus.exclude", []), *([str(evaluate)] if evaluate else [])]
    if added:
        given["corpus.exclude"] = [*own, *(one for one in dict.fromkeys(added) if one not in own)]
    apply(base, given)
    missing = [
        option
        for option, present in (
            ("--teacher", "teachers" in base),
            ("--student", "student" in base),
            ("--sentences", "sources" in base.get("corpus", {})),
        )
        if not present
    ]
    if missing:
        raise UsageError(f"missing {', '.join(missing)}", hint="Give them, or --recipe FILE.")
    recipe = Recipe.from_dict(base)
    if resume and recipe.hash != Recipe.load(kept).hash:
        raise UsageError(
            f"--resume goes on with the recipe of {out}, and these options change it",
            hint="Leave them out, or start anew with --overwrite.",
        )
    return recipe
