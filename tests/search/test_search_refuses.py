"""What an index refuses, and how it says so: one line, no crash."""

import json
import subprocess
import sys

import numpy as np
import pytest
from vectors_for_search import clustered, documents, space

from hpdistill.errors import HpdError, RunError, SearchError, UsageError
from hpdistill.search import Document, Index

VECTORS = clustered(300)


@pytest.fixture
def index():
    with Index.create(space()) as index:
        index.add(documents(10), VECTORS[:10])
        yield index


def says(error):
    message = str(error.value)
    assert "\n" not in message
    return message


def test_ids_that_are_there(index):
    with pytest.raises(SearchError) as error:
        index.add(documents(3, start=8), VECTORS[:3])
    assert says(error) == "the id 'd8' (and 1 more ids) is in the index already"
    assert len(index) == 10
    assert index.get(["d10"]) == [None]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([Document(id="x"), Document(id="x")], "two documents have the id 'x'"),
        ([Document(id=""), Document(id="x")], "must be text of one letter or more, not ''"),
        ([Document(id=7), Document(id="x")], "must be text of one letter or more, not 7"),
        ([Document(id="x\ud83d"), Document(id="y")], "holds half a character"),
        (
            [Document(id="x", metadata={"a": {1}}), Document(id="y")],
            "the metadata of 'x' is no JSON",
        ),
        ([Document(id="x", metadata={"a": np.nan}), Document(id="y")], "'x' is no JSON"),
        ([Document(id="x", text=None), Document(id="y")], "the text of 'x' must be text, not None"),
        ([Document(id="x", metadata=None), Document(id="y")], "'x' must be a dict, not None"),
        ([Document(id="x")], "there are 1 documents but 2 vectors"),
    ],
)
def test_documents_that_cannot_be_stored(index, items, message):
    with pytest.raises(UsageError) as error:
        index.add(items, VECTORS[10:12])
    assert message in says(error)
    assert len(index) == 10


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (VECTORS[:1, :16], r"shape (n, 32), not (1, 16)"),
        (VECTORS[0], r"shape (n, 32), not (32,)"),
        (np.ones((1, 32), np.int8), "must be float32, not int8"),
        (VECTORS[:1] * np.nan, "vector 0 of the"),
    ],
)
def test_vectors_that_are_none(index, vectors, message):
    for attempt in (lambda: index.search(vectors), lambda: index.add(documents(1, 90), vectors)):
        with pytest.raises(UsageError) as error:
            attempt()
        assert message in says(error)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"engine": "hsnw"}, "engine must be one of flat, hnsw, ivf-pq, milvus, not 'hsnw'"),
        ({"precision": "int4"}, "precision must be one of float32, int8, binary, not 'int4'"),
        ({"keep": "binary"}, "keep must be one of float32, int8, not 'binary'"),
        ({"keep": "int8"}, "`keep=int8` is worse"),
        ({"precision": "int8", "keep": "int8"}, "adds nothing"),
        ({"engine": "ivf-pq", "precision": "int8"}, "takes the precision float32, not int8"),
        ({"options": {"m": 3}}, "the engine flat has no option 'm'; it has none"),
        ({"engine": "hnsw", "options": {"M": 3}}, "it has m, ef_construction, ef_search"),
        ({"engine": "hnsw", "options": {"m": 0}}, "m must be a whole number of 1 to 1024, not 0"),
        ({"engine": "hnsw", "options": {"m": 1}}, "m must be 2 or more"),
        ({"engine": "hnsw", "options": {"m": 2**40}}, "m must be a whole number of 1 to 1024"),
        ({"engine": "hnsw", "options": {"ef_construction": 2**40}}, "ef_construction must be a"),
        ({"engine": "ivf-pq", "options": {"pq_m": 5}}, "pq_m must divide the width 32"),
        ({"uri": "http://x:1"}, "the engine flat has no uri"),
        ({"ranges": np.zeros((2, 3))}, "shape (2, 32), not (2, 3)"),
        ({"ranges": np.full((2, 32), np.nan)}, "finite"),
    ],
)
def test_choices_that_do_not_fit(choices, message):
    with pytest.raises(UsageError) as error:
        Index.create(space(), **choices)
    assert message in says(error)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"k": 0}, "k must be 1 or more, not 0"),
        ({"k": 10, "rescore": 5}, "rescore must be k (10) or more, not 5"),
        ({"k": 2.5}, "k must be a whole number, not 2.5"),
        ({"k": "3"}, "k must be a whole number, not '3'"),
        ({"k": 1, "rescore": 1.5}, "rescore must be a whole number, not 1.5"),
    ],
)
def test_numbers_of_hits_that_cannot_be(index, asked, message):
    with pytest.raises(UsageError) as error:
        index.search(VECTORS[:1], **asked)
    assert message in says(error)


def test_more_hits_than_memory_could_hold_are_those_that_there_are(index):
    assert len(index.search(VECTORS[:2], 2**62)[1]) == 10
    assert len(index.search(VECTORS[:2], np.int64(3))[1]) == 3


@pytest.mark.parametrize("ids", ["d0", [0], [None]])
def test_a_text_is_no_list_of_ids(ids, index):
    for method in (index.delete, index.get):
        with pytest.raises(UsageError, match="must be"):
            method(ids)
    assert len(index) == 10


