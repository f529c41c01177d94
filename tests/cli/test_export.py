"""`hpd export`, and the graphs that a distillation ends with."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_ends import Ended, refused

from hpdistill.pytorch import TorchEncoder, load_model
from hpdistill.runtime import Encoder


@pytest.fixture
def model(student_dir: Path, tmp_path: Path) -> Path:
    return shutil.copytree(student_dir, tmp_path / "model")


def test_export_in_place_prints_what_each_graph_is_worth(
    hpd: Callable[..., Ended], model: Path, corpus_file: Path
) -> None:
    ended = hpd("export", model, "--sentences", corpus_file)
    assert ended.code == 0, ended.err
    assert "int8" in ended.out
    assert "Encoder.load takes" in ended.out
    assert (model / "onnx" / "model.onnx").is_file()


def test_json_is_one_object_of_flat_rows(
    hpd: Callable[..., Ended], model: Path, corpus_file: Path, tmp_path: Path
) -> None:
    ended = hpd(
        "export", model, "--sentences", corpus_file, "--out", tmp_path / "copy",
        "--precision", "float32", "--json",
    )  # fmt: skip
    document = json.loads(ended.out)
    assert document["command"] == "export"
    assert [row["backend"] for row in document["rows"]] == ["torch", "onnx"]
    assert not (model / "onnx").exists()
    assert (tmp_path / "copy" / "onnx" / "export.json").is_file()


def test_bad_input_is_one_line(
    hpd: Callable[..., Ended], model: Path, corpus_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.txt").write_text("")
    for arguments, message in (
        (["nothing-here"], "unknown model 'nothing-here'"),
        ([model, "--sentences", tmp_path / "no.txt"], "no.txt"),
        ([model, "--sentences", tmp_path / "empty.txt"], "no sentence"),
        ([model, "--sentences", corpus_file, "--out", tmp_path], "exists; --out must name"),
        ([model, "--sentences", corpus_file, "--sts", tmp_path / "none"], "does not exist"),
        ([model, "--sentences", corpus_file, "--out", corpus_file / "new"], "is a file"),
    ):
        assert message in refused(hpd("export", *arguments))
    assert not (model / "onnx").exists()


def test_a_distillation_ends_with_graphs_that_agree(
    hpd: Callable[..., Ended],
    teacher_dir: Path,
    student_dir: Path,
    corpus_file: Path,
    sentences: Callable[..., list[str]],
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    line = [
        "distill", "--teacher", teacher_dir, "--student", student_dir, "--dim", 8,
        "--sentences", corpus_file, "--validation", 50, "--max-steps", 2, "--out", run,
        "--precision", "float32", "--teacher-precision", "float32",
    ]  # fmt: skip
    assert hpd(*line, "--no-export").code == 0
    assert not (run / "model" / "onnx").exists()
    assert hpd("distill", "--resume", "--out", run).code == 0
    assert not (run / "model" / "onnx").exists(), "--resume goes on as the run began"
    ended = hpd(*line)
    assert ended.code == 0, ended.err
    texts = sentences(40, seed=77)
    reference = TorchEncoder(load_model(run / "model"), name="student").encode(texts)
    with Encoder.load(run / "model", precision="float32") as encoder:
        assert encoder.dim == 8
        assert np.einsum("nd,nd->n", encoder.encode(texts), reference).min() > 0.9999
    rows = json.loads((run / "report.json").read_text())["rows"]
    assert {row["backend"] for row in rows} == {"torch", "onnx"}
    before = (run / "model" / "onnx" / "export.json").read_bytes()
    assert hpd(*line).code == 0
    assert (run / "model" / "onnx" / "export.json").read_bytes() == before, "it was done again"
    (run / "model" / "onnx" / "export.json").unlink()
    assert hpd(*line).code == 0
    assert (run / "model" / "onnx" / "model.onnx").is_file()
