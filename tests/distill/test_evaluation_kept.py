"""What a run is measured on is embedded once: not again on resuming, nor by the next run."""

import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import distill, model_files, tiny_recipe

from hpdistill.distill import Distilled
from hpdistill.encoder import Embeddings
from hpdistill.evaluate import evaluate_sts, load_tasks
from hpdistill.pytorch import TorchEncoder
from hpdistill.recipe import Recipe

Embedded = dict[str, list[str]]


@pytest.fixture(scope="module")
def evaluation(work: Path) -> Path:
    """Pairs that are in no corpus."""
    place = work / "senteval/STS/STSBenchmark"
    place.mkdir(parents=True)
    rows = (f"g\tf\ty\t1\t{i % 6}.0\tthe dog reads {i}\tone cat reads {i + 1}\n" for i in range(9))
    (place / "sts-test.csv").write_text("".join(rows), "utf-8")
    return work / "senteval"


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> Embedded:
    """Texts of the evaluation that PyTorch embeds from now on, by the model's directory."""
    found: Embedded = defaultdict(list)
    encode = TorchEncoder.encode

    def counting(self: TorchEncoder, texts: Sequence[str], **options: Any) -> Embeddings:
        found[Path(self.name).name] += [text for text in texts if " reads " in f" {text} "]
        return encode(self, texts, **options)

    monkeypatch.setattr(TorchEncoder, "encode", counting)
    return found


@pytest.fixture(scope="module")
def chosen(teacher_dir: Path, student_dir: Path, work: Path) -> Recipe:
    """Without an anchor: the student is no encoder of the teacher."""
    text_file = work / "others.txt"
    words = ["dog", "cat", "bird", "child", "river", "house", "garden"]
    lines = [f"the {a} sleeps near one {b} {c}" for a in words for b in words for c in words]
    text_file.write_text("\n".join(lines[:200]), "utf-8")
    return tiny_recipe(teacher_dir, student_dir, text_file, anchor=0.0, training__max_steps=3)


@pytest.fixture(scope="module")
def first(chosen: Recipe, evaluation: Path, work: Path) -> Distilled:
    return distill(chosen, work / "first-kept", store=work / "kept", evaluation=evaluation)


def test_a_second_run_with_the_same_teacher_embeds_none_of_it(
    chosen, evaluation, first, work, embedded, tmp_path
):
    second = distill(
        replace(chosen, dim=12), tmp_path / "run", store=work / "kept", evaluation=evaluation
    )
    # The distilled student is another one, as is its head in closed form.
    assert embedded.pop("student")
    assert {name: texts for name, texts in embedded.items() if texts} == {}
    fixed = [row for row in second.rows if row["dim"] not in (8, 12)]
    assert [(row["model"], row["STSBenchmark"]) for row in fixed] == [
        (row["model"], row["STSBenchmark"]) for row in first.rows if row["dim"] not in (8, 12)
    ]
    assert len(fixed) == 2


def test_the_first_run_embeds_all_of_it_once_by_each_model(chosen, evaluation, embedded, tmp_path):
    distill(chosen, tmp_path / "run", evaluation=evaluation)
    teacher, student = embedded["teacher"], embedded["student"]
    assert len(teacher) == len(set(teacher)) == 18
    # Untouched, with its head in closed form, and distilled.
    assert len(student) == 3 * 18


def test_what_was_embedded_before_an_interruption_is_not_again(
    chosen, evaluation, first, embedded, tmp_path
):
    class Stop:
        def __call__(self, task: str, done: int, total: int) -> None:
            if task.endswith("student: sentences"):
                raise KeyboardInterrupt

    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        distill(chosen, run, evaluation=evaluation, report=Stop())
    assert len(embedded["teacher"]) == 18
    embedded.clear()
    again = distill(chosen, run, evaluation=evaluation)
    assert embedded["teacher"] == []
    assert [row["STSBenchmark"] for row in again.rows] == [
        row["STSBenchmark"] for row in first.rows
    ]
    assert model_files(run) == model_files(first.model.parent)


def test_a_smaller_evaluation_of_a_finished_run_embeds_nothing_by_its_teacher(
    chosen, evaluation, first, work, embedded, tmp_path
):
    run = shutil.copytree(first.model.parent, tmp_path / "run")
    smaller = shutil.copytree(evaluation, tmp_path / "smaller")
    (file,) = smaller.rglob("*.csv")
    file.write_text("".join(file.read_text("utf-8").splitlines(keepends=True)[2:7]), "utf-8")
    result = distill(chosen, run, store=work / "kept", evaluation=smaller)
    assert embedded["teacher"] == []
    assert embedded["student"]
    assert result.stages["training"] == first.stages["training"]
    assert [row["STSBenchmark"] for row in result.rows] != [
        row["STSBenchmark"] for row in first.rows
    ]


def test_the_table_is_that_of_encoders_that_keep_nothing(chosen, evaluation, first):
    """By the public measurement of the models themselves."""
    tasks = load_tasks(evaluation)
    by_name: dict[str, Callable[[], TorchEncoder]] = {
        chosen.teachers[0].model: lambda: TorchEncoder.load(chosen.teachers[0].model),
        f"{chosen.student}, untouched": lambda: TorchEncoder.load(chosen.student),
    }
    scores = {row["model"]: row["STSBenchmark"] for row in first.rows}
    for name, load in by_name.items():
        assert scores[name] == pytest.approx(evaluate_sts(load(), tasks).tasks["STSBenchmark"])
