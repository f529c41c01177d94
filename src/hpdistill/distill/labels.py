"""What the rows of a report are called: briefly, and each by a name of its own."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpdistill.evaluate import short_names
from hpdistill.recipe import Recipe

__all__ = ["labelled", "shortened"]

_TOLD_BY = ("backend", "precision", "dim")


def labelled(recipe: Recipe, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with a `label` each; no two have the same.

    A label is the row's `model`, with directories by their names alone; where several rows are of
    one model, also by what they differ in of back end, precision and width.

    Args:
        recipe: Names the directories.
        rows: Of `measure`.
    """
    names = [shortened(recipe, str(row["model"])) for row in rows]
    labels = []
    for name, row in zip(names, rows, strict=True):
        alike = [other for theirs, other in zip(names, rows, strict=True) if theirs == name]
        told = [str(row.get(key)) for key in _TOLD_BY if len({r.get(key) for r in alike}) > 1]
        labels.append(f"{name} ({' '.join(told)})" if told else name)
    taken: set[str] = set()
    result = []
    for row, label in zip(rows, labels, strict=True):
        own, count = label, 1
        while own in taken or (count > 1 and own in labels):
            count += 1
            own = f"{label} #{count}"
        taken.add(own)
        result.append({"label": own, **row})
    return result


def shortened(recipe: Recipe, text: str) -> str:
    """A text with the model directories that a recipe names by as little as tells them apart."""
    named = [teacher.model for teacher in recipe.teachers]
    named += [recipe.student_spec.model] if recipe.student_spec.model else []
    directories = [name for name in dict.fromkeys(named) if Path(name).expanduser().is_dir()]
    shorts = short_names([str(Path(name).expanduser().absolute()) for name in directories])
    others = {name for name in named if name not in directories}
    # The longest first: one may be the beginning of another.
    for name, short in sorted(zip(directories, shorts, strict=True), key=lambda p: -len(p[0])):
        if short not in others:
            inside = rf"(?<![\w./-]){re.escape(name)}(?![\w./-])"
            text = re.sub(inside, short.replace("\\", r"\\"), text)
    return text
