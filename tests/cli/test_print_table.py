import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from hpdistill.cli import _shared
from hpdistill.evaluate import Column, Table


@pytest.fixture
def narrow(monkeypatch):
    """Standard output as a pipe: 80 characters wide to rich."""
    file = io.StringIO()
    monkeypatch.setattr(_shared, "out", Console(file=file, width=80))
    return file


def test_no_column_of_a_table_wider_than_the_terminal_is_cut(narrow):
    columns = [Column(key=f"k{n}", title=f"measure {n:02}", format=".4f") for n in range(12)]
    _shared.print_table(Table(columns=columns, rows=[{f"k{n}": float(n) for n in range(12)}]))
    text = narrow.getvalue()
    for n in range(12):
        assert f"measure {n:02}" in text
        assert f"{n}.0000" in text


def test_a_table_that_fits_is_not_made_wider(narrow):
    columns = [Column(key="name", title="name"), Column(key="x", title="x", format=".1f")]
    _shared.print_table(Table(columns=columns, rows=[{"name": "word " * 40, "x": 1.0}]))
    assert max(map(len, narrow.getvalue().splitlines())) <= 80


@pytest.fixture
def terminal(monkeypatch):
    """Standard output as a terminal of so many characters."""

    def made(width):
        file = io.StringIO()
        console = Console(file=file, width=width, force_terminal=True, no_color=True)
        monkeypatch.setattr(_shared, "out", console)
        return file

    return made


WIDE = Table(
    title="What was measured",
    columns=[
        Column(key="name", title="model"),
        *(Column(key=f"k{n}", title=f"measure {n:02}", format=".4f", best="max") for n in range(9)),
    ],
    rows=[
        {"name": "a-model-with-a-name", **{f"k{n}": float(n) for n in range(9)}},
        {"name": "句子嵌入模型", **{f"k{n}": float(-n) for n in range(9)}},
    ],
    notes=["measure: of what was measured, by those who measure such things, in what they measure"],
)


def plain(file):
    """Lines without the terminal's colours."""
    return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [40, 50, 60])
def test_on_a_narrow_terminal_each_row_is_a_list(width, terminal):
    file = terminal(width)
    _shared.print_table(WIDE)
    lines = plain(file)
    assert max(map(cell_len, lines)) <= width
    for name, sign in (("a-model-with-a-name", ""), ("句子嵌入模型", "-")):
        start = lines.index(f"model       {name}")
        values = [f"measure {n:02}  {sign if n else ''}{n}.0000" for n in range(9)]
        assert [line.replace("-0.", "0.") for line in lines[start + 1 : start + 10]] == values
    words = " ".join(lines).split()
    assert set(WIDE.notes[0].split()) <= set(words)


@pytest.mark.parametrize("columns", [None, "40"])
def test_a_file_is_as_wide_as_the_table_unless_told(columns, narrow, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    _shared.print_table(WIDE)
    one_line = any("measure 00" in line and "measure 08" in line for line in plain(narrow))
    assert one_line == (columns is None)


def test_a_name_of_wide_characters_is_as_wide_as_it_looks(terminal):
    file = terminal(60)
    columns = [Column(key="name", title="model"), Column(key="x", title="x", format=".1f")]
    rows = [{"name": "句子嵌入", "x": 1.0}, {"name": "eight ch", "x": 2.0}]
    _shared.print_table(Table(columns=columns, rows=rows))
    ends = {cell_len(line) for line in plain(file) if line.endswith((".0",))}
    assert len(ends) == 1


@pytest.mark.parametrize("width", [40, 60, 80])
def test_help_of_every_command_fits(width, hpd, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    commands = [("distill",), ("encode",), ("index",), ("search",), ("eval", "retrieval"), ()]
    for command in commands:
        ended = hpd(*command, "--help")
        assert ended.code == 0
        assert max(map(cell_len, ended.out.splitlines())) <= width, command
        if command == ("distill",):
            # No word is broken that the terminal is wide enough for.
            assert {"--similarity-weight", "similarity-matrix", "[required]"} <= set(
                ended.out.split()
            )
            headings = [line[:-1] for line in ended.out.splitlines() if re.match(r"\w+:$", line)]
            assert headings == [
                *("Text", "Teacher", "Student", "Targets", "Training", "Recipe", "Output"),
                "Options",
            ]
