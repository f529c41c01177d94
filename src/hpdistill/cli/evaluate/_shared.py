"""What the evaluations share: models by any name, what computes them, lists of numbers."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from hpdistill.encoder import Encoder, Role
    from hpdistill.notices import Notices
    from hpdistill.progress import Report
    from hpdistill.weights import ModelSource

__all__ = [
    "Computing",
    "JsonOption",
    "Models",
    "PairsDelimiterOption",
    "Precision",
    "PrecisionOption",
    "Runs",
    "RunsOption",
    "load",
    "parse_numbers",
    "print_notes",
]


class Precision(StrEnum):
    """In which the models compute."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    int8 = "int8"


class Runs(StrEnum):
    """What runs the models, and in which precisions it can."""

    torch = "torch"
    onnx = "onnx"
    runtime = "runtime"

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The first is the default."""
        if self is Runs.torch:
            return Precision.float32, Precision.bfloat16
        return Precision.float32, Precision.int8


class Computing(NamedTuple):
    """A back end, and its precision."""

    runs: Runs | None
    """None: PyTorch, or the runtime for a model that PyTorch cannot run."""
    precision: Precision | None
    """None leaves it to the runtime."""

    @classmethod
    def of(
        cls, runs: Runs | None, precision: Precision | None, *, option: str = "--precision"
    ) -> "Computing":
        """Check what was asked for by an option, and fill in the default."""
        if precision is None:
            return cls(runs, runs.precisions[0] if runs in (Runs.torch, Runs.onnx) else None)
        if runs is None:
            runs = next(one for one in (Runs.torch, Runs.runtime) if precision in one.precisions)
        if precision not in runs.precisions:
            allowed = ", ".join(runs.precisions)
            raise typer.BadParameter(
                f"{runs} does not compute in {precision}; allowed: {allowed}",
                param_hint=f"'{option}'",
            )
        return cls(runs, precision)

    def settled(self, source: "ModelSource") -> "Computing":
        """Of this model; says so if PyTorch cannot run it."""
        from hpdistill.cli._shared import err, say
        from hpdistill.evaluate import Backend, missing

        if self.runs is not None:
            return self
        why = missing(source.path, Backend.torch_float32)
        if not why or missing(source.path, Backend.runtime):
            return type(self).of(Runs.torch, None)
        note = f"{source.name} is run by the runtime, as PyTorch cannot: {why}"
        say(err, note)
        return type(self)(Runs.runtime, None)


Models = Annotated[
    list[str], typer.Argument(metavar="MODEL...", help="Paths, short names or hub ids.")
]
RunsOption = Annotated[
    Runs | None,
    typer.Option(
        "--backend",
        help="What runs the models: PyTorch, their exported graph, or the runtime with what it "
        "chooses (also for static models).",
        show_default="torch, or runtime for a model that torch cannot run",
    ),
]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option(
        help="In which the models compute; int8 with onnx and runtime, bfloat16 with torch.",
        show_default="float32, or what the runtime chooses",
    ),
]
PairsDelimiterOption = Annotated[
    str | None,
    typer.Option(
        "--delimiter",
        metavar="C",
        help="Pairs: what divides columns. [default: found in the first rows]",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]


def parse_numbers(text: str | None, option: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")] if text is not None else []
    except ValueError:
        numbers = [0]
    if any(number < 1 for number in numbers):
        raise typer.BadParameter(
            f"{text!r} is not a list of positive whole numbers, such as 128,64",
            param_hint=f"'{option}'",
        )
    return list(dict.fromkeys(numbers))


def load(source: "ModelSource", computing: Computing, report: "Report") -> "tuple[Encoder, str]":
    """The encoder, and the precision that it computes in.

    Args:
        source: Of the model.
        computing: Settled for it.
        report: Progress of loading.

    Raises:
        UsageError: What was asked for cannot run it.
    """
    from hpdistill.errors import UsageError
    from hpdistill.evaluate import Backend, missing

    if computing.runs is Runs.torch:
        why = missing(source.path, Backend.torch_float32)
        if why and not missing(source.path, Backend.runtime):
            raise UsageError(
                f"PyTorch cannot run {source.name}: {why}", hint="`--backend runtime` runs it."
            )
        from hpdistill.pytorch import TorchEncoder

        half = computing.precision is Precision.bfloat16
        precision: Literal["float32", "bfloat16"] = "bfloat16" if half else "float32"
        return TorchEncoder.load(source, precision=precision, report=report), precision
    from hpdistill.runtime import Encoder

    if computing.runs is Runs.onnx:
        asked = Backend(f"onnx-{computing.precision}")
        if why := missing(source.path, asked):
            raise UsageError(f"{source.name} cannot run as {asked}: {why}")
    wanted: Any = "auto" if computing.precision is None else computing.precision.value
    encoder = Encoder.load(source.path, precision=wanted, report=report)
    return _Named(encoder, source.name), encoder.precision


class _Named:
    """An encoder under the name that it was asked for."""

    def __init__(self, encoder: "Encoder", name: str) -> None:
        self._encoder = encoder
        self.name = name
        self.dim = encoder.dim
        self.parameters = encoder.parameters
        self.encode = encoder.encode
        self.encode_query = encoder.encode_query
        self.encode_document = encoder.encode_document

    @property
    def max_tokens(self) -> int | None:
        """Longer texts are cut to so many tokens."""
        limit: int | None = getattr(self._encoder, "max_tokens", None)
        return limit

    @property
    def notices(self) -> "Notices":
        """Which texts it did not read."""
        notices: Notices = self._encoder.notices  # type: ignore[attr-defined]
        return notices

    def prompt(self, role: "Role | None" = None) -> str:
        """What is put before each text of a role."""
        from hpdistill.encoder import prompt_of

        return prompt_of(self._encoder, role)


def print_notes(console: "Console", notes: "Sequence[str]") -> None:
    from hpdistill.cli._shared import say

    for note in notes:
        say(console, note)
