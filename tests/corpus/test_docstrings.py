"""Prose of docstrings: sentences in, markup and lists out, and nobody's code is run."""

from pathlib import Path

import pytest

from hpdistill.corpus import pydoc_entries, pydoc_passages, pydoc_sentences, read_source
from hpdistill.corpus._prose import is_english_sentence, paragraphs
from hpdistill.corpus.readers import check_source

MODULE = '''"""Tools for reading the weather of a place.

They were written in 1999. See the manual for more of it.
"""

raise SystemExit("this module must never be run")

if True:
    class Station:
        """A station that measures the weather.

        A longer story about the station follows here,
        over two lines::

            code = that(is_not, prose)

        Args:
            name: This is the name of the station.
        """

        def wind(self):
            "Return the speed of the wind in :class:`~units.Knots`, or ``None`` if it is calm."

        def _secret(self):
            """Return what nobody is supposed to know."""

def broken(): r"""Use a \\d here and it is fine to drop it."""
'''


MODULE_PROSE = [
    "Tools for reading the weather of a place.",
    "They were written in 1999. See the manual for more of it.",
]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    write("weather/station.py", MODULE)
    write("weather/__init__.py", '"""Weather for those who have to sail in it."""')
    write("weather/again.py", '"""Weather for those who have to sail in it."""')
    write("weather/tests/test_station.py", '"""This is a test and must not be read."""')
    write("weather/test_more.py", '"""This is a test and must not be read."""')
    write("weather/old.py", 'print "this is not the Python of today"  # """')
    write("weather/nul.py", '"""This has a NUL byte in it."""\0')
    write("weather/deep.py", '"""This is nested far too deeply."""\n' + "(" * 500 + ")" * 500)
    write("readme.txt", '"""This is not a Python file at all."""')
    return tmp_path


def test_sentences_come_in_the_order_of_files_and_lines(package: Path) -> None:
    assert list(pydoc_sentences([package])) == [
        "Weather for those who have to sail in it.",
        "Weather for those who have to sail in it.",
        "Tools for reading the weather of a place.",
        "They were written in 1999.",
        "See the manual for more of it.",
        "A station that measures the weather.",
        "Return the speed of the wind in Knots, or None if it is calm.",
        "Return what nobody is supposed to know.",
    ]


def test_entries_are_all_paragraphs_of_what_is_public(package: Path) -> None:
    found = [(name, list(prose)) for name, prose in pydoc_entries([package])]
    assert found[:2] == [
        ("weather", ["Weather for those who have to sail in it."]),
        ("weather.again", ["Weather for those who have to sail in it."]),
    ]
    assert ("weather.station", MODULE_PROSE) in found
    assert not any("_secret" in name for name, _ in found)


def test_passages_name_what_is_public_and_documented(package: Path) -> None:
    assert list(pydoc_passages([package])) == [
        ("weather", "Weather for those who have to sail in it."),
        ("weather.station", "Tools for reading the weather of a place."),
        ("weather.station.Station", "A station that measures the weather."),
        (
            "weather.station.Station.wind",
            "Return the speed of the wind in Knots, or None if it is calm.",
        ),
    ]


def test_pydoc_is_a_source(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = {"stdlib": str(package), "purelib": str(package), "platlib": str(package)}
    monkeypatch.setattr("sysconfig.get_paths", lambda: paths)
    check_source("pydoc")
    assert len(list(read_source("pydoc"))) == 8


@pytest.mark.parametrize(
    ("docstring", "prose"),
    [
        ("One line", ["One line"]),
        ("Two\nlines\n\nand two\nparagraphs", ["Two lines", "and two paragraphs"]),
        ("Kept.\n\nParameters\n----------\nx : int\n    Not kept.", ["Kept."]),
        ("Kept.\n\nArgs:\n    x: Not kept.", ["Kept."]),
        ("Kept.\n\nArgs: x, y", ["Kept."]),
        ("Kept.\n:param x: not kept\n", ["Kept."]),
        ("Kept.\n\n>>> code()\nits output\n\nKept too.", ["Kept.", "Kept too."]),
        ("Kept.\n\n.. note:: not kept\n   nor this\n\nKept too.", ["Kept.", "Kept too."]),
        ("Kept.\n\n```python\nnot kept\n\nnor this\n```\nKept too.", ["Kept.", "Kept too."]),
        ("A heading\n=========\nKept.", ["Kept."]),
        ("Kept.\n\n* a list\n  goes on\n- and on\n\n1. still\n\nKept too.", ["Kept.", "Kept too."]),
        ("Kept.\n\n=== ===\na   b\n=== ===\n\nKept too.", ["Kept.", "Kept too."]),
        ("Kept.\n\n| a | b |\n|---|---|\n\nKept too.", ["Kept.", "Kept too."]),
        ("It is given by\n    x + y\nand so on.\n\nKept.", ["It is given by:", "Kept."]),
        ("Look at\nit. Then go.", ["Look at it. Then go."]),
        ("Returns a copy of it", ["Returns a copy of it"]),
        ("See :func:`os.path.join` and :class:`~a.b.C`.", ["See os.path.join and C."]),
        ("See :ref:`the text <target>` and `a link <http://x.y>`_.", ["See the text and a link."]),
        ("See [the text](http://x.y/z_(q)) and [`~a.b.C`] [1]_.", ["See the text and C."]),
        ("Use ``None``, `name`, *this* and **that**::\n\n  x", ["Use None, name, this and that:"]),
        ("2 * 3 * 4 stay, and *args too", ["2 * 3 * 4 stay, and *args too"]),
        ("", []),
    ],
)  # fmt: skip
def test_paragraphs_are_prose_without_markup(docstring: str, prose: list[str]) -> None:
    assert list(paragraphs(docstring)) == prose


@pytest.mark.parametrize(
    "text",
    [
        "Return the length of the list.",
        "Is it open now?",
        'Raise "what he said" if x is negative.',
        "It doesn't block, e.g. when os.path.join is called.",
        "Base class for all windows",
    ],
)
def test_english_sentences_are_recognised(text: str) -> None:
    assert is_english_sentence(text)


@pytest.mark.parametrize(
    "text",
    [
        "Too short it.",
        "lower case at the start of it.",
        "For example, use this one:",
        "The density is given by the",
        "Foo bar baz qux quux.",
        "The value x = y + z is returned.",
        "See https://example.org for all of it.",
        "A b_c d_e f(g) h[i] j.k the",
        "Gibt die Breite des Fensters wieder.",
        "This is the \\alpha of the text.",
        "The " + "very " * 60 + "long sentence is here.",
        "",
    ],
)
def test_code_and_fragments_are_not(text: str) -> None:
    assert not is_english_sentence(text)
