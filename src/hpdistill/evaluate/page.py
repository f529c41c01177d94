"""What a report says, once: as Markdown, and as a page that loads nothing and runs no script."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from hpdistill.evaluate.table import Table

__all__ = ["Section", "html_page"]

_CSS = """
:root { color-scheme: light dark; --line: #8886; --faint: #8882; --mark: #0a7d4f;
  --one: #0072b2; --two: #b8860b; --three: #d55e00; }
@media (prefers-color-scheme: dark) {
  :root { --mark: #4fd19b; --one: #56b4e9; --two: #e6c84f; --three: #ff8a4c; } }
* { box-sizing: border-box; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem;
  overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
p, dl, figcaption { max-width: 46rem; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; overflow-wrap: normal; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
thead th { vertical-align: bottom; }
tbody th { font-weight: 400; min-width: 9rem; overflow-wrap: anywhere; }
th.number, td.number { text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.note { opacity: .8; margin: .3rem 0; }
.lead { border-left: .3rem solid var(--mark); padding-left: .8rem; }
dt { font-weight: 600; }
dd { margin: 0 0 .4rem 1rem; }
figure { margin: 1rem 0; }
figure svg { width: 100%; max-width: 40rem; height: auto; }
pre { overflow-x: auto; padding: .6rem; background: var(--faint); font-size: .875rem; }
summary { cursor: pointer; }
@media (max-width: 48rem) { th, td { padding: .25rem .4rem; } tbody th { min-width: 7rem; } }
@media (min-width: 48rem) {
  dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
  dd { margin: 0; } }
"""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a report: text, `code` in backticks, and a picture, which is HTML."""

    title: str = ""
    lead: Sequence[str] = ()
    """What the reader should not miss, before all else."""
    paragraphs: Sequence[str] = ()
    picture: str = ""
    """An HTML fragment; only a page shows it."""
    tables: Sequence[Table] = ()
    terms: Sequence[tuple[str, str]] = ()
    """Words, and what each means."""
    code: str = ""
    """A listing, folded away on a page."""
    code_title: str = ""

    def to_markdown(self, *, level: int = 2) -> str:
        """As Markdown under a heading of that level; ends in a newline."""
        parts = [f"{'#' * level} {self.title}\n"] if self.title else []
        parts += [f"**{text}**\n" for text in self.lead]
        parts += [f"{text}\n" for text in self.paragraphs]
        parts += [table.to_markdown() for table in self.tables]
        if self.terms:
            parts.append("".join(f"- **{term}**: {meaning}\n" for term, meaning in self.terms))
        if self.code:
            parts.append(f"{self.code_title}:\n\n```\n{self.code.rstrip()}\n```\n")
        return "\n".join(parts)

    def to_html(self) -> str:
        """As an HTML fragment."""
        parts = [f"<h2>{escape(self.title)}</h2>\n"] if self.title else []
        parts += [f'<p class="lead"><strong>{_html(text)}</strong></p>\n' for text in self.lead]
        parts += [f"<p>{_html(text)}</p>\n" for text in self.paragraphs]
        parts.append(self.picture)
        parts += [table.to_html() for table in self.tables]
        if self.terms:
            pairs = (f"<dt>{_html(a)}</dt><dd>{_html(b)}</dd>\n" for a, b in self.terms)
            parts.append(f"<dl>\n{''.join(pairs)}</dl>\n")
        if self.code:
            parts.append(
                f"<details><summary>{escape(self.code_title)}</summary>\n"
                f'<pre tabindex="0">{escape(self.code)}</pre></details>\n'
            )
        return f"<section>\n{''.join(parts)}</section>\n"


def html_page(title: str, fragments: Iterable[str]) -> str:
    """A whole HTML document that loads nothing from elsewhere.

    Args:
        title: Plain text.
        fragments: HTML, such as that of `Table.to_html`; put in as it is.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n{''.join(fragments)}</main>\n</body>\n</html>\n"
    )


def _html(text: str) -> str:
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))
