"""Ctrl-C and SIGTERM, kept back until what is not saved yet is saved."""

import signal
import threading
from types import FrameType
from typing import Any, Self

__all__ = ["Postponed"]


class Postponed:
    """Keeps Ctrl-C and SIGTERM back as long as something is unsaved; a context manager.

    Delivered, a signal does what it would have done: raise KeyboardInterrupt, end the process, or
    what the program has chosen for it. A second one does that at once. One that is ignored stays
    ignored, and outside of the main thread, which alone gets signals, nothing is changed.
    """

    def __init__(self) -> None:
        self.unsaved = False
        """Whether there is something to lose; while there is not, signals are not kept back."""
        self._before: dict[int, Any] = {}
        self._came: int | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                # None is a handler that Python does not know, and could not put back.
                if signal.getsignal(number) not in (None, signal.SIG_IGN):
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is None and self._came is not None:
            signal.raise_signal(self._came)

    @property
    def came(self) -> bool:
        """Whether a signal is kept back."""
        return self._came is not None

    def deliver(self) -> None:
        """Let the signal that is kept back, if there is one, do what it does."""
        if self._came is not None:
            number, self._came = self._came, None
            self._pass_on(number)

    def _receive(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.unsaved and self._came is None:
            self._came = number
        else:
            self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        signal.signal(number, self._before[number])
        signal.raise_signal(number)
        signal.signal(number, self._receive)  # if the program goes on all the same
