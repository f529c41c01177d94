"""The teacher of a distilled model, loaded so that its vectors lie in the model's space."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from hpdistill.corpus import pydoc_sentences
from hpdistill.encoder import Embeddings, Encoder, unit
from hpdistill.errors import RunError, UsageError, WeightsError
from hpdistill.files import read_json
from hpdistill.progress import Report, silent
from hpdistill.projection import Projection
from hpdistill.pytorch import TorchEncoder, choose_precision
from hpdistill.teacher.joint import JointEncoder, ProjectedEncoder, side_by_side
from hpdistill.weights import ModelSource, resolve

__all__ = ["TeacherParts", "projected_teacher", "teacher_parts"]

_PROJECTION = "projection.safetensors"
_SAMPLE = 32


def projected_teacher(
    model: Path,
    *,
    teacher: str | None = None,
    precision: Literal["float32", "bfloat16", "auto"] = "float32",
    sample: Sequence[str] | None = None,
    report: Report = silent,
) -> Encoder:
    """Load all encoders of a model's teacher, followed by the model's projection.

    Documents embedded by it and queries embedded by the model may be compared: both are of
    `runtime.space_of(model)`, at any of the model's prefixes.

    Args:
        model: Directory of a distilled model: `hpd.json` and `projection.safetensors`.
        teacher: Where its first encoder lies, if not where `hpd.json` says: a directory, a short
            name or a hub id of the same weights.
        precision: Of the computation; `auto` is bfloat16 where that is faster and faithful.
        sample: Sentences to find that out on; None takes some of Python's documentation.
        report: Progress of fetching and verifying.

    Returns:
        Encoder of the projection's width; its name is that of the first encoder, or the names of
        all, joined by ` + `.

    Raises:
        UsageError: `teacher` is another model, or the model is not distilled.
        WeightsError: An encoder cannot be found, or its weights are not those of the distillation;
            the projection is damaged or does not fit.
    """
    parts = teacher_parts(model, teacher=teacher, report=report)
    loaded = [
        TorchEncoder.load(source, precision="float32" if precision == "auto" else precision)
        for source in parts.sources
    ]
    if precision == "auto":
        texts = list(sample or islice(pydoc_sentences(), _SAMPLE))[:_SAMPLE]
        for encoder in loaded:
            choose_precision(encoder, texts)
    joint: Encoder = loaded[0] if len(loaded) == 1 else JointEncoder(loaded, parts.weights)
    parts.check_width(joint.dim, joint.name)
    return ProjectedEncoder(joint, parts.projection, name=joint.name)


@dataclass(frozen=True, kw_only=True)
class TeacherParts:
    """What a model's teacher consists of; nothing is loaded yet but the projection."""

    model: Path
    """The distilled model."""
    sources: Sequence[ModelSource]
    """Of the encoders."""
    weights: Sequence[float]
    """Of each encoder."""
    projection: Projection

    def project(self, vectors: Sequence[Embeddings]) -> Embeddings:
        """Vectors in the model's space, from those of the encoders.

        Args:
            vectors: Of the same texts, for each encoder: shape (n, its width), float32, rows of
                length 1.

        Returns:
            Shape (n, projection's width), float32, rows of length 1.

        Raises:
            WeightsError: The widths do not fit the projection.
        """
        joint = vectors[0] if len(vectors) == 1 else side_by_side(vectors, self.weights)
        self.check_width(joint.shape[1], " + ".join(source.name for source in self.sources))
        return unit(self.projection.apply(joint))

    def check_width(self, width: int, name: str) -> None:
        """Refuse vectors that the projection does not take.

        Raises:
            WeightsError: They are too wide or too narrow.
        """
        if width != self.projection.width:
            raise WeightsError(
                f"{self.model / _PROJECTION} takes vectors of width {self.projection.width}, and "
                f"its teacher {name} gives {width}"
            )


def teacher_parts(
    model: Path, *, teacher: str | None = None, report: Report = silent
) -> TeacherParts:
    """Find the encoders of a model's teacher and compare their weights with its `hpd.json`.

    No encoder is loaded: a wrong name is refused in no time. Arguments and errors are those of
    `projected_teacher`.
    """
    members = _members(model)
    sources = []
    for number, member in enumerate(members):
        name = str(member.get("model"))
        given = teacher if number == 0 and teacher is not None else name
        source = resolve(given, report=report)
        wanted = member.get("weights")
        if source.sha256 == wanted:
            sources.append(source)
            continue
        if given != name:
            raise UsageError(
                f"{given} is not the teacher of {model}, which is {name}: their weights differ",
                hint=f"Give {name}, or a copy of its weights.",
            )
        raise WeightsError(
            f"{name} is not what {model} was distilled from: the sha256 of its weights is "
            f"{source.sha256[:12]}, not {str(wanted)[:12]}",
            hint="Give the place of the weights of then as the teacher.",
        )
    return TeacherParts(
        model=model,
        sources=sources,
        weights=[_weight(member, model) for member in members],
        projection=Projection.load(model / _PROJECTION),
    )


def _members(model: Path) -> list[Mapping[str, Any]]:
    """What `hpd.json` says about each encoder."""
    description = model / "hpd.json"
    try:
        stored = read_json(description) if description.is_file() else None
        teacher = None if stored is None or "baseline" in stored else stored["teacher"]
    except (RunError, OSError, LookupError, TypeError) as error:
        raise WeightsError(f"{description} is damaged: it names no teacher") from error
    if teacher is None:
        raise UsageError(
            f"{model} was not distilled by hpdistill: no hpd.json names its teacher",
            hint="Only models that `hpd distill` wrote know their teacher.",
        )
    if not (isinstance(teacher, list) and all(isinstance(member, dict) for member in teacher)):
        raise WeightsError(f"{description} is damaged: it names no teacher")
    if not (model / _PROJECTION).is_file():
        raise UsageError(
            f"{model} has no {_PROJECTION}, without which its teacher's vectors are of another "
            "space than its own",
            hint="The model in the directory of its run has it.",
        )
    return teacher


def _weight(member: Mapping[str, Any], model: Path) -> float:
    weight = member.get("weight", 1.0)
    if not isinstance(weight, int | float) or not weight > 0:
        raise WeightsError(f"{model / 'hpd.json'} is damaged: a teacher's weight is {weight!r}")
    return float(weight)
