"""The exceptions of hpdistill.

Every failure that a user can cause or repair is one of these; anything else that escapes
is a bug. Messages name a parameter in backquotes (`overwrite=True`) where they say what to pass;
the command line says it as its option. It prints the message, then the hint, and exits with code 2
for a UsageError, which is what was asked, and with 1 for all else, which is what was found::

    HpdError
    ├── UsageError      a value that cannot be used: k of 0, an unknown loss, two that exclude
    │                   each other
    ├── RecipeError     a recipe file that cannot be read, or whose choices cannot be used
    ├── PackageError    a Python package that is not installed
    ├── CorpusError     text that cannot be read, or not enough of it
    ├── AugmentError    a dictionary that is not there, a translator that fails
    ├── WeightsError    a model that cannot be found, fetched, verified or trusted
    ├── StoreError      teacher embeddings that are damaged or cannot be computed
    ├── RunError        a run directory that holds something else
    ├── ExportError     a model that cannot become a graph, or a graph that disagrees with it
    ├── EvaluationError evaluation data that is missing or malformed
    └── SearchError     an index that is damaged, of another space, or cannot be reached
"""

__all__ = [
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
]


class HpdError(Exception):
    """Base of all errors that hpdistill raises on purpose.

    Args:
        message: One line that names the value given and what is allowed.
        hint: One line that says what to do about it; empty when the message says it all.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(HpdError):
    """A value that cannot be used."""


class RecipeError(HpdError):
    """A recipe file that cannot be read, or whose choices cannot be used."""


class PackageError(HpdError):
    """A Python package that is not installed."""


class CorpusError(HpdError):
    """Text that cannot be read, or not enough of it."""


class AugmentError(HpdError):
    """A dictionary that is not there, or a translator that is not there or fails."""


class WeightsError(HpdError):
    """A model that cannot be found, fetched, verified or trusted."""


class StoreError(HpdError):
    """Teacher embeddings that are damaged or cannot be computed."""


class RunError(HpdError):
    """A run directory that holds something else than expected."""


class ExportError(HpdError):
    """A model that cannot become a graph, or a graph that disagrees with its model."""


class EvaluationError(HpdError):
    """Evaluation data that is missing or malformed."""


class SearchError(HpdError):
    """An index that is damaged, of another space, or cannot be reached."""
