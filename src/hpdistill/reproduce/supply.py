"""Where the weights of a row come from here: its own, the user's, or a stand-in that is named."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hpdistill.errors import HpdError, UsageError
from hpdistill.progress import Report, silent
from hpdistill.recipe import StudentSpec
from hpdistill.reproduce.row import near, read_toml
from hpdistill.strict import build
from hpdistill.weights import is_cached, known_models, resolve

__all__ = ["Missing", "StandIn", "Supply", "Weights", "load_stand_ins", "parse_models"]

_FILE = Path(__file__).with_name("stand_ins.toml")


@dataclass(frozen=True, kw_only=True)
class StandIn:
    """What is used where certain weights cannot be had."""

    use: str
    """A model, or what else a student may be made from."""
    needs: str
    """The model whose weights that takes."""
    label: str
    """In a word or two."""
    difference: str
    """What sets it apart from the weights that it stands in for."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights that can be had."""

    wanted: str
    """Hub id, or the name of a row whose weights the user gave."""
    use: str
    """What they are loaded from."""
    kind: Literal["own", "given", "stand-in"] = "own"
    label: str = ""
    """What they are, in a word or two."""
    note: str = ""
    """Of a stand-in: why, and what it is."""


@dataclass(frozen=True)
class Missing:
    """Weights that cannot be had."""

    reason: str


@dataclass
class Supply:
    """Finds weights; asks for each only once.

    Args:
        given: What to use for a name, before all else.
        stand_ins: What to use for a name that cannot be had.
        fetch: Whether weights may be fetched; else only what is on this machine counts.
        report: Progress of fetching.
    """

    given: Mapping[str, str] = field(default_factory=dict)
    stand_ins: Mapping[str, StandIn] = field(default_factory=dict)
    fetch: bool = True
    report: Report = silent
    _found: dict[str, Weights | Missing] = field(default_factory=dict)

    def find(self, wanted: str) -> Weights | Missing:
        """The weights for a hub id.

        Raises:
            HpdError: What the user gave for it cannot be had.
        """
        if wanted not in self._found:
            self._found[wanted] = self._find(wanted)
        return self._found[wanted]

    def given_for(self, name: str, *, part: bool) -> Weights | None:
        """What the user gave for a name.

        Args:
            name: Of a row, or of weights that one starts from.
            part: Whether it may be a part of a model, as a student may: not for a row, which is a
                model that is measured as it is.

        Raises:
            HpdError: It cannot be had.
        """
        use = self.given.get(name)
        if use is None:
            return None
        resolve(StudentSpec.parse(use).model if part else use, report=self.report)
        label = use if ":" in use else use.rstrip("/").rpartition("/")[2]
        return Weights(wanted=name, use=use, kind="given", label=label)

    def _find(self, wanted: str) -> Weights | Missing:
        if (given := self.given_for(wanted, part=True)) is not None:
            return given
        reason = self._reason(wanted)
        if not reason:
            return Weights(wanted=wanted, use=wanted)
        stand_in = self.stand_ins.get(wanted)
        if stand_in is None:
            return Missing(reason)
        if failure := self._reason(stand_in.needs):
            return Missing(f"{reason}; nor can its stand-in {stand_in.needs}: {failure}")
        note = f"{stand_in.label} stands in for {wanted} ({reason}). {stand_in.difference}"
        return Weights(
            wanted=wanted, use=stand_in.use, kind="stand-in", label=stand_in.label, note=note
        )

    def _reason(self, model: str) -> str:
        """Why a model cannot be had; empty when it can."""
        try:
            if not self.fetch:
                return "" if is_cached(model) else "not on this machine"
            resolve(model, report=self.report)
        except HpdError as error:
            return str(error)
        return ""


def load_stand_ins() -> dict[str, StandIn]:
    """What stands in for what, by hub id.

    Raises:
        UsageError: The file of the package is malformed.
    """
    return {
        wanted: build(StandIn, data, what=f"stand_ins.toml, {wanted}")
        for wanted, data in read_toml(_FILE).items()
    }


def parse_models(
    given: Iterable[str], *, rows: Iterable[str], weights: Iterable[str]
) -> dict[str, str]:
    """Read `NAME=MODEL`s.

    Args:
        given: As the user wrote them.
        rows: Names of rows.
        weights: Hub ids that rows are made from; their short names are allowed, too.

    Returns:
        What to use for a row or a hub id.

    Raises:
        UsageError: Not of this form, an unknown name, or one that is given twice.
    """
    hub_ids = {alias: m.hub_id for m in known_models() for alias in m.aliases}
    allowed = {*rows, *weights}
    found: dict[str, str] = {}
    for text in given:
        name, equals, use = text.partition("=")
        if not equals or not name or not use:
            raise UsageError(f"`models` has {text!r}, which is not of the form NAME=MODEL")
        full = name if name in allowed else hub_ids.get(name, name)
        if full not in allowed:
            raise UsageError(
                f"`models` has {name}, which is neither a row nor weights that one is made from",
                hint=near(name, allowed),
            )
        if full in found:
            raise UsageError(f"`models` gives {name} twice")
        found[full] = use
    return found
