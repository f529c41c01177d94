"""The command as the shell starts it, in this process; what several files here begin with."""

import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from command_ends import Ended
from indexing import TEXTS, json_lines

from hpdistill.cli import main


@pytest.fixture
def hpd(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """`hpd("distill", "--out", run)`: the command as the shell starts it."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["hpd", *map(str, arguments)])
        code: object = None
        try:
            main()
        except SystemExit as end:
            code = end.code
        except Exception:  # noqa: BLE001 - the interpreter does the same at its end
            traceback.print_exc()
            code = 1
        captured = capfd.readouterr()
        return Ended(code if isinstance(code, int) else int(code is not None), *captured)

    return run


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return json_lines(
        tmp_path / "corpus.jsonl", [{"id": key, "text": text} for key, text in TEXTS.items()]
    )


@pytest.fixture(scope="session")
def text_file(
    tmp_path_factory: pytest.TempPathFactory, sentences: Callable[..., list[str]]
) -> Path:
    path = tmp_path_factory.mktemp("text") / "sentences.txt"
    path.write_text("\n".join(sentences(120)) + "\n", "utf-8")
    return path


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Teacher embeddings that the tests share."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def distill(
    hpd: Callable[..., Ended],
    teacher_dir: Path,
    student_dir: Path,
    text_file: Path,
    tmp_path: Path,
    _one_thread: None,
) -> Callable[..., Ended]:
    """`distill("--json", dim=4)`: a small distillation to `tmp_path/run`; None drops an option."""

    def run(*more: object, **changes: object) -> Ended:
        options = {
            "out": tmp_path / "run",
            "teacher": teacher_dir,
            "student": student_dir,
            "sentences": text_file,
            "dim": 8,
            "validation": 20,
            "batch_size": 32,
            "max_steps": 2,
            "precision": "float32",
            "teacher_precision": "float32",
            **changes,
        }
        line: list[object] = ["distill", "--no-export"]
        for name, value in options.items():
            if value is not None:
                line += [f"--{name.replace('_', '-')}", value]
        return hpd(*line, *more)

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finished") / "run"


@pytest.fixture
def run(distill: Callable[..., Ended], finished: Path, store: Path, tmp_path: Path) -> Path:
    """A copy of a finished run of `distill(store=store)`, at the place where it writes."""
    if not finished.exists():
        assert distill(out=finished, store=store).code == 0
    return shutil.copytree(finished, tmp_path / "run")
