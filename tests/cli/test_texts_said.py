"""What became of the texts, as the command line says it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_ends import Ended, refused

Hpd = Callable[..., Ended]


@pytest.fixture
def long_file(tmp_path: Path, sentences: Callable[..., list[str]]) -> Path:
    """60 sentences, two of them twice, and a text of all of them and more."""
    path = tmp_path / "long.jsonl"
    found = sentences(60)
    texts = [*found, *found[:2], " ".join(f"{s.capitalize()}!" for s in sentences(80, seed=5))]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    return path


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "63 texts read, 1 of them of more than 200 words and split into 4 passages; 64 kept"),
        (
            ("--split", "none"),
            "63 texts read; 60 kept, 3 dropped: 1 of more than 200 words, 2 equal",
        ),
    ],
)
def test_pca_says_what_it_read_and_keeps_the_counts(
    hpd: Hpd,
    student_dir: Path,
    long_file: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    said: str,
) -> None:
    place = ("--dim", 4, "--out", tmp_path / "out", "--json")
    ended = hpd("pca", student_dir, "--sentences", long_file, *place, *options)
    assert ended.code == 0, ended
    assert said in ended.err
    made = json.loads((tmp_path / "out" / "hpd.json").read_text("utf-8"))["baseline"]
    assert made["corpus"]["read"] == 63
    assert made["corpus"]["dropped"]["duplicate"] == 2
    (row,) = json.loads(ended.out)["rows"]
    assert row["sentences"] < made["corpus"]["kept"]  # some are held out


def test_simcse_takes_sentences_of_long_texts(
    hpd: Hpd, student_dir: Path, long_file: Path, tmp_path: Path
) -> None:
    command = ("train", "simcse", "--backbone", student_dir, "--out", tmp_path / "run")
    long = ("--sentences", long_file, "--split", "sentences")
    ended = hpd(*command, "--unsupervised", *long, "--max-steps", 1, "--json")
    assert ended.code == 0, ended
    assert "1 of them of more than 200 words and split into 80 sentences" in ended.err
    (row,) = json.loads(ended.out)["rows"]
    assert row["examples"] > 100
    ended = hpd(*command, "--nli", long_file, "--split", "none")
    assert "--split needs --unsupervised" in refused(ended)


def test_a_way_to_split_that_is_none_is_refused(hpd: Hpd, long_file: Path, tmp_path: Path) -> None:
    options = ("--teacher", "t", "--student", "s", "--split", "paragraphs")
    ended = hpd("distill", *options, "--sentences", long_file, "--out", tmp_path / "run")
    assert "passages, sentences, none" in refused(ended)


def test_eval_sts_says_what_was_not_read(hpd: Hpd, student_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sts" / "STSBenchmark"
    folder.mkdir(parents=True)
    pairs = [("a river", "the dog " * 40, 1), ("a river", "今天天气", 3), ("a song", "a book", 2)]
    rows = [f"a\tb\tc\td\t{score}\t{one}\t{two}\n" for one, two, score in pairs]
    (folder / "sts-test.csv").write_text("".join(rows), "utf-8")
    ended = hpd("eval", "sts", student_dir, "--data", tmp_path / "sts", "--json")
    assert ended.code == 0, ended
    assert "1 of 5 texts are longer than the 64 tokens that" in ended.err
    assert "first: 'the dog the dog" in ended.err
    assert "1 of 5 texts are mostly unknown to" in ended.err
    assert "first: '今天天气'" in ended.err


def test_eval_retrieval_names_the_ids(
    hpd: Hpd, student_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPDISTILL_CACHE", str(tmp_path / "cache"))
    beir = tmp_path / "beir"
    (beir / "qrels").mkdir(parents=True)
    documents = {f"d{n}": f"the dog finds a river {n}" for n in range(12)}
    documents["d3"] = "the dog " * 40
    queries = {"q0": "a dog", "q1": "今天"}
    for name, texts in (("corpus", documents), ("queries", queries)):
        lines = [json.dumps({"_id": key, "text": text}) + "\n" for key, text in texts.items()]
        (beir / f"{name}.jsonl").write_text("".join(lines), "utf-8")
    (beir / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td1\t1\n", "utf-8"
    )
    ended = hpd("eval", "retrieval", student_dir, "--data", beir, "--json")
    assert ended.code == 0, ended
    assert "1 of 12 texts are longer than the 64 tokens that" in ended.err
    assert "and were cut; first: d3\n" in ended.err
    assert "1 of 2 texts are mostly unknown to" in ended.err
    assert "first: q1\n" in ended.err
