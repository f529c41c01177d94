"""The engine `milvus`: the same answers as exact search, from Milvus Lite and from a cluster.

Milvus Lite is tested for real. HPD_TEST_MILVUS=http://host:port runs the same tests, and those of
binary vectors, on a server, whose collections hpdtest* they drop.
"""

import os
import shutil
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpdistill.encoder import unit
from hpdistill.errors import PackageError, SearchError, UsageError
from hpdistill.search._milvus_client import copy_database
from hpdistill.search.backend import Settings
from hpdistill.search.document import Document
from hpdistill.search.milvus import MilvusBackend, create, load
from hpdistill.search.space import Space

SERVER = os.environ.get("HPD_TEST_MILVUS")
DIM = 12
SPACE = Space(id="ab" * 32, dim=DIM, model="student")
ODD_IDS = ["it's", 'a "quoted" one', "back\\slash", "ünï\u2028çode", "id in [1]", "100%"]


def random_vectors(count: int, *, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32))


def documents(count: int) -> list[Document]:
    ids = [*ODD_IDS, *(f"d{number}" for number in range(count))][:count]
    return [
        Document(id=name, text=f"text of {name}", metadata={"n": number, "tags": ["ä", None]})
        for number, name in enumerate(ids)
    ]


DOCUMENTS = documents(200)
VECTORS = random_vectors(200)


def settings(**changes: Any) -> Settings:
    return Settings(**{"dim": DIM, "precision": "float32", **changes})


@pytest.fixture(scope="module", params=["lite", *(["server"] if SERVER else [])])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """Where collections are made."""
    name = f"hpdtest{uuid.uuid4().hex[:8]}"
    if request.param == "server":
        yield {"uri": SERVER, "collection": name}
        from pymilvus import MilvusClient

        MilvusClient(SERVER).drop_collection(name)
    else:
        yield {"uri": str(tmp_path_factory.mktemp("lite") / "there.db"), "collection": name}


@pytest.fixture(scope="module")
def filled(place: dict[str, Any]) -> Iterator[MilvusBackend]:
    backend = create(settings(options={"overwrite": True}), space=SPACE, **place)
    backend.add(DOCUMENTS, VECTORS)
    yield backend
    backend.close()


def exact(queries: np.ndarray, k: int) -> tuple[np.ndarray, list[list[str]]]:
    scores = queries @ VECTORS.T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    names = [[DOCUMENTS[index].id for index in row] for row in order]
    return np.take_along_axis(scores, order, axis=1), names


@pytest.mark.parametrize("rescore", [None, 30])
def test_the_ranking_is_that_of_exact_search(filled: MilvusBackend, rescore: int | None) -> None:
    queries = random_vectors(7, seed=1)
    scores, ids = filled.search(queries, 10, rescore)
    expected, names = exact(queries, 10)
    assert ids == names
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_fewer_documents_than_hits_asked_for(filled: MilvusBackend) -> None:
    scores, ids = filled.search(random_vectors(1, seed=2), 20_000, None)
    assert scores.shape == (1, 20_000)
    assert sorted(ids[0][:200]) == sorted(document.id for document in DOCUMENTS)
    assert not any(ids[0][200:])
    assert np.isneginf(scores[0, 200:]).all()


def test_documents_come_back_as_they_are(filled: MilvusBackend) -> None:
    assert filled.get([*ODD_IDS, "nobody", "a\nb"]) == [*DOCUMENTS[: len(ODD_IDS)], None, None]
    assert filled.known(["x", "d7", *ODD_IDS, "", "d" * 600]) == ["d7", *ODD_IDS]


def test_counts_and_bytes(filled: MilvusBackend) -> None:
    assert filled.count() == 200
    assert (filled.vector_bytes, filled.kept_bytes) == (200 * DIM * 4, 0)


