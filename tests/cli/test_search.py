"""`hpd search`: what is printed is what the index holds nearest to a query."""

import io
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_ends import Ended, hint, refused

from hpdistill.runtime import Encoder
from hpdistill.search import Index

Hpd = Callable[..., Ended]
TEXTS = {
    "dog": "A dog runs in the park.",
    "bank": "The bank raised its interest rates.",
    "soup": "Cook the onions slowly before you add the stock.",
    "train": "The night train to Vienna leaves at ten.",
    "long": "Bees and honey. " * 40,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    rows = [{"id": key, "text": text, "size": len(text)} for key, text in TEXTS.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def index(hpd: Hpd, corpus: Path, tmp_path: Path) -> Callable[..., Path]:
    """`index("--precision", "int8")`: an index that was built with these options."""

    def make(*options: object) -> Path:
        out = tmp_path / "index"
        ended = hpd("index", "default", corpus, "--metadata", "size", "--out", out, *options)
        assert ended.code == 0, ended.err
        return out

    return make


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`piped("one query\\nanother\\n")`: what the command reads from standard input."""

    def give(data: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data.encode())))

    return give


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


def rows_of(ended: Ended) -> list[dict[str, Any]]:
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    assert document["command"] == "search"
    return list(document["rows"])


def test_hits_with_score_id_and_text(hpd: Hpd, index: Callable[..., Path]) -> None:
    out = index()
    ended = hpd("search", out, "puppies at play", "-k", "2")
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    with Index.load(out) as opened, Encoder.load() as encoder:
        (hits,) = opened.search(encoder.encode(["puppies at play"]), 2)
    assert lines[0] == f"  1  {hits[0].score:.3f}  dog"
    assert lines[1].strip() == TEXTS["dog"]
    assert lines[2] == f"  2  {hits[1].score:.3f}  {hits[1].id}"
    assert ended.err == ""


def test_a_long_text_is_cut_and_json_has_all_of_it(hpd: Hpd, index: Callable[..., Path]) -> None:
    out = index()
    ended = hpd("search", out, "honey of bees", "-k", "1")
    shown = " ".join(ended.out.split()[3:])
    assert len(shown) == 240
    assert shown.endswith("…")
    (row,) = rows_of(hpd("search", out, "honey of bees", "-k", "1", "--json"))
    assert row.pop("score") > 0.3
    text = TEXTS["long"].strip()
    size = len(TEXTS["long"])
    assert row == {
        "query": "honey of bees",
        "rank": 1,
        "id": "long",
        "text": text,
        "metadata": {"size": size},
    }


def test_fewer_documents_than_hits(hpd: Hpd, index: Callable[..., Path]) -> None:
    rows = rows_of(hpd("search", index(), "a meal", "-k", "50", "--json"))
    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5]
    assert {row["id"] for row in rows} == set(TEXTS)
    assert sorted((row["score"] for row in rows), reverse=True) == [row["score"] for row in rows]
    assert rows[0]["id"] == "soup"


def test_queries_from_standard_input(
    hpd: Hpd, index: Callable[..., Path], piped: Callable[[str], None]
) -> None:
    out = index()
    # An empty line between them is no end.
    data = "puppies at play\n\n  credit and loans \nrailways"
    piped(data)
    rows = rows_of(hpd("search", out, "-k", "1", "--json"))
    wanted = [("puppies at play", "dog"), ("credit and loans", "bank"), ("railways", "train")]
    assert [(row["query"], row["id"]) for row in rows] == wanted
    piped(data)
    ended = hpd("search", out, "-k", "1")
    lines = [line.strip() for line in ended.out.splitlines()]
    assert lines[0::3] == [query for query, _ in wanted]
    assert [line.split()[-1] for line in lines[1::3]] == [name for _, name in wanted]


def test_no_query_at_all(
    hpd: Hpd, index: Callable[..., Path], piped: Callable[[str], None]
) -> None:
    piped("")
    assert rows_of(hpd("search", index(), "--json")) == []


@pytest.mark.parametrize(
    "options",
    [
        ("--precision", "int8", "--keep", "float32"),
        ("--precision", "binary", "--keep", "float32"),
        ("--precision", "binary", "--keep", "int8"),
        ("--engine", "hnsw", "--precision", "binary", "--keep", "float32"),
    ],
    ids=" ".join,
)
def test_kept_vectors_rank_again(
    options: tuple[str, ...], hpd: Hpd, index: Callable[..., Path]
) -> None:
    out = index(*options)
    line = ("search", out, "puppies at play", "-k", "5", "--json")
    first, again = rows_of(hpd(*line, "--rescore", "0")), rows_of(hpd(*line, "--rescore", "5"))
    assert rows_of(hpd(*line)) == again, "as there are no more than 5"
    with Encoder.load() as encoder:
        query, *vectors = encoder.encode(["puppies at play", *map(str.strip, TEXTS.values())])
    wanted = dict(zip(TEXTS, (float(query @ vector) for vector in vectors), strict=True))
    close = 0.02 if "int8" in options[-1] else 1e-4
    assert {row["id"]: row["score"] for row in again} == pytest.approx(wanted, abs=close)
    assert again[0]["id"] == "dog"
    assert {row["id"]: row["score"] for row in first} != pytest.approx(wanted, abs=1e-4)


def test_an_index_of_fewer_dimensions(hpd: Hpd, index: Callable[..., Path]) -> None:
    (row,) = rows_of(hpd("search", index("--dim", "64"), TEXTS["dog"], "-k", "1", "--json"))
    assert row["id"] == "dog"


def test_what_a_terminal_would_obey_is_not_printed(hpd: Hpd, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(json.dumps({"id": "a\x1b[2J", "text": "red \x1b[31m text [bold]x[/]\nand"}))
    assert hpd("index", "default", corpus, "--out", tmp_path / "index").code == 0
    ended = hpd("search", tmp_path / "index", "text")
    assert "\x1b" not in ended.out
    assert "red [31m text [bold]x[/] and" in ended.out


# -- the model


def test_the_model_of_the_index_is_found_from_anywhere(
    hpd: Hpd, corpus: Path, other_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "index"
    monkeypatch.chdir(other_model.parent)
    assert hpd("index", other_model.name, corpus, "--out", out).code == 0
    monkeypatch.chdir(tmp_path)
    assert rows_of(hpd("search", out, "puppies", "-k", "1", "--json"))[0]["id"] == "dog"
    moved = shutil.copytree(other_model, tmp_path / "moved")
    kept = other_model.rename(other_model.with_name("away"))
    try:
        ended = hpd("search", out, "puppies")
        assert "the model that the index was built with cannot be loaded" in refused(ended)
        assert "--model" in hint(ended)
        ended = hpd("search", out, "puppies", "-k", "1", "--json", "--model", moved)
        assert rows_of(ended)[0]["id"] == "dog"
    finally:
        kept.rename(other_model)


def test_another_model_is_refused_before_it_is_loaded(
    hpd: Hpd, index: Callable[..., Path], other_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = index()
    monkeypatch.setattr(Encoder, "load", None)
    ended = hpd("search", out, "puppies", "--model", other_model)
    line = refused(ended)
    assert line.startswith("error: the index is of the space of default (")
    assert f"not of {other_model}" in line


@pytest.mark.parametrize("model", ["minlm", "./nowhere"])
def test_a_model_that_is_not_there(model: str, hpd: Hpd, index: Callable[..., Path]) -> None:
    assert model in refused(hpd("search", index(), "puppies", "--model", model))


# -- refused


def test_no_index(hpd: Hpd, corpus: Path, tmp_path: Path) -> None:
    for place in (tmp_path / "nowhere", tmp_path, corpus):
        ended = hpd("search", place, "puppies")
        assert refused(ended) == f"error: there is no index at {place}"
        assert "hpd index" in hint(ended)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rescore", "20"), "the index keeps no vectors to rescore with"),
        (("--rescore", "5"), "rescore must be k (10) or more, not 5"),
    ],
)
def test_numbers_that_cannot_be(
    options: tuple[str, ...], message: str, hpd: Hpd, index: Callable[..., Path]
) -> None:
    ended = hpd("search", index("--precision", "binary"), "puppies", *options)
    assert message in refused(ended)


@pytest.mark.parametrize("query", ["", "  "])
def test_a_query_without_text(query: str, hpd: Hpd, index: Callable[..., Path]) -> None:
    assert refused(hpd("search", index(), query)) == f"error: the query {query!r} has no text"


@pytest.mark.parametrize("arguments", [("search",), ("search", "index", "a query", "-k", "0")])
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...], hpd: Hpd) -> None:
    assert hpd(*arguments).code == 2


@pytest.mark.parametrize("options", [(), ("--engine", "hnsw")], ids=["flat", "hnsw"])
def test_files_that_were_cut_short(
    options: tuple[str, ...], hpd: Hpd, index: Callable[..., Path]
) -> None:
    out = index(*options)
    files = [file for file in (*out.glob("generation-*/*"), out / "index.json") if file.is_file()]
    assert len(files) > 2
    for file in files:
        whole = file.read_bytes()
        if not whole:
            continue
        file.write_bytes(whole[: len(whole) // 2])
        assert file.name in refused(hpd("search", out, "puppies"))
        file.write_bytes(whole)
    file.unlink()
    assert refused(hpd("search", out, "puppies")) == f"error: there is no index at {out}"


def test_milvus_that_is_gone(hpd: Hpd, index: Callable[..., Path]) -> None:
    """An index of a cluster, at whose address nobody answers any more."""
    out = index("--engine", "milvus")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    pointer = out / "index.json"
    said = json.loads(pointer.read_text("utf-8"))
    said["state"]["uri"] = address
    pointer.write_text(json.dumps(said), "utf-8")
    assert f"cannot reach Milvus at {address}" in refused(hpd("search", out, "puppies"))


def test_an_option_of_another_engine_is_refused(hpd: Hpd, index: Callable[..., Path]) -> None:
    ended = hpd("search", index(), "a dog", "--option", "nprobe=3")
    assert ended.code == 2
    assert "the engine flat has no option 'nprobe' of searching; it has none" in ended.err


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_what_the_locale_cannot_say_is_no_reason_to_end(
    options: tuple[str, ...], encoding: str, index: Callable[..., Path]
) -> None:
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "hpdistill.cli",
            "search",
            index(),
            b"\xff dog \xe2\x82\xac",
            *options,
        ],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": f"{encoding}:strict"},
        timeout=60,
    )
    if options:
        rows = json.loads(ended.stdout.decode("utf-8"))["rows"]
        assert rows[0]["query"] == "? dog \u20ac"
        assert rows[0]["id"] == "dog"
    else:
        assert b"dog" in ended.stdout


def test_without_standard_input_there_are_no_queries(
    hpd: Hpd, index: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = index()
    monkeypatch.setattr(sys, "stdin", None)
    assert hpd("search", out).code == 0


def test_queries_of_an_index_from_before_roles_are_what_its_documents_are(
    hpd: Hpd, corpus: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(Encoder.load().path, tmp_path / "model")

    def search(**prompts: str) -> tuple[float, str]:
        settings = json.dumps({"prompts": prompts})
        (model / "config_sentence_transformers.json").write_text(settings, "utf-8")
        ended = hpd("search", old, TEXTS["dog"], "-k", 1, "--json")
        assert ended.code == 0, ended.err
        return json.loads(ended.out)["rows"][0]["score"], ended.err

    old = tmp_path / "index"
    assert hpd("index", model, corpus, "--out", old).code == 0
    said = json.loads((old / "index.json").read_text("utf-8"))
    del said["space"]["document_prompt"]
    (old / "index.json").write_text(json.dumps(said), "utf-8")
    score, err = search(query="the bank: ", document="some soup: ")
    assert score == pytest.approx(1, abs=1e-5)
    assert "`hpd index --overwrite`" in err
    # Its documents have no prompt, and are as the model wants them.
    score, err = search(query="the bank: ")
    assert score < 0.99
    assert "'the bank: '" in err
