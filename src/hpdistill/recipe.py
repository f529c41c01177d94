"""Every choice of a training, in one frozen value that reads and writes TOML."""

import dataclasses
import math
import re
import tomllib
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import tomli_w

from hpdistill.errors import UsageError
from hpdistill.files import atomic_path, json_hash
from hpdistill.strict import build

__all__ = [
    "AugmentRecipe",
    "Choices",
    "CorpusRecipe",
    "HeadRecipe",
    "NliRecipe",
    "ProjectionRecipe",
    "Recipe",
    "SettledTraining",
    "SimcseRecipe",
    "StaticRecipe",
    "TeacherRecipe",
    "TrainingRecipe",
    "WeightedModel",
    "prefixes_of",
]


@dataclass(frozen=True, kw_only=True)
class WeightedModel:
    """One encoder of a teacher: its unit vectors enter the target times `weight`."""

    model: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        _check("teacher weight", self.weight, self.weight > 0, "a number above 0")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `MODEL` or `MODEL:WEIGHT`; a colon not followed by a number is part of the name."""
        name, colon, weight = text.rpartition(":")
        try:
            return cls(model=name, weight=float(weight)) if colon else cls(model=text)
        except ValueError:
            return cls(model=text)


@dataclass(frozen=True, kw_only=True)
class CorpusRecipe:
    """Which sentences, and how they are cleaned and split."""

    sources: tuple[str, ...]
    column: str | None = None
    """Column of `.csv`, `.tsv`, `.jsonl` and `.parquet` sources; None: the only
    one, or the one called `text` or `sentence`."""
    encoding: str = "utf-8"
    errors: Literal["strict", "replace", "ignore"] = "strict"
    min_words: int = 1
    max_words: int = 200
    exclude: tuple[str, ...] = ()
    """Evaluation folders or files: a sentence found in one of them never enters the corpus."""
    validation: int = 2000
    """Sentences held out; never more than a fifth of the corpus, unless they have sources of their
    own."""
    validation_sources: tuple[str, ...] | None = None
    """Where the sentences held out come from, none of which is trained on; None: drawn from
    `sources`. What both have is trained on and not held out."""
    limit: int | None = None
    """Keep at most so many sentences, a sample drawn by the seed; None keeps all. Sentences held
    out of `validation_sources` come on top."""

    def __post_init__(self) -> None:
        _check("sources", self.sources, len(self.sources) > 0, "at least one source of sentences")
        _check("min_words", self.min_words, self.min_words >= 1, "1 or more")
        _check("max_words", self.max_words, self.max_words >= self.min_words, "at least min_words")
        _check("validation", self.validation, self.validation >= 2, "2 or more")
        given = self.validation_sources
        _check(
            "validation_sources", given, given is None or len(given) > 0, "at least one, or unset"
        )
        _check("limit", self.limit, self.limit is None or self.limit >= 10, "10 or more, or unset")
        _check_choice("errors", self.errors, ("strict", "replace", "ignore"))

    @property
    def reads(self) -> tuple[str, ...]:
        """All sources, folders and files that decide the sentences."""
        return (*self.sources, *(self.validation_sources or ()), *self.exclude)


@dataclass(frozen=True, kw_only=True)
class AugmentRecipe:
    """Copies of the training sentences, said in other words (paper, section 4.1)."""

    methods: tuple[str, ...]
    """`wordnet` replaces words by synonyms, `backtranslate` translates there and back."""
    share: float = 0.3
    """WordNet: share of a sentence's content words to replace, at least one."""
    senses: int = 1
    """WordNet: synonyms of so many of a word's senses, the most frequent first."""
    dictionary: str | None = None
    """WordNet: a folder of `data.noun`, `index.noun`...; None: Debian's, nltk's, or one of `wn`."""
    translator: Literal["apertium", "marian"] = "apertium"
    language: str | None = None
    """Back translation goes through this language; None: `spa` for Apertium, `es` for Marian."""
    models: tuple[str, ...] = ()
    """Marian: the models there and back, hub ids or folders; none: OPUS-MT's of `language`."""
    min_similarity: float = 0.8
    """Copies whose cosine to their original, by the teacher, is lower are dropped; 0 keeps all."""

    def __post_init__(self) -> None:
        methods = ("wordnet", "backtranslate")
        good = len(self.methods) > 0 and len(set(self.methods)) == len(self.methods)
        allowed = f"one or more of {', '.join(methods)}, each once"
        _check("methods", self.methods, good and set(self.methods) <= set(methods), allowed)
        _check("share", self.share, 0 < self.share <= 1, "above 0, at most 1")
        _check("senses", self.senses, self.senses >= 1, "1 or more")
        _check_choice("translator", self.translator, ("apertium", "marian"))
        good = self.language is None or re.fullmatch(r"[A-Za-z_]{2,16}", self.language) is not None
        _check("language", self.language, good, "a code of letters such as spa, or unset")
        good = len(self.models) in (0, 2)
        _check("models", self.models, good, "two, there and back, or none")
        good = 0 <= self.min_similarity < 1
        _check("min_similarity", self.min_similarity, good, "at least 0 and below 1")


