"""What all commands are: help in sections that fit a narrow terminal, messages in their words."""

import re
import shutil
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from hpdistill.errors import HpdError

__all__ = ["App", "DelimiterOption", "named"]

DelimiterOption = Annotated[
    str | None,
    typer.Option(
        "--delimiter",
        metavar="C",
        help="What divides columns of .csv and .tsv. [default: found in the first rows]",
    ),
]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_NAMES = "hpd_names"
_WIDEST = 80
_NARROW = 60
"""Below so many characters a help text stands under its option, not beside it."""

_QUOTED = re.compile(r"`([a-z_][a-z_.0-9]*)(?:=([^`]*))?`")
_SUBJECT = re.compile(r"\A(?:recipe: )?([a-z_][a-z_.0-9]*)(?= is | must be )")


def named(names: Mapping[str, str]) -> Callable[[_Function], _Function]:
    """Say which parameters of a command stand for what the library calls otherwise.

    Args:
        names: Parameters of the command, by the library's names: of a parameter, or of a key of a
            recipe with dots.
    """

    def mark(function: _Function) -> _Function:
        setattr(function, _NAMES, dict(names))
        return function

    return mark


class Command(TyperCommand):
    """A command whose errors speak of its options where the library's speak of parameters."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - click's, and what the function returns
        """Run it."""
        try:
            return super().invoke(ctx)
        except HpdError as error:
            error.args = (self._in_options(str(error)),)
            error.hint = self._in_options(error.hint)
            raise

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's
        """Write the help, as wide as the terminal is."""
        _fit(formatter)
        super().format_help(ctx, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's
        """Write arguments and options, each under the heading of its panel."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
            panel = getattr(parameter, "rich_help_panel", None) or usual
            sections.setdefault(panel, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                _define(formatter, records)

    def _in_options(self, text: str) -> str:
        """A message of the library, in this command's words.

        A parameter in backquotes, with its value or without, becomes the option that gives it, and
        so does one that the message begins with ("dim is 0"). Other words stay.
        """
        text = _QUOTED.sub(lambda found: self._option(found[1], found[2]) or found[0], text)
        return _SUBJECT.sub(lambda found: self._option(found[1]) or found[0], text)

    def _option(self, name: str, value: str | None = None) -> str:
        """What is typed to give a parameter a value; empty if the command does not have it."""
        names: Mapping[str, str] = getattr(self.callback, _NAMES, {})
        wanted = names.get(name, name)
        parameter = next((p for p in self.params if p.name == wanted), None)
        if parameter is None:
            settable = "." in name and any(p.name == "settings" for p in self.params)
            return f"--set {name}{'' if value is None else f'={value}'}" if settable else ""
        if parameter.param_type_name == "argument":
            return str(parameter.metavar or wanted.upper())
        option = next((o for o in parameter.opts if o.startswith("--")), parameter.opts[0])
        if value in ("True", "False"):
            off = parameter.secondary_opts
            return max(off, key=len) if value == "False" and off else option
        return option if value is None else f"{option} {value.strip(chr(34) + chr(39))}"


class Group(TyperGroup):
    """A group of commands, whose help is as wide as the terminal."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's
        """Write the help."""
        _fit(formatter)
        super().format_help(ctx, formatter)


class App(typer.Typer):
    """Typer with these commands, and plain help."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - as typer.Typer
        super().__init__(**{"cls": Group, "rich_markup_mode": None, **options})

    def command(
        self,
        name: str | None = None,
        **options: Any,  # noqa: ANN401 - as there
    ) -> Callable[[_Function], _Function]:
        """Add a command."""
        return super().command(name, **{"cls": Command, **options})


def _fit(formatter: Any) -> None:  # noqa: ANN401 - click's, which is 50 wide or wider
    formatter.width = max(20, min(shutil.get_terminal_size().columns, _WIDEST) - 2)


def _define(formatter: Any, records: Iterable[tuple[str, str]]) -> None:  # noqa: ANN401 - click's
    """Terms and what they mean, side by side if there is room."""
    if formatter.width >= _NARROW:
        formatter.write_dl(list(records))
        return
    indent = " " * formatter.current_indent
    for term, meaning in records:
        for text, margin in ((term, indent), (meaning, f"{indent}    ")):
            lines = textwrap.wrap(
                text,
                formatter.width,
                initial_indent=margin,
                subsequent_indent=f"{indent}    ",
                break_on_hyphens=False,
            )
            formatter.write("".join(f"{line}\n" for line in lines))
