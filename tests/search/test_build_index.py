"""Building an index goes on where it stopped, and never mixes what does not belong together."""

import fcntl
import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpdistill.encoder import unit
from hpdistill.errors import CorpusError, RunError
from hpdistill.search import Index, Space
from hpdistill.search.build import Built, Row, build_index

DIM, COUNT, BLOCK = 8, 95, 10
SPACE = Space(id="ab" * 32, dim=DIM, model="student")
KEY = {"model": "student", "dim": DIM}


def rows_of(count: int = COUNT, *, changed: int = -1) -> list[Row]:
    return [
        (f"d{n}", f"text {n}{' changed' if n == changed else ''}", {"n": n}) for n in range(count)
    ]


def vector_of(text: str) -> np.ndarray:
    seed = zlib.crc32(text.encode())
    return np.random.default_rng(seed).normal(size=DIM).astype(np.float32)


class Encode:
    """Vectors that depend on the text alone; counts, and stops when it is told to."""

    def __init__(self, stop_after: int = 10**6) -> None:
        self.texts = 0
        self.left = stop_after

    def __call__(self, texts: Sequence[str]) -> tuple[np.ndarray, int]:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        self.texts += len(texts)
        return unit(np.stack([vector_of(text) for text in texts])), 1


def build(
    out: Path, rows: list[Row] | None = None, encode: Encode | None = None, **options: Any
) -> Built:
    settings: dict[str, Any] = {
        "encode": encode or Encode(),
        "key": KEY,
        "dim": DIM,
        "block": BLOCK,
        "make": lambda count, vectors: Index.create(SPACE),
        **options,
    }
    index, built = build_index(out, rows_of() if rows is None else rows, **settings)
    index.close()
    return built


def check(out: Path, rows: list[Row]) -> None:
    """What is saved is that corpus, each text with its own vector; nothing is left over."""
    with Index.load(out) as index:
        assert len(index) == len(rows)
        queries = unit(np.stack([vector_of(text) for _, text, _ in rows]))
        for (name, text, metadata), (hit,) in zip(rows, index.search(queries, 1), strict=True):
            assert (hit.id, hit.text, hit.metadata) == (name, text, metadata)
            assert hit.score == pytest.approx(1, abs=1e-5)
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def interrupted(out: Path, **options: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(out, **options)
    assert not (out / "index.json").exists()


def test_documents_find_their_own_vectors(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    made: list[tuple[int, tuple[int, ...]]] = []

    def make(count: int, vectors: np.ndarray) -> Index:
        made.append((count, vectors.shape))
        return Index.create(SPACE)

    built = build(tmp_path / "index", make=make, report=lambda *told: seen.append(told))
    check(tmp_path / "index", rows_of())
    assert (built.documents, built.resumed, built.truncated) == (COUNT, 0, 10)
    assert made == [(COUNT, (COUNT, DIM))]
    assert [told for told in seen if told[1] == COUNT] == [
        (task, COUNT, COUNT) for task in ("reading", "encoding", "indexing")
    ]


@pytest.mark.parametrize("blocks", [1, 5, 9])
def test_interrupted_while_encoding_it_goes_on(tmp_path: Path, blocks: int) -> None:
    out = tmp_path / "index"
    interrupted(out, encode=Encode(stop_after=blocks))
    again = Encode()
    built = build(out, encode=again)
    assert (built.resumed, again.texts) == (blocks * BLOCK, COUNT - blocks * BLOCK)
    assert built.truncated == 10
    check(out, rows_of())


def test_interrupted_while_indexing_nothing_is_encoded_twice(tmp_path: Path) -> None:
    def stop(count: int, vectors: np.ndarray) -> Index:
        raise KeyboardInterrupt

    out = tmp_path / "index"
    interrupted(out, make=stop)
    again = Encode()
    built = build(out, encode=again)
    assert (again.texts, built.resumed, built.truncated) == (0, COUNT, 10)
    check(out, rows_of())


def test_vectors_of_another_corpus_or_model_are_not_mixed_in(tmp_path: Path) -> None:
    def stop(count: int, vectors: np.ndarray) -> Index:
        raise KeyboardInterrupt

    ways: list[dict[str, Any]] = [{"encode": Encode(stop_after=3)}, {"make": stop}]
    for number, way in enumerate(ways):
        out = tmp_path / str(number) / "index"
        interrupted(out, **way)
        others: list[dict[str, Any]] = [
            {"rows": rows_of(changed=0)},
            {"key": {**KEY, "model": "another"}},
        ]
        for other in others:
            with pytest.raises(RunError, match=r"vectors of (another|other)") as caught:
                build(out, **other)
            assert "`overwrite=True`" in caught.value.hint
        build(out, rows_of(changed=0), overwrite=True)
        check(out, rows_of(changed=0))


def test_a_corpus_whose_end_has_changed_keeps_what_is_before(tmp_path: Path) -> None:
    out = tmp_path / "index"
    interrupted(out, encode=Encode(stop_after=5))
    again = Encode()
    rows = [*rows_of(changed=33), ("more", "one more", {})]
    assert build(out, rows, again).resumed == 30
    check(out, rows)


def test_faults_of_the_corpus_come_before_the_work(tmp_path: Path) -> None:
    def faulty() -> Any:
        yield from rows_of()
        raise CorpusError("line 96 is malformed")

    encode = Encode()
    with pytest.raises(CorpusError, match="line 96"):
        build(tmp_path / "index", faulty(), encode)
    with pytest.raises(CorpusError, match="there is no document"):
        build(tmp_path / "index", [], encode)
    assert encode.texts == 0


def test_a_failure_to_index_keeps_the_old_index_and_the_vectors(tmp_path: Path) -> None:
    out = tmp_path / "index"
    build(out)
    twice = [*rows_of(), ("d3", "the same id", {})]
    with pytest.raises(Exception, match="d3"):
        build(out, twice)
    with Index.load(out) as index:
        assert len(index) == COUNT
    encode = Encode()
    build(out, [*rows_of(), ("new", "the same id", {})], encode)
    assert encode.texts == 0
    check(out, [*rows_of(), ("new", "the same id", {})])


def test_two_processes_do_not_share_the_work(tmp_path: Path) -> None:
    work = tmp_path / "index.unfinished"
    work.mkdir()
    with (work / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="another process is working"):
            build(tmp_path / "index")
    build(tmp_path / "index")


def test_texts_with_line_separators_stay_whole(tmp_path: Path) -> None:
    rows: list[Row] = [("a\u2028b", "one\u2028two\x85three\nfour", {"k": "\u2029"})]
    build(tmp_path / "index", rows)
    check(tmp_path / "index", rows)


def test_the_first_block_of_inverted_lists_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpdistill.search.build._BLOCK", 7)
    sizes: list[int] = []

    def make(engine: str) -> Callable[[int, np.ndarray], Index]:
        index = Index.create(SPACE)
        monkeypatch.setattr(type(index), "engine", engine)
        add = index.add
        monkeypatch.setattr(
            index, "add", lambda batch, rows: (sizes.append(len(batch)), add(batch, rows))
        )
        return lambda count, vectors: index

    build(tmp_path / "a", rows_of(20), make=make("flat"))
    monkeypatch.setattr("hpdistill.search.build._TRAINING", 12)
    build(tmp_path / "b", rows_of(20), make=make("ivf-pq"))
    assert sizes == [7, 7, 6, 12, 7, 1]
    assert json.loads((tmp_path / "a" / "index.json").read_text())["count"] == 20
