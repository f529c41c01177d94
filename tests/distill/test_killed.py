"""A distillation that is killed, interrupted or out of disk, and the same command again."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from forked_runs import Server
from tiny_runs import content, model_files, shards, times, tiny_recipe

from hpdistill.recipe import Recipe, WeightedModel

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("killed")


@pytest.fixture(scope="module")
def server(work: Path) -> Iterator[Server]:
    with Server(work) as server:
        yield server


@pytest.fixture(scope="module")
def recipe(
    work: Path, teacher_dir: Path, student_dir: Path, sentences: Callable[..., list[str]]
) -> Recipe:
    """Two encoders as a teacher, which ranks neighbours; the best weights are not the first."""
    text_file = work / "sentences.txt"
    text_file.write_text("\n".join(sentences(300)), "utf-8")
    return tiny_recipe(
        teacher_dir,
        student_dir,
        text_file,
        student=f"layers:{teacher_dir}:0,1",
        teachers=(
            WeightedModel(model=str(teacher_dir)),
            WeightedModel(model=str(student_dir), weight=0.5),
        ),
        dim=24,
        training__ranking="teacher",
    )


@pytest.fixture(scope="module")
def command(work: Path, recipe: Recipe) -> tuple[str, ...]:
    recipe.save(work / "recipe.toml")
    return ("distill", "--no-export", "--recipe", str(work / "recipe.toml"), "--out")


class Unbroken(NamedTuple):
    run: Path
    seconds: float


@pytest.fixture(scope="module")
def unbroken(work: Path, server: Server, command: tuple[str, ...]) -> Unbroken:
    """A run that nothing happened to, and how long it took."""
    assert server.run("--help")[0] == 0
    started = time.perf_counter()
    code, output = server.run(*command, work / "unbroken")
    assert code == 0, output
    return Unbroken(work / "unbroken", time.perf_counter() - started)


def assert_like(run: Path, unbroken: Unbroken) -> None:
    """The same model, and the same end of the training, bit for bit; nothing left lying about."""
    assert model_files(run) == model_files(unbroken.run)
    assert last_state(run) == last_state(unbroken.run)
    assert not list(run.rglob("*.tmp"))
    found, wanted = (
        json.loads((place / "manifest.json").read_text("utf-8"))["stages"]
        for place in (run, unbroken.run)
    )
    assert {name: stage["inputs"] for name, stage in found.items()} == {
        name: stage["inputs"] for name, stage in wanted.items()
    }
    assert (run / "report.html").is_file()
    assert "distilled" in (run / "model/README.md").read_text("utf-8")


def last_state(run: Path) -> dict[str, Any]:
    """Weights and optimiser after the last step, whether it was the best or not."""
    last = max(run.glob("checkpoints/*/step-????????"))
    state = {path.name: content(path) for path in last.glob("*.safetensors")}
    assert set(state) == {"model.safetensors", "optimizer.safetensors"}
    return {last.name: state}


def finish(server: Server, command: tuple[str, ...], run: Path) -> None:
    """The same command, until it is done."""
    code, output = server.run(*command, run)
    assert code == 0, output


def test_the_unbroken_run_learnt_something(unbroken):
    facts = json.loads((unbroken.run / "manifest.json").read_text("utf-8"))["stages"]
    assert facts["training"]["facts"]["best_step"] > 0
    # Six by each encoder of the teacher, and what was held out by the untouched student.
    assert len(shards(unbroken.run / "targets")) == 13


# -- killed


PLACES = (
    "recipe.toml",
    "manifest.json",
    "corpus",
    "teacher-*/float32/*.npy",
    "student-*/float32/manifest.json",
    "targets/projection.safetensors",
    "targets/train.npy",
    "init",
    "checkpoints/*/best-*",
    "checkpoints/*/step-00000006",
    "checkpoints/*/step-00000012",
    "model",
    "report.json",
    "model/README.md",
)


def test_killed_just_before_and_just_after_a_rename(server, command, unbroken, tmp_path):
    """The worst moments: when a result is put in its place. One run dies at all of them."""
    run = tmp_path / "run"
    for place in PLACES:
        for when in ("before", "after"):
            code, output = server.run(*command, run, die_at=(when, place))
            assert code == -signal.SIGKILL, (place, when, output)
    finish(server, command, run)
    assert_like(run, unbroken)


def test_killed_before_the_recipe_was_whole(server, command, unbroken, tmp_path):
    """Nothing but the temporary file of the very first write lies there."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.toml.4711.tmp").write_text("stud")
    finish(server, command, run)
    assert_like(run, unbroken)


