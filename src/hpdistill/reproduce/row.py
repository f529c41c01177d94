"""A row of the poster's tables: what it is, what it rests on, and the figures that are known of it.

Each is a file of `rows/`; `tables.toml` says in which table it stands, and where.
"""

import difflib
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from hpdistill.errors import UsageError
from hpdistill.strict import build

__all__ = [
    "Catalogue",
    "Hpd",
    "Pca",
    "Poster",
    "PosterTable",
    "Published",
    "Row",
    "Simcse",
    "Whitening",
    "load_catalogue",
]

_HERE = Path(__file__).parent
_NEAR = 3


@dataclass(frozen=True, kw_only=True)
class Published:
    """A model as its authors published it."""

    model: str
    """Hub id."""
    pooling: Literal["own", "mean", "cls", "pooler"] = "own"
    """Of a checkpoint that does not say it itself: of all tokens, of the first, or of the first
    through the checkpoint's own dense layer and tanh."""


@dataclass(frozen=True, kw_only=True)
class Simcse:
    """A backbone trained by supervised SimCSE on labelled pairs."""

    backbone: str
    """Hub id."""
    pooling: Literal["mean", "cls"] = "mean"
    projection: bool = False
    """Whether a dense layer to the row's width is trained with the rest: Projection-k."""


@dataclass(frozen=True, kw_only=True)
class Whitening:
    """Another row, whitened and cut to this row's width: Whitening-k."""

    of: str


@dataclass(frozen=True, kw_only=True)
class Pca:
    """Another row, cut to this row's width by PCA: what its students of this width aim at."""

    of: str


@dataclass(frozen=True, kw_only=True)
class Hpd:
    """A student distilled from another row, at this row's width."""

    teacher: str
    """A row."""
    student: str
    """Hub id of its backbone."""
    recipe: Literal["paper", "ours"] = "paper"


@dataclass(frozen=True, kw_only=True)
class Poster:
    """What others have published of a row; what is not known is None."""

    source: str = ""
    """Where the figures were published."""
    parameters_m: float | None = None
    STS12: float | None = None
    STS13: float | None = None
    STS14: float | None = None
    STS15: float | None = None
    STS16: float | None = None
    STSBenchmark: float | None = None
    SICKRelatedness: float | None = None
    average: float | None = None
    """Of the seven tasks, as published."""
    memory_mb: float | None = None
    """Of the vectors of the poster's retrieval corpus."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row; exactly one of the fields named like kinds is set."""

    name: str
    title: str
    width: int
    """Numbers of a vector."""
    note: str = ""
    published: Published | None = None
    simcse: Simcse | None = None
    whitening: Whitening | None = None
    pca: Pca | None = None
    hpd: Hpd | None = None
    poster: Poster = field(default_factory=Poster)

    def __post_init__(self) -> None:
        made = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(made) != 1:
            raise UsageError(
                f"{self.name} is made in {len(made)} ways; allowed: one of {', '.join(_KINDS)}"
            )
        if self.width < 1:
            raise UsageError(f"{self.name}: width is {self.width}; allowed: 1 or more")

    @property
    def kind(self) -> str:
        """How it is made: `published`, `simcse`, `whitening`, `pca` or `hpd`."""
        return next(kind for kind in _KINDS if getattr(self, kind) is not None)

    @property
    def rests_on(self) -> str | None:
        """The row that has to be made first, if there is one."""
        if self.hpd is not None:
            return self.hpd.teacher
        cut = self.whitening or self.pca
        return cut.of if cut is not None else None

    @property
    def weights(self) -> str | None:
        """Hub id of what it is or starts from; None for what only another row is needed for."""
        if self.published is not None:
            return self.published.model
        if self.simcse is not None:
            return self.simcse.backbone
        return self.hpd.student if self.hpd is not None else None

    @property
    def how(self) -> str:
        """How it is made, in words."""
        if self.published is not None:
            return f"published: {self.published.model}"
        if self.simcse is not None:
            layer = f" and a dense layer to {self.width}" if self.simcse.projection else ""
            return f"SimCSE on {self.simcse.backbone}{layer}"
        if self.hpd is not None:
            whose = "paper's" if self.hpd.recipe == "paper" else "our"
            return f"{self.hpd.student} distilled from {self.hpd.teacher}, {whose} recipe"
        kind = "whitening" if self.whitening is not None else "PCA"
        return f"{kind} of {self.rests_on}"


