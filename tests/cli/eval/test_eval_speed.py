import pytest
from measuring import hpd, rows_of

from hpdistill.errors import EvaluationError, UsageError, WeightsError

QUICK = ("--rounds", "2", "--seconds", "0.01", "--lengths", "8,16", "--batch-sizes", "1,4")


def test_speed_measures_scores_and_draws_a_model(static_dir, data, tmp_path):
    picture = tmp_path / "picture.png"
    options = ("--backends", "runtime,static-float32,static-int8", "--sts", data, "--plot", picture)
    result = hpd("speed", static_dir, *QUICK, *options, "--threads", "1", "--json")
    first, second = rows_of(result, "eval speed")
    keys = (
        "model backend precision sentences_per_second ratio p50_ms p95_ms p99_ms load_s rss_mb "
        "file_mb parameters"
    )
    assert {*keys.split()} <= {*first}
    assert first["model"] == str(static_dir)
    assert (first["backend"], first["precision"], first["ratio"]) == ("static", "float32", 1)
    assert first["average_present"] == pytest.approx(second["average_present"])
    for length in (8, 16):
        for size in (1, 4):
            assert first[f"tokens{length}_batch{size}_sentences_per_second"] > 0
            assert first[f"tokens{length}_batch{size}_ratio"] == 1
    assert all(not isinstance(value, dict | list) for value in first.values())
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"Picture: {picture}" in result.stderr
    assert f"Left out: {static_dir} on static-int8" in result.stderr
    assert "sentences of Python's language reference" in result.stderr


def test_speed_prints_tables(static_dir, corpus):
    result = hpd("speed", static_dir, "--backends", "runtime", "--data", corpus, *QUICK)
    assert result.exit_code == 0, result.output
    shown = " ".join(result.stdout.split())
    assert "60 sentences of" in shown
    for title in ("ratio: to (1)", "p50 ms", "8 x 4", "16 x 1"):
        assert title in shown


def test_speed_finds_wrong_names_data_and_pictures_first(loaded, data, static_dir, tmp_path):
    assert isinstance(hpd("speed", "bgi").exception, WeightsError)
    nowhere = tmp_path / "nowhere"
    assert isinstance(hpd("speed", "big", "--sts", nowhere).exception, EvaluationError)
    picture = hpd("speed", "big", "--sts", nowhere, "--plot", "x.gif")
    assert "allowed: .pdf, .png, .svg" in str(picture.exception)
    nowhere.write_text("")
    options = ("--sts", data, "--plot", nowhere / "x.png")
    assert "is a file, not a directory" in str(hpd("speed", "big", *options).exception)


@pytest.mark.parametrize("json_option", [(), ("--json",)])
def test_speed_prints_what_it_measured_although_there_is_no_place_for_the_picture(
    static_dir, data, tmp_path, json_option
):
    (tmp_path / "x.png").mkdir()
    options = ("--backends", "runtime", "--sts", data, "--plot", tmp_path / "x.png")
    result = hpd("speed", static_dir, *QUICK, *options, *json_option)
    assert "x.png: it is a directory" in str(result.exception)
    assert ("eval speed" if json_option else "Sentences a second") in result.stdout
    assert "Picture:" not in result.output


def test_speed_of_nothing_says_why(static_dir):
    result = hpd("speed", static_dir, "--backends", "onnx-int8")
    assert isinstance(result.exception, UsageError)
    assert "nothing to measure" in str(result.exception)
    assert "it is a static model" in str(result.exception)
