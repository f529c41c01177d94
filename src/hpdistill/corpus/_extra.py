"""Libraries of the `train` extra, imported only when they are needed."""

import importlib
from typing import Any

from hpdistill.errors import UsageError


def extra(module: str) -> Any:  # noqa: ANN401 - any module
    """Import a module that the base install does not bring.

    Raises:
        UsageError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"this needs the Python package {error.name}, which is not installed",
            hint="pip install 'hpdistill[train]'",
        ) from error
