"""How much is spent on a row: the same data and budget for all rows of a table."""

from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

from hpdistill.errors import UsageError
from hpdistill.evaluate import StsData
from hpdistill.evaluate.retrieval import RetrievalTask
from hpdistill.recipe import AugmentRecipe, HeadRecipe, ProjectionRecipe, TrainingRecipe
from hpdistill.reproduce.row import read_toml
from hpdistill.strict import build

__all__ = ["HpdScale", "Scale", "ScaleName", "SimcseScale", "load_scale"]

_SCALES = Path(__file__).with_name("scales")


class ScaleName(StrEnum):
    """One file of `scales/` each."""

    tiny = "tiny"
    cpu = "cpu"
    full = "full"


@dataclass(frozen=True, kw_only=True)
class SimcseScale:
    """Fields of `SimcseRecipe`, with its defaults where they are None."""

    epochs: float | None = None
    max_steps: int | None = None
    batch_size: int = 64
    learning_rate: float | None = None
    warmup: float = 0.06
    temperature: float = 0.05
    max_tokens: int = 64
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    evaluate_every: int = 250

    def to_dict(self) -> dict[str, Any]:
        """By name."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class HpdScale:
    """Sections of `Recipe`."""

    anchor: float | None = None
    projection: ProjectionRecipe = field(default_factory=ProjectionRecipe)
    head: HeadRecipe = field(default_factory=HeadRecipe)
    training: TrainingRecipe = field(default_factory=TrainingRecipe)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What all rows share."""

    name: str
    title: str
    dim: int | None = None
    """Projection, whitening, PCA and distillation keep at most so many numbers; None: the row's."""
    sentences: tuple[str, ...] = ()
    """Sources of unlabelled sentences if none are given; none: those of the labelled pairs."""
    validation_sentences: tuple[str, ...] | None = None
    """Sources of the sentences held out, if `sentences` was not given."""
    nli: tuple[str, ...] = ()
    """Sources of labelled pairs if none are given."""
    limit: int | None = None
    """Of the unlabelled sentences."""
    nli_limit: int | None = None
    """Of the triplets."""
    validation: int = 2000
    teacher_precision: Literal["auto", "float32", "bfloat16"] = "auto"
    timed_sentences: int
    """Sentences by which the speed is measured."""
    sts_pairs: int | None = None
    """Of each STS task, and of the development set, so many pairs are scored; None: all."""
    documents: int | None = None
    """Of the retrieval task, so many are searched; None: all."""
    queries: int | None = None
    """Of the retrieval task, so many are asked; None: all."""
    augment: AugmentRecipe | None = None
    """Copies of the sentences, for distilled rows."""
    simcse: SimcseScale
    paper: HpdScale
    """The method as its authors ran it."""
    ours: HpdScale = field(default_factory=HpdScale)
    """Our defaults."""

    def __post_init__(self) -> None:
        if self.timed_sentences < 1:
            raise UsageError(f"timed_sentences is {self.timed_sentences}; allowed: 1 or more")
        for name, least in (("sts_pairs", 2), ("documents", 1), ("queries", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name} is {value}; allowed: {least} or more")

    def tasks(self, tasks: StsData) -> StsData:
        """What is scored of STS tasks."""
        return tasks if self.sts_pairs is None else tasks.at_most(self.sts_pairs)

    def task(self, task: RetrievalTask) -> RetrievalTask:
        """What is asked and searched of a retrieval task."""
        if self.documents is None and self.queries is None:
            return task
        return task.at_most(
            documents=len(task.document_ids) if self.documents is None else self.documents,
            queries=len(task.query_ids) if self.queries is None else self.queries,
        )

    def augmented(self, methods: str | None) -> Self:
        """With other copies of the sentences.

        Args:
            methods: `none`, or names of augmenters with commas between; None leaves it as it is.

        Raises:
            UsageError: There is no such augmenter.
        """
        if methods is None:
            return self
        if methods == "none":
            return replace(self, augment=None)
        names = tuple(methods.split(","))
        if self.augment is None:
            return replace(self, augment=AugmentRecipe(methods=names))
        return replace(self, augment=replace(self.augment, methods=names))


def load_scale(name: str) -> Scale:
    """Read `scales/NAME.toml`.

    Raises:
        UsageError: There is no such scale.
    """
    if name not in list(ScaleName):
        raise UsageError(f"scale is {name!r}; allowed: {', '.join(ScaleName)}")
    data = {"name": name, **read_toml(_SCALES / f"{name}.toml")}
    return build(Scale, data, what=f"scales/{name}.toml")
