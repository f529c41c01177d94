"""`hpd demo`, on small models: it ends with an index that the printed command searches."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from command_ends import Ended

import hpdistill.demo
from hpdistill.pytorch import TorchEncoder
from hpdistill.recipe import (
    CorpusRecipe,
    HeadRecipe,
    Recipe,
    TeacherRecipe,
    TrainingRecipe,
    WeightedModel,
)
from hpdistill.runtime import Encoder
from hpdistill.search import Index

Hpd = Callable[..., Ended]


pytestmark = pytest.mark.usefixtures("_one_thread")


@pytest.fixture
def passages(sentences: Callable[..., list[str]]) -> list[tuple[str, str]]:
    return [(f"package.thing_{n}", text) for n, text in enumerate(sentences(40, seed=5))]


@pytest.fixture(autouse=True)
def small(
    teacher_dir: Path,
    student_dir: Path,
    corpus_file: Path,
    passages: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The demo, with the tiny models and passages of few words."""

    def recipe(*, sentences: int, seed: int) -> Recipe:
        return Recipe(
            teachers=(WeightedModel(model=str(teacher_dir)),),
            student=str(student_dir),
            dim=8,
            seed=seed,
            corpus=CorpusRecipe(sources=(str(corpus_file),), limit=sentences, validation=40),
            head=HeadRecipe(ridge_sentences=100),
            teacher=TeacherRecipe(precision="float32"),
            training=TrainingRecipe(precision="float32", max_steps=2, batch_size=32),
        )

    monkeypatch.setattr(hpdistill.demo, "demo_recipe", recipe)
    monkeypatch.setattr(hpdistill.demo, "demo_passages", lambda: passages)
    monkeypatch.setattr(
        hpdistill.demo, "load_teacher_for_search", lambda texts: TorchEncoder.load(str(teacher_dir))
    )


@pytest.mark.long
def test_it_ends_with_an_index_and_the_command_that_searches_it(
    hpd: Hpd, passages: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Path("a run")
    monkeypatch.setenv("COLUMNS", "60")
    ended = hpd("demo", "--out", run, "--sentences", "300")
    assert ended.code == 0, ended.err
    (line,) = [line for line in ended.out.splitlines() if line.startswith("  hpd search ")]
    _, command, index, question = shlex.split(line)
    assert (command, index) == ("search", "a run/index")
    model = tmp_path / run / "model"
    with Index.load(run / "index") as opened, Encoder.load(model) as encoder:
        assert (opened.space.model, opened.space.id) == (str(model), encoder.space)
        assert (opened.precision, opened.keep) == ("int8", "float32")
        assert len(opened) == len(passages)
        # What the index answers is what exact search over the same passages answers.
        exact = hpdistill.demo.answer(encoder, passages)
        for wanted, found in zip(exact, hpdistill.demo.answer_from(opened, encoder), strict=True):
            assert [one.name for one in found] == [one.name for one in wanted]
            assert [one.score for one in found] == pytest.approx([one.score for one in wanted])
            assert all(one.name in ended.out for one in found)
    searched = hpd(*shlex.split(line)[1:], "-k", "3", "--json")
    assert searched.code == 0, searched.err
    assert {row["query"] for row in json.loads(searched.out)["rows"]} == {question}

    again = hpd("demo", "--out", run, "--sentences", "300")
    assert again.code == 0, again.err
    assert line in again.out.splitlines()
    with Index.load(run / "index") as opened:
        assert len(opened) == len(passages)

    (run / "index/index.json").unlink()
    (run / "index/mine.txt").write_text("mine")
    refusal = hpd("demo", "--out", run, "--sentences", "300")
    assert refusal.code == 1
    assert "index is there already and is no index" in refusal.err
    assert "Traceback" not in refusal.err


def test_passages_have_different_names(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = [("os.path.join", "Join paths."), ("json.load", "Read."), ("os.path.join", "Others.")]
    monkeypatch.undo()
    monkeypatch.setattr(hpdistill.demo, "pydoc_passages", lambda packages: iter(twice))
    assert hpdistill.demo.demo_passages() == twice[:2]
    assert hpdistill.demo.demo_passages(limit=1) == twice[:1]


def test_a_run_of_something_else_is_refused(hpd: Hpd, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    ended = hpd("demo", "--out", tmp_path)
    assert ended.code == 1
    assert "is not empty and holds no run" in ended.err