STAGES = {
    "corpus": "corpus*",
    "teacher": "targets/*/float32/*.npy*",
    "targets": "targets/projection.safetensors",
    "student": "init*",
    "training": "checkpoints/*/*",
    "model": "model*",
}


def test_killed_in_every_stage(server, command, unbroken, tmp_path):
    """One run that is killed as soon as the first files of a stage appear, stage after stage."""
    run = tmp_path / "run"
    codes = []
    for pattern in STAGES.values():
        attempt = server.start(*command, run)
        attempt.until(partial(appeared, run, pattern))
        attempt.kill()
        codes.append(attempt.wait())
    # On a busy machine this process may look too late once; then the run is simply done.
    assert codes.count(-signal.SIGKILL) >= len(STAGES) // 2
    finish(server, command, run)
    assert_like(run, unbroken)


def appeared(run: Path, pattern: str) -> bool:
    return any(run.glob(pattern))


@pytest.mark.parametrize(
    ("seed", "kills"), [(0, 6), pytest.param(1, 30, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_killed_at_random_moments(seed, kills, server, command, unbroken, tmp_path):
    """Again and again, each run up to three times."""
    generator = random.Random(seed)
    done = rounds = 0
    while done < kills:
        rounds += 1
        run = tmp_path / f"run{rounds}"
        for _ in range(3):
            attempt = server.start(*command, run)
            time.sleep(generator.uniform(0, unbroken.seconds))
            attempt.kill()
            if attempt.wait() == 0:
                break
            done += 1
        finish(server, command, run)
        assert_like(run, unbroken)


# -- what was complete


def test_complete_shards_are_not_computed_again(server, command, unbroken, tmp_path):
    run = tmp_path / "run"
    attempt = server.start(*command, run)
    attempt.until(lambda: len(shards(run / "targets")) >= 3)
    attempt.kill()
    assert attempt.wait() == -signal.SIGKILL
    manifests = [
        json.loads(path.read_text("utf-8")) for path in run.glob("targets/*/float32/manifest.json")
    ]
    # A shard that its manifest does not name yet is written again.
    known = {entry["file"] for m in manifests for entry in m["shards"].values()}
    kept = {
        name: when for name, when in shards(run / "targets").items() if Path(name).name in known
    }
    assert len(kept) >= 2
    finish(server, command, run)
    assert kept.items() <= shards(run / "targets").items()
    assert_like(run, unbroken)


def test_complete_stages_are_not_done_again(server, command, unbroken, tmp_path):
    run = tmp_path / "run"
    server.run(*command, run, die_at=("after", "checkpoints/*/step-00000006"))
    files = ("recipe.toml", "corpus/*", "targets/**/*", "init/**/*", "checkpoints/*/best*/*")
    before = times(run, *files[1:4])
    stages = json.loads((run / "manifest.json").read_text("utf-8"))["stages"]
    assert list(stages) == ["corpus", "teacher", "targets", "student"]
    (progress,) = run.glob("checkpoints/*/step-00000006/progress.json")
    state = json.loads(progress.read_text("utf-8"))
    progress.write_text(json.dumps({**state, "seconds": 5000.0}), "utf-8")
    finish(server, command, run)
    # The report adds embeddings of its own.
    assert before.items() <= times(run, *files[1:4]).items()
    after = json.loads((run / "manifest.json").read_text("utf-8"))["stages"]
    assert {name: after[name] for name in stages} == stages
    # The clock of the checkpoint ran on: training did not start from its beginning.
    assert 5000 < after["training"]["facts"]["seconds"] < 5100
    assert [entry["step"] for entry in after["training"]["facts"]["history"]] == [0, 3, 6, 9, 12]
    assert_like(run, unbroken)


# -- interrupted, and two at once


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "ended by SIGTERM")],
)
def test_a_signal_costs_no_step(number, code, said, server, command, unbroken, tmp_path):
    run = tmp_path / "run"
    ended, output = server.run(*command, run, signal_at=(7, number))
    assert ended == code, output
    assert f"{said}; what was complete is kept" in output
    assert "Traceback" not in output
    (newest,) = run.glob("checkpoints/*/step-*")
    assert newest.name == "step-00000007"
    code, output = server.run("distill", "--out", run, "--resume")
    assert code == 0, output
    assert_like(run, unbroken)
    assert history(run) == history(unbroken.run)


