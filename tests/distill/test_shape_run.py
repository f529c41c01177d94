"""A distillation whose student is cut to a shape first."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest
from sentence_transformers import SentenceTransformer
from tiny_runs import content, distill, model_files, shards, tiny_recipe

import hpdistill.distill
from hpdistill.distill import Distilled
from hpdistill.encoder import unit
from hpdistill.errors import RunError, UsageError
from hpdistill.recipe import Recipe
from hpdistill.runtime import Encoder


@pytest.fixture(scope="module")
def recipe(teacher_dir: Path, student_dir: Path, corpus_file: Path) -> Recipe:
    # The source is 24 wide, with 2 layers and 2 heads.
    spec = f"shape:from={student_dir},layers=1,width=16,ffn=20"
    return tiny_recipe(teacher_dir, Path(spec), corpus_file, corpus__limit=300)


@pytest.fixture(scope="module")
def finished(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Distilled:
    """With ONNX graphs; not to be changed."""
    return hpdistill.distill.distill(recipe, tmp_path_factory.mktemp("shape") / "run")


def test_the_source_is_the_anchor_and_the_cut_student_the_baseline(
    finished: Distilled, recipe: Recipe, teacher_dir: Path, student_dir: Path
) -> None:
    name = recipe.student
    torch_rows = [row for row in finished.rows if row["backend"] == "torch"]
    assert [row["model"] for row in torch_rows] == [
        f"{teacher_dir}",
        f"{teacher_dir}, PCA-8",
        f"{teacher_dir} + {student_dir}, PCA-8: the target",
        f"{name}, untouched",
        f"{name}, own PCA-8",
        f"{name}, closed-form head",
        f"{name}, distilled",
    ]
    untouched, own, _, student = torch_rows[3:]
    assert (untouched["dim"], own["dim"], student["dim"]) == (16, 8, 8)
    assert untouched["parameters"] == student["parameters"] - (16 * 8 + 8)
    assert finished.stages["student"]["facts"]["parameters"] == student["parameters"]


def test_the_model_has_the_shape_in_every_reader(
    finished: Distilled, sentences: Callable[..., list[str]]
) -> None:
    texts = sentences(20, seed=9)
    model = SentenceTransformer(str(finished.model), device="cpu")
    config = model[0].auto_model.config
    assert (config.num_hidden_layers, config.hidden_size, config.intermediate_size) == (1, 16, 20)
    expected = unit(model.encode(texts))
    for precision, worst in (("float32", 0.9999), ("int8", 0.9)):
        with Encoder.load(finished.model, precision=precision) as encoder:
            cosines = (encoder.encode(texts) * expected).sum(axis=1)
            assert cosines.min() > worst, precision


def test_a_run_cut_off_before_its_student_goes_on_to_the_same_model(
    finished: Distilled, recipe: Recipe, tmp_path: Path
) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if what == "cutting the backbone" and done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(recipe, tmp_path / "run", report=stop)
    embedded = shards(tmp_path / "run/targets")
    distill(recipe, tmp_path / "run")
    assert shards(tmp_path / "run/targets") == embedded
    again = model_files(tmp_path / "run")
    assert "model.safetensors" in again
    # The other has graphs besides.
    assert again == {name: content(finished.model / name) for name in again}


def test_another_shape_is_another_recipe(
    finished: Distilled, recipe: Recipe, tmp_path: Path
) -> None:
    run = copytree(finished.model.parent, tmp_path / "run")
    other = replace(recipe, student=recipe.student.replace("width=16", "width=12"))
    assert other.hash != recipe.hash
    with pytest.raises(RunError):
        distill(other, run)
    distill(other, run, overwrite=True)
    assert (
        SentenceTransformer(str(run / "model"), device="cpu")[0].auto_model.config.hidden_size == 12
    )


def test_a_shape_that_cannot_be_is_refused_before_embedding(recipe: Recipe, tmp_path: Path) -> None:
    wrong = replace(recipe, student=recipe.student.replace("width=16", "width=15"))
    with pytest.raises(UsageError, match="width 15 is not divisible by 2 heads; allowed heads: 1"):
        distill(wrong, tmp_path / "run")
    assert not shards(tmp_path / "run/targets")
