"""Exit codes: 2 for what cannot be done as it was said, 1 for what was found to be wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest
from command_ends import Ended, lines_of

MISTAKES = [
    "distill --out {new} --teacher mpnet --student minilm --sentences {text} --dim 0",
    "distill --out {new} --student minilm --sentences {text}",
    "distill --out {new} --resume --recipe r.toml",
    "distill --out {new} --teacher mpnet --student static --sentences {text} --head random",
    "distill --out {new} --teacher mpnet --student minilm --sentences {text} --set lr=1",
    "distill --out {new} --teacher mpnet --student minilm --sentences {text} --column c",
    "distill --out {new} --teacher mpnet --student minilm --sentences {text} --delimiter ;",
    "encode default {text} {new}.npy --column c",
    "encode default {text} {new}.npy --delimiter ;",
    "encode default {text} {new}.npy --errors guess",
    "encode default {text} {new}.npy --dim 7",
    "encode default {text} {new}.txt",
    "encode default {text} - --json",
    "encode default {text} {text}",
    "index default {text} --out {new} --add --overwrite",
    "index default {text} --out {new} --collection c",
    "index default {text} --out {new} --dim 7",
    "index default {text} --out {new} --keep float32",
    "index default {text} --out {new} --option x",
    "search {new} ''",
    "search {new} q -k 0",
    "train simcse --out {new} --backbone minilm",
    "train simcse --out {new} --backbone minilm --nli {text} --column c",
    "train simcse --out {new} --backbone minilm --nli {text} --temperature 0",
    "pca minilm --out {new} --sentences {text} --dim 4 --errors guess",
    "pca minilm --out {new} --sentences {text} --dim 4 --column c",
    "whiten minilm --out {new} --sentences {text} --dim 4 --delimiter ;",
    "augment wordnet {text} {new}.jsonl --column c",
    "augment wordnet {text} {new}.jsonl --delimiter ;",
    "whiten minilm --out {new} --sentences {text} --dim 4 --limit 3",
    "augment wordnet {text} {new}.jsonl --share 2",
    "augment wordnet {text} {new}.txt",
    "reproduce sts",
    "reproduce sts --out {new} --scale huge",
    "eval sts default --data {text} --dims x",
    "eval retrieval default --data {text} --rescore 5 --precision int8",
    "eval speed default --plot {new}.png",
    "eval speed default --backends cuda",
    "eval fidelity default --teacher minilm --data {text} --limit 3",
]
FAULTS = [
    "distill --out {new} --teacher mpnet --student minilm --sentences {missing}",
    "distill --out {new} --recipe {missing}",
    "distill --out {new} --recipe {text}",
    "distill --out {new} --resume",
    "encode default {missing} {new}.npy",
    "encode {missing} {text} {new}.npy",
    "index default {missing} --out {new}",
    "index no-such-model {text} --out {new}",
    "search {missing} q",
    "export no-such-model --out {new}",
    "train simcse --out {new} --backbone no-such-model --nli {text}",
    "pca no-such-model --out {new} --sentences {text} --dim 4",
    "augment wordnet {missing} {new}.jsonl",
    "eval sts default --data {missing}",
    "eval retrieval default --data {missing}",
    "models fetch no-such-model",
]


def ended(hpd: Callable[..., Ended], line: str, text: Path) -> Ended:
    places = {"text": text, "new": text.parent / "new/out", "missing": text.parent / "missing.txt"}
    words = [word.format(**places) for word in line.split()]
    result = hpd(*("" if word == "''" else word for word in words))
    assert "Traceback" not in result.err
    assert result.out == ""
    assert len(lines_of(result, "error:") + lines_of(result, "Error:")) == 1, result.err
    assert not places["new"].exists()
    return result


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("".join(f"sentence number {n} of a few\n" for n in range(40)), "utf-8")
    return path


@pytest.mark.parametrize("line", MISTAKES)
def test_what_was_typed_wrongly_exits_with_2(line, hpd, text):
    assert ended(hpd, line, text).code == 2


@pytest.mark.parametrize("line", FAULTS)
def test_what_was_found_wrong_exits_with_1(line, hpd, text):
    assert ended(hpd, line, text).code == 1


def test_a_package_that_is_missing_exits_with_1(hpd, text, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    result = ended(hpd, "pca minilm --out {new} --sentences {text} --dim 4", text)
    assert result.code == 1
    assert lines_of(result, "hint:") == ["hint: pip install 'hpdistill[train]'"]


def test_version(hpd):
    import hpdistill

    assert hpd("--version") == Ended(0, f"hpdistill {hpdistill.__version__}\n", "")