def test_added_and_deleted_at_once(filled: MilvusBackend) -> None:
    extra = Document(id="extra", text="one more")
    vector = random_vectors(1, seed=3)
    filled.add([extra], vector)
    assert filled.search(vector, 1, None)[1] == [["extra"]]
    assert filled.get(["extra"]) == [extra]
    assert filled.delete(["extra", "nobody", "extra"]) == 1
    assert filled.search(vector, 1, None)[1] != [["extra"]]
    assert filled.count() == 200


def test_opened_again_at_the_same_place(
    filled: MilvusBackend, place: dict[str, Any], tmp_path: Path
) -> None:
    state = filled.save(tmp_path)
    assert state == place
    assert list(tmp_path.iterdir()) == []
    again = load(settings(), tmp_path, state, space=SPACE)
    try:
        assert again.count() == 200
    finally:
        again.close()
    again.close()
    # Another one still works when the first to use its server is closed.
    assert filled.count() == 200
    with pytest.raises(SearchError, match="is closed"):
        again.count()


def test_another_space_is_refused(
    filled: MilvusBackend, place: dict[str, Any], tmp_path: Path
) -> None:
    for other in (
        Space(id="cd" * 32, dim=DIM, model="another"),
        Space(id=SPACE.id, dim=6, model="student"),
    ):
        with pytest.raises(SearchError, match=other.model):
            load(settings(dim=other.dim), tmp_path, place, space=other)
    with pytest.raises(SearchError, match="already"):
        create(settings(), space=SPACE, **place)
    with pytest.raises(SearchError, match="is gone"):
        load(settings(), tmp_path, {**place, "collection": "elsewhere"}, space=SPACE)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (Document(id="x" * 513), "longer than 512 bytes"),
        (Document(id="a\nb"), "control character"),
        (Document(id="long", text="ä" * 40_000), "'long' has 80,000 bytes"),
        (Document(id="much", metadata={"a": "b" * 70_000}), "metadata of 'much'"),
    ],
)
def test_what_milvus_cannot_store_is_refused(
    filled: MilvusBackend, document: Document, said: str
) -> None:
    with pytest.raises(SearchError, match=said):
        filled.add([Document(id="good"), document], random_vectors(2))
    assert filled.known(["good"]) == []


def test_without_an_address_the_database_is_part_of_the_index(tmp_path: Path) -> None:
    backend = create(settings(), space=SPACE)
    backend.add(DOCUMENTS[:50], VECTORS[:50])
    backend.delete(["d0"])
    saved = tmp_path / "saved"
    saved.mkdir()
    state = backend.save(saved)
    backend.close()
    assert state["uri"] is None
    before = {path: path.stat().st_mtime_ns for path in saved.rglob("*")}
    moved = saved.rename(tmp_path / "moved")
    for _ in range(2):
        again = load(settings(), moved, state, space=SPACE)
        assert again.count() == 49
        again.add(DOCUMENTS[50:60], VECTORS[50:60])
        again.delete(["d1"])
        again.close()
    # What was saved stays as it was, whatever became of the open one.
    after = {saved / path.relative_to(moved): path.stat().st_mtime_ns for path in moved.rglob("*")}
    assert after == before
    shutil.rmtree(moved / "milvus.db")
    with pytest.raises(SearchError, match=r"milvus\.db"):
        load(settings(), moved, state, space=SPACE)


def test_the_copy_of_a_read_only_database_can_be_written(tmp_path: Path) -> None:
    there = tmp_path / "there"
    (there / "inner").mkdir(parents=True)
    (there / "inner/data.parquet").write_bytes(b"x")
    (there / "state").write_bytes(b"y")
    for path in (there / "inner/data.parquet", there / "state", there / "inner", there):
        path.chmod(0o555 if path.is_dir() else 0o444)
    copy_database(there, tmp_path / "copy")
    assert (tmp_path / "copy/state").stat().st_mode & 0o200
    assert all(path.stat().st_mode & 0o200 for path in (tmp_path / "copy", tmp_path / "copy/inner"))
    assert (tmp_path / "copy/inner/data.parquet").read_bytes() == b"x"


