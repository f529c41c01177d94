"""`hpd train`: the encoders that distillation is compared with, and teachers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hpdistill.recipe import SimcseRecipe

__all__ = ["register"]

_app = typer.Typer(help="Train encoders without a teacher: baselines, and teachers.")

_BACKBONE = "Path, hub id, short name, or layers:MODEL:0,2,4."
_NLI = (
    "Labelled pairs, for supervised training: AllNLI's file, the .jsonl of SNLI or MNLI, "
    "allnli[:PATH][:train|dev|test], or hf:DATASET. Repeat for more."
)
_SOURCE = "Sentences, with --unsupervised: as hpd distill takes them. Repeat for more."


def register(app: typer.Typer) -> None:
    """Add the command group `train`."""
    app.add_typer(_app, name="train", no_args_is_help=True)


@_app.callback()
def _group() -> None:
    """Keep the name of the only command part of the command line."""


@_app.command()
def simcse(
    *,
    backbone: Annotated[str, typer.Option(metavar="B", help=_BACKBONE)],
    out: Annotated[
        Path, typer.Option(metavar="RUN", help="Run directory; the model is RUN/model.")
    ],
    nli: Annotated[list[str] | None, typer.Option(metavar="SRC", help=_NLI)] = None,
    unsupervised: Annotated[
        bool, typer.Option("--unsupervised", help="Learn from sentences alone, by dropout.")
    ] = False,
    sentences: Annotated[list[str] | None, typer.Option(metavar="SRC", help=_SOURCE)] = None,
    dim: Annotated[
        int | None, typer.Option(help="End with a trained projection to so many numbers.")
    ] = None,
    pooling: Annotated[
        str | None,
        typer.Option(help="Of tokens: mean, cls, lasttoken, ... [default: the model's own]"),
    ] = None,
    temperature: Annotated[float, typer.Option(help="Cosines are divided by it.")] = 0.05,
    epochs: Annotated[
        float | None, typer.Option(help="Passes. [default: 3; unsupervised: 1]")
    ] = None,
    max_steps: Annotated[int | None, typer.Option(help="Stop after so many steps.")] = None,
    batch_size: Annotated[int, typer.Option(help="Triplets or sentences.")] = 64,
    learning_rate: Annotated[
        float | None, typer.Option(help="Its peak. [default: 5e-5; unsupervised: 3e-5]")
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="Longer sentences are cut in training.")] = 64,
    precision: Annotated[
        str, typer.Option(help="Of training: auto, float32 or bfloat16.")
    ] = "auto",
    evaluate_every: Annotated[int, typer.Option(help="Steps between two checkpoints.")] = 250,
    seed: Annotated[int, typer.Option()] = 0,
    column: Annotated[str | None, typer.Option(help="Column of tabular sentences.")] = None,
    encoding: Annotated[str, typer.Option(help="Of text files.")] = "utf-8",
    errors: Annotated[
        str, typer.Option(help="Undecodable bytes: strict, replace or ignore.")
    ] = "strict",
    limit: Annotated[int | None, typer.Option(help="Sample so many examples.")] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Evaluation folder whose sentences are kept out."),
    ] = None,
    evaluate: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="STS folder: keep the weights best on the STS benchmark's development set, and "
            "keep all of its sentences out of training.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run of another recipe.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train an encoder contrastively (SimCSE). Interrupted, the same command goes on."""
    from hpdistill.cli._models import check_names
    from hpdistill.cli._shared import print_json, print_table, progress, require_train_extra
    from hpdistill.evaluate import Column, Table

    data: dict[str, Any] = {
        "encoding": encoding,
        "errors": errors,
        "limit": limit,
        "exclude": list(dict.fromkeys([*(exclude or []), *([str(evaluate)] if evaluate else [])])),
    }
    recipe = _recipe(
        nli,
        sentences,
        data,
        column=column,
        unsupervised=unsupervised,
        choices={
            "backbone": backbone,
            "pooling": pooling,
            "dim": dim,
            "temperature": temperature,
            "epochs": epochs,
            "max_steps": max_steps,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "max_tokens": max_tokens,
            "precision": precision,
            "evaluate_every": evaluate_every,
            "seed": seed,
        },
    )
    require_train_extra()
    with progress() as report:
        check_names([recipe.backbone_spec.model], recipe.corpus, report)
        from hpdistill.baselines import train_simcse

        result = train_simcse(recipe, out, evaluation=evaluate, overwrite=overwrite, report=report)
    if as_json:
        print_json("train simcse", [result.row])
        return
    columns = [
        Column(key="model", title="model"),
        Column(key="dim", title="dim", format="d"),
        Column(key="examples", title="examples", format=",d"),
        Column(key="excluded", title="excluded", format=",d"),
        Column(key="steps", title="steps", format=",d"),
        Column(key="best_step", title="kept", format=",d"),
        Column(key="loss", title="loss", format=".3f"),
        Column(key="sts_dev", title="STS-B dev", format=".2f"),
        Column(key="seconds", title="s", format=",.0f"),
    ]
    print_table(Table(columns=columns, rows=[result.row]))


def _recipe(
    nli: list[str] | None,
    sentences: list[str] | None,
    data: dict[str, Any],
    *,
    column: str | None,
    unsupervised: bool,
    choices: dict[str, Any],
) -> "SimcseRecipe":
    from hpdistill.errors import UsageError
    from hpdistill.recipe import SimcseRecipe

    wanted, unwanted = ("--sentences", "--nli") if unsupervised else ("--nli", "--sentences")
    given = {"--nli": nli, "--sentences": sentences}
    if not given[wanted]:
        raise UsageError(
            f"missing {wanted}",
            hint="Labelled pairs by --nli, or sentences by --unsupervised --sentences.",
        )
    if given[unwanted]:
        raise UsageError(
            f"{unwanted} {'does not go with' if unsupervised else 'needs'} --unsupervised"
        )
    if column is not None and not unsupervised:
        raise UsageError("--column needs --unsupervised: triplets have columns of their own")
    section = {"sources": given[wanted], **data}
    if unsupervised:
        section["column"] = column
    choices["corpus" if unsupervised else "nli"] = _given(section)
    return SimcseRecipe.from_dict(_given(choices))


def _given(choices: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in choices.items() if value is not None}
