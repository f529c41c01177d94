"""Libraries of extras, imported only when they are needed."""

import importlib
from typing import Any

from hpdistill.errors import UsageError


def extra(module: str, name: str = "train") -> Any:  # noqa: ANN401 - any module
    """Import a module that the base install does not bring.

    Args:
        module: To import.
        name: Of the extra that brings it.

    Raises:
        UsageError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"this needs the Python package {error.name}, which is not installed",
            hint=f"pip install 'hpdistill[{name}]'",
        ) from error
