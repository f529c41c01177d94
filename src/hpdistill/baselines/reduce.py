"""Fewer numbers in closed form: a model, and a dense layer of whitening or PCA behind it."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Transformer
from torch import nn

from hpdistill.card import model_name, source_name, write_card
from hpdistill.corpus import Corpus, build_corpus, content_hashes
from hpdistill.errors import HpdError, RunError, UsageError
from hpdistill.evaluate import Column, Section, Table, evaluate_fidelity
from hpdistill.files import (
    alone_in,
    atomic_directory,
    check_work_directory,
    check_writable,
    json_hash,
    make_directory,
    read_json,
    write_json,
)
from hpdistill.machine import machine, versions
from hpdistill.progress import Report, silent
from hpdistill.projection import Projection, check_dim, fit_pca, fit_whitening
from hpdistill.pytorch import load_model
from hpdistill.recipe import CorpusRecipe, TeacherRecipe, prefixes_of
from hpdistill.student import assemble, save_student
from hpdistill.teacher import EmbeddedCorpus, embed_corpus, encoder_identity
from hpdistill.weights import ModelSource, resolve

__all__ = ["Reduced", "pca", "reduced_table", "whiten"]

CODE = 1
"""Raised when the same inputs give another model."""

FORMAT = 1

Kind = Literal["whitening", "pca"]


@dataclass(frozen=True)
class Reduced:
    """A model with a closed-form layer behind it."""

    model: Path
    """The model directory."""
    row: dict[str, Any]
    """What it is, flat: `model, base, kind, whitening, dim, width, sentences, excluded,
    explained_share, spearman, precision, seconds, seed`. `spearman` is its fidelity to the whole
    vectors, on sentences held out."""


def whiten(
    model: str,
    corpus: CorpusRecipe,
    out: Path,
    *,
    dim: int,
    seed: int = 0,
    store: Path | None = None,
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    overwrite: bool = False,
    report: Report = silent,
) -> Reduced:
    """Whiten a model's unit vectors and cut them: Whitening-k (Su et al. 2021).

    The same call goes on with an interrupted one.

    Args:
        model: A path, a short name or a hub id.
        corpus: Sentences; mean and covariance are of those that are not held out.
        out: Directory of the new model.
        dim: Number k of dimensions.
        seed: Of the sample and of the sentences held out.
        store: Where embeddings are kept, as in a distillation, which may share it; None: beside
            `out` until it is done.
        precision: In which the sentences are embedded; `auto`: bfloat16 where that is faster and
            faithful.
        overwrite: Replace another such model.
        report: Progress.

    Raises:
        UsageError: k does not fit the model or the sentences, or the model is static.
        CorpusError: Sentences that cannot be read, or not enough of them.
        WeightsError: A model that cannot be found, verified, trusted or loaded.
        RunError: `out` holds something else, a full disk, or another process is making it.
    """
    choices = _Choices("whitening", dim, True, seed, precision, 1.0)
    return _reduce(model, corpus, out, choices, store, overwrite, report)


def pca(
    model: str,
    corpus: CorpusRecipe,
    out: Path,
    *,
    dim: int,
    centred: bool = False,
    whitening: float = 0.0,
    seed: int = 0,
    store: Path | None = None,
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    overwrite: bool = False,
    report: Report = silent,
) -> Reduced:
    """Cut a model's unit vectors to their first principal components: PCA-k.

    Of a teacher it is what its students of this width aim at. Arguments and errors are those of
    `whiten`, but for two: `centred` subtracts the mean before projecting, and `whitening` divides
    each component by that power of the standard deviation along it, 0 to 1. A distillation does
    neither unless it is told to.
    """
    choices = _Choices("pca", dim, centred, seed, precision, whitening)
    return _reduce(model, corpus, out, choices, store, overwrite, report)


@dataclass(frozen=True)
class _Choices:
    kind: Kind
    dim: int
    centred: bool
    seed: int
    precision: Literal["auto", "float32", "bfloat16"]
    whitening: float
    """Power of the standard deviations that components are divided by."""


def _reduce(
    model: str,
    corpus: CorpusRecipe,
    out: Path,
    choices: _Choices,
    store: Path | None,
    overwrite: bool,
    report: Report,
) -> Reduced:
    place = out.resolve()  # `.` has no name to put another beside
    check_writable(place)
    if store is not None and store.resolve().is_relative_to(place):
        raise UsageError(
            f"the store {store} lies in {out}, which is replaced when it is done",
            hint="Give a store elsewhere.",
        )
    source = resolve(model, report=report)
    contents = content_hashes(corpus.reads)
    inputs = json_hash(
        [CODE, encoder_identity(source), corpus.identity(), contents, asdict(choices)]
    )
    if (row := _finished(place, inputs, overwrite=overwrite)) is not None:
        return Reduced(out, row)
    base = load_model(source.path)
    width = _check(base, source, choices.dim)
    started = time.perf_counter()
    with _work_beside(place) as work:
        # Again: whoever held the lock may have finished it.
        if (row := _finished(place, inputs, overwrite=overwrite)) is not None:
            return Reduced(out, row)
        with atomic_directory(work / "corpus") as temporary:
            read = build_corpus(corpus, temporary, seed=choices.seed, report=report)
        opened = Corpus.open(work / "corpus")
        opened.check_held_out()
        check_dim(choices.dim, width=width, sentences=opened.count("train"))
        embedded = embed_corpus(
            source,
            opened,
            store or work / "embeddings",
            recipe=TeacherRecipe(precision=choices.precision),
            report=report,
        )
        if choices.kind == "whitening":
            projection = fit_whitening(embedded.shards("train"), choices.dim)
        else:
            projection = fit_pca(
                embedded.shards("train"),
                choices.dim,
                centred=choices.centred,
                whitening=choices.whitening,
            )
        prefixes = _fidelity(projection, embedded)
        row = {
            "model": str(out),
            "base": source.name,
            "kind": choices.kind,
            "whitening": choices.whitening,
            "dim": choices.dim,
            "width": width,
            "sentences": read.train,
            "excluded": read.dropped["excluded"],
            "explained_share": round(projection.explained_share, 4),
            "spearman": prefixes[str(choices.dim)],
            "precision": embedded.precision,
            "seconds": round(time.perf_counter() - started, 1),
            "seed": choices.seed,
        }
        description = {
            "format": FORMAT,
            "dim": choices.dim,
            "prefixes": prefixes,
            "baseline": {
                "kind": choices.kind,
                "base": {"model": source.name, **encoder_identity(source)},
                "text_hash": read.text_hash,
                "corpus": read.counts,
                "inputs": inputs,
                "row": row,
            },
            "versions": versions(),
            "machine": machine(),
        }
        with atomic_directory(place) as temporary:
            save_student(_behind(base, projection), temporary)
            write_json(temporary / "hpd.json", description)
            _write_card(temporary, source.name, corpus, row)
    return Reduced(out, row)


def reduced_table(row: dict[str, Any]) -> Table:
    """What `whiten` and `pca` measured, for people."""
    columns = [
        Column(key="model", title="model"),
        Column(key="dim", title="dim", format="d", meaning="Numbers in a vector."),
        Column(key="width", title="of", format="d", meaning="Numbers in a vector before."),
        Column(key="sentences", title="sentences", format=",d", meaning="What it was fitted on."),
        Column(
            key="excluded",
            title="excluded",
            format=",d",
            meaning="Left out, as they are in the evaluation data or too near to it.",
        ),
        Column(
            key="explained_share",
            title="variance",
            format=".3f",
            meaning="Share of the variance that is kept, at most 1. More is better.",
        ),
        Column(
            key="spearman",
            title="fidelity",
            format=".4f",
            meaning="Rank correlation (Spearman) of the cosines of any two held-out sentences "
            "with those of the whole vectors, at most 1. More is better; whitening changes the "
            "cosines on purpose.",
        ),
        Column(key="seconds", title="s", format=",.0f", meaning="Seconds that it took."),
    ]
    return Table(columns=columns, rows=[row])


def _write_card(directory: Path, base: str, corpus: CorpusRecipe, row: dict[str, Any]) -> None:
    named, dim, power = model_name(base), row["dim"], row["whitening"]
    if row["kind"] == "whitening":
        command, how = "whiten", f"whitened and cut to {dim} numbers (Su et al. 2021)"
    else:
        command, how = "pca", f"cut to their first {dim} principal components"
        how += f", each divided by the power {power:g} of its deviation" if power else ""
    table = replace(reduced_table(row), rows=[{**row, "model": f"{named}, {row['kind']}"}])
    sources = ", ".join(map(source_name, corpus.sources))
    write_card(
        directory,
        title=f"{named}, {row['kind']} to {dim} numbers",
        summary=(
            f"The vectors of {named}, {how}, in closed form by `hpd {command}` of hpdistill: a "
            "dense layer behind the model, which is otherwise as it was."
        ),
        sections=[
            Section(title="Measured", tables=[table], terms=table.meanings),
            Section(
                title="Made from",
                paragraphs=[
                    f"{row['sentences']:,} unlabelled sentences ({sources}), seed {row['seed']}; "
                    "`hpd.json` has all choices."
                ],
            ),
        ],
        name=f"{named} {row['kind']} {dim}",
        models=[base],
        sources=corpus.sources,
        tags=[row["kind"]],
    )


def _finished(out: Path, inputs: str, *, overwrite: bool) -> dict[str, Any] | None:
    """The row of a directory that is done already; None if there is work to do.

    Raises:
        RunError: It is of other inputs and not to be replaced, or something else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        made = read_json(out / "hpd.json")["baseline"]
        known, row = made["inputs"], dict(made["row"])
    except (OSError, HpdError, LookupError, TypeError) as error:
        raise RunError(
            f"{out} exists and is not what this command makes", hint="Give `out` a new directory."
        ) from error
    if overwrite:
        return None
    if known == inputs:
        return row
    raise RunError(
        f"{out} was made of other choices",
        hint="Give `out` a new directory, or `overwrite=True` to replace it.",
    )


