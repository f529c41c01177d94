"""`hpd index`, stopped half way: it goes on to the index that it would have made."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_ends import hint, refused
from indexing import DIM, Hpd, names, row_of

from hpdistill.encoder import unit
from hpdistill.runtime import Encoder
from hpdistill.search import Index

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
