"""How a command ended, and what it said when it refused."""

from typing import NamedTuple


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def lines_of(ended: Ended, start: str) -> list[str]:
    return [line for line in ended.err.splitlines() if line.startswith(start)]


def refused(ended: Ended) -> str:
    """The one line that says why; there is no traceback, and nothing on standard output.

    `test_exit_codes` says which of the two codes it is.
    """
    assert ended.code in (1, 2), ended
    assert "Traceback" not in ended.err
    assert ended.out == ""
    (line,) = lines_of(ended, "error:")
    assert len(line) > len("error: ")
    return line


def hint(ended: Ended) -> str:
    (line,) = lines_of(ended, "hint:")
    return line
