import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from measuring import PAIRS, hpd, rows_of
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


OWN = "sentence1{0}sentence2{0}score\n" + "".join(
    f"{first}{{0}}{second}{{0}}{gold}\n" for first, second, gold in PAIRS
)


def own_pairs(folder, name, text=OWN, gap=","):
    path = folder / name
    if name.endswith(".parquet"):
        rows = [{"sentence1": a, "sentence2": b, "score": gold} for a, b, gold in PAIRS]
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif name.endswith(".jsonl"):
        rows = [{"sentence1": a, "sentence2": b, "score": gold} for a, b, gold in PAIRS]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_text(text.format(gap))
    return path


@pytest.mark.parametrize(
    ("name", "gap"),
    [
        ("mine.csv", ","),
        ("mine.csv", ";"),
        ("mine.tsv", "\t"),
        ("mine.jsonl", ""),
        ("p.parquet", ""),
    ],
)
def test_own_pairs_are_one_task_named_by_their_file(loaded, data, tmp_path, name, gap):
    path = own_pairs(tmp_path, name, gap=gap)
    result = hpd("sts", "big", "small", "--dims", "4", "--data", path, "--json")
    rows = rows_of(result, "eval sts")
    assert [(row["model"], row["dim"]) for row in rows] == [
        ("big", 64), ("big", 4), ("small", 16), ("small", 4),
    ]  # fmt: skip
    # The same pairs as those of the benchmark in SentEval's layout.
    known = rows_of(hpd("sts", "big", "small", "--dims", "4", "--data", data, "--json"), "eval sts")
    assert [row[name] for row in rows] == [row["STSBenchmark"] for row in known]
    assert [row["average_present"] for row in rows] == [row[name] for row in rows]
    assert {(row["average"], row["tasks_present"], row["pairs"]) for row in rows} == {
        (None, 1, len(PAIRS))
    }
    assert not any("STS" in key for row in rows for key in row)
    shown = hpd("sts", "big", "--data", path).stdout
    assert name in shown
    assert f"{name}: 5 pairs" in shown


def test_columns_of_own_pairs_may_be_named(loaded, tmp_path):
    text = "n{0}left{0}right{0}points\n" + "".join(
        f"{n}{{0}}{a}{{0}}{b}{{0}}{gold}\n" for n, (a, b, gold) in enumerate(PAIRS)
    )
    path = own_pairs(tmp_path, "mine.csv", text, gap="^")
    named = ["--first", "left", "--second", "right", "--score", "points", "--delimiter", "^"]
    (row,) = rows_of(hpd("sts", "big", "--data", path, *named, "--json"), "eval sts")
    usual = own_pairs(tmp_path, "usual.csv")
    (other,) = rows_of(hpd("sts", "big", "--data", usual, "--json"), "eval sts")
    assert row["mine.csv"] == other["usual.csv"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,b,score\nx,y,1\n", "which columns hold the sentences? columns: a, b, score"),
        ("sentence1,sentence2,n\nx,y,1\n", "which column holds the scores? columns: sentence1, "),
        ("sentence1,sentence2,score\nx,y,1\nx,z,high\n", "line 3, score: 'high' is not a score"),
        ("sentence1,sentence2,score\nx,y,\n", "line 2, score: '' is not a score"),
        ("sentence1,sentence2,score\nx,y,nan\n", "line 2, score: 'nan' is not a score"),
        ("sentence1,sentence2,score\nx,y,1\nx,z,1\n", "needs pairs of at least two scores"),
        ("sentence1,sentence2,score\n", "needs pairs of at least two scores; it has 0 pairs"),
        ("sentence1,sentence2,score,score\nx,y,1,2\n", "names the column 'score' twice"),
        ("sentence1;sentence2;score\nx;y;1\nx;z\n", "semicolons divide the header into 3 columns"),
    ],
)
def test_own_pairs_that_cannot_be_scored(loaded, tmp_path, text, reason):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    result = hpd("sts", "big", "--data", path)
    assert isinstance(result.exception, EvaluationError)
    assert str(result.exception).startswith(str(path))
    assert reason in str(result.exception)
    assert loaded == []


def test_own_pairs_without_a_sentence_are_left_out_and_counted(loaded, tmp_path):
    path = own_pairs(tmp_path, "mine.csv", OWN + "x{0}{0}1\n")
    result = hpd("sts", "big", "--data", path, "--json")
    assert rows_of(result, "eval sts")[0]["pairs"] == len(PAIRS)
    assert "mine.csv: 1 pairs have an empty sentence and are left out" in result.stderr


def test_options_that_are_of_no_use(loaded, data, tmp_path):
    path = own_pairs(tmp_path, "mine.csv")
    for arguments, reason in (
        (("--data", path, "--dev"), "which has no development set"),
        (("--data", data, "--score", "x"), "is no file of pairs, so it has no use for --score"),
    ):
        result = hpd("sts", "big", *arguments)
        assert isinstance(result.exception, UsageError)
        assert reason in str(result.exception)
    result = hpd("sts", "big", "--data", tmp_path / "mine.xlsx")
    assert "of no format that holds scored pairs" in str(result.exception)


def test_pairs_in_another_encoding_are_refused_with_what_to_do(loaded, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_bytes("sentence1,sentence2,score\nA caf\xe9,A bar,1\nA,B,2\n".encode("latin-1"))
    result = hpd("sts", "big", "--data", path)
    assert isinstance(result.exception, EvaluationError)
    assert "is not utf-8" in str(result.exception)
    assert result.exception.hint == "Convert it to UTF-8 first."
