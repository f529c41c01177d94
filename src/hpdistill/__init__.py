"""Turn a big sentence-embedding model into a small, fast one in the same similarity space.

    from hpdistill import CorpusRecipe, Document, Encoder, Index, Recipe, Space, WeightedModel
    from hpdistill.distill import distill

    recipe = Recipe(
        teachers=(WeightedModel(model="mpnet"),),
        student="minilm",
        dim=128,
        corpus=CorpusRecipe(sources=("sentences.txt",)),
    )
    result = distill(recipe, Path("run"))

    with Encoder.load("run/model") as encoder:  # needs no PyTorch
        vectors = encoder.encode(["how do I remove duplicate rows"])  # (1, 128)
        index = Index.create(Space(id=encoder.space, dim=128, model="run/model"))
        index.add([Document(id=name) for name in names], encoder.encode(texts))
        hits = index.search(vectors, k=10)[0]  # best first: hit.id, hit.score

Names are imported when they are first used: `import hpdistill` imports neither torch nor numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpdistill.errors import (
        AugmentError,
        CorpusError,
        EvaluationError,
        ExportError,
        HpdError,
        PackageError,
        RecipeError,
        RunError,
        SearchError,
        StoreError,
        UsageError,
        WeightsError,
    )
    from hpdistill.projection import Projection, fit_pca
    from hpdistill.pytorch import TorchEncoder
    from hpdistill.recipe import (
        AugmentRecipe,
        CorpusRecipe,
        HeadRecipe,
        ProjectionRecipe,
        Recipe,
        TeacherRecipe,
        TrainingRecipe,
        WeightedModel,
    )
    from hpdistill.runtime import Encoder, TruncationWarning
    from hpdistill.search import Document, Hit, Index, Space

__all__ = [
    "AugmentError",
    "AugmentRecipe",
    "CorpusError",
    "CorpusRecipe",
    "Document",
    "Encoder",
    "EvaluationError",
    "ExportError",
    "HeadRecipe",
    "Hit",
    "HpdError",
    "Index",
    "PackageError",
    "Projection",
    "ProjectionRecipe",
    "Recipe",
    "RecipeError",
    "RunError",
    "SearchError",
    "Space",
    "StoreError",
    "TeacherRecipe",
    "TorchEncoder",
    "TrainingRecipe",
    "TruncationWarning",
    "UsageError",
    "WeightedModel",
    "WeightsError",
    "fit_pca",
]

__version__ = "0.1.0"

_HOMES = {
    "errors": (
        "AugmentError",
        "CorpusError",
        "EvaluationError",
        "ExportError",
        "HpdError",
        "PackageError",
        "RecipeError",
        "RunError",
        "SearchError",
        "StoreError",
        "UsageError",
        "WeightsError",
    ),
    "projection": ("Projection", "fit_pca"),
    "pytorch": ("TorchEncoder",),
    "recipe": (
        "AugmentRecipe",
        "CorpusRecipe",
        "HeadRecipe",
        "ProjectionRecipe",
        "Recipe",
        "TeacherRecipe",
        "TrainingRecipe",
        "WeightedModel",
    ),
    "runtime": ("Encoder", "TruncationWarning"),
    "search": ("Document", "Hit", "Index", "Space"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
