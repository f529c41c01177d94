"""`--set KEY=VALUE`: any choice of a recipe, from the command line."""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from hpdistill.errors import UsageError
from hpdistill.strict import convert, keys_of, one_or_several

__all__ = ["Settings", "apply", "parse_settings"]

_NEAR = 3

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any other choice of the recipe by its key, the value as in TOML: "
        'training.warmup=0.1, corpus.exclude=\'["a", "b"]\'. KEY= takes the default. '
        "Repeat for more.",
        rich_help_panel="Recipe",
    ),
]


def parse_settings(
    given: Sequence[str] | None, kind: type, taken: Mapping[str, str], *, section: str = ""
) -> dict[str, Any]:
    """What `--set` says, by key; None for a choice that is to be left to its default.

    Args:
        given: `KEY=VALUE`; the value is one of TOML, but that of a text needs no quotes.
        kind: The recipe.
        taken: Keys that are given by options, and those options.
        section: Of a recipe of which `kind` is a part; keys begin with it and a dot.

    Raises:
        UsageError: It is not of that form, there is no such key, the value is of another type, or
            a key is given twice.
    """
    prefix = f"{section}." if section else ""
    keys = {f"{prefix}{key}": hint for key, hint in keys_of(kind).items()}
    found: dict[str, Any] = {}
    for text in given or ():
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not key:
            raise UsageError(
                f"--set {text}: not KEY=VALUE", hint="Such as --set training.epochs=3."
            )
        if key not in keys:
            raise UsageError(f"--set {text}: no such key of a recipe", hint=_near(key, keys))
        if key in taken:
            raise UsageError(f"--set {key} and {taken[key]} give the same choice; leave one out")
        if key in found:
            raise UsageError(f"--set {key} is given twice; leave one out")
        found[key] = _value(key, value, keys[key]) if value else None
    return found


def apply(base: dict[str, Any], choices: Mapping[str, Any]) -> None:
    """Put choices into nested dicts, by keys with dots; None takes what is there away."""
    for key, value in choices.items():
        *sections, name = key.split(".")
        table = base
        for section in sections:
            table = table.get(section, {}) if value is None else table.setdefault(section, {})
        if value is None:
            table.pop(name, None)
        else:
            table[name] = value


def _value(key: str, text: str, hint: object) -> object:
    try:
        (value,) = tomllib.loads(f"value = {text}").values()
    except ValueError:
        value = text
    several = one_or_several(hint) is not None
    texts = str in get_args(hint) if several else hint is str or get_origin(hint) is Literal
    if texts and not isinstance(value, (str, list) if several else str):
        value = text  # a column may be called 3
    convert(hint, value, what=f"--set {key}")
    return value


def _near(key: str, keys: Mapping[str, object]) -> str:
    """Keys that are spelt alike: as a whole, or what follows their last dot."""
    if within := [one for one in keys if one.startswith(f"{key}.")]:
        return f"Its keys: {', '.join(within)}."
    last = key.rpartition(".")[2]
    ends = {one.rpartition(".")[2]: one for one in keys}
    found = [one for one in keys if one.rpartition(".")[2] == last]
    found += [ends[end] for end in difflib.get_close_matches(last, ends, n=_NEAR)]
    found += difflib.get_close_matches(key, keys, n=_NEAR)
    if near := list(dict.fromkeys(found))[:_NEAR]:
        return f"Did you mean {' or '.join(near)}?"
    return f"Keys: {', '.join(keys)}."