@dataclass(frozen=True, kw_only=True)
class TeacherRecipe:
    """How the teacher's embeddings are computed."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto`: bfloat16 where this machine's processor has it and it proves faster and faithful."""
    shard_sentences: int = 4096

    def __post_init__(self) -> None:
        _check_choice("precision", self.precision, ("auto", "float32", "bfloat16"))
        _check("shard_sentences", self.shard_sentences, self.shard_sentences >= 1, "1 or more")


@dataclass(frozen=True, kw_only=True)
class ProjectionRecipe:
    """PCA of the teacher's embeddings (paper, section 3.2)."""

    centred: bool = False
    """Subtract the mean before projecting; the paper's authors do not."""
    fit_sentences: int | None = None
    """Fit on so many training sentences (the authors: 40,000), taken evenly; None takes all."""

    def __post_init__(self) -> None:
        good = self.fit_sentences is None or self.fit_sentences >= 2
        _check("fit_sentences", self.fit_sentences, good, "2 or more, or unset")


@dataclass(frozen=True, kw_only=True)
class HeadRecipe:
    """The student's dense layer."""

    init: Literal["ridge", "random"] = "ridge"
    """`ridge` solves it in closed form from the untrained backbone; `random` is the paper's."""
    ridge_sentences: int = 10_000
    ridge_strength: float = 1e-3
    """Penalty relative to the mean variance of the pooled backbone's dimensions."""
    activation: Literal["identity", "tanh"] = "identity"
    """`tanh` is what the authors released; it cannot reach targets outside (-1, 1)."""

    def __post_init__(self) -> None:
        _check_choice("init", self.init, ("ridge", "random"))
        _check_choice("activation", self.activation, ("identity", "tanh"))
        _check("ridge_sentences", self.ridge_sentences, self.ridge_sentences >= 2, "2 or more")
        _check("ridge_strength", self.ridge_strength, self.ridge_strength >= 0, "0 or more")


