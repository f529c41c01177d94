"""`hpd augment`: sentences in other words, each copy linked to its original."""

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpdistill.cli._command import App

if TYPE_CHECKING:
    from hpdistill.corpus.augment import Judge
    from hpdistill.progress import Report
    from hpdistill.recipe import AugmentRecipe

__all__ = ["register"]

_app = App(help="Say sentences in other words: by synonyms, or by translation and back.")


class Translator(StrEnum):
    """Of sentences."""

    apertium = "apertium"
    marian = "marian"


In = Annotated[str, typer.Argument(metavar="IN", help="Sentences: a file, hf:DATASET, or pydoc.")]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="A .jsonl; a line for every copy.")]
Column = Annotated[
    list[str] | None, typer.Option(help="Column of a tabular source; repeat it to join several.")
]
Delimiter = Annotated[
    str | None,
    typer.Option(
        metavar="C",
        help="What divides columns of .csv and .tsv. [default: found in the first rows]",
    ),
]
Encoding = Annotated[str, typer.Option(help="Of a text file.")]
Errors = Annotated[str, typer.Option(help="Undecodable bytes: strict, replace or ignore.")]
Exclude = Annotated[
    list[str] | None,
    typer.Option(metavar="PATH", help="Evaluation folder whose sentences are kept out."),
]
Teacher = Annotated[
    str | None,
    typer.Option(metavar="T", help="Drop the copies that mean something else to this model."),
]
Similarity = Annotated[float, typer.Option(help="The least cosine to the original, by --teacher.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace OUT, and what is unfinished of it.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def register(app: typer.Typer) -> None:
    """Add the command group `augment`."""
    app.add_typer(_app, name="augment", no_args_is_help=True)


@_app.command()
def wordnet(
    source: In,
    out: Out,
    *,
    share: Annotated[float, typer.Option(help="Of the content words that are replaced.")] = 0.3,
    senses: Annotated[
        int, typer.Option(help="Take synonyms of so many senses of a word, the commonest first.")
    ] = 1,
    dictionary: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="WordNet's dictionary. [default: the one found here]"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides which words.")] = 0,
    column: Column = None,
    delimiter: Delimiter = None,
    encoding: Encoding = "utf-8",
    errors: Errors = "strict",
    exclude: Exclude = None,
    teacher: Teacher = None,
    min_similarity: Similarity = 0.8,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Replace words by WordNet's synonyms. Interrupted, the same command goes on."""
    from hpdistill.recipe import AugmentRecipe

    recipe = AugmentRecipe(
        methods=("wordnet",),
        share=share,
        senses=senses,
        dictionary=None if dictionary is None else str(dictionary),
        min_similarity=min_similarity,
    )
    reading: dict[str, Any] = {
        "column": column,
        "delimiter": delimiter,
        "encoding": encoding,
        "errors": errors,
    }
    _run(recipe, source, reading, out, seed, exclude, teacher, overwrite, as_json)


@_app.command()
def backtranslate(
    source: In,
    out: Out,
    *,
    translator: Annotated[
        Translator, typer.Option(help="Rules, or neural models.")
    ] = Translator.apertium,
    language: Annotated[
        str | None, typer.Option(help="Go through it. [default: spa; es for marian]")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Marian's, twice: there and back. [default: OPUS-MT's of the language]"),
    ] = None,
    column: Column = None,
    delimiter: Delimiter = None,
    encoding: Encoding = "utf-8",
    errors: Errors = "strict",
    exclude: Exclude = None,
    teacher: Teacher = None,
    min_similarity: Similarity = 0.8,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Translate to another language and back. Interrupted, the same command goes on."""
    from hpdistill.recipe import AugmentRecipe

    recipe = AugmentRecipe(
        methods=("backtranslate",),
        translator=translator.value,
        language=language,
        models=tuple(model or ()),
        min_similarity=min_similarity,
    )
    reading: dict[str, Any] = {
        "column": column,
        "delimiter": delimiter,
        "encoding": encoding,
        "errors": errors,
    }
    _run(recipe, source, reading, out, 0, exclude, teacher, overwrite, as_json)


def _run(
    recipe: "AugmentRecipe",
    source: str,
    reading: dict[str, Any],
    out: Path,
    seed: int,
    exclude: list[str] | None,
    teacher: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    from hpdistill.cli._shared import out as console
    from hpdistill.cli._shared import print_json, progress, say
    from hpdistill.corpus import excluded_keys
    from hpdistill.corpus.augment import check_copies_output, open_augmenter, write_copies
    from hpdistill.corpus.readers import (
        check_column,
        check_divided,
        check_source,
        read_source,
        tell_delimiter,
    )

    check_source(source, **reading)
    check_column(source, reading["column"])
    check_divided(source, reading["delimiter"])
    check_copies_output(out, overwrite=overwrite)
    texts = read_source(source, **reading)
    excluded = excluded_keys(exclude or ())
    started = time.perf_counter()
    with (
        progress() as report,
        open_augmenter(recipe.methods[0], recipe, seed=seed, report=report) as augmenter,
    ):
        tell_delimiter(source, **reading)
        judge, identity = _judge(teacher, recipe.min_similarity, report)
        summary = write_copies(
            texts,
            augmenter,
            out,
            excluded=excluded,
            judge=judge,
            judge_identity=identity,
            overwrite=overwrite,
            total=_count(source, reading),
            report=report,
        )
    seconds = time.perf_counter() - started
    row = {
        **{key: value for key, value in summary.to_dict().items() if key != "dropped"},
        **summary.dropped,
        "resumed": summary.resumed,
        "seconds": round(seconds, 3),
        "sentences_per_second": round((summary.sentences - summary.resumed) / seconds, 1),
        "out": str(out),
    }
    if as_json:
        print_json(f"augment {summary.augmenter}", [row])
        return
    why = ", ".join(
        f"{n:,} {reason.replace('_', ' ')}" for reason, n in summary.dropped.items() if n
    )
    say(
        console,
        f"{out}: {summary.kept:,} copies of {summary.sentences:,} sentences"
        f"{f' (without: {why})' if why else ''}, {seconds:.1f} s",
    )


def _judge(
    teacher: str | None, threshold: float, report: "Report"
) -> "tuple[Judge | None, object]":
    """Who decides whether a copy still means the same, and what decides its opinion."""
    if teacher is None:
        return None, None
    from hpdistill.cli._shared import require_train_extra
    from hpdistill.corpus.augment import Judge
    from hpdistill.weights import resolve

    require_train_extra()
    from hpdistill.pytorch import TorchEncoder
    from hpdistill.teacher import encoder_identity

    found = resolve(teacher, report=report)
    return Judge(TorchEncoder.load(found), threshold), encoder_identity(found)


def _count(source: str, reading: dict[str, Any]) -> int:
    """How many sentences there are, 0 if that cannot be known."""
    from hpdistill.corpus.readers import read_source

    if not Path(source).is_file():
        return 0
    return sum(1 for _ in read_source(source, **reading))
