"""The rows of a report as a picture within the page: quality against speed.

Drawn here and not by matplotlib, which distilling does not need, and so that it takes the page's
colours, light or dark.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from hpdistill.distill.advice import Measure

__all__ = ["picture"]

_WIDTH, _HEIGHT = 480, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 16, 30, 46
_RADIUS = 5
_GROUPS = {
    "needs the teacher": ("teacher", "pca", "target"),
    "without distilling": ("tokens", "untouched", "own_pca", "closed_form", "other"),
    "distilled": ("distilled",),
}
"""A colour and a shape each."""
_COLOURS = ("one", "two", "three")
# Where a number may stand from its point: tried in this order.
_PLACES = ((15, 5), (-15, 5), (0, -11), (0, 21), (14, -9), (-14, -9), (14, 18), (-14, 18), (0, -25))


def picture(
    rows: Sequence[Mapping[str, Any]], measure: Measure, chosen: Mapping[str, Any] | None
) -> str:
    """An HTML figure: each row a point with its number in the table, from 1.

    Args:
        rows: Of `labelled`, each with `sentences_per_second`.
        measure: Up; speed is to the right, logarithmic.
        chosen: The row that has a ring.
    """
    ups, speeds = [measure.points(row) for row in rows], _speeds(rows)
    vertical = _Axis(min(ups), max(ups), _HEIGHT - _BOTTOM, _TOP)
    across = _Axis(
        math.log10(min(speeds)), math.log10(max(speeds)), _LEFT, _WIDTH - _RIGHT, least=0.6
    )
    points = [
        (across.place(math.log10(speed)), vertical.place(up))
        for speed, up in zip(speeds, ups, strict=True)
    ]
    marks = []
    for row, (x, y), (label_x, label_y), number in zip(
        rows, points, _numbers(points), range(1, len(rows) + 1), strict=True
    ):
        group = next(n for n, kinds in enumerate(_GROUPS.values()) if row["kind"] in kinds)
        said = f"{number}. {row['label']}: {measure.points(row):.2f}, {_plain(row)} sentences/s"
        ring = (
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS + 4}" fill="none" '
            'stroke="var(--mark)" stroke-width="2"/>'
            if row is chosen
            else ""
        )
        marks.append(
            f"<g><title>{escape(said)}</title>{ring}{_mark(group, x, y)}"
            f'<text x="{label_x:.1f}" y="{label_y:.1f}" text-anchor="middle">{number}</text></g>'
        )
    title = f"Speed and quality: {measure.name}, in points, against sentences a second"
    ringed = " The ring is around the row to take." if chosen is not None else ""
    return (
        f'<figure>\n<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}" '
        f'font-size="13" fill="currentColor">\n{_frame(across, vertical)}\n{_legend()}\n'
        + "\n".join(marks)
        + f"\n</svg>\n<figcaption>{escape(title)} (logarithmic); up and to the right is better. "
        f"Numbers are those of the table.{ringed}</figcaption>\n</figure>\n"
    )


class _Axis:
    """Values to places, with some room at both ends."""

    def __init__(
        self, low: float, high: float, start: float, end: float, *, least: float = 2.0
    ) -> None:
        room = max(0.08 * (high - low), (least - (high - low)) / 2)
        self.low, self.high = low - room, high + room
        self.start, self.end = start, end

    def place(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


def _speeds(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    return [float(row["sentences_per_second"]) for row in rows]


def _plain(row: Mapping[str, Any]) -> str:
    return f"{row['sentences_per_second']:,.0f}"


def _mark(group: int, x: float, y: float) -> str:
    """A circle, a square, a diamond: told apart without colour, too."""
    colour = f'fill="var(--{_COLOURS[group]})"'
    if group == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS}" {colour}/>'
    turned = f' transform="rotate(45 {x:.1f} {y:.1f})"' if group == 2 else ""
    corner = f'x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9"'
    return f"<rect {corner}{turned} {colour}/>"


def _legend() -> str:
    parts = []
    for group, name in enumerate(_GROUPS):
        x = _LEFT + 6 + group * 145
        parts.append(f'{_mark(group, x, 12)}<text x="{x + 10}" y="17">{name}</text>')
    return "".join(parts)


def _frame(across: _Axis, vertical: _Axis) -> str:
    """Lines at round values, and what they are."""
    parts = []
    for value in _round_values(vertical):
        y = vertical.place(value)
        parts.append(
            f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="var(--line)"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
        )
    for value in _round_powers(across):
        x = across.place(math.log10(value))
        parts.append(
            f'<path d="M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="var(--line)"/>'
            f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{value:,g}</text>'
        )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">sentences a second</text>'
    )
    return "".join(parts)


def _round_values(axis: _Axis) -> list[float]:
    """Four to nine of them."""
    span = (axis.high - axis.low) / 4
    power = 10.0 ** math.floor(math.log10(span))
    step = max(factor * power for factor in (1, 2, 5) if factor * power <= span)
    first, last = math.ceil(axis.low / step), math.floor(axis.high / step)
    return [round(number * step, 10) for number in range(first, last + 1)]


def _round_powers(axis: _Axis) -> list[float]:
    """1, 2 and 5 times powers of ten; over wide ranges the powers alone."""
    powers = range(math.floor(axis.low), math.ceil(axis.high) + 1)
    factors = (1, 2, 5) if axis.high - axis.low < 2 else (1,)
    values = [float(f"{factor}e{power}") for power in powers for factor in factors]
    return [value for value in values if axis.holds(math.log10(value))]


def _numbers(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A place for the number of each point, off other points and numbers where there is one."""
    taken = list(points)  # centres of marks, then of numbers, too
    found = []
    for x, y in points:
        places = [(x + across, y + down) for across, down in _PLACES]
        hits = [
            sum(
                abs(px - tx) < 13 and abs(py - 4.5 - ty) < 11
                for tx, ty in taken
                if (tx, ty) != (x, y)
            )
            for px, py in places
        ]
        best = places[hits.index(min(hits))]
        taken.append((best[0], best[1] - 4.5))
        found.append(best)
    return found
