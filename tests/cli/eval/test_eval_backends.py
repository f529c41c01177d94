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


@pytest.mark.parametrize("options", [(), ("--backend", "runtime"), ("--precision", "int8")])
def test_the_model_in_the_package_is_scored_by_its_name(data, options):
    result = hpd("sts", "default", "--data", data, "--dims", "8", "--json", *options)
    rows = rows_of(result, "eval sts")
    assert [(row["model"], row["dim"], row["precision"]) for row in rows] == [
        ("default", 128, "int8"),
        ("default", 8, "int8"),
    ]


def test_that_the_runtime_runs_what_pytorch_cannot_is_said_once_if_it_was_not_asked_for(data):
    note = "default is run by the runtime, as PyTorch cannot: it has no model.safetensors"
    common = ("sts", "default", "--data", data, "--dims", "8")
    assert hpd(*common).stderr.count(note) == 1
    assert note not in hpd(*common, "--backend", "runtime").stderr


def test_a_model_that_both_can_run_is_run_by_pytorch(exported_dir, data):
    result = hpd("sts", exported_dir, "--data", data, "--json")
    assert "run by" not in result.stderr
    (row,) = rows_of(result, "eval sts")
    assert row["precision"] == "float32"


def test_pytorch_asked_for_by_name_says_what_else_runs_the_model(data):
    result = hpd("sts", "default", "--backend", "torch", "--data", data)
    assert isinstance(result.exception, UsageError)
    assert str(result.exception) == "PyTorch cannot run default: it has no model.safetensors"
    assert result.exception.hint == "`--backend runtime` runs it."
