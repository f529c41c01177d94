"""`hpd index`: every document of a corpus is in the index, whatever happens in between."""

import csv
import gzip
import io
import json
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_ends import Ended, hint, refused
from file_limits import largest_file

from hpdistill.encoder import unit
from hpdistill.projection import fit_pca
from hpdistill.runtime import Encoder
from hpdistill.search import Index

Hpd = Callable[..., Ended]
TEXTS = {
    "dog": "A dog runs in the park.",
    "bank": "The bank raised its interest rates.",
    "soup": "Cook the onions slowly before you add the stock.",
    "train": "The night train to Vienna leaves at ten.",
}
DIM = 128


def json_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return json_lines(
        tmp_path / "corpus.jsonl", [{"id": key, "text": text} for key, text in TEXTS.items()]
    )


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model that comes with hpd, with another table: another space."""
    with Encoder.load() as encoder:
        here = encoder.path
    root = shutil.copytree(here, tmp_path_factory.mktemp("other") / "model")
    for table in root.rglob("*.safetensors"):
        data = bytearray(table.read_bytes())
        data[-1] ^= 1
        table.write_bytes(bytes(data))
    return root


def row_of(ended: Ended) -> dict[str, Any]:
    assert ended.code == 0, ended.err
    (row,) = json.loads(ended.out)["rows"]
    return dict(row)


def found(out: Path, texts: list[str], **options: Any) -> list[str]:
    """Ids of the best document for each text."""
    with Index.load(out) as index, Encoder.load() as encoder:
        queries = encoder.encode(texts, dim=index.space.dim, allow_unvalidated=True)
        return [hits[0].id for hits in index.search(queries, 1, **options)]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


# -- done


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


# -- interrupted


COUNT, BLOCK = 500, 200


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Documents of three blocks, which are made small for that."""
    from hpdistill.cli import _models

    load = _models.open_model
    monkeypatch.setattr(_models, "open_model", lambda *given: replace(load(*given), block=BLOCK))
    path = tmp_path / "many.txt"
    path.write_text("".join(f"text {n} of {n % 97} and {n % 89}\n" for n in range(COUNT)))
    return path


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """`stopped(1)`: the second block that is embedded is interrupted, as by Ctrl-C."""
    encode = Encoder.encode
    with monkeypatch.context() as patch:

        def make(after: int) -> None:
            left = after

            def fail(self: Encoder, *given: Any, **options: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:
                    patch.undo()
                    raise KeyboardInterrupt
                return encode(self, *given, **options)

            patch.setattr(Encoder, "encode", fail)

        yield make


def files_of(index: Path) -> dict[str, bytes]:
    (generation,) = index.glob("generation-*")
    return {path.name: path.read_bytes() for path in generation.iterdir()}


def test_interrupted_it_goes_on_to_the_same_index(
    hpd: Hpd, many: Path, tmp_path: Path, stopped: Callable[[int], None]
) -> None:
    line = ("index", "default", many, "--precision", "int8", "--json", "--out")
    row_of(hpd(*line, tmp_path / "whole"))
    stopped(1)
    ended = hpd(*line, tmp_path / "index")
    assert (ended.code, ended.out) == (130, "")
    assert ended.err.splitlines()[-1] == "interrupted; what was complete is kept"
    assert names(tmp_path) == ["index.unfinished", "many.txt", "whole"]
    row = row_of(hpd(*line, tmp_path / "index"))
    assert (row["documents"], row["resumed"]) == (COUNT, BLOCK)
    assert names(tmp_path) == ["index", "many.txt", "whole"]
    whole, resumed = files_of(tmp_path / "whole"), files_of(tmp_path / "index")
    assert whole.keys() == resumed.keys()
    # The times in a database of documents differ from run to run; vectors must not.
    assert all(whole[name] == resumed[name] for name in whole if name.endswith((".npy", ".bin")))
    with Index.load(tmp_path / "whole") as one, Index.load(tmp_path / "index") as two:
        queries = unit(np.random.default_rng(0).normal(size=(50, DIM)).astype(np.float32))
        assert one.search(queries, 20) == two.search(queries, 20)


def test_another_width_is_not_mixed_in(
    hpd: Hpd, many: Path, tmp_path: Path, stopped: Callable[[int], None]
) -> None:
    line = ("index", "default", many, "--out", tmp_path / "index", "--json")
    stopped(1)
    assert hpd(*line).code == 130
    ended = hpd(*line, "--dim", "64")
    assert f"holds {BLOCK} unfinished vectors of another dim" in refused(ended)
    assert "--overwrite" in hint(ended)
    # The engine does not decide the vectors.
    assert row_of(hpd(*line, "--engine", "hnsw"))["resumed"] == BLOCK


def test_interrupted_before_anything_is_embedded_nothing_is_left(
    hpd: Hpd, corpus: Path, tmp_path: Path, stopped: Callable[[int], None]
) -> None:
    stopped(0)
    assert hpd("index", "default", corpus, "--out", tmp_path / "index").code == 130
    assert names(tmp_path) == ["corpus.jsonl"]


def test_a_directory_of_somebody_else_is_not_removed(
    hpd: Hpd, corpus: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "index.unfinished"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    line = ("index", "default", corpus, "--out", tmp_path / "index")
    assert "index.unfinished is in the way" in refused(hpd(*line))
    assert names(mine) == ["thesis.txt"]


# -- refused


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("in.jsonl", '{"id": 1, "text": "a"}\n{', r"in\.jsonl, line 2: not valid JSON"),
        ("in.jsonl", "[1]\n", r"in\.jsonl, line 1: expected an object"),
        (
            "in.jsonl",
            '{"id": "a", "text": "x"}\n{"id": "b", "text": "y"}\n{"id": "a", "text": "z"}\n',
            r"in\.jsonl: the id 'a' is given twice, in line 1 and line 3",
        ),
        ("in.csv", "id,text\n7,x\n7,y\n", r"in\.csv: the id '7' is given twice, in line 2 and"),
        ("in.jsonl", "", "there is no document to index"),
        ("in.jsonl", '{"id": "a", "text": ""}\n', "there is no document to index"),
        ("in.txt", "\n\n", "there is no document to index"),
        ("in.jsonl", '{"id": null, "text": "x"}\n', r"in\.jsonl, line 1: the id \(id\) is 'None'"),
        ("in.doc", "x", r"in\.doc is of no format"),
        ("gone.jsonl", None, r"gone\.jsonl does not exist"),
    ],
)
def test_a_corpus_that_cannot_be_read(
    name: str, data: str | None, message: str, hpd: Hpd, tmp_path: Path
) -> None:
    source = tmp_path / name
    if data is not None:
        source.write_text(data, "utf-8")
    before = names(tmp_path)
    ended = hpd("index", "default", source, "--out", tmp_path / "index")
    assert re.search(message, refused(ended))
    assert names(tmp_path) == before