def test_closed_it_says_so(index, tmp_path):
    index.close()
    for use in (
        lambda: len(index),
        lambda: index.add(documents(1, 50), VECTORS[:1]),
        lambda: index.delete(["d0"]),
        lambda: index.get(["d0"]),
        lambda: index.search(VECTORS[:1], 1),
        lambda: index.nearest(VECTORS[:1], 1),
        lambda: index.save(tmp_path / "index"),
    ):
        with pytest.raises(UsageError) as error:
            use()
        assert says(error) == "the index is closed"
    assert not (tmp_path / "index").exists()


def test_options_of_searching_are_checked_when_it_is_loaded(tmp_path):
    with Index.create(space(), engine="hnsw", options={"ef_search": 2**29}) as index:
        index.add(documents(10), VECTORS[:10])
        assert index.nearest(VECTORS[:1], 1)[1] == [["d0"]]  # no more than there are
        index.save(tmp_path)
    for value in (2**40, 0, "wide"):
        with pytest.raises(UsageError, match="ef_search must be a whole number"):
            Index.load(tmp_path, options={"ef_search": value})


@pytest.mark.parametrize("precision", ["float32", "int8", "binary"])
def test_rescoring_without_kept_vectors(precision):
    with Index.create(space(), precision=precision) as index:
        index.add(documents(10), VECTORS[:10])
        with pytest.raises(UsageError, match="keeps no vectors to rescore with") as refusal:
            index.search(VECTORS[:1], 2, rescore=5)
        assert ("Leave `rescore` out" in refusal.value.hint) == (precision == "float32")
        assert ("keep='int8'" in refusal.value.hint) == (precision == "binary")


def test_queries_of_another_space_or_width(index, tmp_path):
    index.save(tmp_path / "index")
    with pytest.raises(SearchError, match=r"is of the space of student .* not of other"):
        Index.load(tmp_path / "index", space=space(id="b" * 64, model="other"))
    with pytest.raises(SearchError, match="vectors of 32 numbers, not of 16"):
        Index.load(tmp_path / "index", space=space(16))


def test_places_without_an_index(tmp_path):
    (tmp_path / "file").write_text("no index")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("precious")
    for name in ("nothing", "file", "full"):
        with pytest.raises(SearchError, match="there is no index at"):
            Index.load(tmp_path / name)
    with Index.create(space()) as index:
        for name in ("file", "full"):
            with pytest.raises(RunError, match="is there already and is no index"):
                index.save(tmp_path / name)
    assert (tmp_path / "full" / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize(
    ("engine", "precision", "keep"),
    [
        ("flat", "float32", None),
        ("flat", "int8", "float32"),
        ("flat", "binary", "int8"),
        ("hnsw", "float32", None),
        ("hnsw", "binary", "int8"),
        ("ivf-pq", "float32", None),
    ],
)
def test_every_file_cut_short_or_gone(engine, precision, keep, tmp_path):
    with Index.create(space(), engine=engine, precision=precision, keep=keep) as index:
        index.add(documents(300), VECTORS)
        index.delete(["d7"])
        index.save(tmp_path)
    files = sorted(file for file in tmp_path.rglob("*") if file.is_file())
    assert len(files) >= 6
    for file in files:
        data = file.read_bytes()
        damages = [data[: len(data) // 2], data[:-1], b""]
        if file.name != "index.json":
            damages.append(data[:50] + bytes(byte ^ 255 for byte in data[50:60]) + data[60:])
        for damage in [*damages, None]:
            if damage is None:
                file.unlink()
            elif damage == data or (file.name == "index.json" and damage == data[:-1]):
                continue  # as it was, or without its last line break
            else:
                file.write_bytes(damage)
            with pytest.raises(SearchError) as error:
                Index.load(tmp_path)
            assert says(error)
            file.write_bytes(data)
    with Index.load(tmp_path) as index:
        assert len(index) == 299


@pytest.mark.parametrize("mmap", [True, False])
def test_faiss_files_of_another_version_never_end_the_process(mmap, tmp_path):
    """Damage under a right checksum: FAISS may refuse it, but only by an error."""
    with Index.create(space(), engine="hnsw") as index:
        index.add(documents(300), VECTORS)
        index.save(tmp_path)
    from hpdistill.search._disk import sha256_file

    pointer = tmp_path / "index.json"
    value = json.loads(pointer.read_text())
    file = next(tmp_path.rglob("*.faiss"))
    file.write_bytes(b"IxXX" + file.read_bytes()[4:])
    value["files"][file.name]["sha256"] = sha256_file(file)
    pointer.write_text(json.dumps(value))
    with pytest.raises(SearchError, match="cannot be read by FAISS"):
        Index.load(tmp_path, mmap=mmap)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 1},
        {"engine": "abacus"},
        {"space": {}},
        {"space": None},
        {"state": {}},
        {"files": None},
        {"ranges": [[0.0]]},
        {"generation": "../.."},
        {"options": {"m": 3}},
    ],
)
def test_a_pointer_that_says_something_else(index, change, tmp_path):
    index.save(tmp_path)
    pointer = tmp_path / "index.json"
    pointer.write_text(json.dumps(json.loads(pointer.read_text()) | change))
    with pytest.raises(HpdError) as error:
        Index.load(tmp_path)
    assert says(error)


@pytest.mark.parametrize(("package", "choices"), [("faiss", ""), ("numkong", ", precision='int8'")])
def test_without_its_library_it_says_what_to_install(package, choices):
    code = f"""
import sys
sys.modules["{package}"] = None
from hpdistill.errors import PackageError
from hpdistill.search import Index, Space
try:
    Index.create(Space(id="a", dim=8, model="m"){choices})
except PackageError as error:
    assert "package {package}," in str(error) and "hpdistill[search]" in error.hint
else:
    raise AssertionError
assert "torch" not in sys.modules and "onnxruntime" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
