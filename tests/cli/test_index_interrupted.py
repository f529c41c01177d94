"""`hpd index`, stopped half way: it goes on to the index that it would have made."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_ends import hint, refused
from indexing import DIM, Hpd, json_lines, names, row_of

from hpdistill.encoder import unit
from hpdistill.runtime import Encoder
from hpdistill.search import Document, Index, Space, build

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


@pytest.mark.parametrize("left", ["nothing", "a generation"])
def test_killed_while_it_was_saved_it_goes_on(
    left: str, hpd: Hpd, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("index", "default", many, "--out", tmp_path / "index", "--json")

    def killed(self: Index, path: Path) -> None:
        path.mkdir()
        if left == "a generation":
            (path / "generation-000001").mkdir()
            (path / "generation-000001/vectors.npy").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Index, "save", killed)
        assert hpd(*line).code == 130
    assert names(tmp_path) == ["index", "index.unfinished", "many.txt"]
    row = row_of(hpd(*line))
    assert (row["documents"], row["resumed"]) == (COUNT, COUNT)
    assert names(tmp_path) == ["index", "many.txt"]
    assert len(list((tmp_path / "index").glob("generation-*"))) == 1


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY"])
def test_finished_vectors_that_are_damaged_are_made_again(
    damage: bytes, hpd: Hpd, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("index", "default", many, "--out", tmp_path / "index", "--json")

    def killed(self: Index, path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Index, "save", killed)
        assert hpd(*line).code == 130
    (tmp_path / "index.unfinished/vectors.npy").write_bytes(damage)
    assert row_of(hpd(*line))["resumed"] == 0


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """`meanwhile(work)`: another process does that while the model is loaded."""
    from hpdistill.cli import index as command

    load = command._encoders

    def arrange(work: Callable[[], None]) -> None:
        def slow(*given: Any) -> Any:
            monkeypatch.setattr(command, "_encoders", load)  # only once
            work()
            return load(*given)

        monkeypatch.setattr(command, "_encoders", slow)

    return arrange


def test_what_another_process_added_meanwhile_is_not_lost(
    hpd: Hpd, corpus: Path, tmp_path: Path, meanwhile: Callable[[Callable[[], None]], None]
) -> None:
    out = tmp_path / "index"
    row_of(hpd("index", "default", corpus, "--out", out, "--json"))
    more = json_lines(tmp_path / "more.jsonl", [{"id": "late", "text": "It comes late."}])

    def other() -> None:
        with Index.load(out) as theirs:
            theirs.add([Document(id="theirs")], np.eye(1, DIM, dtype=np.float32))
            theirs.save(out)

    meanwhile(other)
    ended = hpd("index", "default", more, "--out", out, "--add")
    assert "was changed by another process meanwhile" in refused(ended)
    assert row_of(hpd("index", "default", more, "--out", out, "--add", "--json"))["documents"] == 6


def test_an_index_that_another_process_built_meanwhile_is_not_replaced(
    hpd: Hpd, corpus: Path, tmp_path: Path, meanwhile: Callable[[Callable[[], None]], None]
) -> None:
    out = tmp_path / "index"

    def other() -> None:
        with Index.create(Space(id="a", dim=8, model="m")) as theirs:
            theirs.save(out)

    meanwhile(other)
    ended = hpd("index", "default", corpus, "--out", out)
    assert refused(ended) == f"error: {out} exists already"
    with Index.load(out) as kept:
        assert kept.space.dim == 8


def test_a_place_without_a_name(
    hpd: Hpd, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "index"
    out.mkdir()
    monkeypatch.chdir(out)
    assert row_of(hpd("index", "default", corpus, "--out", ".", "--json"))["documents"] == 4
    assert names(tmp_path) == ["corpus.jsonl", "index"]


def test_an_addition_to_a_collection_goes_on_where_it_stopped(
    hpd: Hpd, corpus: Path, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, uri = tmp_path / "index", tmp_path / "milvus.db"
    row_of(
        hpd("index", "default", corpus, "--engine", "milvus", "--uri", uri, "--out", out, "--json")
    )
    line = ("index", "default", many, "--out", out, "--add", "--json")
    add, calls = Index.add, 0

    def killed(self: Index, *given: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        add(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(build, "_BLOCK", BLOCK)
        patch.setattr(Index, "add", killed)
        assert hpd(*line).code == 130
    with Index.load(out) as index:
        assert len(index) == 4 + BLOCK
    assert row_of(hpd(*line))["documents"] == 4 + COUNT
    assert "is in the index already" in refused(hpd(*line))
