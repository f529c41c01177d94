"""Which row of a report to take, by a rule that is stated beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Advice", "Measure", "advise", "measure_of", "shortfall"]

WITHIN = 1.0
"""Points below the best row that a smaller or faster one may lose."""
_AS_FAST = 0.9
"""Speeds that differ by less say nothing: they were timed once."""
_NEEDS_TEACHER = ("teacher", "pca", "target")
_CHEAP = ("untouched", "own_pca", "closed_form")
_LEAST = 0.005
"""Points; less is none, as they are printed."""


@dataclass(frozen=True)
class Measure:
    """By which figure rows are compared."""

    key: str
    name: str
    scale: float
    """From the row's figure to points, 0 to 100."""

    def points(self, row: Mapping[str, Any]) -> float:
        """A row's figure, in points."""
        return self.scale * float(row[self.key])


@dataclass(frozen=True)
class Advice:
    """A row, and why."""

    row: Mapping[str, Any]
    sentence: str
    rule: str


def measure_of(rows: Sequence[Mapping[str, Any]]) -> Measure:
    """By people's judgements where they were measured, else by the teacher's neighbours.

    Not by fidelity over all pairs: where targets are whitened or neighbours are ranked, training
    gives up some of it for what is near.
    """
    if all(row.get("average_present") is not None for row in rows):
        tasks = rows[0]["tasks_present"]
        return Measure("average_present", f"mean of {tasks} STS task{'s' * (tasks != 1)}", 1.0)
    return Measure("overlap10", "share of the teacher's ten nearest", 100.0)


def advise(rows: Sequence[Mapping[str, Any]]) -> Advice | None:
    """The row to take; None if there are no rows but the teacher's.

    Args:
        rows: Of `labelled`, the teacher first.
    """
    measure = measure_of(rows)
    own = [row for row in rows if row["kind"] not in _NEEDS_TEACHER]
    if not own:
        return None
    best = max(own, key=measure.points)
    good = [row for row in own if measure.points(row) >= measure.points(best) - WITHIN]
    least = min(row["vector_bytes"] for row in good)
    small = [row for row in good if row["vector_bytes"] == least]
    top = max(row["sentences_per_second"] for row in small)
    chosen = max(
        (row for row in small if row["sentences_per_second"] >= _AS_FAST * top),
        key=measure.points,
    )
    return Advice(
        chosen,
        f"Take {chosen['label']}: {_worth(chosen, rows[0], measure)}{_loss(chosen, best, measure)}."
        f" {_where(chosen)}",
        f"The rule: of the rows that run without the teacher, those within {WITHIN:g} point of the "
        f"best by the {measure.name}; of these the fewest bytes a vector, then the most sentences "
        f"a second (less than a tenth apart counts as equal), then the best figure.",
    )


def shortfall(rows: Sequence[Mapping[str, Any]]) -> str:
    """Says so where the student ended below what it was made from; empty where it did not.

    Fidelity over all pairs counts where the neighbours are no better either: see `measure_of`.

    Args:
        rows: Of `labelled`, the teacher first.
    """
    student = next((r for r in rows if r["kind"] == "distilled" and r["backend"] == "torch"), None)
    cheap = [row for row in rows if row["kind"] in _CHEAP]
    if student is None or not cheap:
        return ""
    nearest = Measure("overlap10", "share of the teacher's ten nearest", 100.0)
    fidelity = Measure("spearman", "fidelity", 100.0)
    no_nearer = [row for row in cheap if nearest.points(row) >= nearest.points(student)]
    for measure, among in (
        (measure_of(rows), cheap),
        (nearest, cheap),
        (fidelity, no_nearer),
    ):
        best = max(among, key=measure.points, default=student)
        if measure.points(best) - measure.points(student) >= _LEAST:
            return _below(student, best, measure)
    return ""


def _below(student: Mapping[str, Any], best: Mapping[str, Any], measure: Measure) -> str:
    wider = best["dim"] > student["dim"]
    width = f", though of {best['dim']} numbers and not {student['dim']}" if wider else ""
    return (
        f"The distilled student ended below {best['label']}, which took no training{width}: "
        f"{measure.name} {measure.points(student):.2f} against {measure.points(best):.2f}. Use "
        f"that, or distil again with more sentences or more --epochs. {_where(best)}"
    )


def _worth(row: Mapping[str, Any], teacher: Mapping[str, Any], measure: Measure) -> str:
    times = f"{row['sentences_per_second'] / teacher['sentences_per_second']:.3g}"
    speed = "its speed" if times == "1" else f"{times} times its speed"
    smaller = teacher["vector_bytes"] / row["vector_bytes"]
    whole = measure.points(teacher)
    share = f", {100 * measure.points(row) / whole:.1f} % of the teacher" if whole > 0 else ""
    return (
        f"{measure.name} {measure.points(row):.2f}{share}, at {speed} "
        f"and with vectors {_size(smaller)}"
    )


def _size(smaller: float) -> str:
    if smaller == 1:
        return "of the same size"
    return f"{smaller:.3g} times smaller" if smaller > 1 else f"{1 / smaller:.3g} times larger"


def _loss(row: Mapping[str, Any], best: Mapping[str, Any], measure: Measure) -> str:
    points = measure.points(best) - measure.points(row)
    if points < _LEAST:
        return ""
    return f"; the best of these, {best['label']}, has {points:.2f} more"


def _where(row: Mapping[str, Any]) -> str:
    """How one comes by a row."""
    if row["kind"] == "distilled" and row["backend"] == "torch":
        return 'It is the directory `model`: `SentenceTransformer("model")`.'
    if row["kind"] == "distilled":
        precision = row["precision"]
        return f'It is the directory `model`: `Encoder.load("model", precision="{precision}")`.'
    return {
        "untouched": "It is the student's model as it was: nothing has to be distilled.",
        "own_pca": "`hpd pca` makes it, without a teacher.",
        "closed_form": "`--max-steps 0` makes it, without any training.",
        "tokens": "It is in the run, as `init/tokens`.",
    }.get(row["kind"], "It is no part of this run, but stood beside.")
