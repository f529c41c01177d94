"""`hpd reproduce`, as the shell starts it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_ends import Ended, hint, refused

Hpd = Callable[..., Ended]


@pytest.fixture
def sts(tmp_path: Path, sentences: Callable[..., list[str]]) -> Path:
    folder = tmp_path / "senteval" / "STS" / "STSBenchmark"
    folder.mkdir(parents=True)
    texts = sentences(24)
    lines = [
        f"a\tb\tc\td\t{n % 5}\t{one}\t{other}"
        for n, (one, other) in enumerate(zip(texts[:12], texts[12:], strict=True))
    ]
    (folder / "sts-test.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return tmp_path / "senteval"


def test_a_row_is_computed_and_written(
    hpd: Hpd, sts: Path, corpus_file: Path, student_dir: Path, tmp_path: Path
):
    arguments = [
        *("reproduce", "all-minilm-l6-v2-pca-128", "--scale", "tiny"),
        *("--data", sts, "--sentences", corpus_file),
        *("--model", f"minilm={student_dir}", "--out", tmp_path / "out"),
    ]
    markdown, html = tmp_path / "tables.md", tmp_path / "tables.html"
    ended = hpd(*arguments, "--json", "--markdown", markdown, "--html", html)
    assert ended.code == 0, ended.err
    printed = json.loads(ended.out)
    assert printed["command"] == "reproduce"
    whole, cut = printed["rows"]
    assert [row["row"] for row in (whole, cut)] == ["all-minilm-l6-v2", "all-minilm-l6-v2-pca-128"]
    assert (whole["dim"], cut["dim"]) == (24, 8)
    assert cut["excluded_sentences"] == 24
    assert cut["STSBenchmark"] == cut["average_present"]
    assert "24 sentences" in ended.err
    assert f"given: {student_dir.name}" in markdown.read_text("utf-8")
    assert "<img" in html.read_text("utf-8")
    # The same again, for eyes.
    ended = hpd(*arguments)
    assert ended.code == 0, ended.err
    assert f"{cut['STSBenchmark']:.2f}" in ended.out
    assert "Not in the evaluation folder: STS12, STS13" in " ".join(ended.out.split())


def test_an_unknown_row_is_one_line(hpd: Hpd, tmp_path: Path):
    ended = hpd("reproduce", "simcse-minlm", "--out", tmp_path / "out")
    assert "'simcse-minlm'" in refused(ended)
    assert "simcse-minilm" in hint(ended)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--out", "x"], "nothing to measure by"),
        (["--data", "nowhere"], "missing --out"),
        (["--data", "nowhere", "--out", "x"], "nowhere does not exist"),
        (["--data", "nowhere", "--out", "x", "--scale", "huge"], "allowed: tiny, cpu, full"),
        (["--list", "--model", "mpent=x"], "neither a row nor weights"),
        (["--data", "nowhere", "--out", "x", "--augment", "wordnte"], "wordnte"),
    ],
)
def test_bad_input_is_one_line(hpd: Hpd, arguments: list[str], complaint: str):
    assert complaint in refused(hpd("reproduce", *arguments))


def test_the_list_tells_all_rows_without_fetching(hpd: Hpd):
    ended = hpd("reproduce", "--list", "--json")
    assert ended.code == 0, ended.err
    rows = {row["row"]: row for row in json.loads(ended.out)["rows"]}
    assert rows["sbert-base"]["poster"] == "sts"
    assert rows["hpd-minilm-128-from-simcse-mpnet"]["poster"] == "sts, retrieval"
    assert rows["all-mpnet-base-v2"]["poster"] == ""
    assert rows["sroberta-large"]["weights"] == "not here"
    some = json.loads(hpd("reproduce", "--list", "hpd-tinybert-*", "--json").out)["rows"]
    assert {row["row"] for row in some} == {row for row in rows if row.startswith("hpd-tinybert-")}


def test_the_table_of_rows_is_shown(hpd: Hpd):
    ended = hpd("reproduce", "sts", "--list")
    assert ended.code == 0
    assert "simcse-tinybert-whitening-128" in ended.out


def test_the_list_needs_no_torch():
    import subprocess

    code = (
        "import sys; sys.argv = ['hpd', 'reproduce', '--list'];"
        "from hpdistill.cli import main\n"
        "try: main()\n"
        "except SystemExit as ending: print(f'ended with {ending.code}')\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-2:] == ["ended with 0", "False"]
