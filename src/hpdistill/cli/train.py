"""`hpd train`: the encoders that distillation is compared with, and teachers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from hpdistill.cli._command import App, named
from hpdistill.cli._settings import Settings, apply, parse_settings

__all__ = ["register"]

_app = App(help="Train encoders without a teacher: baselines, and teachers.")

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


_OWN = (
    "backbone",
    "pooling",
    "dim",
    "temperature",
    "epochs",
    "max_steps",
    "batch_size",
    "learning_rate",
    "max_tokens",
    "precision",
    "evaluate_every",
    "seed",
)
_OF_TEXT = ("encoding", "errors", "limit", "exclude")
_KEYS = {
    **{key: key for key in _OWN},
    **{f"{section}.{key}": key for section in ("nli", "corpus") for key in _OF_TEXT},
    "nli.sources": "nli",
    "corpus.sources": "sentences",
    "corpus.column": "column",
    "corpus.delimiter": "delimiter",
    "corpus.split": "split",
}
"""Keys of a recipe that have an option, and its parameter here; `--set` gives the others."""


@_app.command()
@named({**_KEYS, "evaluation": "evaluate"})
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
    temperature: Annotated[
        float | None, typer.Option(help="Cosines are divided by it. [default: 0.05]")
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(help="Passes. [default: 3; unsupervised: 1]")
    ] = None,
    max_steps: Annotated[int | None, typer.Option(help="Stop after so many steps.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Triplets or sentences. [default: 64]")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Its peak. [default: 5e-5; unsupervised: 3e-5]")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Longer sentences are cut in training. [default: 64]")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Of training: auto, float32 or bfloat16. [default: auto]")
    ] = None,
    evaluate_every: Annotated[
        int | None, typer.Option(help="Steps between two checkpoints. [default: 250]")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="[default: 0]")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="Column of tabular sentences; repeat it to join several."),
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(
            metavar="C",
            help="What divides columns of sentences. [default: found in the first rows]",
        ),
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Of text files. [default: utf-8]")] = None,
    errors: Annotated[
        str | None,
        typer.Option(help="Undecodable bytes: strict, replace or ignore. [default: strict]"),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Sentences of over 200 words: learn from their passages or sentences, or none of "
            "them. [default: passages]"
        ),
    ] = None,
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
    settings: Settings = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run of another recipe.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train an encoder contrastively (SimCSE). Interrupted, the same command goes on."""
    options = locals()
    from hpdistill.cli._models import check_names
    from hpdistill.cli._shared import (
        in_steps,
        print_json,
        print_table,
        progress,
        require_train_extra,
    )
    from hpdistill.recipe import SimcseRecipe

    of_sentences = {"--column": column, "--delimiter": delimiter, "--split": split}
    _check_sources(nli, sentences, of_sentences, unsupervised=unsupervised)
    section = "corpus" if unsupervised else "nli"
    keys = {key: name for key, name in _KEYS.items() if key.startswith((*_OWN, f"{section}."))}
    given = {key: options[name] for key, name in keys.items() if options[name] is not None}
    taken = {key: f"--{_KEYS[key].replace('_', '-')}" for key in given}
    chosen = parse_settings(settings, SimcseRecipe, taken)
    choices: dict[str, Any] = {}
    apply(choices, given)
    apply(choices, chosen)
    excluded = [*choices[section].get("exclude", []), *([str(evaluate)] if evaluate else [])]
    choices[section]["exclude"] = list(dict.fromkeys(excluded))
    recipe = SimcseRecipe.from_dict(choices)
    require_train_extra()
    with progress() as report:
        check_names([recipe.backbone_spec.model], recipe.corpus, report)
        from hpdistill.baselines import simcse_table, train_simcse

        result = train_simcse(
            recipe,
            out,
            evaluation=evaluate,
            overwrite=overwrite,
            report=in_steps(report, recipe.batch_size),
        )
    if as_json:
        print_json("train simcse", [result.row])
        return
    print_table(simcse_table(result.row))


def _check_sources(
    nli: list[str] | None,
    sentences: list[str] | None,
    of_sentences: Mapping[str, object],
    *,
    unsupervised: bool,
) -> None:
    """Refuse what does not go with the kind of training."""
    from hpdistill.errors import UsageError

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
    for option, value in of_sentences.items():
        if value is not None and not unsupervised:
            raise UsageError(f"{option} needs --unsupervised: of labelled pairs it is no choice")
