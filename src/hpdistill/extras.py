"""Packages that the base install does not bring, imported only when they are needed."""

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from hpdistill.errors import PackageError

__all__ = ["extra", "extra_version", "missing_package"]


def extra(module: str, name: str = "train", *, task: str = "this", hint: str = "") -> Any:  # noqa: ANN401 - any module
    """Import a module of an extra.

    Args:
        module: To import.
        name: Of the extra that brings it.
        task: What needs it, for the error.
        hint: What to do without it, if not to install the extra.

    Raises:
        PackageError: It, or a package that it needs, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing_package(error.name or module, name, task=task, hint=hint) from error


def extra_version(package: str, name: str = "train") -> str:
    """Version of a package of an extra.

    Args:
        package: Its name in the index.
        name: Of the extra that brings it.

    Raises:
        PackageError: It is not installed.
    """
    try:
        return version(package)
    except PackageNotFoundError as error:
        raise missing_package(package, name) from error


def missing_package(
    package: str, name: str = "train", *, task: str = "this", hint: str = ""
) -> PackageError:
    """The error for a package that is not installed.

    Args:
        package: Its name.
        name: Of the extra that brings it.
        task: What needs it.
        hint: What to do without it, if not to install the extra.
    """
    return PackageError(
        f"{task} needs the Python package {package}, which is not installed",
        hint=hint or f"pip install 'hpdistill[{name}]'",
    )