def test_a_folder_without_a_corpus(hpd: Hpd, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    ended = hpd("index", "default", tmp_path / "folder", "--out", tmp_path / "index")
    assert "folder is a folder without corpus.jsonl" in refused(ended)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--dim", "0", "--allow-unvalidated"), "dim is 0; default has 1 to 128"),
        (("--dim", "129", "--allow-unvalidated"), "dim is 129; default has 1 to 128"),
        (("--option", "speed=9"), "the engine flat has no option 'speed'"),
        (("--engine", "hnsw", "--option", "m=many"), "m must be a whole number"),
        (("--engine", "ivf-pq", "--option", "pq_m=7"), "pq_m must divide the width 128"),
        (("--engine", "ivf-pq", "--precision", "int8"), "ivf-pq .* takes the precision float32"),
        (("--keep", "int8"), "keep=int8 is worse"),
        (("--precision", "int8", "--keep", "int8"), "keep=int8 adds nothing"),
        (("--uri", "http://localhost:1"), "the engine flat has no uri"),
        (("--engine", "milvus", "--precision", "int8"), "milvus takes no int8 vectors"),
        (("--engine", "milvus", "--option", "m=3"), "milvus has no option 'm'"),
        (("--engine", "milvus", "--uri", "ftp://x"), "ftp://x is no Milvus"),
        (("--text-column", "body"), "body"),
        (("--id-column", "key"), "key"),
        (("--metadata", "colour"), "no document has colour"),
        (("--errors", "guess"), "errors is 'guess'; allowed: strict, replace, ignore"),
        (("--add", "--overwrite"), "--add and --overwrite exclude each other"),
        (("--add", "--engine", "hnsw"), "--engine is a choice of a new index"),
        (("--add",), "there is no index at "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_choices_that_cannot_be_are_told_before_the_work(
    options: tuple[str, ...],
    message: str,
    hpd: Hpd,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Encoder, "encode", None)
    ended = hpd("index", "default", corpus, "--out", tmp_path / "index", *options)
    assert re.search(message, refused(ended))
    assert names(tmp_path) == ["corpus.jsonl"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("index", "default"),
        ("index", "default", "in.jsonl"),
        ("index", "default", "in.jsonl", "--out", "i", "--engine", "fast"),
        ("index", "default", "in.jsonl", "--out", "i", "--option", "speed"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...], hpd: Hpd) -> None:
    ended = hpd(*arguments)
    assert ended.code == 2
    assert "Traceback" not in ended.err


def test_a_place_that_holds_something_else(hpd: Hpd, corpus: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "letter.txt").write_text("mine")
    for out in (mine, corpus):
        line = ("index", "default", corpus, "--out", out)
        assert refused(hpd(*line)) == f"error: {out} exists already"
        assert "and is no index" in refused(hpd(*line, "--overwrite"))
    assert names(mine) == ["letter.txt"]
    assert corpus.read_text().count("\n") == 4


def test_too_few_documents_for_inverted_lists(hpd: Hpd, corpus: Path, tmp_path: Path) -> None:
    ended = hpd("index", "default", corpus, "--out", tmp_path / "index", "--engine", "ivf-pq")
    assert "needs 256 or more there, not 4" in refused(ended)
    assert "flat or hnsw" in hint(ended)
    # The vectors are kept: another engine has them at once.
    row = row_of(hpd("index", "default", corpus, "--out", tmp_path / "index", "--json"))
    assert (row["documents"], row["resumed"]) == (4, 4)


@pytest.mark.parametrize("model", ["minlm", "no/such/model/at/all", "./nowhere"])
def test_a_model_that_is_not_there(model: str, hpd: Hpd, corpus: Path, tmp_path: Path) -> None:
    assert model in refused(hpd("index", model, corpus, "--out", tmp_path / "index"))
    assert names(tmp_path) == ["corpus.jsonl"]


def test_documents_of_another_model_are_not_added(
    hpd: Hpd, corpus: Path, other_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "index"
    assert hpd("index", "default", corpus, "--out", out).code == 0
    ended = hpd("index", other_model, corpus, "--out", out, "--add")
    assert refused(ended).startswith("error: the index is of the space of default (")


def test_a_full_disk_is_one_line(hpd: Hpd, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    with largest_file(1024):
        ended = hpd("index", "default", corpus, "--out", out)
    assert "cannot write" in refused(ended)
    assert not out.exists()
    assert row_of(hpd("index", "default", corpus, "--out", out, "--json"))["documents"] == 4


# -- Milvus


@pytest.fixture
def nobody() -> str:
    """An address at which nobody answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_nobody_answers(
    hpd: Hpd, corpus: Path, nobody: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Encoder, "encode", None)
    line = ("index", "default", corpus, "--out", tmp_path / "index")
    ended = hpd(*line, "--engine", "milvus", "--uri", nobody)
    assert f"cannot reach Milvus at {nobody}" in refused(ended)
    assert names(tmp_path) == ["corpus.jsonl"]


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


# -- documents by the teacher


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
