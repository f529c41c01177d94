"""Nested dicts, such as TOML gives, to dataclasses: every key and type is checked."""

import dataclasses
import difflib
import types
import typing
from typing import Any, Literal, TypeVar

from hpdistill.errors import UsageError

__all__ = ["build", "convert", "keys_of", "one_or_several"]

_Built = TypeVar("_Built")


def build(kind: type[_Built], data: object, *, what: str) -> _Built:
    """Make a dataclass of nested dicts and lists.

    Args:
        kind: A dataclass whose fields are numbers, texts, literals, tuples or dataclasses, or one
            of these or None.
        data: Its fields by name; those with a default may be left out.
        what: Names the whole in messages.

    Raises:
        UsageError: An unknown or missing key, or a value of the wrong type; or what the dataclass
            itself refuses.
    """
    return typing.cast("_Built", _build(kind, data, f"{what}: ", ""))


def convert(hint: object, value: object, *, what: str) -> object:
    """Check one value, as `build` checks that of a key.

    Args:
        hint: The type of the field.
        value: As TOML gives it.
        what: Names it in messages.

    Raises:
        UsageError: It is of another type, or none of the literals.
    """
    return _convert(hint, value, "", what)


def keys_of(kind: type) -> dict[str, object]:
    """Every key of a dataclass and of those within, with dots, and the type of its value.

    Of one that may be None, too, only the other type, unless it is `one_or_several`.
    """
    keys: dict[str, object] = {}
    for name, hint in typing.get_type_hints(kind).items():
        inner = _without_none(hint)
        if dataclasses.is_dataclass(inner):
            within = keys_of(typing.cast("type", inner))
            keys |= {f"{name}.{key}": one for key, one in within.items()}
        else:
            keys[name] = hint if one_or_several(hint) else inner
    return keys


def one_or_several(hint: object) -> object:
    """Where one or several may be given, such as a text or texts, the type of several."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return None
    among = [one for one in typing.get_args(hint) if one is not types.NoneType]
    several = [one for one in among if typing.get_origin(one) is tuple]
    return several[0] if several and len(among) > 1 else None


def _without_none(hint: Any) -> Any:  # noqa: ANN401 - any field type
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(a for a in typing.get_args(hint) if a is not type(None))
    return hint


def _build(kind: type, data: object, what: str, where: str) -> object:
    if not isinstance(data, dict):
        raise UsageError(f"{what}{where or 'the file'} must be a table, not {data!r}")
    hints = typing.get_type_hints(kind)
    names = [item.name for item in dataclasses.fields(kind)]
    values = {}
    for key, value in data.items():
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1)
            raise UsageError(
                f"{what}unknown key {where}{key}; allowed: {', '.join(names)}",
                hint=f"Did you mean {near[0]}?" if near else "",
            )
        values[key] = _convert(hints[key], value, what, f"{where}{key}")
    for item in dataclasses.fields(kind):
        required = (
            item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        )
        if required and item.name not in values:
            raise UsageError(f"{what}{where}{item.name} is missing")
    try:
        return kind(**values)
    except UsageError as error:
        if str(error).partition(" is ")[0] not in names:
            raise
        raise UsageError(f"{where}{error}", hint=error.hint) from error


def _convert(hint: Any, value: Any, what: str, where: str) -> Any:  # noqa: ANN401 - any field type
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        several = one_or_several(hint)
        hint = several if several and isinstance(value, list) else _without_none(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast("type", hint), value, what, f"{where}.")
    if origin is tuple:
        if not isinstance(value, list):
            raise UsageError(f"{what}{where} must be a list, not {value!r}")
        return tuple(_convert(arguments[0], inner, what, where) for inner in value)
    if origin is Literal:
        if isinstance(value, str) and value not in arguments:
            allowed = ", ".join(arguments)
            raise UsageError(f"{what}{where} is {value!r}; allowed: {allowed}")
        hint = str
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise UsageError(f"{what}{where} must be of type {hint.__name__}, not {value!r}")
    return value
