"""One table for every measurement: for the terminal, for Markdown, for a page."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import rich.table

__all__ = ["Column", "Table"]

_MISSING = "\N{EN DASH}"


@dataclass(frozen=True, kw_only=True)
class Column:
    """How one key of the rows is shown."""

    key: str
    title: str
    format: str = ""
    """Format specification of a number, such as `.2f`; empty for text."""
    best: Literal["max", "min"] | None = None
    """Which value of the column is emphasised, if any."""
    meaning: str = ""
    """What its figures are, and which way is better; for a reader who does not know."""

    def text(self, row: Mapping[str, Any]) -> str:
        """The cell's text; a dash for a key that is absent, None or not a number."""
        value = row.get(self.key)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return _MISSING
        return format(value, self.format) if self.format else str(value)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Flat rows, the columns to show of them, a title and notes to stand below."""

    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    title: str = ""
    notes: Sequence[str] = ()

    def cells(self) -> list[list[tuple[str, bool]]]:
        """Text of every cell by row, and whether it is the best of its column.

        Values that read the same are equally good; one row alone has no best.
        """
        by_column = []
        for column in self.columns:
            texts = [column.text(row) for row in self.rows]
            values = [
                row[column.key]
                for row, text in zip(self.rows, texts, strict=True)
                if text != _MISSING
            ]
            best = None
            if column.best and len(values) > 1:
                best = column.text({column.key: (max if column.best == "max" else min)(values)})
            by_column.append([(text, text == best) for text in texts])
        return [list(row) for row in zip(*by_column, strict=True)]

    def to_rich(self) -> "rich.table.Table":
        """For a terminal: a table too wide for it folds its names, not its numbers."""
        from rich import box
        from rich.cells import cell_len
        from rich.table import Table as RichTable
        from rich.text import Text

        rows = self.cells()
        widths = [
            max(cell_len(text) for text in (column.title, *(row[place][0] for row in rows)))
            for place, column in enumerate(self.columns)
        ]
        # Eleven columns of figures and a model's path fit 80 characters only without padding.
        roomy = sum(widths) + 3 * len(widths) <= 80
        table = RichTable(
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1) if roomy else 0,
            title=Text(self.title) if self.title else None,
            title_justify="left",
            caption=Text("\n".join(self.notes)) if self.notes else None,
            caption_justify="left",
        )
        for column, width in zip(self.columns, widths, strict=True):
            table.add_column(
                Text(column.title),
                justify="right" if column.format else "left",
                no_wrap=bool(column.format),
                overflow="fold",
                min_width=width if column.format else min(width, 8),
            )
        # Text, not strings: names may hold brackets that rich would take for markup.
        for row in rows:
            table.add_row(*(Text(text, style="bold" if best else "") for text, best in row))
        return table

    def to_markdown(self) -> str:
        """As a GitHub table, with title and notes as paragraphs; ends in a newline."""
        lines = [f"**{_markdown(self.title)}**", ""] if self.title else []
        lines.append(_markdown_row(_markdown(column.title) for column in self.columns))
        lines.append(_markdown_row("---:" if column.format else "---" for column in self.columns))
        lines += [
            _markdown_row(
                f"**{_markdown(text)}**" if best else _markdown(text) for text, best in row
            )
            for row in self.cells()
        ]
        for note in self.notes:
            lines += ["", _markdown(note)]
        return "\n".join(lines) + "\n"

    @property
    def meanings(self) -> list[tuple[str, str]]:
        """Title and meaning of each column that has one."""
        return [(column.title, column.meaning) for column in self.columns if column.meaning]

    def to_html(self) -> str:
        """As an HTML fragment; `html_page` makes a document of several.

        The first column of text heads its rows.
        """
        heading = next((n for n, column in enumerate(self.columns) if not column.format), None)
        kinds = [' class="number"' if column.format else "" for column in self.columns]
        heads = "".join(
            f'<th scope="col"{kind}>{escape(column.title)}</th>'
            for column, kind in zip(self.columns, kinds, strict=True)
        )
        lines = []
        for row in self.cells():
            cells = []
            for place, ((text, best), kind) in enumerate(zip(row, kinds, strict=True)):
                shown = f"<strong>{escape(text)}</strong>" if best else escape(text)
                tag, scope = ("th", ' scope="row"') if place == heading else ("td", "")
                cells.append(f"<{tag}{scope}{kind}>{shown}</{tag}>")
            lines.append(f"<tr>{''.join(cells)}</tr>")
        body = "\n".join(lines)
        caption = f"<caption>{escape(self.title)}</caption>\n" if self.title else ""
        # What scrolls can be reached, and then has to have a name.
        region = f' role="region" aria-label="{escape(self.title)}"' if self.title else ""
        notes = "".join(f'<p class="note">{escape(note)}</p>\n' for note in self.notes)
        return (
            f'<div class="scroll" tabindex="0"{region}><table>\n{caption}'
            f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>\n{notes}"
        )


def _markdown(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
