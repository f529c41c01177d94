"""The teacher of a distilled model, loaded so that its vectors lie in the model's space."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from hpdistill.corpus import pydoc_sentences
from hpdistill.encoder import Encoder
from hpdistill.errors import RunError, UsageError, WeightsError
from hpdistill.files import read_json
from hpdistill.progress import Report, silent
from hpdistill.projection import Projection
from hpdistill.pytorch import TorchEncoder, choose_precision
from hpdistill.teacher.joint import JointEncoder, ProjectedEncoder
from hpdistill.weights import ModelSource, resolve

__all__ = ["projected_teacher", "teacher_sources"]

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
    members = _members(model)
    sources = teacher_sources(model, teacher=teacher, report=report)
    projection = Projection.load(model / _PROJECTION)
    weights = [_weight(member, model) for member in members]
    loaded = [
        TorchEncoder.load(source, precision="float32" if precision == "auto" else precision)
        for source in sources
    ]
    if precision == "auto":
        texts = list(sample or islice(pydoc_sentences(), _SAMPLE))[:_SAMPLE]
        for encoder in loaded:
            choose_precision(encoder, texts)
    joint: Encoder = loaded[0] if len(loaded) == 1 else JointEncoder(loaded, weights)
    if joint.dim != projection.width:
        raise WeightsError(
            f"{model / _PROJECTION} takes vectors of width {projection.width}, and its teacher "
            f"{joint.name} gives {joint.dim}"
        )
    return ProjectedEncoder(joint, projection, name=joint.name)


def teacher_sources(
    model: Path, *, teacher: str | None = None, report: Report = silent
) -> list[ModelSource]:
    """Find the encoders of a model's teacher and compare their weights with its `hpd.json`.

    Nothing is loaded: a wrong name is refused in no time. Arguments and errors are those of
    `projected_teacher`.

    Returns:
        One source for each encoder, in the teacher's order.
    """
    members = _members(model)
    found = []
    for number, member in enumerate(members):
        name = str(member.get("model"))
        given = teacher if number == 0 and teacher is not None else name
        source = resolve(given, report=report)
        wanted = member.get("weights")
        if source.sha256 == wanted:
            found.append(source)
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
    return found


def _members(model: Path) -> list[Mapping[str, Any]]:
    """What `hpd.json` says about each encoder."""
    description = model / "hpd.json"
    try:
        teacher = read_json(description)["teacher"] if description.is_file() else None
    except (RunError, OSError, LookupError, TypeError) as error:
        raise WeightsError(f"{description} is damaged: it names no teacher") from error
    if teacher is None:
        raise UsageError(
            f"{model} was not distilled by hpdistill: it has no hpd.json",
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
