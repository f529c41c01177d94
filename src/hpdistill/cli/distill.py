"""`hpd distill`: sentences and a teacher in, a small model and its measured table out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
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


def register(app: typer.Typer) -> None:
    """Add the command `distill`."""
    app.command()(distill)


def distill(
    *,
    out: Annotated[
        Path, typer.Option(metavar="RUN", help="Run directory; the model is RUN/model.")
    ],
    teacher: Annotated[list[str] | None, typer.Option(metavar="T", help=_TEACHER)] = None,
    student: Annotated[str | None, typer.Option(metavar="S", help=_STUDENT)] = None,
    sentences: Annotated[list[str] | None, typer.Option(metavar="SRC", help=_SOURCE)] = None,
    dim: Annotated[
        int | None, typer.Option(help="Width k of the embeddings. [default: 128]")
    ] = None,
    recipe_file: Annotated[
        Path | None, typer.Option("--recipe", metavar="FILE", help="Replay a recipe.toml.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="[default: 0]")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            "--text-column",
            help="Column of tabular sources; repeat it to join several.",
        ),
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(
            metavar="C",
            help="What divides columns of .csv and .tsv. [default: found in the first rows]",
        ),
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Of text files. [default: utf-8]")] = None,
    errors: Annotated[
        str | None, typer.Option(help="Undecodable bytes: strict, replace or ignore.")
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Evaluation folder whose sentences are kept out."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Texts of over 200 words (max_words of a recipe): learn from their passages or "
            "sentences, or none of them. [default: passages]"
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Sample so many sentences.")] = None,
    validation: Annotated[
        int | None, typer.Option(help="Sentences held out. [default: 2000]")
    ] = None,
    validation_sentences: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SRC", help="Hold out sentences of these sources only. Repeat for more."
        ),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            metavar="METHODS",
            help="Train on copies, too: wordnet, backtranslate, or both with a comma between. "
            "[augment] of a recipe says how.",
        ),
    ] = None,
    translator: Annotated[
        str | None,
        typer.Option(help="Of --augment backtranslate: apertium or marian. [default: apertium]"),
    ] = None,
    min_similarity: Annotated[
        float | None,
        typer.Option(help="Drop copies whose cosine to their original is less. [default: 0.8]"),
    ] = None,
    anchor: Annotated[
        float | None,
        typer.Option(
            help="Weight of the untrained student beside the teacher; 0 is the paper's method. "
            "[default: 1 if it is a finished sentence encoder]"
        ),
    ] = None,
    centred: Annotated[
        bool | None, typer.Option("--centred", help="Subtract the mean before projecting.")
    ] = None,
    target_whitening: Annotated[
        float | None,
        typer.Option(
            help="Divide the targets' components by this power of their standard deviations: 0 is "
            "the paper's PCA, 1 whitens. [default: 0.3; static: 0]"
        ),
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="ridge, rotation or random. [default: ridge]")
    ] = None,
    activation: Annotated[
        str | None, typer.Option(help="Of the head: identity or tanh. [default: identity]")
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(help="Passes over the corpus. [default: 2; static: 4]")
    ] = None,
    max_steps: Annotated[int | None, typer.Option(help="Stop after so many steps.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="[default: 64; static: 512]")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Its peak. [default: 1e-4; static: 1e-2]")
    ] = None,
    similarity_weight: Annotated[
        float | None,
        typer.Option(help="Of the similarity-matrix loss beside the MSE. [default: 0; static: 1]"),
    ] = None,
    neighbour_weight: Annotated[
        float | None,
        typer.Option(help="Of ranking each sentence's nearest targets. [default: 2; static: 0]"),
    ] = None,
    neighbours: Annotated[
        int | None,
        typer.Option(help="That ranking draws from so many of the nearest. [default: 512]"),
    ] = None,
    ranking: Annotated[
        str | None,
        typer.Option(help="By whose cosines: teacher or targets. [default: teacher]"),
    ] = None,
    prefix_weight: Annotated[
        float | None,
        typer.Option(help="Of the losses of vectors cut to 16, 32, 64... numbers. [default: 0]"),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Of training: auto, float32 or bfloat16. [default: auto]")
    ] = None,
    teacher_precision: Annotated[
        str | None, typer.Option(help="auto, float32 or bfloat16. [default: auto]")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep teacher embeddings here, for several runs: each embeds its new sentences.",
        ),
    ] = None,
    evaluate: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="STS folder to measure the table on; its sentences are kept out of the corpus.",
        ),
    ] = None,
    export: Annotated[
        bool, typer.Option(help="End with the model's ONNX graphs, float32 and int8.")
    ] = True,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with RUN by its own recipe; needs no other option."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run of another recipe.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the table as one JSON object.")
    ] = False,
) -> None:
    """Distil a student. Interrupted, the same command goes on where it stopped."""
    from hpdistill.cli._models import check_names
    from hpdistill.cli._shared import out as console
    from hpdistill.cli._shared import print_json, print_table, progress, require_train_extra
    from hpdistill.errors import UsageError
    from hpdistill.manifest import read_manifest

    excluded = [*(exclude or []), *([str(evaluate)] if evaluate else [])]
    given = {
        "teachers": teacher,
        "student": student,
        "dim": dim,
        "seed": seed,
        "anchor": anchor,
        "corpus.sources": sentences,
        "corpus.column": column,
        "corpus.delimiter": delimiter,
        "corpus.encoding": encoding,
        "corpus.errors": errors,
        "corpus.exclude": excluded or None,
        "corpus.split": split,
        "corpus.limit": limit,
        "corpus.validation": validation,
        "corpus.validation_sources": validation_sentences,
        "augment.methods": augment.split(",") if augment is not None else None,
        "augment.translator": translator,
        "augment.min_similarity": min_similarity,
        "teacher.precision": teacher_precision,
        "projection.centred": centred,
        "projection.whitening": target_whitening,
        "head.init": head,
        "head.activation": activation,
        "training.epochs": epochs,
        "training.max_steps": max_steps,
        "training.batch_size": batch_size,
        "training.learning_rate": learning_rate,
        "training.similarity_weight": similarity_weight,
        "training.neighbour_weight": neighbour_weight,
        "training.neighbours": neighbours,
        "training.ranking": ranking,
        "training.prefix_weight": prefix_weight,
        "training.precision": precision,
    }
    recipe = _recipe(out, recipe_file, {k: v for k, v in given.items() if v is not None}, resume)
    if recipe.student_spec.static and (head is not None or activation is not None):
        raise UsageError(
            "a static student has no head, so that --head and --activation are of no use"
        )
    if resume:
        places = read_manifest(out) or {}
        store = store or _path(places.get("store"))
        evaluate = evaluate or _path(places.get("evaluation"))
        export = export and bool(places.get("export", True))
    require_train_extra()
    with progress() as report:
        student = recipe.student_spec.model
        teachers = [encoder.model for encoder in recipe.teachers]
        check_names([*teachers, *([student] if student else [])], recipe.corpus, report)
        from hpdistill.distill import distill as run
        from hpdistill.distill import report_tables

        result = run(
            recipe,
            out,
            store=store,
            evaluation=evaluate,
            export=export,
            overwrite=overwrite,
            report=report,
        )
    if as_json:
        print_json("distill", result.rows)
        return
    for table in report_tables(result.rows, result.stages):
        print_table(table)
    seconds = sum(stage["seconds"] for stage in result.stages.values())
    peak = max(stage["peak_memory_mb"] for stage in result.stages.values())
    console.print(f"{result.model}: {seconds / 60:.1f} min, peak memory {peak:,} MB")


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _recipe(
    out: Path, recipe_file: Path | None, given: dict[str, object], resume: bool
) -> "Recipe":
    """The recipe of a file, of the run, or of the options; options change a file's choices."""
    from hpdistill.errors import RunError, UsageError
    from hpdistill.recipe import Recipe, WeightedModel

    base: dict[str, object] = {}
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
        names = given["teachers"]
        assert isinstance(names, list)
        parsed = [WeightedModel.parse(name) for name in names]
        given["teachers"] = [{"model": p.model, "weight": p.weight} for p in parsed]
    for key, value in given.items():
        section, _, name = key.rpartition(".")
        table = base.setdefault(section, {}) if section else base
        assert isinstance(table, dict)
        if key == "corpus.exclude":
            # Beside the recipe's own, never instead: its evaluation sentences would come in.
            assert isinstance(value, list)
            own = table.get(name, [])
            table[name] = [*own, *(path for path in dict.fromkeys(value) if path not in own)]
        else:
            table[name] = value
    missing = [
        option
        for option, present in (
            ("--teacher", "teachers" in base),
            ("--student", "student" in base),
            ("--sentences", "corpus" in base and "sources" in base["corpus"]),  # type: ignore[operator]
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
