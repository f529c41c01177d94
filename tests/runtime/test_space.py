"""Vectors are of one space if they come of one teacher and one projection."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hpdistill.errors import WeightsError
from hpdistill.runtime import Encoder, space_of

TEACHER = {"model": "teacher", "weight": 1.0, "weights": "aa", "configuration": "bb"}


def student(path: Path, tensors: bytes, *, projection: bytes = b"p", **changes: Any) -> Path:
    path.mkdir()
    (path / "model.safetensors").write_bytes(tensors)
    (path / "projection.safetensors").write_bytes(projection)
    (path / "hpd.json").write_text(json.dumps({"teacher": [TEACHER | changes], "prefixes": {}}))
    return path


def test_students_of_one_teacher_and_projection_share_a_space(tmp_path: Path) -> None:
    first, second = student(tmp_path / "a", b"one"), student(tmp_path / "b", b"two")
    assert space_of(first) == space_of(second)


@pytest.mark.parametrize(
    "change", [{"projection": b"q"}, {"weights": "cc"}, {"weight": 2.0}, {"configuration": "dd"}]
)
def test_another_teacher_or_projection_is_another_space(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    assert space_of(student(tmp_path / "a", b"one")) != space_of(
        student(tmp_path / "b", b"one", **change)
    )


def test_the_teacher_s_name_does_not_matter(tmp_path: Path) -> None:
    first = student(tmp_path / "a", b"one")
    assert space_of(first) == space_of(student(tmp_path / "b", b"one", model="elsewhere/teacher"))


def test_any_other_model_has_a_space_of_its_own(tmp_path: Path, student_dir: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(student_dir, copy)
    assert space_of(copy) == space_of(student_dir)
    # What an export adds changes nothing.
    (copy / "onnx").mkdir()
    (copy / "onnx" / "model.onnx").write_bytes(b"graph")
    (copy / "embedding_ranges.safetensors").write_bytes(b"ranges")
    assert space_of(copy) == space_of(student_dir)
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    assert space_of(copy) != space_of(student_dir)


def test_a_graph_alone_has_a_space(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"graph")
    assert len(space_of(tmp_path)) == 64


def test_no_weights_no_space(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds no weights"):
        space_of(tmp_path)


def test_an_encoder_knows_its_space() -> None:
    with Encoder.load() as encoder:
        assert encoder.space == space_of(encoder.path)
