"""Every choice of a training, in one frozen value that reads and writes TOML."""

from hpdistill.recipe._choices import Choices, check_errors
from hpdistill.recipe.corpus import AugmentRecipe, CorpusRecipe, NliRecipe
from hpdistill.recipe.distillation import (
    HeadRecipe,
    ProjectionRecipe,
    Recipe,
    StaticRecipe,
    TeacherRecipe,
    WeightedModel,
)
from hpdistill.recipe.shape import Shape, Sizes
from hpdistill.recipe.simcse import SimcseRecipe
from hpdistill.recipe.student import PoolingMode, StudentSpec
from hpdistill.recipe.training import SettledLoop, SettledTraining, TrainingRecipe, prefixes_of

__all__ = [
    "AugmentRecipe",
    "Choices",
    "CorpusRecipe",
    "HeadRecipe",
    "NliRecipe",
    "PoolingMode",
    "ProjectionRecipe",
    "Recipe",
    "SettledLoop",
    "SettledTraining",
    "Shape",
    "SimcseRecipe",
    "Sizes",
    "StaticRecipe",
    "StudentSpec",
    "TeacherRecipe",
    "TrainingRecipe",
    "WeightedModel",
    "check_errors",
    "prefixes_of",
]
