"""`hpd index`: every document of a corpus is in the index, with its text and its fields."""

import csv
import gzip
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_ends import hint, refused
from indexing import DIM, TEXTS, Hpd, found, json_lines, names, row_of

from hpdistill import Encoder
from hpdistill.projection import fit_pca
from hpdistill.search import Index


def test_what_it_says_and_what_json_says(hpd: Hpd, corpus: Path, tmp_path: Path) -> None:
    ended = hpd("index", "default", corpus, "--out", tmp_path / "said")
    assert ended.code == 0, ended.err
    assert re.match(
        r".*said: 4 documents, 128 x float32, flat; vectors 0\.0 MB, all [\d.]+ MB; "
        r"encoded in [\d.]+ s, built in [\d.]+ s\n$",
        ended.out,
    )
    row = row_of(hpd("index", "default", corpus, "--out", tmp_path / "index", "--json"))
    assert (row["model"], row["doc_encoder"], row["dim"]) == ("default", None, DIM)
    assert (row["engine"], row["precision"], row["keep"]) == ("flat", "float32", None)
    assert (row["documents"], row["added"], row["empty"]) == (4, 4, 0)
    assert (row["resumed"], row["truncated"]) == (0, 0)
    assert (row["vector_bytes"], row["kept_bytes"]) == (4 * DIM * 4, 0)
    assert row["index_bytes"] == sum(
        file.stat().st_size for file in (tmp_path / "index").rglob("*") if file.is_file()
    )
    assert names(tmp_path) == ["corpus.jsonl", "index", "said"]
    with Index.load(tmp_path / "index") as index:
        (dog,) = index.get(["dog"])
        assert dog is not None
        assert (dog.text, dog.metadata) == (TEXTS["dog"], {})
    assert found(tmp_path / "index", list(TEXTS.values())) == list(TEXTS)


def write_corpus(kind: str, folder: Path) -> tuple[Path, list[str], list[str]]:
    """A corpus of some kind, the options it needs, and the ids that its documents get."""
    path = folder / f"in.{kind}"
    rows = [
        {"key": key, "body": text, "lang": "en", "n": n}
        for n, (key, text) in enumerate(TEXTS.items())
    ]
    options = ["--id-column", "key", "--text-column", "body"]
    options += ["--metadata", "lang", "--metadata", "n"]
    if kind == "jsonl":
        return json_lines(path, rows), options, list(TEXTS)
    if kind == "beir":
        path.mkdir()
        beir = [{"_id": key, "title": "", "text": text} for key, text in TEXTS.items()]
        json_lines(path / "corpus.jsonl", beir)
        json_lines(path / "queries.jsonl", [{"_id": "q", "text": "no document"}])
        return path, [], list(TEXTS)
    if kind.startswith("txt"):
        data = "".join(f"{text}\n" for text in TEXTS.values()).encode()
        path.write_bytes(gzip.compress(data) if kind.endswith("gz") else data)
        return path, [], ["1", "2", "3", "4"]
    table = io.StringIO()
    writer = csv.DictWriter(table, rows[0], delimiter="," if kind == "csv" else "\t")
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(table.getvalue(), "utf-8")
    return path, options, list(TEXTS)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "txt", "txt.gz", "beir"])
def test_every_kind_of_corpus(kind: str, hpd: Hpd, tmp_path: Path) -> None:
    source, options, ids = write_corpus(kind, tmp_path)
    row = row_of(hpd("index", "default", source, "--out", tmp_path / "index", "--json", *options))
    assert row["documents"] == 4
    assert found(tmp_path / "index", list(TEXTS.values())) == ids
    with Index.load(tmp_path / "index") as index:
        (bank,) = index.get([ids[1]])
        assert bank is not None
        assert bank.text == TEXTS["bank"]
        number = 1 if kind == "jsonl" else "1"
        assert bank.metadata == ({"lang": "en", "n": number} if options else {})


