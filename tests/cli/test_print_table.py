import io

import pytest
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
