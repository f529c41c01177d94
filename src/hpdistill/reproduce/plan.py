"""Which rows can be made here, and from what, before an hour is spent on the first of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from hpdistill.reproduce.row import Catalogue, Row
from hpdistill.reproduce.supply import Missing, Supply, Weights

__all__ = ["Planned", "plan"]


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A row and what it will be made from."""

    row: Row
    weights: Weights | None = None
    """Those it is or starts from; None where it only needs another row, or cannot be made."""
    given: bool = False
    """Whether the weights are the row itself: nothing is to be made."""
    substitutes: tuple[Weights, ...] = ()
    """Stand-ins and weights that the user gave, in it or in what it rests on."""
    missing: str = ""
    """Why it cannot be made; empty when it can."""

    @property
    def kind(self) -> str | None:
        """Of the weights: `own`, `given`, `stand-in` or the last two; None if it cannot be made."""
        kinds = dict.fromkeys(weights.kind for weights in self.substitutes)
        return None if self.missing else ", ".join(sorted(kinds)) or "own"

    @property
    def from_what(self) -> str:
        """The weights, in a word or two; says when they are not the row's own."""
        if self.missing:
            return "not here"
        if not self.substitutes:
            return "own"
        kinds = dict.fromkeys(weights.kind for weights in self.substitutes)
        return "; ".join(
            f"{kind}: {', '.join(w.label for w in self.substitutes if w.kind == kind)}"
            for kind in kinds
        )


def plan(
    catalogue: Catalogue, names: Sequence[str], supply: Supply, *, labelled: bool
) -> list[Planned]:
    """Find the weights of rows and of all that they rest on.

    Args:
        catalogue: All rows.
        names: Those wanted.
        supply: Finds weights.
        labelled: Whether there are labelled pairs to train SimCSE on.

    Returns:
        In an order in which they can be made.

    Raises:
        HpdError: What the user gave for a name cannot be had.
    """
    found: dict[str, Planned] = {}
    for name in catalogue.with_foundations(names, supply.given):
        row = catalogue.rows[name]
        given = supply.given_for(name, part=False)
        if given is not None:
            found[name] = Planned(row=row, weights=given, given=True, substitutes=(given,))
            continue
        below = found[row.rests_on] if row.rests_on is not None else None
        found[name] = _planned(row, below, supply, labelled=labelled)
    return list(found.values())


def _planned(row: Row, below: Planned | None, supply: Supply, *, labelled: bool) -> Planned:
    if below is not None and below.missing:
        # Not the whole reason again: it is told of the row itself.
        return Planned(row=row, missing=f"{below.row.name}, on which it rests, cannot be made")
    if row.simcse is not None and not labelled:
        return Planned(row=row, missing="SimCSE needs labelled pairs (--nli), and none are given")
    inherited = below.substitutes if below is not None else ()
    if row.weights is None:
        return Planned(row=row, substitutes=inherited)
    weights = supply.find(row.weights)
    if isinstance(weights, Missing):
        return Planned(row=row, missing=weights.reason)
    own = () if weights.kind == "own" else (weights,)
    return Planned(row=row, weights=weights, substitutes=tuple(dict.fromkeys((*inherited, *own))))
