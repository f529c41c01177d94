from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO

import pytest
from rich.console import Console

from hpdistill.evaluate import Column, Section, Table, html_page

COLUMNS = [
    Column(key="model", title="model"),
    Column(key="dim", title="dim", format="d"),
    Column(key="score", title="score", format=".2f", best="max"),
    Column(key="cost", title="cost", format=",.0f", best="min"),
]
ROWS = [
    {"model": "big", "dim": 768, "score": 80.534, "cost": 12345.0},
    {"model": "small", "dim": 128, "score": 78.0, "cost": 900.4, "unused": 1},
    {"model": "unmeasured", "dim": 64, "score": None, "cost": float("nan")},
]
TABLE = Table(columns=COLUMNS, rows=ROWS, title="Scores", notes=["Missing: STS15"])


def shown(table: Table, width: int = 80) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(table.to_rich())
    return console.file.getvalue()


def test_markdown():
    assert TABLE.to_markdown() == (
        "**Scores**\n"
        "\n"
        "| model | dim | score | cost |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| big | 768 | **80.53** | 12,345 |\n"
        "| small | 128 | 78.00 | **900** |\n"
        "| unmeasured | 64 | \N{EN DASH} | \N{EN DASH} |\n"
        "\n"
        "Missing: STS15\n"
    )


def test_values_that_read_the_same_are_equally_good():
    rows = [{"score": 1.001}, {"score": 1.002}, {"score": 0.5}]
    table = Table(columns=[COLUMNS[2]], rows=rows)
    assert table.cells() == [[("1.00", True)], [("1.00", True)], [("0.50", False)]]


def test_one_row_has_no_best():
    assert Table(columns=[COLUMNS[2]], rows=ROWS[:1]).cells() == [[("80.53", False)]]


def test_a_column_without_values_has_no_best():
    assert Table(columns=[COLUMNS[2]], rows=[{}, {}]).cells() == [[("\N{EN DASH}", False)]] * 2


@pytest.mark.parametrize("rendered", [TABLE.to_markdown(), TABLE.to_html(), shown(TABLE)])
def test_every_form_shows_title_cells_and_notes(rendered):
    for text in ("Scores", "model", "small", "80.53", "12,345", "\N{EN DASH}", "Missing: STS15"):
        assert text in rendered


def test_a_terminal_too_narrow_folds_names_and_never_numbers():
    rows = [{**ROWS[0], "model": "a/very/long/path/to/a/model/directory/of/mine"}]
    text = shown(Table(columns=COLUMNS, rows=rows), width=40)
    assert "80.53" in text
    assert "12,345" in text
    assert "…" not in text


def test_the_table_of_seven_tasks_fits_eighty_characters():
    titles = [
        "dim",
        *(f"STS{year}" for year in range(12, 17)),
        "STS-B",
        "SICK-R",
        "average",
        "ret. %",
    ]
    columns = [COLUMNS[0], *(Column(key=title, title=title, format=".2f") for title in titles)]
    name = "sentence-transformers/all-mpnet-base-v2"
    lines = shown(
        Table(columns=columns, rows=[{"model": name} | dict.fromkeys(titles, 100.0)])
    ).splitlines()
    assert lines[0].split() == ["model", *titles[:-1], "ret.", "%"]
    assert lines[2].count("100.00") == 10
    assert "".join(line.split()[0] for line in lines[2:]) == name


HOSTILE = "<b>[red]a|b[/]</b>\n&"


def test_names_are_text_and_never_markup():
    table = Table(columns=COLUMNS[:1], rows=[{"model": HOSTILE}], title=HOSTILE, notes=[HOSTILE])
    assert "&lt;b&gt;[red]a|b[/]&lt;/b&gt;\n&amp;" in table.to_html()
    assert "<b>" not in table.to_html()
    assert "| <b>[red]a\\|b[/]</b> & |" in table.to_markdown()
    assert "<b>[red]a|b[/]</b>" in shown(table)


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_first_column_of_text_heads_its_rows():
    columns = [COLUMNS[1], COLUMNS[0], COLUMNS[2]]
    page = Page(Table(columns=columns, rows=ROWS, title="Scores").to_html())
    heads = [attributes["scope"] for tag, attributes in page.tags if tag == "th"]
    assert heads == ["col"] * 3 + ["row"] * 3
    row = '<tr><td class="number">768</td><th scope="row">big</th><td class="number">'
    assert row in Table(columns=columns, rows=ROWS).to_html()


def test_a_table_tells_the_meanings_of_its_columns():
    columns = [replace(COLUMNS[2], meaning="More is better."), COLUMNS[1]]
    assert Table(columns=columns, rows=ROWS).meanings == [("score", "More is better.")]


def test_a_section_says_the_same_in_every_form():
    section = Section(
        title="Worth",
        lead=["Take `big`."],
        paragraphs=["R & D"],
        tables=[TABLE],
        terms=[("score", "More < better.")],
        code="a = '<b>'",
        code_title="Listing",
    )
    markdown, html = section.to_markdown(), section.to_html()
    assert Page(html).open == []
    for text in ("## Worth", "**Take `big`.**", "R & D", TABLE.to_markdown(), "a = '<b>'"):
        assert text in markdown
    assert "- **score**: More < better." in markdown
    for text in ("<h2>Worth</h2>", "<strong>Take <code>big</code>.</strong>", "R &amp; D"):
        assert text in html
    for text in (TABLE.to_html(), "<dt>score</dt><dd>More &lt; better.</dd>", "a = &#x27;&lt;b"):
        assert text in html


def test_a_page_is_well_formed_and_loads_nothing():
    page = Page(html_page("R & D", [TABLE.to_html(), TABLE.to_html()]))
    assert page.open == []
    assert [tag for tag, _ in page.tags].count("table") == 2
    assert not any({"src", "href"} & set(attributes) for _, attributes in page.tags)
    assert "<title>R &amp; D</title>" in html_page("R & D", [])