@contextmanager
def _work_beside(out: Path) -> Iterator[Path]:
    """A directory of this process alone, for what is worth keeping until the model is there."""
    work = out.with_name(f"{out.name}.partial")
    check_work_directory(work, "unfinished embeddings")
    make_directory(work)
    with alone_in(work):
        yield work
        shutil.rmtree(work, ignore_errors=True)


def _check(base: SentenceTransformer, source: ModelSource, dim: int) -> int:
    """The model's width.

    Raises:
        UsageError: It has none, or k is too large.
    """
    if not isinstance(base[0], Transformer):
        raise UsageError(
            f"{source.name} starts with a {type(base[0]).__name__}; allowed: a Transformer",
            hint="A static model is cut by distilling it to a smaller `dim`.",
        )
    width = int(base.get_embedding_dimension() or 0)
    if not 1 <= dim <= width:
        raise UsageError(f"dim is {dim}; {source.name} has 1 to {width}")
    return width


def _fidelity(projection: Projection, embedded: EmbeddedCorpus) -> dict[str, float]:
    """Of each prefix to the whole vectors, on the validation split."""
    whole = np.concatenate(list(embedded.shards("validation")))
    vectors = projection.apply(whole)
    return {
        str(dim): round(evaluate_fidelity(vectors[:, :dim], whole).spearman, 4)
        for dim in prefixes_of(projection.dim)
    }


def _behind(base: SentenceTransformer, projection: Projection) -> SentenceTransformer:
    """The model with the projection of its unit vectors as a dense layer, and normalised again."""
    modules: list[nn.Module] = list(base)
    while isinstance(modules[-1], Normalize):
        modules.pop()
    if projection.centred:
        modules.append(Normalize())  # without a mean, lengths do not change directions
    dense = Dense(
        projection.width,
        projection.dim,
        bias=projection.centred,
        activation_function=nn.Identity(),
    )
    with torch.no_grad():
        dense.linear.weight.copy_(torch.from_numpy(projection.components))
        if projection.centred:
            shift = projection.components.astype(np.float64) @ projection.mean
            dense.linear.bias.copy_(torch.from_numpy(-shift))
    return assemble(base, [*modules, dense, Normalize()])
