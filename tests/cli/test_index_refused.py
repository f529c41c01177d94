"""`hpd index`: what it cannot do is told in one line, before the work where it can be seen."""

import re
import shutil
import socket
from pathlib import Path

import pytest
from command_ends import hint, refused
from file_limits import largest_file
from indexing import Hpd, names, row_of

from hpdistill.runtime import Encoder


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
        ("in.jsonl", "", "in.jsonl: no document"),
        ("in.jsonl", '{"id": "a", "text": ""}\n', "in.jsonl: none of 1 documents has text"),
        ("in.txt", "\n\n", "in.txt: none of 2 documents has text"),
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
        (("--keep", "int8"), "--keep int8 is worse"),
        (("--precision", "int8", "--keep", "int8"), "--keep int8 adds nothing"),
        (("--uri", "http://localhost:1"), "the engine flat has no uri"),
        (("--engine", "milvus", "--precision", "int8"), "milvus takes no int8 vectors"),
        (("--engine", "milvus", "--option", "m=3"), "milvus has no option 'm'"),
        (("--engine", "milvus", "--uri", "ftp://x"), "ftp://x is no Milvus"),
        (("--text-column", "body"), "body"),
        (("--id-column", "key"), "key"),
        (("--metadata", "colour"), "no document has colour"),
        (("--errors", "guess"), "errors is 'guess'; allowed: strict, replace, ignore"),
        (("--add", "--overwrite"), "--add and --overwrite exclude each other"),
        (("--collection", "mine"), "--collection mine is a choice of --engine milvus"),
        (("--engine", "milvus", "--option", "search_params=3"), "search_params must be an object"),
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
        for more in ((), ("--overwrite",)):
            assert refused(hpd(*line, *more)) == f"error: {out} is there already and is no index"
    assert names(mine) == ["letter.txt"]
    assert corpus.read_text().count("\n") == 4


def test_too_few_documents_for_inverted_lists(hpd: Hpd, corpus: Path, tmp_path: Path) -> None:
    ended = hpd("index", "default", corpus, "--out", tmp_path / "index", "--engine", "ivf-pq")
    assert "needs 256 or more there, not 4" in refused(ended)
    assert "flat or hnsw" in hint(ended)
    assert names(tmp_path) == ["corpus.jsonl"], "refused before any was embedded"


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