_KINDS = ("published", "simcse", "whitening", "pca", "hpd")


@dataclass(frozen=True, kw_only=True)
class PosterTable:
    """Which rows stand in a table, from top to bottom."""

    title: str
    rows: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What is to be read below it."""


@dataclass(frozen=True, kw_only=True)
class _Tables:
    sts: PosterTable
    retrieval: PosterTable
    beside: tuple[str, ...]


@dataclass(frozen=True)
class Catalogue:
    """All rows, in an order in which they can be made."""

    rows: dict[str, Row]
    sts: PosterTable
    retrieval: PosterTable

    def poster_tables(self, name: str) -> tuple[str, ...]:
        """Of `sts` and `retrieval` those in which the poster has a row."""
        both = {"sts": self.sts.rows, "retrieval": self.retrieval.rows}
        return tuple(table for table, rows in both.items() if name in rows)

    def tables_of(self, name: str) -> tuple[str, ...]:
        """Of `sts` and `retrieval` those a row is measured for: both if it is not the poster's."""
        return self.poster_tables(name) or ("sts", "retrieval")

    @property
    def teachers(self) -> tuple[str, ...]:
        """The rows from which others are distilled."""
        found = {row.hpd.teacher for row in self.rows.values() if row.hpd is not None}
        return tuple(name for name in self.rows if name in found)

    @property
    def weights(self) -> tuple[str, ...]:
        """Hub ids that rows are or start from."""
        found = (row.weights for row in self.rows.values())
        return tuple(dict.fromkeys(hub_id for hub_id in found if hub_id is not None))

    def select(self, wanted: Sequence[str]) -> list[str]:
        """Names of rows, in their order.

        Args:
            wanted: Names, patterns of names such as `hpd-*`, or `sts` and `retrieval`, which mean
                all rows of the table; none means both tables.

        Raises:
            UsageError: One means no row; the hint names near ones.
        """
        tables = {"sts": self.sts.rows, "retrieval": self.retrieval.rows}
        chosen: set[str] = set()
        for name in wanted or tables:
            found = tables.get(name) or [row for row in self.rows if fnmatchcase(row, name)]
            if not found:
                raise UsageError(f"no row is called {name!r}", hint=near(name, self.rows))
            chosen.update(found)
        return [name for name in self.rows if name in chosen]

    def with_foundations(self, names: Iterable[str], given: Iterable[str] = ()) -> list[str]:
        """The same rows and all that they rest on, in their order.

        Args:
            names: Of rows.
            given: Rows that need not be made, and so need nothing else.
        """
        wanted = set(names)
        for name in reversed(self.rows):
            below = self.rows[name].rests_on
            if name in wanted and below is not None and name not in given:
                wanted.add(below)
        return [name for name in self.rows if name in wanted]


def near(name: str, known: Iterable[str]) -> str:
    """A hint that names what is spelt alike, and where all names are."""
    found = difflib.get_close_matches(name.casefold(), list(known), n=_NEAR, cutoff=0.5)
    like = f"Did you mean {' or '.join(found)}? " if found else ""
    return f"{like}`hpd reproduce --list` names all rows."


def load_catalogue(directory: Path = _HERE) -> Catalogue:
    """Read all rows and the tables.

    Args:
        directory: Holds `rows/*.toml` and `tables.toml`.

    Raises:
        UsageError: A file is not TOML, has an unknown or missing key, or names a row that there
            is not, or that comes after it; names the file.
    """
    rows: dict[str, Row] = {}
    for path in sorted((directory / "rows").glob("*.toml")):
        data = read_toml(path)
        rows[path.stem] = build(Row, {"name": path.stem, **data}, what=f"rows/{path.name}")
    tables = build(_Tables, read_toml(directory / "tables.toml"), what="tables.toml")
    order = dict.fromkeys((*tables.sts.rows, *tables.retrieval.rows, *tables.beside))
    if odd := set(order) ^ set(rows):
        raise UsageError(f"tables.toml and rows/ differ in {', '.join(sorted(odd))}")
    seen: set[str] = set()
    for name in order:
        below = rows[name].rests_on
        if below is not None and below not in seen:
            raise UsageError(f"rows/{name}.toml rests on {below}, which does not come before it")
        seen.add(name)
    return Catalogue({name: rows[name] for name in order}, tables.sts, tables.retrieval)


def read_toml(path: Path) -> dict[str, object]:
    """A TOML file of the package.

    Raises:
        UsageError: It cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