@dataclass(frozen=True, kw_only=True)
class StaticRecipe:
    """A student without a transformer: a vector for each token, and their mean."""

    vocabulary: Literal["tokenizer", "corpus"] = "tokenizer"
    """`corpus` drops the tokens that no training sentence holds, for a smaller file; letters and
    their continuations stay, so that new words can still be spelt."""
    add_words: int | None = None
    """Give so many of the corpus's words that the tokenizer splits a vector of their own, the most
    frequent first. None: 6,000 where the tokenizer can be given words, else 0."""
    min_count: int = 3
    """Occurrences that such a word needs."""
    frequency_weight: float = 3e-4
    """Before anything is fitted, a token of relative frequency p counts a / (a + p) times."""
    strength: float | None = None
    """Penalty, in sentences, on leaving the token vectors of the teacher in the closed form; None:
    of several the one most faithful on the sentences held out."""

    def __post_init__(self) -> None:
        _check_choice("vocabulary", self.vocabulary, ("tokenizer", "corpus"))
        good = self.add_words is None or self.add_words >= 0
        _check("add_words", self.add_words, good, "0 or more, or unset")
        _check("min_count", self.min_count, self.min_count >= 1, "1 or more")
        _check("frequency_weight", self.frequency_weight, self.frequency_weight > 0, "above 0")
        good = self.strength is None or self.strength > 0
        _check("strength", self.strength, good, "above 0, or unset")


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """How the student learns the targets."""

    epochs: float | None = None
    """Passes over the corpus. None: 2; 4 for a static student."""
    max_steps: int | None = None
    """Stop after so many optimiser steps, whatever `epochs` says; 0 trains nothing."""
    batch_size: int | None = None
    """None: 64; 512 for a static student."""
    learning_rate: float | None = None
    """Peak of the schedule. None: 1e-4; 1e-2 for a static student."""
    warmup: float = 0.06
    """Share of the steps over which the learning rate rises; it then falls linearly to 0."""
    weight_decay: float = 0.01
    clip: float = 1.0
    """Largest norm of the gradient."""
    similarity_weight: float = 1.0
    """Weight of the similarity-matrix term beside the MSE; 0 leaves the paper's plain MSE."""
    neighbour_weight: float = 0.0
    """Weight of the ranking of each sentence's nearest targets beside the MSE."""
    prefix_weight: float = 0.0
    """Weight of the prefixes' losses beside that of whole vectors: those of `prefixes_of`, together
    weighing so much. 0 trains whole vectors only."""
    dropout: bool = False
    max_tokens: int = 128
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the matrix products; weights and optimiser stay float32."""
    evaluate_every: int = 250
    """Steps between validations and checkpoints."""

    def __post_init__(self) -> None:
        _check(
            "epochs", self.epochs, self.epochs is None or self.epochs >= 0, "0 or more, or unset"
        )
        _check(
            "max_steps",
            self.max_steps,
            self.max_steps is None or self.max_steps >= 0,
            "0 or more, or unset",
        )
        _check(
            "batch_size",
            self.batch_size,
            self.batch_size is None or self.batch_size >= 1,
            "1 or more, or unset",
        )
        _check(
            "learning_rate",
            self.learning_rate,
            self.learning_rate is None or self.learning_rate > 0,
            "above 0, or unset",
        )
        _check("warmup", self.warmup, 0 <= self.warmup < 1, "at least 0 and below 1")
        _check("weight_decay", self.weight_decay, self.weight_decay >= 0, "0 or more")
        _check("clip", self.clip, self.clip > 0, "above 0")
        _check(
            "similarity_weight", self.similarity_weight, self.similarity_weight >= 0, "0 or more"
        )
        _check("neighbour_weight", self.neighbour_weight, self.neighbour_weight >= 0, "0 or more")
        _check("prefix_weight", self.prefix_weight, self.prefix_weight >= 0, "0 or more")
        _check("max_tokens", self.max_tokens, self.max_tokens >= 3, "3 or more")
        _check("evaluate_every", self.evaluate_every, self.evaluate_every >= 1, "1 or more")
        _check_choice("precision", self.precision, ("auto", "float32", "bfloat16"))

    def settled(self, *, static: bool = False) -> "SettledTraining":
        """These choices, with what is unset filled in for the kind of student."""
        usual = _STATIC_TRAINING if static else _TRANSFORMER_TRAINING
        chosen: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        unset = {name: value for name, value in usual.items() if chosen[name] is None}
        return SettledTraining(**chosen | unset)


_TRANSFORMER_TRAINING: dict[str, Any] = {"epochs": 2.0, "batch_size": 64, "learning_rate": 1e-4}
_STATIC_TRAINING: dict[str, Any] = {"epochs": 4.0, "batch_size": 512, "learning_rate": 1e-2}


@dataclass(frozen=True, kw_only=True)
class SettledTraining(TrainingRecipe):
    """A training with nothing left to choose."""

    epochs: float
    batch_size: int
    learning_rate: float


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What every recipe can: TOML in and out, and a hash."""

    def to_dict(self) -> dict[str, Any]:
        """As nested dicts and lists; None values left out, since TOML has none."""
        return typing.cast("dict[str, Any]", _plain(dataclasses.asdict(self)))

    def to_toml(self) -> str:
        """As TOML text."""
        return tomli_w.dumps(self.to_dict())

    def save(self, path: Path) -> None:
        """Write as TOML, atomically.

        Raises:
            UsageError: A file name in it is not Unicode, which TOML cannot hold.
        """
        try:
            data = self.to_toml().encode()
        except UnicodeEncodeError as error:
            raise UsageError(
                f"the recipe holds a name that is not Unicode: {error.object!r}"
            ) from error
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)

    @property
    def hash(self) -> str:
        """Sha256 over all choices, in hexadecimal."""
        # Read back, so that 2 and 2.0 are the same number of epochs.
        return json_hash(type(self).from_dict(self.to_dict()).to_dict())

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Read what `to_toml` wrote, or a person did.

        Raises:
            UsageError: Not TOML, an unknown key, or a value of the wrong type or range.
        """
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"the recipe is not valid TOML: {error}") from error
        return cls.from_dict(data)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Build from nested dicts and lists, such as `to_dict` gives.

        Raises:
            UsageError: An unknown key, or a value of the wrong type or range.
        """
        return build(cls, data, what="recipe")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a recipe file.

        Raises:
            UsageError: The file is missing or is not a recipe.
        """
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read recipe {path}: {error}") from error
        try:
            return cls.from_toml(text)
        except UsageError as error:
            raise UsageError(f"{path}: {error}", hint=error.hint) from error


@dataclass(frozen=True, kw_only=True)
class Recipe(Choices):
    """Every choice of a distillation. Two runs of an equal recipe give the same student.

    Raises:
        UsageError: A value is out of range; the message names it and what is allowed.
    """

    teachers: tuple[WeightedModel, ...]
    student: str
    anchor: float | None = None
    """Weight with which the untrained student itself joins the teacher's encoders. None: 1 if it is
    a finished sentence encoder, 0 if it is a bare backbone or static. 0 is the paper's method."""
    dim: int = 128
    seed: int = 0
    corpus: CorpusRecipe
    augment: AugmentRecipe | None = None
    """None: the sentences as they are."""
    teacher: TeacherRecipe = field(default_factory=TeacherRecipe)
    projection: ProjectionRecipe = field(default_factory=ProjectionRecipe)
    head: HeadRecipe = field(default_factory=HeadRecipe)
    static: StaticRecipe = field(default_factory=StaticRecipe)
    """Only for `--student static`."""
    training: TrainingRecipe = field(default_factory=TrainingRecipe)

    def __post_init__(self) -> None:
        _check("teachers", self.teachers, len(self.teachers) > 0, "at least one model")
        _check(
            "anchor", self.anchor, self.anchor is None or self.anchor >= 0, "0 or more, or unset"
        )
        _check("dim", self.dim, self.dim >= 1, "1 or more")
        _check("seed", self.seed, self.seed >= 0, "0 or more")


