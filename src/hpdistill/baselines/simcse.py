"""SimCSE (Gao et al. 2021): an encoder trained to tell a sentence from those beside it.

Supervised, on what follows from a premise and what contradicts it, or unsupervised, on dropout.
With `dim` the last layer is a trained projection to so many numbers: Projection-k of the paper
that hpdistill implements. The paper's extra layer above the first token is not there.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer
from torch import nn

from hpdistill.baselines.contrast import Contrast
from hpdistill.card import model_name, source_name, write_card
from hpdistill.corpus import content_hashes, excluded_keys, read_clean_counting, read_triplets
from hpdistill.encoder import ByRole, Embeddings, Role, check_prefix, unit
from hpdistill.errors import UsageError
from hpdistill.evaluate import (
    DEV_TASK,
    Column,
    Section,
    StsData,
    Table,
    evaluate_sts,
    load_tasks,
)
from hpdistill.files import atomic_directory, json_hash, write_json
from hpdistill.loop import (
    TokenCache,
    Trained,
    checkpoint_directory,
    embed_tokens,
    fit,
    use_bfloat16,
)
from hpdistill.machine import machine, versions
from hpdistill.manifest import Manifest, has_stage, open_run
from hpdistill.progress import Report, silent
from hpdistill.pytorch import TorchEncoder
from hpdistill.recipe import HeadRecipe, SimcseRecipe
from hpdistill.student import build_student, check_student, save_student
from hpdistill.teacher import encoder_identity, text_hash
from hpdistill.weights import ModelSource, resolve

__all__ = ["ContrastivelyTrained", "simcse_table", "train_simcse"]

CODE = 1
"""Raised when a training computes something else from the same inputs."""

FORMAT = 1

TOKENIZED_AT_ONCE = 16_384
SHAPED_ON = 10_000
"""Sentences, as many as a distillation takes."""


@dataclass(frozen=True)
class ContrastivelyTrained:
    """What a contrastive training leaves."""

    model: Path
    """The model directory."""
    row: dict[str, Any]
    """How it went, flat: `model, backbone, supervised, pooling, dim, parameters, examples,
    excluded, unlabelled, steps, best_step, loss, sts_dev, seconds, precision, seed`."""


def train_simcse(
    recipe: SimcseRecipe,
    out: Path,
    *,
    evaluation: Path | None = None,
    evaluation_pairs: int | None = None,
    overwrite: bool = False,
    report: Report = silent,
) -> ContrastivelyTrained:
    """Train as the recipe says; the same call goes on with an interrupted training.

    Leaves `OUT/model`, `OUT/recipe.toml`, `OUT/manifest.json` and the last checkpoint.

    Args:
        recipe: Every choice that decides the model.
        out: The run directory.
        evaluation: Folder of STS tasks: the weights kept are those best on the STS benchmark's
            development set, which decides nothing else. None: the last weights. Its sentences
            should be among the recipe's `exclude`.
        evaluation_pairs: Of that set, score at most so many pairs, spread evenly over its gold
            scores; None: all.
        overwrite: Replace a run of another recipe.
        report: Progress.

    Raises:
        UsageError: A value that does not fit the backbone, such as a layer that it lacks.
        CorpusError: Sentences or pairs that cannot be read, or not enough of them.
        WeightsError: A backbone that cannot be found, verified, trusted or loaded.
        EvaluationError: No STS development set in `evaluation`.
        RunError: A directory of another recipe, a full disk.
    """
    development = load_tasks(evaluation, dev=True) if evaluation is not None else None
    if development is not None and evaluation_pairs is not None:
        development = development.at_most(evaluation_pairs)
    base = resolve(recipe.backbone_spec.model, report=report)
    if overwrite or not has_stage(out, "training"):
        # Before the run begins, whose directory would then refuse the right values.
        check_student(recipe.backbone, recipe.dim, report=report)
    header = {
        "recipe": recipe.hash,
        "seed": recipe.seed,
        "evaluation": str(evaluation) if evaluation else None,
        "versions": versions(),
        "machine": machine(),
    }
    with open_run(out, recipe, header, overwrite=overwrite) as manifest:
        return _Run(recipe, out, base, development, manifest, report).all()


@dataclass
class _Run:
    recipe: SimcseRecipe
    out: Path
    base: ModelSource
    development: StsData | None
    manifest: Manifest
    report: Report

    def all(self) -> ContrastivelyTrained:
        data = self.recipe.nli or self.recipe.corpus
        assert data is not None
        contents = content_hashes(data.reads)
        read = self.manifest.stage(
            "examples",
            [CODE, data.identity(), self.recipe.seed, contents],
            lambda: {**self.examples[1], "text_hash": self._text_hash()},
        )
        inputs = [
            CODE,
            read["text_hash"],
            self._choices(),
            encoder_identity(self.base),
            self.development.hash if self.development else None,
        ]
        model = self.out / "model"
        facts = self.manifest.stage(
            "training",
            inputs,
            lambda: self._train(json_hash(inputs), model),
            outputs=[model / "modules.json"],
        )
        row = {
            "model": str(model),
            "backbone": self.recipe.backbone,
            "supervised": self.recipe.supervised,
            "pooling": facts.get("pooling", self.recipe.pooling),
            **{key: facts[key] for key in ("dim", "parameters")},
            **{key: read[key] for key in ("examples", "excluded", "unlabelled")},
            **{key: facts[key] for key in ("steps", "best_step", "loss", "sts_dev", "seconds")},
            "precision": facts["precision"],
            "seed": self.recipe.seed,
        }
        self._write_card(model, row, read)
        return ContrastivelyTrained(model, row)

    def _choices(self) -> dict[str, Any]:
        choices = self.recipe.to_dict()
        if self.recipe.corpus is not None and "split" not in self.recipe.corpus.identity():
            del choices["corpus"]["split"]
        return choices

    @cached_property
    def examples(self) -> tuple[list[Sequence[str]], dict[str, Any]]:
        """Columns of texts, and what became of what was read."""
        recipe = self.recipe
        if recipe.nli is not None:
            found, summary = read_triplets(
                recipe.nli.sources,
                excluded=excluded_keys(recipe.nli.exclude),
                encoding=recipe.nli.encoding,
                errors=recipe.nli.errors,
                report=self.report,
            )
            limit = recipe.nli.limit
            if limit is not None and limit < len(found):
                chosen = random.Random(recipe.seed).sample(range(len(found)), limit)  # noqa: S311
                found = [found[index] for index in sorted(chosen)]
            counts = {
                "read": summary.read,
                "examples": len(found),
                "excluded": summary.dropped["excluded"],
                "unlabelled": summary.dropped["unlabelled"],
            }
            return [list(column) for column in zip(*found, strict=True)], counts
        assert recipe.corpus is not None
        texts, became = read_clean_counting(recipe.corpus, seed=recipe.seed, report=self.report)
        facts = {
            **became,
            "examples": len(texts),
            "excluded": became["dropped"]["excluded"],
            "unlabelled": 0,
        }
        return [texts, texts], facts

    def _text_hash(self) -> str:
        columns, _ = self.examples
        return text_hash([text for column in columns for text in column])

    def _train(self, key: str, out: Path) -> dict[str, Any]:
        recipe, training = self.recipe, self.recipe.settled()
        model = build_student(
            recipe.backbone,
            recipe.dim,
            HeadRecipe(init="random"),
            seed=recipe.seed,
            pooling=recipe.pooling,
            texts=self._sample(),
            report=self.report,
        )
        if not recipe.supervised and not _drops_out(model):
            raise UsageError(
                f"{recipe.backbone} has no dropout, without which a sentence does not differ from "
                "itself: it cannot be trained unsupervised"
            )
        columns = [_tokens(model, texts, training.max_tokens) for texts in self.examples[0]]
        bfloat16 = use_bfloat16(training, model.device.type)
        trained = fit(
            model,
            Contrast(model, columns, temperature=recipe.temperature, bfloat16=bfloat16),
            self._score(model, bfloat16),
            lengths=np.sum([column.lengths for column in columns], axis=0, dtype=np.int32),
            recipe=training,
            seed=recipe.seed,
            directory=checkpoint_directory(self.out, key),
            bfloat16=bfloat16,
            report=self.report,
        )
        self._write(model, trained, out)
        best = trained.best_score if self.development else None
        return {
            "dim": model.get_embedding_dimension(),
            "pooling": model[1].pooling_mode,
            "parameters": sum(weight.numel() for weight in model.parameters()),
            "loss": trained.history[-1]["loss"] if trained.steps else None,
            "sts_dev": best,
            **trained.to_dict(),
            "best_score": best,
        }

    def _sample(self) -> list[str]:
        """Of all sentences, what a backbone is cut to a shape on."""
        texts = list(dict.fromkeys(text for column in self.examples[0] for text in column))
        count = min(SHAPED_ON, len(texts))
        return random.Random(self.recipe.seed).sample(texts, count)  # noqa: S311

    def _score(self, model: SentenceTransformer, bfloat16: bool) -> Any:  # noqa: ANN401
        if self.development is None:
            return None
        tasks = self.development

        def score() -> float:
            scores = evaluate_sts(_Embedder(model, bfloat16), tasks)
            found = scores.tasks[DEV_TASK]
            assert found is not None
            return found

        return score

    def _write(self, model: SentenceTransformer, trained: Trained, out: Path) -> None:
        description = {
            "format": FORMAT,
            "dim": model.get_embedding_dimension(),
            "baseline": {
                "kind": "simcse",
                "backbone": {"model": self.base.name, **encoder_identity(self.base)},
                "text_hash": self.manifest.stages["examples"]["facts"]["text_hash"],
            },
            "recipe": self.recipe.hash,
            "training": {
                "steps": trained.steps,
                "best_step": trained.best_step,
                "precision": trained.precision,
            },
        }
        with atomic_directory(out) as temporary:
            save_student(model, temporary)
            self.recipe.save(temporary / "recipe.toml")
            write_json(temporary / "hpd.json", description)

    def _write_card(self, model: Path, row: dict[str, Any], read: dict[str, Any]) -> None:
        recipe = self.recipe
        data = recipe.nli or recipe.corpus
        assert data is not None
        used = recipe.backbone_spec.model
        name = recipe.backbone.replace(used, model_name(used))
        kind = "supervised" if recipe.supervised else "unsupervised"
        how = (
            "on what follows from a premise and what contradicts it"
            if recipe.supervised
            else "on sentences without labels, each against itself under other dropout"
        )
        table = replace(simcse_table(row), rows=[{**row, "model": f"{name}, SimCSE"}])
        write_card(
            model,
            title=f"{name} by {kind} SimCSE, {row['dim']} numbers",
            summary=(
                f"{name} trained contrastively {how} ([Gao et al., EMNLP "
                "2021](https://arxiv.org/abs/2104.08821)) by `hpd train simcse` of hpdistill."
            ),
            sections=[
                Section(title="Measured", tables=[table], terms=table.meanings),
                Section(
                    title="Made from",
                    paragraphs=[
                        f"{row['examples']:,} of {read['read']:,} examples "
                        f"({', '.join(map(source_name, data.sources))}). All choices: "
                        "`recipe.toml`, in which paths of the machine that made it stand, too."
                    ],
                ),
            ],
            name=f"{name} SimCSE",
            models=[used],
            sources=data.sources,
            tags=["simcse", kind],
        )


def simcse_table(row: dict[str, Any]) -> Table:
    """How a contrastive training went, for people."""
    columns = [
        Column(key="model", title="model"),
        Column(key="dim", title="dim", format="d", meaning="Numbers in a vector."),
        Column(key="examples", title="examples", format=",d", meaning="What it was trained on."),
        Column(
            key="excluded",
            title="excluded",
            format=",d",
            meaning="Left out, as they are in the evaluation data or too near to it.",
        ),
        Column(key="steps", title="steps", format=",d"),
        Column(key="best_step", title="kept", format=",d", meaning="The step that was kept."),
        Column(
            key="loss",
            title="loss",
            format=".3f",
            meaning="At the end. Less is better, among trainings of one batch size.",
        ),
        Column(
            key="sts_dev",
            title="STS-B dev",
            format=".2f",
            meaning="100 times the rank correlation (Spearman) with what people judged, by which "
            "the step was chosen. More is better.",
        ),
        Column(key="seconds", title="s", format=",.0f", meaning="Seconds that it took."),
    ]
    return Table(columns=columns, rows=[row])


class _Embedder(ByRole):
    """A model in training as an encoder, at the speed of its training."""

    def __init__(self, model: SentenceTransformer, bfloat16: bool) -> None:
        self._model = model
        self._bfloat16 = bfloat16
        self.name = "development"
        self.dim = int(model.get_embedding_dimension() or 0)
        self.parameters = sum(weight.numel() for weight in model.parameters())

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,  # noqa: ARG002
        normalize: bool = True,
        dim: int | None = None,
        role: Role | None = None,  # noqa: ARG002 - it is measured as it is trained, without one
    ) -> Embeddings:
        """Embed texts; see `hpdistill.encoder.Encoder.encode`."""
        check_prefix(self, dim)
        vectors = embed_tokens(self._model, _tokens(self._model, texts), bfloat16=self._bfloat16)
        return unit(vectors, dim=dim) if normalize else vectors[:, :dim]


def _tokens(
    model: SentenceTransformer, texts: Sequence[str], max_tokens: int | None = None
) -> TokenCache:
    encoder = TorchEncoder(model, name="model")
    most = encoder.max_tokens if max_tokens is None else min(max_tokens, encoder.max_tokens)
    starts = range(0, len(texts), TOKENIZED_AT_ONCE)
    chunks = (encoder.tokenize(texts[start : start + TOKENIZED_AT_ONCE]) for start in starts)
    return TokenCache(chunks, max_tokens=most)


def _drops_out(model: nn.Module) -> bool:
    return any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules())
