import re

import pytest
from measuring import hpd, rows_of
from word_counts import WordCounts

from hpdistill.errors import EvaluationError, UsageError, WeightsError


def test_sts_prints_one_table_and_names_what_is_missing(loaded, data):
    result = hpd("sts", "big", "small", "--data", data)
    assert result.exit_code == 0, result.output
    big, small = (x for x in result.stdout.splitlines() if re.match(" *(big|small) ", x))
    assert big.split()[-1] == "100.0"
    assert small.split()[1] == "16"
    missing = "STS12, STS13, STS14, STS15, STS16, SICKRelatedness"
    assert f"Missing in the data: {missing}" in " ".join(result.stdout.split())


def test_sts_json_holds_flat_rows_and_nothing_else_on_standard_output(loaded, data):
    result = hpd("sts", "big", "small", "--data", data, "--json")
    big, small = rows_of(result, "eval sts")
    assert [big["model"], big["dim"], big["precision"]] == ["big", 64, "float32"]
    assert big["STS12"] is big["average"] is None
    assert big["average_present"] == big["STSBenchmark"]
    assert big["retention"] == 100
    assert small["retention"] == pytest.approx(100 * small["STSBenchmark"] / big["STSBenchmark"])
    assert "Missing in the data" in result.stderr


def test_sts_against_puts_the_reference_first(loaded, data):
    rows = rows_of(hpd("sts", "small", "--against", "big", "--data", data, "--json"), "eval sts")
    assert [(row["model"], row["retention"] == 100) for row in rows] == [
        ("big", True),
        ("small", False),
    ]


def test_sts_against_one_of_the_models_measures_it_once(loaded, data):
    result = hpd("sts", "small", "big", "--against", "big", "--data", data, "--json")
    assert [row["model"] for row in rows_of(result, "eval sts")] == ["big", "small"]
    assert [name for name, _ in loaded] == ["big", "small"]


def test_sts_dims_adds_prefixes_and_leaves_out_the_full_width(loaded, data):
    result = hpd("sts", "small", "--against", "big", "--dims", "16,8", "--data", data, "--json")
    rows = rows_of(result, "eval sts")
    assert [(row["model"], row["dim"]) for row in rows] == [
        ("big", 64),
        ("small", 16),
        ("small", 8),
    ]


def test_sts_refuses_a_width_of_any_model_before_measuring_one(loaded, data, monkeypatch):
    monkeypatch.setattr(WordCounts, "encode", None)
    result = hpd("sts", "big", "small", "--dims", "32", "--data", data)
    assert isinstance(result.exception, UsageError)
    assert str(result.exception) == "dim is 32; small allows 1 to 16"


def test_sts_finds_a_wrong_name_before_measuring_anything(loaded, data):
    result = hpd("sts", "big", "bgi", "--data", data)
    assert isinstance(result.exception, WeightsError)
    assert loaded == []


def test_sts_finds_wrong_data_before_loading_anything(loaded, tmp_path):
    result = hpd("sts", "big", "--data", tmp_path / "nowhere")
    assert isinstance(result.exception, EvaluationError)
    assert loaded == []


def test_sts_dev_scores_the_development_set(loaded, data):
    (row,) = rows_of(hpd("sts", "big", "--dev", "--data", data, "--json"), "eval sts")
    assert row["STSBenchmark-dev"] == row["average_present"]
    assert "STSBenchmark" not in row
    assert "STS-B dev" in hpd("sts", "big", "--dev", "--data", data).stdout


def test_precision_reaches_the_models_and_the_rows(loaded, data):
    (row,) = rows_of(
        hpd("sts", "big", "--precision", "bfloat16", "--data", data, "--json"), "eval sts"
    )
    assert loaded == [("big", "bfloat16")]
    assert row["precision"] == "bfloat16"
