"""Exclusion: every sentence of evaluation data is found, whatever its layout."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hpdistill.corpus import clean, excluded_keys, exclusion_key
from hpdistill.errors import CorpusError


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = text.encode(encoding)
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def keys(*texts: str) -> set[bytes]:
    return {exclusion_key(clean(text)) for text in texts}


def test_senteval_folders_give_sentences_and_no_scores(tmp_path: Path) -> None:
    sts = tmp_path / "STS"
    write(sts / "STS12-en-test" / "STS.input.MSRpar.txt", "A cat .\tA dog .\nOne\tTwo\turl\n")
    write(sts / "STS12-en-test" / "STS.gs.MSRpar.txt", "4.5\n2.0\n")
    row = "captions\tMSRvid\t2012\t0001\t5.000\tA bird.\tA fish.\n"
    write(sts / "STSBenchmark" / "sts-dev.csv", row)
    sick = "pair_ID\tsentence_A\tsentence_B\tscore\tlabel\n1\tA boy\tA girl\t4.5\tNEUTRAL\n"
    write(tmp_path / "SICK" / "SICK_train.txt", sick)
    assert excluded_keys([tmp_path]) == keys(
        "a cat", "a dog", "one", "two", "a bird", "a fish", "a boy", "a girl",
        "sentence_A", "sentence_B",
    )  # fmt: skip


def test_beir_folders_give_the_text_of_queries_and_documents(tmp_path: Path) -> None:
    write(tmp_path / "corpus.jsonl", '{"_id": "d1", "title": "T", "text": "A document."}\n')
    write(tmp_path / "queries.jsonl", '{"_id": "q1", "text": "A query?"}\n')
    write(tmp_path / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    assert excluded_keys([tmp_path]) == keys("a document", "a query")


def test_any_other_text_file_gives_lines_and_fields(tmp_path: Path) -> None:
    path = write(tmp_path / "quora.whatever.gz", "\ufeffWhole line\nfirst field\tsecond field\r\n")
    expected = keys("Whole line", "first field", "second field", "first field second field")
    assert excluded_keys([path]) == expected
    assert excluded_keys([str(path)]) == expected


def test_csv_gives_fields_whatever_divides_them(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.csv", "one;two;n\nA dog, it runs;Rain;1\nA cat;Sun;2\n")
    assert excluded_keys([path]) >= keys("A dog, it runs", "Rain", "A cat", "Sun")


def test_csv_gives_quoted_fields(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.csv", '1,"One, two ""three""",0.5\n')
    assert keys("One, two three") <= excluded_keys([path])


def test_json_and_parquet_without_a_text_column_give_every_text(tmp_path: Path) -> None:
    write(tmp_path / "pairs.jsonl", '{"a": "One", "b": "Two", "score": 1}\n\n["Three", 4]\n')
    table = pa.table({"a": ["Four"], "n": [1], "b": ["Five"]})
    pq.write_table(table, tmp_path / "pairs.parquet")
    assert excluded_keys([tmp_path]) == keys("one", "two", "three", "four", "five")


def test_old_encodings_do_not_hide_a_sentence(tmp_path: Path) -> None:
    path = write(tmp_path / "trec.txt", "Où est le café ?\n", "latin-1")
    assert excluded_keys([path]) == keys("Où est le café")


def test_nothing_excludes_nothing() -> None:
    assert excluded_keys([]) == set()


def test_what_cannot_be_excluded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="does not exist"):
        excluded_keys([tmp_path / "none"])
    write(tmp_path / "model.bin", "x")
    write(tmp_path / "STS.gs.MSRpar.txt", "4.5\n")
    with pytest.raises(CorpusError, match="nothing to exclude") as caught:
        excluded_keys([tmp_path])
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(CorpusError, match="nothing to exclude"):
        excluded_keys([write(tmp_path / "blank.txt", "\n \n")])
    with pytest.raises(CorpusError, match=r"bad\.jsonl, line 1"):
        excluded_keys([write(tmp_path / "bad.jsonl", "{")])


def test_links_in_a_folder_are_followed_and_one_that_leads_nowhere_is_refused(
    tmp_path: Path,
) -> None:
    folder, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    (folder / "inner").mkdir(parents=True)
    elsewhere.mkdir()
    write(elsewhere / "a.txt", "One\n")
    (folder / "linked").symlink_to(elsewhere)
    (folder / "inner" / "back").symlink_to(folder)
    (folder / "gone.bin").symlink_to(tmp_path / "none.bin")  # no kind that is read
    assert excluded_keys([folder]) == keys("one")
    (folder / "gone.txt").symlink_to(tmp_path / "none.txt")
    with pytest.raises(CorpusError, match=r"gone\.txt does not exist"):
        excluded_keys([folder])
