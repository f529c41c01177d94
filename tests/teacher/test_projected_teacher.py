"""A model's teacher and its projection give vectors of the model's space."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpdistill.encoder import Encoder, unit
from hpdistill.errors import UsageError, WeightsError
from hpdistill.projection import Projection, fit_pca
from hpdistill.pytorch import TorchEncoder
from hpdistill.recipe import WeightedModel
from hpdistill.teacher import encoder_identity, load_teacher
from hpdistill.teacher.space import projected_teacher, teacher_parts
from hpdistill.weights import resolve

Sentences = Callable[..., list[str]]
DIM = 8


def write_model(directory: Path, teacher: dict[Path, float], texts: list[str]) -> Path:
    """What ties a distilled model to its teacher; nothing else of it is read here."""
    directory.mkdir()
    specs = [WeightedModel(model=str(path), weight=w) for path, w in teacher.items()]
    fit_pca([load_teacher(specs).encode(texts)], DIM).save(directory / "projection.safetensors")
    members = [
        {"model": spec.model, "weight": spec.weight, **encoder_identity(resolve(spec.model))}
        for spec in specs
    ]
    (directory / "hpd.json").write_text(json.dumps({"dim": DIM, "teacher": members}))
    return directory


@pytest.fixture(scope="module")
def written(
    tmp_path_factory: pytest.TempPathFactory, teacher_dir: Path, sentences: Sentences
) -> Path:
    root = tmp_path_factory.mktemp("distilled")
    return write_model(root / "model", {teacher_dir: 1.0}, sentences(40))


@pytest.fixture
def model(tmp_path: Path, written: Path) -> Path:
    return shutil.copytree(written, tmp_path / "model")


def edit(directory: Path, **changes: Any) -> None:
    description = json.loads((directory / "hpd.json").read_text())
    description["teacher"][0] |= changes
    (directory / "hpd.json").write_text(json.dumps(description))


def test_vectors_are_the_teacher_s_projected(
    model: Path, teacher_dir: Path, sentences: Sentences
) -> None:
    texts = sentences(12, seed=3)
    encoder = projected_teacher(model)
    assert isinstance(encoder, Encoder)
    assert (encoder.name, encoder.dim) == (str(teacher_dir), DIM)
    projection = Projection.load(model / "projection.safetensors")
    expected = projection.apply(TorchEncoder.load(str(teacher_dir)).encode(texts))
    np.testing.assert_allclose(encoder.encode(texts), unit(expected), atol=1e-6)
    np.testing.assert_allclose(encoder.encode(texts, dim=4), unit(expected, dim=4), atol=1e-6)


def test_all_encoders_of_a_teacher_count_with_their_weights(
    tmp_path: Path, teacher_dir: Path, student_dir: Path, sentences: Sentences
) -> None:
    both = {teacher_dir: 1.0, student_dir: 0.5}
    model = write_model(tmp_path / "joint", both, sentences(40))
    texts = sentences(12, seed=3)
    specs = [WeightedModel(model=str(path), weight=weight) for path, weight in both.items()]
    projection = Projection.load(model / "projection.safetensors")
    expected = unit(projection.apply(load_teacher(specs).encode(texts)))
    np.testing.assert_allclose(projected_teacher(model).encode(texts), expected, atol=1e-6)


def test_a_copy_of_the_teacher_elsewhere_is_taken(
    model: Path, teacher_dir: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(teacher_dir, tmp_path / "moved")
    edit(model, model=str(tmp_path / "gone"))
    assert [source.path for source in teacher_parts(model, teacher=str(copy)).sources] == [copy]
    assert projected_teacher(model, teacher=str(copy)).name == str(copy)
    with pytest.raises(WeightsError, match="no such directory"):
        projected_teacher(model)


def test_another_model_is_refused_and_both_are_named(
    model: Path, teacher_dir: Path, student_dir: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        projected_teacher(model, teacher=str(student_dir))
    assert str(student_dir) in str(caught.value)
    assert str(teacher_dir) in str(caught.value)


def test_weights_that_changed_since_are_refused(model: Path, teacher_dir: Path) -> None:
    edit(model, weights="ab" * 32)
    with pytest.raises(WeightsError, match=r"not what .* was distilled from.* not abababab"):
        projected_teacher(model)


@pytest.mark.parametrize("precision", ["bfloat16", "auto"])
def test_lower_precision_is_close(
    model: Path, sentences: Sentences, precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpdistill.pytorch.has_bfloat16", lambda device: False)
    texts = sentences(12, seed=3)
    found = projected_teacher(model, precision=precision, sample=texts).encode(texts)
    exact = projected_teacher(model).encode(texts)
    assert (found * exact).sum(axis=1).min() > (0.99 if precision == "bfloat16" else 1 - 1e-6)


def test_a_model_that_was_not_distilled_is_refused(student_dir: Path) -> None:
    with pytest.raises(UsageError, match=r"no hpd\.json names its teacher"):
        projected_teacher(student_dir)


def test_a_baseline_has_no_teacher(student_dir: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(student_dir, model)
    (model / "hpd.json").write_text(json.dumps({"format": 1, "baseline": {"kind": "pca"}}))
    with pytest.raises(UsageError, match=r"no hpd\.json names its teacher"):
        projected_teacher(model)


def test_a_model_without_its_projection_is_refused(model: Path) -> None:
    (model / "projection.safetensors").unlink()
    with pytest.raises(UsageError, match=r"has no projection\.safetensors"):
        projected_teacher(model)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"teacher": "mpnet"}', '{"teacher": [1]}', '{"teacher": 3}']
)
def test_a_damaged_description_is_refused(model: Path, content: str) -> None:
    (model / "hpd.json").write_text(content)
    with pytest.raises(WeightsError, match=r"hpd\.json is damaged: it names no teacher"):
        projected_teacher(model)


def test_a_projection_of_another_width_is_refused(model: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 10)).astype(np.float32)
    fit_pca([vectors], 4).save(model / "projection.safetensors")
    with pytest.raises(WeightsError, match=r"takes vectors of width 10.* gives 48"):
        projected_teacher(model)
