"""How long-running work tells its caller how far it is, without printing."""

from typing import Protocol

__all__ = ["Report", "silent"]


class Report(Protocol):
    """Called now and then by anything that may take over two seconds."""

    def __call__(self, task: str, done: int, total: int) -> None:
        """Tell that `done` of `total` units of `task` are done; total 0 means unknown."""
        ...


def silent(task: str, done: int, total: int) -> None:
    """Ignore progress."""
