"""The `hpd` command. The only room that prints; one module a command group."""

import io
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from types import FrameType
from typing import Annotated, NoReturn

import typer

from hpdistill.cli._command import App
from hpdistill.errors import HpdError, UsageError

__all__ = ["app", "main"]

ENDED = {130: "interrupted", 143: "ended by SIGTERM"}
"""Exit codes of a shell for what a signal ended."""

app = App(
    name="hpd",
    help="Turn a big sentence-embedding model into a small, fast one in the same similarity space.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from hpdistill import __version__

        typer.echo(f"hpdistill {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Options of the command line as a whole."""


for _module in (
    "augment",
    "clean",
    "demo",
    "distill",
    "encode",
    "evaluate",
    "export",
    "index",
    "models",
    "reduce",
    "reproduce",
    "search",
    "train",
):
    _register: Callable[[typer.Typer], None] = import_module(f"hpdistill.cli.{_module}").register
    _register(app)


def main() -> None:
    """Entry point: one clear line for what a user can cause.

    Exit codes: 0; 2 for what cannot be done as it was said; 1 for what is not as it should be, a
    file, a model, a run, a machine; 130 and 143 for an end by Ctrl-C or SIGTERM.
    """
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    if sys.stdout is None:
        # The next file that is opened would be taken for it by all that is written in C.
        _say("standard output is closed", "Send it to /dev/null if it is not wanted.")
        raise SystemExit(1)
    for stream in (sys.stdin, sys.stdout):
        # A byte or a character that the locale does not know is no reason to end.
        if isinstance(stream, io.TextIOWrapper):
            with suppress(io.UnsupportedOperation):  # it has been read from
                stream.reconfigure(errors="replace")
    try:
        _run(arguments)
    except BrokenPipeError:  # whoever reads has had enough
        _drop_output()
        raise SystemExit(1) from None
    except Exception as error:  # noqa: BLE001 - whatever it is, the user gets one line
        if debug:
            traceback.print_exc()
        _say(*_in_words(error))
        _drop_output()
        raise SystemExit(2 if isinstance(error, UsageError) else 1) from None


def _run(arguments: list[str]) -> None:
    from hpdistill.cli._shared import err

    # Not where whoever started this has it ignored.
    terminates = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if terminates:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        app(arguments, prog_name="hpd")
    except SystemExit as ending:
        # What is left of the output goes now, while it can still be said that it cannot.
        sys.stdout.flush()
        if ending.code in ENDED:
            err.print(f"{ENDED[ending.code]}; what was complete is kept", highlight=False)
        raise
    finally:
        if terminates:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    raise SystemExit(143)


def _drop_output() -> None:
    """Forget what standard output does not take: Python would try and complain as it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _in_words(error: Exception) -> tuple[str, str]:
    """A line that says what is wrong, and one that says what to do about it, or nothing."""
    if isinstance(error, HpdError):
        return str(error), error.hint
    if isinstance(error, OSError) and error.strerror:
        # One without a name comes of writing to what is open: standard output, nearly always.
        return f"{error.filename or 'cannot write'}: {error.strerror}", ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}", "--debug shows where this comes from."


def _say(text: str, hint: str) -> None:
    from rich.markup import escape

    from hpdistill.cli._shared import err

    # By words on a terminal; a program gets one line each.
    whole = not err.is_terminal
    err.print(f"[bold red]error:[/] {escape(text)}", highlight=False, soft_wrap=whole)
    if hint:
        err.print(f"[dim]hint:[/] {escape(hint)}", highlight=False, soft_wrap=whole)
