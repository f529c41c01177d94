"""`hpd whiten` and `hpd pca`: fewer numbers in closed form, no training."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hpdistill.baselines import Reduced
    from hpdistill.recipe import CorpusRecipe

__all__ = ["register"]


class Precision(StrEnum):
    """In which the sentences are embedded."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


Model = Annotated[str, typer.Argument(metavar="MODEL", help="Path, short name or hub id.")]
Sources = Annotated[
    list[str],
    typer.Option(
        "--sentences",
        metavar="SRC",
        help="Sentences to fit on: as hpd distill takes them. Repeat for more.",
    ),
]
Dim = Annotated[int, typer.Option(help="Width K of the new vectors.")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Directory of the new model.")]
Seed = Annotated[int, typer.Option(help="Of the sample, and of the sentences held out.")]
TextColumn = Annotated[
    list[str] | None,
    typer.Option("--column", help="Column of tabular sources; repeat it to join several."),
]
Delimiter = Annotated[
    str | None,
    typer.Option(
        metavar="C",
        help="What divides columns of .csv and .tsv. [default: found in the first rows]",
    ),
]
Encoding = Annotated[str, typer.Option(help="Of text files.")]
Errors = Annotated[str, typer.Option(help="Undecodable bytes: strict, replace or ignore.")]
Split = Annotated[
    str,
    typer.Option(
        help="Texts of over 200 words: fit on their passages or sentences, or none of them."
    ),
]
Limit = Annotated[int | None, typer.Option(help="Sample so many sentences.")]
Exclude = Annotated[
    list[str] | None,
    typer.Option(metavar="PATH", help="Evaluation folder whose sentences are kept out."),
]
Store = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Keep embeddings here; distillations may share it."),
]
Embedding = Annotated[Precision, typer.Option("--precision", help="Of embedding the sentences.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what DIR holds.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def register(app: typer.Typer) -> None:
    """Add the commands `whiten` and `pca`."""
    app.command()(whiten)
    app.command()(pca)


def whiten(
    model: Model,
    *,
    sentences: Sources,
    dim: Dim,
    out: Out,
    seed: Seed = 0,
    column: TextColumn = None,
    delimiter: Delimiter = None,
    encoding: Encoding = "utf-8",
    errors: Errors = "strict",
    split: Split = "passages",
    limit: Limit = None,
    exclude: Exclude = None,
    store: Store = None,
    precision: Embedding = Precision.auto,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Whiten a model's vectors and cut them to K numbers (Su et al. 2021)."""
    corpus = _corpus(sentences, column, delimiter, encoding, errors, split, limit, exclude)
    _run("whiten", model, corpus, out, as_json, dim, seed, store, precision, overwrite)


def pca(
    model: Model,
    *,
    sentences: Sources,
    dim: Dim,
    out: Out,
    centred: Annotated[
        bool, typer.Option("--centred", help="Subtract the mean before projecting.")
    ] = False,
    whitening: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Divide components by this power of their standard deviations."
        ),
    ] = 0.0,
    seed: Seed = 0,
    column: TextColumn = None,
    delimiter: Delimiter = None,
    encoding: Encoding = "utf-8",
    errors: Errors = "strict",
    split: Split = "passages",
    limit: Limit = None,
    exclude: Exclude = None,
    store: Store = None,
    precision: Embedding = Precision.auto,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Cut a model's vectors to their first K principal components."""
    corpus = _corpus(sentences, column, delimiter, encoding, errors, split, limit, exclude)
    more = {"centred": centred, "whitening": whitening}
    _run("pca", model, corpus, out, as_json, dim, seed, store, precision, overwrite, **more)


def _corpus(
    sentences: list[str],
    column: list[str] | None,
    delimiter: str | None,
    encoding: str,
    errors: str,
    split: str,
    limit: int | None,
    exclude: list[str] | None,
) -> "CorpusRecipe":
    from hpdistill.recipe import CorpusRecipe

    return CorpusRecipe(
        sources=tuple(sentences),
        column=tuple(column) if column else None,
        delimiter=delimiter,
        encoding=encoding,
        errors=errors,  # type: ignore[arg-type]  # checked there
        split=split,  # type: ignore[arg-type]  # checked there
        limit=limit,
        exclude=tuple(exclude or ()),
    )


def _run(
    command: str,
    model: str,
    corpus: "CorpusRecipe",
    out: Path,
    as_json: bool,
    dim: int,
    seed: int,
    store: Path | None,
    precision: Precision,
    overwrite: bool,
    **more: Any,  # noqa: ANN401 - of one command only
) -> None:
    from hpdistill.cli._models import check_names
    from hpdistill.cli._shared import print_json, print_table, progress, require_train_extra

    require_train_extra()
    with progress() as report:
        check_names([model], corpus, report)
        from hpdistill import baselines

        result: Reduced = getattr(baselines, command)(
            model,
            corpus,
            out,
            dim=dim,
            seed=seed,
            store=store,
            precision=precision.value,
            overwrite=overwrite,
            report=report,
            **more,
        )
    if as_json:
        print_json(command, [result.row])
        return
    print_table(baselines.reduced_table(result.row))