def history(run: Path) -> list[dict[str, float]]:
    stages = json.loads((run / "manifest.json").read_text("utf-8"))["stages"]
    found: list[dict[str, float]] = stages["training"]["facts"]["history"]
    return found


def test_a_second_ctrl_c_ends_at_once(server, command, unbroken, tmp_path):
    run = tmp_path / "run"
    twice = (7, signal.SIGINT, signal.SIGINT)
    ended, output = server.run(*command, run, signal_at=twice)
    assert ended == 130, output
    (newest,) = run.glob("checkpoints/*/step-*")
    assert newest.name == "step-00000006"
    finish(server, command, run)
    assert_like(run, unbroken)


def test_ctrl_c_before_the_training_ends_with_130(server, command, unbroken, tmp_path):
    run = tmp_path / "run"
    attempt = server.start(*command, run)
    attempt.until(lambda: any(run.glob("targets/*/float32/*.npy")))
    attempt.kill(signal.SIGINT)
    assert attempt.wait() == 130
    assert "interrupted; what was complete is kept" in attempt.output
    finish(server, command, run)
    assert_like(run, unbroken)


def test_a_second_process_leaves_the_first_alone(server, command, recipe, unbroken, work, tmp_path):
    run = tmp_path / "run"
    first = server.start(*command, run)
    first.until(lambda: any(run.glob("targets/*/float32/*.npy")))
    first.kill(signal.SIGSTOP)
    try:
        for options in ((), ("--overwrite", "--dim", "4")):
            code, output = server.run(*command, run, *options)
            assert code == 1
            assert f"error: another process is working in {run}" in output
    finally:
        first.kill(signal.SIGCONT)
    assert first.wait() == 0, first.output
    assert_like(run, unbroken)
    assert Recipe.load(run / "recipe.toml") == recipe


# -- out of disk


class SmallDisk:
    """Little room on a disk: a real one where mounting is allowed, else a limit on files' sizes."""

    SIZE = 8 * 2**20

    def __init__(self, place: Path, room: int) -> None:
        self.place = place
        self.room = room
        place.mkdir()
        self.handle = self._mount()
        if self.handle is not None:
            self.place = Path(f"/proc/{os.getpid()}/fd/{self.handle}")
            (self.place / "filler").write_bytes(bytes(self.SIZE - room))

    def make_room(self, more: int) -> None:
        self.room += more
        if self.handle is not None:
            os.truncate(self.place / "filler", self.SIZE - self.room)

    @property
    def file_limit(self) -> int | None:
        return self.room if self.handle is None else None

    def _mount(self) -> int | None:
        """Mount a disk that lives as long as this process has it open, however that ends."""
        line = ["mount", "-t", "tmpfs", "-o", f"size={self.SIZE}", "tmpfs", str(self.place)]
        try:
            if subprocess.run(line, capture_output=True, check=False).returncode:
                return None
        except FileNotFoundError:
            return None
        handle = os.open(self.place, os.O_RDONLY)
        subprocess.run(["umount", "--lazy", str(self.place)], check=True)
        return handle

    def remove(self) -> None:
        if self.handle is not None:
            os.close(self.handle)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "disk", 8192)
    yield disk
    disk.remove()


def test_a_full_disk_costs_nothing_but_the_time_to_make_room(disk, server, command, unbroken):
    """The same command again and again, with a little more room each time."""
    run = disk.place / "run"
    for _ in range(100):
        attempt = server.start(*command, run, file_limit=disk.file_limit)
        code = attempt.wait()
        if code == 0:
            break
        assert code == 1, f"ended by signal {-code}"
        assert "Traceback" not in attempt.output
        (error,) = (line for line in attempt.output.splitlines() if line.startswith("error:"))
        assert error.startswith(f"error: cannot write {disk.place}")
        # In steps smaller than the files that come next.
        disk.make_room((160 if (run / "init").is_dir() else 20) * 1024)
    assert code == 0
    assert_like(run, unbroken)