def test_an_index_of_milvus_that_is_half_written_is_not_saved(tmp_path: Path) -> None:
    backend = create(settings(), space=SPACE)
    backend.add(DOCUMENTS, VECTORS)
    (tmp_path / "first").mkdir()
    backend.save(tmp_path / "first")  # has it write its vectors, and their index a little later
    database = Path(backend._connection.uri)
    deadline = time.monotonic() + 30
    while not (found := list(database.rglob("*.idx"))):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for path in found:
        path.write_bytes(path.read_bytes()[:200])
    (tmp_path / "saved").mkdir()
    state = backend.save(tmp_path / "saved")
    backend.close()
    again = load(settings(), tmp_path / "saved", state, space=SPACE)
    assert again.search(VECTORS[:20], 5, None)[1] == exact(VECTORS[:20], 5)[1]
    again.close()


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(SearchError, match=f"cannot reach Milvus at {address}") as caught:
        create(settings(), space=SPACE, uri=address)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("uri", ["milvus", "ftp://host:1", "http://", "http://host:x", "a.sqlite"])
def test_an_address_that_is_none(uri: str) -> None:
    with pytest.raises(SearchError, match=r"is no Milvus; allowed: a path that ends in \.db"):
        create(settings(), space=SPACE, uri=uri)


def test_a_password_in_an_address_is_not_saved() -> None:
    with pytest.raises(SearchError, match="holds a password") as caught:
        create(settings(), space=SPACE, uri="http://me:secret@host:19530")
    assert "secret" not in str(caught.value)
    assert "HPD_MILVUS_TOKEN" in caught.value.hint


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="there is no directory"):
        create(settings(), space=SPACE, uri=str(tmp_path / "no" / "x.db"))
    state = {"uri": str(tmp_path / "x.db"), "collection": "c"}
    with pytest.raises(SearchError, match=r"x\.db of this index is gone"):
        load(settings(), tmp_path, state, space=SPACE)


def test_what_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"SQLite format 3\0")
    with pytest.raises(SearchError, match=r"cannot open .*x\.db as a Milvus Lite database"):
        create(settings(), space=SPACE, uri=str(tmp_path / "x.db"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"precision": "int8"}, "takes no int8 vectors; allowed: float32, binary"),
        ({"precision": "binary", "keep": "int8"}, "takes no int8 vectors"),
        ({"precision": "binary"}, "Milvus Lite takes float32 vectors only"),
        ({"keep": "float32"}, "Milvus Lite takes float32 vectors only"),
    ],
)
def test_precisions_that_cannot_be(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SearchError, match=said):
        create(settings(**changes), space=SPACE)


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(UsageError, match="no option 'nlist'; allowed: index_params"):
        create(settings(options={"nlist": 3}), space=SPACE)


@pytest.mark.parametrize("package", ["pymilvus", "milvus_lite"])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(PackageError, match=f"package {package}") as caught:
        create(settings(), space=SPACE)
    assert caught.value.hint == "pip install 'hpdistill[milvus]'"


@pytest.mark.skipif(not SERVER, reason="binary vectors need a server: HPD_TEST_MILVUS")
def test_bits_on_a_server() -> None:
    name = f"hpdtest{uuid.uuid4().hex[:8]}"
    kept = settings(precision="binary", keep="float32")
    backend = create(kept, space=SPACE, uri=SERVER, collection=name)
    try:
        backend.add(DOCUMENTS, VECTORS)
        queries = random_vectors(5, seed=1)
        signs = lambda vectors: np.where(vectors > 0, 1, -1)  # noqa: E731
        expected = signs(queries) @ signs(VECTORS).T / DIM
        scores, _ = backend.search(queries, 10, None)
        np.testing.assert_allclose(scores, -np.sort(-expected)[:, :10], atol=1e-6)
        # All of them scored again: exact search.
        scores, ids = backend.search(queries, 10, 200)
        assert ids == exact(queries, 10)[1]
        np.testing.assert_allclose(scores, exact(queries, 10)[0], atol=1e-5)
        assert (backend.vector_bytes, backend.kept_bytes) == (200 * 2, 200 * DIM * 4)
    finally:
        backend._call("drop_collection")
        backend.close()
