"""Every choice of a distillation, in one frozen value."""

from dataclasses import dataclass, field
from typing import Literal, Self, get_args

from hpdistill.errors import UsageError
from hpdistill.recipe._choices import Choices, check, check_choice, check_if_set, check_seed
from hpdistill.recipe.corpus import AugmentRecipe, CorpusRecipe
from hpdistill.recipe.student import PoolingMode, StudentSpec
from hpdistill.recipe.training import TrainingRecipe

__all__ = [
    "HeadRecipe",
    "ProjectionRecipe",
    "Recipe",
    "StaticRecipe",
    "TeacherRecipe",
    "WeightedModel",
]


@dataclass(frozen=True, kw_only=True)
class WeightedModel:
    """One encoder of a teacher: its unit vectors enter the target times `weight`."""

    model: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        check("teacher weight", self.weight, self.weight > 0, "a number above 0")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `MODEL` or `MODEL:WEIGHT`; a colon not followed by a number is part of the name."""
        name, colon, weight = text.rpartition(":")
        try:
            return cls(model=name, weight=float(weight)) if colon else cls(model=text)
        except ValueError:
            return cls(model=text)


@dataclass(frozen=True, kw_only=True)
class TeacherRecipe:
    """How the teacher's embeddings are computed."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto`: bfloat16 where this machine's processor has it and it proves faster and faithful."""
    shard_sentences: int = 4096

    def __post_init__(self) -> None:
        check_choice("precision", self.precision, ("auto", "float32", "bfloat16"))
        check("shard_sentences", self.shard_sentences, self.shard_sentences >= 1, "1 or more")


@dataclass(frozen=True, kw_only=True)
class ProjectionRecipe:
    """PCA of the teacher's embeddings (paper, section 3.2)."""

    centred: bool = False
    """Subtract the mean before projecting; the paper's authors do not."""
    whitening: float | None = None
    """Divide components by this power of the standard deviation along them: 0 is PCA, 1 whitens.
    None: 0.3; 0 for a static student."""
    fit_sentences: int | None = None
    """Fit on so many training sentences (the authors: 40,000), taken evenly; None takes all."""

    def __post_init__(self) -> None:
        check_if_set("whitening", self.whitening, lambda power: 0 <= power <= 1, "0 to 1")
        check_if_set("fit_sentences", self.fit_sentences, lambda count: count >= 2, "2 or more")

    def settled_whitening(self, *, static: bool) -> float:
        """The whitening chosen, or what is usual for the kind of student."""
        if self.whitening is not None:
            return self.whitening
        return 0.0 if static else 0.3


@dataclass(frozen=True, kw_only=True)
class HeadRecipe:
    """The student's dense layer."""

    init: Literal["ridge", "rotation", "random"] = "ridge"
    """From the untrained backbone in closed form: `ridge` comes nearest to the targets; `rotation`
    turns its own PCA onto them, which keeps its similarities. `random` is the paper's."""
    ridge_sentences: int = 10_000
    """The closed forms are solved on so many training sentences, taken evenly."""
    ridge_strength: float = 1e-3
    """Penalty relative to the mean variance of the pooled backbone's dimensions."""
    activation: Literal["identity", "tanh"] = "identity"
    """`tanh` is what the authors released; it cannot reach targets outside (-1, 1)."""

    def __post_init__(self) -> None:
        check_choice("init", self.init, ("ridge", "rotation", "random"))
        check_choice("activation", self.activation, ("identity", "tanh"))
        check("ridge_sentences", self.ridge_sentences, self.ridge_sentences >= 2, "2 or more")
        check("ridge_strength", self.ridge_strength, self.ridge_strength >= 0, "0 or more")


@dataclass(frozen=True, kw_only=True)
class StaticRecipe:
    """A student without a transformer: a vector for each token, and their mean."""

    vocabulary: Literal["tokenizer", "corpus"] = "tokenizer"
    """`corpus` drops the tokens that the training sentences hold less than `min_count` times, for a
    smaller file; letters and their continuations stay, so that other words can still be spelt."""
    add_words: int | None = None
    """Give so many of the corpus's words that the tokenizer splits a vector of their own, the most
    frequent first. None: 6,000 where the tokenizer can be given words, else 0."""
    min_count: int = 3
    """Occurrences that such a word needs, and under `corpus` any token."""
    frequency_weight: float = 3e-4
    """Before anything is fitted, a token of relative frequency p counts a / (a + p) times."""
    strength: float | None = None
    """Penalty, in sentences, on leaving the token vectors of the teacher in the closed form; None:
    of several the one most faithful on the sentences held out."""

    def __post_init__(self) -> None:
        check_choice("vocabulary", self.vocabulary, ("tokenizer", "corpus"))
        check_if_set("add_words", self.add_words, lambda count: count >= 0, "0 or more")
        check("min_count", self.min_count, self.min_count >= 1, "1 or more")
        check("frequency_weight", self.frequency_weight, self.frequency_weight > 0, "above 0")
        check_if_set("strength", self.strength, lambda value: value > 0, "above 0")


@dataclass(frozen=True, kw_only=True)
class Recipe(Choices):
    """Every choice of a distillation. Two runs of an equal recipe give the same student.

    Raises:
        UsageError: A value is out of range; the message names it and what is allowed.
    """

    teachers: tuple[WeightedModel, ...]
    student: str
    pooling: PoolingMode | None = None
    """Of the student's tokens. None: that of its model, which its layers were trained for; a bare
    backbone has the mean, or the last token if it is a decoder."""
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
    """Only for a static student."""
    training: TrainingRecipe = field(default_factory=TrainingRecipe)

    def __post_init__(self) -> None:
        check("teachers", self.teachers, len(self.teachers) > 0, "at least one model")
        check_if_set("anchor", self.anchor, lambda weight: weight >= 0, "0 or more")
        check("dim", self.dim, self.dim >= 1, "1 or more")
        check_seed(self.seed)
        static = self.student_spec.static  # before the anchor: it may be malformed
        if self.pooling is not None:
            check_choice("pooling", self.pooling, get_args(PoolingMode))
            if static:
                raise UsageError(
                    f"pooling is {self.pooling!r}; a static student has the mean of its tokens only"
                )
        if self.anchor and static:
            raise UsageError(
                f"anchor is {self.anchor:g}; a static student is no encoder before it is "
                "trained, so only 0 is allowed",
                hint="For a joint target, give two `teachers`.",
            )

    @property
    def student_spec(self) -> StudentSpec:
        """What `student` says.

        Raises:
            UsageError: It is malformed, which the recipe refuses when it is made.
        """
        return StudentSpec.parse(self.student)