@dataclass(frozen=True, kw_only=True)
class NliRecipe:
    """Which labelled pairs of sentences."""

    sources: tuple[str, ...]
    """As `corpus.read_nli` takes them; of AllNLI the split `train` unless they name another."""
    encoding: str = "utf-8"
    errors: Literal["strict", "replace", "ignore"] = "strict"
    exclude: tuple[str, ...] = ()
    """Evaluation folders or files: a pair with a sentence of one of them is not trained on."""
    limit: int | None = None
    """Keep at most so many triplets, a sample drawn by the seed; None keeps all."""

    def __post_init__(self) -> None:
        _check("nli", self.sources, len(self.sources) > 0, "at least one source of pairs")
        _check("limit", self.limit, self.limit is None or self.limit >= 1, "1 or more, or unset")
        _check_choice("errors", self.errors, ("strict", "replace", "ignore"))

    @property
    def reads(self) -> tuple[str, ...]:
        """All sources, folders and files that decide the pairs."""
        return (*self.sources, *self.exclude)


@dataclass(frozen=True, kw_only=True)
class SimcseRecipe(Choices):
    """Every choice of a contrastive training (Gao et al. 2021, "SimCSE").

    Supervised from `nli`: a premise should be nearer to what follows from it than to all else in
    its batch. Unsupervised from `corpus`: a sentence should be nearest to itself, under another
    dropout.

    Raises:
        UsageError: A value is out of range, or not exactly one of `nli` and `corpus` is given.
    """

    backbone: str
    """A path, a short name, a hub id, or what else a student may be made from."""
    nli: NliRecipe | None = None
    corpus: CorpusRecipe | None = None
    """`validation` decides nothing here: all sentences are trained on."""
    pooling: Literal["mean", "cls"] = "mean"
    dim: int | None = None
    """Width of a dense layer that is trained with the rest; None: no such layer."""
    temperature: float = 0.05
    """Cosines are divided by it."""
    epochs: float | None = None
    """Passes over the triplets or sentences. None, as in the paper: 3 supervised, else 1."""
    max_steps: int | None = None
    """Stop after so many optimiser steps, whatever `epochs` says; 0 trains nothing."""
    batch_size: int = 64
    """Triplets or sentences; the paper: 512 supervised, 64 unsupervised."""
    learning_rate: float | None = None
    """Peak of the schedule. None, as in the paper: 5e-5 supervised, else 3e-5."""
    warmup: float = 0.06
    """Share of the steps over which the learning rate rises; it then falls linearly to 0."""
    weight_decay: float = 0.0
    clip: float = 1.0
    """Largest norm of the gradient."""
    max_tokens: int = 64
    """Longer sentences are cut in training; the paper: 32."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the matrix products; weights and optimiser stay float32."""
    evaluate_every: int = 250
    """Steps between validations and checkpoints."""
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.nli is None) == (self.corpus is None):
            raise UsageError(
                "SimCSE is trained either on labelled pairs (nli) or on sentences (corpus): "
                f"{'neither' if self.nli is None else 'both'} given"
            )
        _check_choice("pooling", self.pooling, ("mean", "cls"))
        _check("dim", self.dim, self.dim is None or self.dim >= 1, "1 or more, or unset")
        _check("temperature", self.temperature, self.temperature > 0, "above 0")
        _check("seed", self.seed, self.seed >= 0, "0 or more")
        self.settled()

    @property
    def supervised(self) -> bool:
        """Whether labelled pairs are learnt from."""
        return self.nli is not None

    def settled(self) -> SettledTraining:
        """What the training loop needs to know, with what is unset filled in."""
        usual = {"epochs": 3.0, "learning_rate": 5e-5}
        if not self.supervised:
            usual = {"epochs": 1.0, "learning_rate": 3e-5}
        return SettledTraining(
            epochs=usual["epochs"] if self.epochs is None else self.epochs,
            max_steps=self.max_steps,
            batch_size=self.batch_size,
            learning_rate=(
                usual["learning_rate"] if self.learning_rate is None else self.learning_rate
            ),
            warmup=self.warmup,
            weight_decay=self.weight_decay,
            clip=self.clip,
            dropout=True,
            max_tokens=self.max_tokens,
            precision=self.precision,
            evaluate_every=self.evaluate_every,
        )


def prefixes_of(dim: int) -> list[int]:
    """The widths that a k-wide student promises: powers of two from 16, and k itself, last."""
    powers = [2**exponent for exponent in range(4, 20)]
    return [power for power in powers if power < dim] + [dim]


def _check(name: str, value: object, good: bool, allowed: str) -> None:
    # An unbounded clip means no clipping; nothing else has a use for infinity.
    infinite = isinstance(value, float) and math.isinf(value) and name != "clip"
    if not good or infinite:
        raise UsageError(f"{name} is {value!r}; allowed: {allowed}")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    _check(name, value, value in choices, ", ".join(choices))


def _plain(value: Any) -> Any:  # noqa: ANN401 - nested dicts of anything
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
