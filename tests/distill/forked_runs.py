"""`hpd` in processes that may be killed, at a hundredth of the price of starting Python.

Run as a script this is a server: it imports PyTorch and its friends once, then forks a child for
every command line that it is sent. `Server` is its client.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self


class Attempt:
    """One command line in a process of its own."""

    def __init__(self, server: "Server", pid: int, log: Path) -> None:
        self._server = server
        self.pid = pid
        self._log = log

    @property
    def over(self) -> bool:
        """Whether it has ended; its process id stays taken until `wait`."""
        return bool(self._server.ask("over", self.pid))

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Its exit code, or the number of the signal that ended it, negative."""
        return int(self._server.ask("wait", self.pid))

    @property
    def output(self) -> str:
        """What it printed, errors included."""
        return self._log.read_text("utf-8")

    def until(self, happened: Callable[[], bool]) -> None:
        """Return as soon as something has happened, or the command has ended."""
        while not happened() and not self.over:
            time.sleep(0.001)


class Server:
    """Starts command lines; a context manager."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "HF_HUB_OFFLINE": "1",
                "OMP_NUM_THREADS": "1",
                "TOKENIZERS_PARALLELISM": "false",
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()

    def ask(self, *question: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(
        self,
        *arguments: object,
        file_limit: int | None = None,
        die_at: tuple[Any, ...] = (),
        signal_at: tuple[int, ...] = (),
    ) -> Attempt:
        """Start `hpd ARGUMENTS`.

        Args:
            arguments: Of the command.
            file_limit: Bytes that a file may have at most.
            die_at: `("before" or "after", pattern)`: get a SIGKILL there, where a file or
                directory whose path matches is renamed to its final name.
            signal_at: `(steps, number, ...)`: get these signals there, where training reports so
                many steps.
        """
        self._count += 1
        log = self._logs / f"{self._count}.log"
        line = [str(argument) for argument in arguments]
        pid = self.ask("start", line, str(log), file_limit, die_at, signal_at)
        return Attempt(self, pid, log)

    def run(self, *arguments: object, **options: Any) -> tuple[int, str]:
        """Start, wait; gives the exit code and what was printed."""
        attempt = self.start(*arguments, **options)
        return attempt.wait(), attempt.output


def serve() -> None:
    import torch

    import hpdistill.distill
    from hpdistill.cli import main

    torch.set_num_threads(1)
    assert hpdistill.distill
    for line in sys.stdin:
        what, *details = json.loads(line)
        if what == "start":
            answer: Any = os.fork()
            if answer == 0:
                child(main, *details)
        elif what == "over":
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
            answer = os.waitid(os.P_PID, details[0], flags) is not None
        else:
            answer = os.waitstatus_to_exitcode(os.waitpid(details[0], 0)[1])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def child(
    main: Callable[[], None],
    arguments: list[str],
    log: str,
    file_limit: int | None,
    die_at: list[str],
    signal_at: list[int],
) -> None:
    """Be the `hpd` command; never returns."""
    import resource
    import traceback

    code = 1
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        if file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
        if die_at:
            arrange_death(*die_at)
        if signal_at:
            arrange_signals(*signal_at)
        sys.argv = ["hpd", *arguments]
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - this is the end of a process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def arrange_death(when: str, pattern: str) -> None:
    """Kill this process at the first rename to a path that matches."""
    replace = os.replace

    def replace_or_die(source: Any, target: Any, **options: Any) -> None:
        dies = Path(target).match(pattern)
        if dies and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target, **options)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replace_or_die


def arrange_signals(steps: int, *numbers: int) -> None:
    """Send signals to this process from the progress callback of its training."""
    from hpdistill.cli import _shared

    log = _shared._Log.__call__

    def log_and_send(self: Any, task: str, done: int, total: int) -> None:
        log(self, task, done, total)
        if (task, done) == ("training steps", steps):
            for number in numbers:
                os.kill(os.getpid(), number)

    _shared._Log.__call__ = log_and_send


if __name__ == "__main__":
    serve()
