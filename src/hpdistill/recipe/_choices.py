"""What every set of choices can, and how a choice is checked."""

import dataclasses
import math
import tomllib
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import tomli_w

from hpdistill.errors import RecipeError, UsageError
from hpdistill.files import atomic_path, json_hash
from hpdistill.strict import build

__all__ = ["Choices", "check", "check_choice", "check_errors", "check_if_set", "check_seed"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What every recipe can: TOML in and out, and a hash."""

    def to_dict(self) -> dict[str, Any]:
        """As nested dicts and lists; None values left out, since TOML has none."""
        return typing.cast("dict[str, Any]", _plain(dataclasses.asdict(self)))

    def to_toml(self) -> str:
        """As TOML text."""
        return tomli_w.dumps(self.to_dict())

    def save(self, path: Path) -> None:
        """Write as TOML, atomically.

        Raises:
            UsageError: A file name in it is not Unicode, which TOML cannot hold.
        """
        text = self.to_toml()
        try:
            data = text.encode()
        except UnicodeEncodeError as error:
            line = next(part for part in text.splitlines() if not part.isprintable())
            raise UsageError(
                f"a recipe cannot hold a name that is not Unicode: {line.strip(' ,')}",
                hint="Give the file another name, or a link with one.",
            ) from error
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)

    @property
    def hash(self) -> str:
        """Sha256 over all choices, in hexadecimal."""
        # Read back, so that 2 and 2.0 are the same number of epochs.
        return json_hash(type(self).from_dict(self.to_dict()).to_dict())

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Read what `to_toml` wrote, or a person did.

        Raises:
            UsageError: Not TOML, an unknown key, or a value of the wrong type or range.
        """
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"the recipe is not valid TOML: {error}") from error
        return cls.from_dict(data)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Build from nested dicts and lists, such as `to_dict` gives.

        Raises:
            UsageError: An unknown key, or a value of the wrong type or range.
        """
        return build(cls, data, what="recipe")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a recipe file.

        Raises:
            RecipeError: The file is missing or is not a recipe.
        """
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = (error.strerror or error) if isinstance(error, OSError) else "it is not UTF-8"
            raise RecipeError(f"cannot read recipe {path}: {why}") from error
        try:
            return cls.from_toml(text)
        except UsageError as error:
            raise RecipeError(f"{path}: {error}", hint=error.hint) from error


def check(name: str, value: object, good: bool, allowed: str) -> None:
    """Refuse a value.

    Raises:
        UsageError: It is not `good`, or infinite; the message says what is `allowed`.
    """
    # An unbounded clip means no clipping; nothing else has a use for infinity.
    infinite = isinstance(value, float) and math.isinf(value) and name != "clip"
    if not good or infinite:
        raise UsageError(f"{name} is {value!r}; allowed: {allowed}")


def check_if_set(name: str, value: T | None, good: Callable[[T], bool], allowed: str) -> None:
    """Refuse a value that is neither unset nor good.

    Raises:
        UsageError: As `check`.
    """
    if value is not None:
        check(name, value, good(value), f"{allowed}, or unset")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a value that is none of the choices.

    Raises:
        UsageError: The message names them.
    """
    check(name, value, value in choices, ", ".join(choices))


def check_errors(errors: str) -> None:
    """Refuse what is no way to treat bytes that are not in a text's encoding.

    Raises:
        UsageError: The message names the ways.
    """
    check_choice("errors", errors, ("strict", "replace", "ignore"))


def check_seed(seed: int) -> None:
    """Refuse a seed that PyTorch does not take.

    Raises:
        UsageError: It is negative, or has more than 63 bits.
    """
    check("seed", seed, 0 <= seed < 2**63, "0 to 9223372036854775807")


def _plain(value: Any) -> Any:  # noqa: ANN401 - nested dicts of anything
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
