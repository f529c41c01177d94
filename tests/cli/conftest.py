"""The command as the shell starts it, in this process; a corpus of four documents."""

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
