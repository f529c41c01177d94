"""How long-running work tells its caller how far it is and what it found, without printing."""

import logging
from typing import Protocol

__all__ = ["LOGGER", "Report", "caution", "silent", "tell"]

LOGGER = logging.getLogger("hpdistill")
"""What is worth a line of its own; the command line shows it on standard error."""


class Report(Protocol):
    """Called now and then by anything that may take over two seconds."""

    def __call__(self, task: str, done: int, total: int) -> None:
        """Tell that `done` of `total` units of `task` are done; total 0 means unknown."""
        ...


def silent(task: str, done: int, total: int) -> None:
    """Ignore progress."""


def tell(line: str) -> None:
    """Log what became of the user's data."""
    LOGGER.info("%s", line)


def caution(line: str) -> None:
    """Log what the user should do something about."""
    LOGGER.warning("%s", line)