@pytest.mark.parametrize("engine", ["flat", "hnsw"])
@pytest.mark.parametrize(
    "options",
    [("--precision", "int8"), ("--precision", "binary", "--keep", "float32"), ("--dim", "64")],
    ids=" ".join,
)
def test_smaller_vectors(
    engine: str, options: tuple[str, ...], hpd: Hpd, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "index"
    line = ("index", "default", corpus, "--out", out, "--engine", engine, *options, "--json")
    row = row_of(hpd(*line))
    assert row["engine"] == engine
    dim = 64 if "--dim" in options else DIM
    size = {"int8": dim, "binary": dim // 8}.get(row["precision"], 4 * dim)
    assert row["dim"] == dim
    # A graph has its links beside the vectors.
    assert row["vector_bytes"] >= 4 * size
    assert engine == "hnsw" or row["vector_bytes"] <= 4 * size
    assert row["kept_bytes"] == (4 * DIM * 4 if "--keep" in options else 0)
    rescore = {"rescore": 4} if "--keep" in options else {}
    assert found(out, list(TEXTS.values()), **rescore) == list(TEXTS)


def test_options_of_the_engine(hpd: Hpd, corpus: Path, tmp_path: Path) -> None:
    line = ("--engine", "hnsw", "--option", "m=8", "--option", "ef_search=20")
    row_of(hpd("index", "default", corpus, "--out", tmp_path / "index", "--json", *line))
    said = json.loads((tmp_path / "index/index.json").read_text("utf-8"))
    assert said["options"] == {"m": 8, "ef_search": 20}


def test_inverted_lists_of_enough_documents(hpd: Hpd, tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    path.write_text("".join(f"the number {n} of the {n % 7} kinds\n" for n in range(300)))
    line = ("--engine", "ivf-pq", "--keep", "float32")
    row = row_of(hpd("index", "default", path, "--out", tmp_path / "index", "--json", *line))
    assert (row["documents"], row["kept_bytes"]) == (300, 300 * DIM * 4)
    assert row["vector_bytes"] < row["kept_bytes"]


def test_a_width_that_was_not_measured_must_be_allowed(
    hpd: Hpd, corpus: Path, tmp_path: Path
) -> None:
    line = ("index", "default", corpus, "--out", tmp_path / "index", "--dim", "20", "--json")
    ended = hpd(*line)
    assert "dim is 20; default was measured at " in refused(ended)
    assert "--allow-unvalidated" in hint(ended)
    assert row_of(hpd(*line, "--allow-unvalidated"))["dim"] == 20
    assert found(tmp_path / "index", list(TEXTS.values())) == list(TEXTS)


def test_documents_without_text_are_counted_and_named(hpd: Hpd, tmp_path: Path) -> None:
    rows = [{"id": "a", "text": "a dog"}, {"id": "b", "text": " "}, {"id": "c", "text": ""}]
    corpus = json_lines(tmp_path / "in.jsonl", rows)
    ended = hpd("index", "default", corpus, "--out", tmp_path / "index", "--json")
    row = row_of(ended)
    assert (row["documents"], row["empty"]) == (1, 2)
    assert f"documents without text, left out: 2; first: {corpus}, line 2" in ended.err


def test_documents_are_added(hpd: Hpd, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    made = ("--precision", "int8", "--keep", "float32", "--dim", "20", "--allow-unvalidated")
    assert hpd("index", "default", corpus, "--out", out, *made).code == 0
    more = json_lines(tmp_path / "more.jsonl", [{"id": "cat", "text": "The cat sleeps all day."}])
    row = row_of(hpd("index", "default", more, "--out", out, "--add", "--json"))
    assert (row["documents"], row["added"], row["dim"]) == (5, 1, 20)
    assert (row["precision"], row["keep"]) == ("int8", "float32")
    texts = [*TEXTS.values(), "The cat sleeps all day."]
    assert found(out, texts, rescore=5) == [*TEXTS, "cat"]
    ended = hpd("index", "default", more, "--out", out, "--add")
    assert refused(ended) == "error: the id 'cat' is in the index already"
    with Index.load(out) as index:
        assert len(index) == 5
    assert "index.unfinished" not in names(tmp_path)


@pytest.mark.parametrize(
    "made", [("--precision", "int8"), ("--precision", "binary", "--keep", "int8")]
)
def test_one_document_does_not_decide_how_the_next_are_stored(
    made: tuple[str, ...], hpd: Hpd, tmp_path: Path
) -> None:
    rows = [{"id": name, "text": text} for name, text in TEXTS.items()]
    one = json_lines(tmp_path / "one.jsonl", rows[:1])
    more = json_lines(tmp_path / "more.jsonl", rows[1:])
    out = tmp_path / "index"
    assert hpd("index", "default", one, "--out", out, *made).code == 0
    assert hpd("index", "default", more, "--out", out, "--add").code == 0
    rescore = 4 if "binary" in made else None
    assert found(out, [*TEXTS.values()], rescore=rescore) == [*TEXTS]
    vectors = Encoder.load().encode([*TEXTS.values()])
    with Index.load(out) as index:
        scores, _ = index.nearest(vectors, 1, rescore=rescore)
    assert scores.min() > 0.97


def test_overwrite_replaces(hpd: Hpd, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    assert hpd("index", "default", corpus, "--out", out).code == 0
    other = json_lines(tmp_path / "other.jsonl", [{"id": "x", "text": "something else"}])
    ended = hpd("index", "default", other, "--out", out)
    assert refused(ended) == f"error: {out} exists already"
    assert "--overwrite" in hint(ended)
    assert found(out, [TEXTS["dog"]]) == ["dog"]
    row = row_of(hpd("index", "default", other, "--out", out, "--overwrite", "--json"))
    assert row["documents"] == 1
    assert found(out, [TEXTS["dog"]]) == ["x"]


def test_milvus_lite_from_corpus_to_answers(
    hpd: Hpd, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, uri = tmp_path / "index", tmp_path / "there.db"
    line = ("index", "default", corpus, "--out", out, "--engine", "milvus", "--uri", uri)

    def stop(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Index, "save", stop)
        assert hpd(*line).code == 130
    # The collection that the interrupted command has made is no reason to refuse.
    assert row_of(hpd(*line, "--json"))["resumed"] == 4
    assert found(out, list(TEXTS.values())) == list(TEXTS)
    other = tmp_path / "other"
    refusal = refused(hpd(*line[:4], other, *line[5:]))
    assert "has a collection hpdistill already" in refusal
    ended = hpd("search", out, "puppies at play", "-k", "1", "--json")
    assert row_of(ended)["id"] == "dog"


def test_documents_by_the_teacher_and_queries_by_the_student(
    hpd: Hpd,
    teacher_dir: Path,
    student_dir: Path,
    sentences: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from hpdistill.recipe import WeightedModel
    from hpdistill.teacher import encoder_identity, load_teacher
    from hpdistill.teacher.space import projected_teacher
    from hpdistill.weights import resolve

    student = shutil.copytree(student_dir, tmp_path / "student")
    spec = WeightedModel(model=str(teacher_dir))
    vectors = load_teacher([spec]).encode(sentences(60))
    fit_pca([vectors], 24).save(student / "projection.safetensors")
    member = {"model": spec.model, "weight": 1.0, **encoder_identity(resolve(spec.model))}
    (student / "hpd.json").write_text(json.dumps({"dim": 24, "teacher": [member]}))
    texts = sentences(30, seed=3)
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("".join(f"{text}\n" for text in texts[:20]))
    out = tmp_path / "index"
    line = ("index", student, corpus, "--out", out, "--doc-precision", "float32", "--json")
    monkeypatch.chdir(teacher_dir.parent)
    row = row_of(hpd(*line, "--doc-encoder", teacher_dir.name))
    monkeypatch.chdir(tmp_path)
    assert (row["model"], row["doc_encoder"]) == (str(student), str(teacher_dir))
    corpus.write_text(
        "".join(json.dumps({"id": f"more {n}", "text": t}) + "\n" for n, t in enumerate(texts[20:]))
    )
    corpus = corpus.rename(tmp_path / "more.jsonl")
    # Added as it was built: by the teacher.
    row = row_of(
        hpd("index", student, corpus, "--out", out, "--doc-precision", "float32", "--add", "--json")
    )
    assert (row["documents"], row["doc_encoder"]) == (30, str(teacher_dir))
    wanted = projected_teacher(student).encode(texts)
    with Index.load(out) as index:
        hits = index.search(wanted, 1)
        assert [hit.text for (hit,) in hits] == texts
        assert all(hit.score == pytest.approx(1, abs=1e-4) for (hit,) in hits)
    ended = hpd("search", out, texts[0], "-k", "30", "--json")
    assert ended.code == 0, ended.err
    assert {hit["text"] for hit in json.loads(ended.out)["rows"]} == set(texts)
