"""A training that gets Ctrl-C or SIGTERM is saved first: no step is lost, and none differs."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_tasks import RECIPE, STEPS, Run, StoppedError, Task, assert_same, stop_at

from hpdistill import loop

DROPOUT = replace(RECIPE, dropout=True)
SIGNALS = [signal.SIGINT, signal.SIGTERM]


class TerminatedError(Exception):
    """What a program may raise on SIGTERM."""


def raise_at(step: int, number: signal.Signals, times: int = 1) -> Callable[[str, int, int], None]:
    def report(task: str, done: int, total: int) -> None:
        if done == step * RECIPE.batch_size:
            for _ in range(times):
                signal.raise_signal(number)

    return report


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Ctrl-C as Python has it; SIGTERM as a program may."""

    def terminate(*of: object) -> None:
        raise TerminatedError

    before = signal.signal(signal.SIGTERM, terminate)
    yield
    # Whatever happened, they are as they were.
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is terminate
    signal.signal(signal.SIGTERM, before)


def newest(place: Path) -> str:
    (found,) = place.glob("step-*")
    return found.name


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("step", [1, 3, 7, 11])
def test_the_step_of_a_signal_is_kept(
    task: Task, unbroken_dropout: Run, tmp_path: Path, number: signal.Signals, step: int
) -> None:
    with pytest.raises((KeyboardInterrupt, TerminatedError)):
        task.run(tmp_path, DROPOUT, report=raise_at(step, number))
    assert newest(tmp_path) == f"step-{step:08d}"
    torch.manual_seed(99)  # a new process has another random state
    calls: list[int] = []
    resumed = task.run(tmp_path, DROPOUT, report=lambda task, done, total: calls.append(done))
    assert calls == [n * RECIPE.batch_size for n in range(step + 1, STEPS + 1)]
    assert_same(resumed, unbroken_dropout)  # losses since the last validation included


def test_interrupted_at_every_step(task: Task, unbroken_dropout: Run, tmp_path: Path) -> None:
    for step in range(1, STEPS + 1):
        with pytest.raises(KeyboardInterrupt):
            task.run(tmp_path, DROPOUT, report=raise_at(step, signal.SIGINT))
    assert_same(task.run(tmp_path, DROPOUT), unbroken_dropout)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_second_signal_ends_at_once(task: Task, tmp_path: Path, number: signal.Signals) -> None:
    with pytest.raises((KeyboardInterrupt, TerminatedError)):
        task.run(tmp_path, report=raise_at(5, number, times=2))
    assert newest(tmp_path) == "step-00000003"


def test_a_signal_while_validating_waits_for_the_checkpoint(
    task: Task, unbroken: Run, tmp_path: Path
) -> None:
    calls = 0

    def validate(outputs: object) -> float:
        nonlocal calls
        calls += 1
        if calls == 3:
            signal.raise_signal(signal.SIGINT)
        return task.fidelity(outputs)

    with pytest.raises(KeyboardInterrupt):
        task.run(tmp_path, validate=validate)
    assert newest(tmp_path) == "step-00000006"
    assert_same(task.run(tmp_path), unbroken)


def test_a_signal_before_there_is_anything_to_save_ends_at_once(task: Task, tmp_path: Path) -> None:
    def report(what: str, done: int, total: int) -> None:
        if what == "finding neighbours":
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("it went on")

    with pytest.raises(KeyboardInterrupt):
        task.run(tmp_path, replace(RECIPE, neighbour_weight=1.0), report=report)
    assert newest(tmp_path) == "step-00000000"


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *of: None], ids=["ignored", "own"])
def test_a_program_that_goes_on_trains_on(
    task: Task, unbroken: Run, tmp_path: Path, handler: Callable[..., None]
) -> None:
    before = signal.signal(signal.SIGINT, handler)
    try:
        report = raise_at(5, signal.SIGINT)
        assert_same(task.run(tmp_path, report=report), unbroken)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_of_the_main_thread_signals_are_left_alone(
    task: Task, unbroken: Run, tmp_path: Path
) -> None:
    """There a program ends a training by what it raises itself."""
    ended: list[type[BaseException]] = []

    def report(what: str, done: int, total: int) -> None:
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if done == 5 * RECIPE.batch_size:
            raise KeyboardInterrupt

    def run() -> None:
        torch.set_num_threads(1)
        try:
            task.run(tmp_path, report=report)
        except BaseException as error:  # noqa: BLE001 - the thread's end
            ended.append(type(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert ended == [KeyboardInterrupt]
    assert newest(tmp_path) == "step-00000005"
    assert_same(task.run(tmp_path), unbroken)


def test_checkpoints_come_by_time_too(
    task: Task, unbroken_dropout: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after step 8, it goes on from the checkpoint of step 7."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    with pytest.raises(StoppedError):
        task.run(tmp_path, DROPOUT, report=stop_at(8))
    assert newest(tmp_path) == "step-00000007"
    assert_same(task.run(tmp_path, DROPOUT), unbroken_dropout)


def test_a_checkpoint_of_before_losses_were_kept_is_gone_on_from(
    task: Task, unbroken: Run, tmp_path: Path
) -> None:
    with pytest.raises(StoppedError):
        task.run(tmp_path, report=stop_at(5))
    path = tmp_path / newest(tmp_path) / "progress.json"
    state = json.loads(path.read_text("utf-8"))
    del state["loss_sum"], state["loss_count"]
    path.write_text(json.dumps(state), "utf-8")
    assert_same(task.run(tmp_path), unbroken)
