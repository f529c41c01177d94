"""A recipe to start from, and how it is changed."""

import dataclasses
from typing import Any

from hpdistill.recipe import AugmentRecipe, CorpusRecipe, Recipe, WeightedModel

RECIPE = Recipe(
    teachers=(WeightedModel(model="mpnet"), WeightedModel(model="org/other", weight=0.5)),
    student="layers:minilm:0,2,4",
    corpus=CorpusRecipe(sources=("a.txt", "pydoc")),
    augment=AugmentRecipe(methods=("wordnet",)),
)


def changed(recipe: Recipe, path: str, value: object) -> Recipe:
    head, _, tail = path.partition(".")
    new = dataclasses.replace(getattr(recipe, head), **{tail: value}) if tail else value
    return dataclasses.replace(recipe, **{head: new})


def altered(path: str, value: object) -> dict[str, Any]:
    """`RECIPE` as the data of a TOML file in which a person changed one value."""
    data = RECIPE.to_dict()
    head, _, tail = path.partition(".")
    if tail:
        data[head][tail] = value
    else:
        data[head] = value
    return data
