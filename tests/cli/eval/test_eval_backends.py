"""Graphs, tables and the model in the package, by whatever runs them."""

import pytest
from measuring import hpd, rows_of

from hpdistill.errors import UsageError


@pytest.mark.parametrize(
    ("options", "precision"),
    [
        (("--backend", "onnx"), "float32"),
        (("--backend", "onnx", "--precision", "int8"), "int8"),
        (("--backend", "runtime"), "float32"),
    ],
)
def test_sts_scores_the_graph_as_it_scores_the_model(twice_exported_dir, data, options, precision):
    common = ("sts", twice_exported_dir, "--data", data, "--dims", "8", "--json")
    reference = rows_of(hpd(*common), "eval sts")
    rows = rows_of(hpd(*common, *options), "eval sts")
    assert [(row["dim"], row["precision"]) for row in rows] == [(24, precision), (8, precision)]
    for row, wanted in zip(rows, reference, strict=True):
        assert row["model"] == wanted["model"] == str(twice_exported_dir)
        assert row["STSBenchmark"] == pytest.approx(wanted["STSBenchmark"], abs=1e-6)


def test_fidelity_of_a_graph_to_its_model_is_whole(twice_exported_dir, sentences, tmp_path):
    file = tmp_path / "lines.txt"
    file.write_text("\n".join(sentences(50)))
    options = ("--teacher", twice_exported_dir, "--data", file, "--backend", "onnx", "--json")
    (row,) = rows_of(hpd("fidelity", twice_exported_dir, *options), "eval fidelity")
    assert [row["spearman"], row["cosine"]] == pytest.approx([1, 1], abs=1e-4)


def test_sts_scores_a_static_model_by_its_table(static_dir, data):
    common = ("sts", static_dir, "--data", data, "--json")
    (torch,) = rows_of(hpd(*common), "eval sts")
    (table,) = rows_of(hpd(*common, "--backend", "runtime"), "eval sts")
    assert table["STSBenchmark"] == pytest.approx(torch["STSBenchmark"], abs=1e-6)
    assert (table["dim"], table["precision"]) == (12, "float32")


def test_sts_of_a_graph_that_is_not_there_says_how_to_get_it(student_dir, static_dir, data):
    result = hpd("sts", student_dir, "--data", data, "--backend", "onnx")
    assert isinstance(result.exception, UsageError)
    assert "hpd export" in str(result.exception)
    result = hpd("sts", static_dir, "--data", data, "--backend", "onnx")
    assert "it is a static model" in str(result.exception)


def test_the_model_in_the_package_is_scored_by_its_name(data):
    result = hpd("sts", "default", "--backend", "runtime", "--data", data, "--json")
    (row,) = rows_of(result, "eval sts")
    assert (row["model"], row["dim"], row["precision"]) == ("default", 128, "int8")


def test_a_model_without_weights_for_pytorch_says_what_runs_it(data):
    result = hpd("sts", "default", "--data", data)
    assert isinstance(result.exception, UsageError)
    assert str(result.exception) == "PyTorch cannot run default: it has no model.safetensors"
    assert result.exception.hint == "`--backend runtime` runs it."
