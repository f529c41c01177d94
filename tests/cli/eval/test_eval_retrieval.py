"""`hpd eval retrieval`, as the shell starts it, on tiny models."""

import json
import shutil
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from hpdistill.evaluate.retrieval import measure
from hpdistill.projection import fit_pca
from hpdistill.recipe import WeightedModel
from hpdistill.teacher import encoder_identity, load_teacher
from hpdistill.weights import resolve

TOPICS = ("a dog runs", "stocks fell", "rain is expected", "she reads", "a train arrives")
PLACES = ("in the park", "on monday", "near the river", "at home", "late at night", "again")
DOCUMENTS = [f"{topic} {place}" for topic in TOPICS for place in PLACES]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(measure, "_ROUNDS", 1)
    monkeypatch.setattr(measure, "resident_mb", lambda *_: 1.0)


@pytest.fixture
def beir(tmp_path):
    """A query for each topic, answered by all documents about it."""
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)

    def lines(texts, prefix):
        return "".join(
            json.dumps({"_id": f"{prefix}{i}", "text": text}) + "\n" for i, text in enumerate(texts)
        )

    (folder / "corpus.jsonl").write_text(lines(DOCUMENTS, "d"))
    (folder / "queries.jsonl").write_text(lines(TOPICS, "q"))
    judged = [
        f"q{query}\td{query * len(PLACES) + place}\t1\n"
        for query in range(len(TOPICS))
        for place in range(len(PLACES))
    ]
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))
    return folder


@pytest.fixture
def distilled(student_dir, teacher_dir, tmp_path):
    """A student that is untrained but knows its teacher and projection."""
    path = shutil.copytree(student_dir, tmp_path / "run/model")
    specs = [WeightedModel(model=str(teacher_dir))]
    dim = 24
    fit_pca([load_teacher(specs).encode(DOCUMENTS)], dim).save(path / "projection.safetensors")
    members = [
        {"model": str(teacher_dir), "weight": 1.0, **encoder_identity(resolve(str(teacher_dir)))}
    ]
    (path / "hpd.json").write_text(json.dumps({"dim": dim, "teacher": members}))
    return path


@pytest.fixture
def retrieval(hpd, beir, tmp_path):
    def run(*arguments, data=beir):
        cache = tmp_path / "cache"
        return hpd("eval", "retrieval", *arguments, "--data", data, "--cache", cache)

    return run


def rows_of(ended):
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    assert document["command"] == "eval retrieval"
    return document["rows"]


def test_the_matrix_is_one_table_and_one_object(retrieval, tmp_path):
    options = ["default", "--dims", "32,64", "--precision", "float32,binary", "--rescore", "100"]
    shown = retrieval(*options, "--markdown", tmp_path / "table.md")
    assert shown.code == 0, shown.err
    for words in ("5 queries, 30 documents, 30 relevant", "MRR@10", "BM25", "q/s"):
        assert words in shown.out
    markdown = (tmp_path / "table.md").read_text()
    assert markdown.count("| BM25 |") == 1
    rows = rows_of(retrieval(*options, "--json"))
    assert [(r["dim"], r["precision"], r["rescore"]) for r in rows] == [
        *(
            (dim, *rest)
            for dim in (128, 64, 32)
            for rest in (("float32", None), ("binary", None), ("binary", 100))
        ),
        (None, None, None),
    ]
    wanted = (
        "model doc_encoder dim precision rescore engine mrr10 recall1 recall10 recall100 ndcg10 "
        "map encode_s search_s queries_per_second vector_bytes index_bytes mrr10_low mrr10_high "
        "p_value retention rss_mb"
    )
    assert all(set(wanted.split()) <= row.keys() for row in rows)


def test_a_second_configuration_costs_its_search_only(retrieval, monkeypatch):
    before = rows_of(retrieval("default", "--json"))[0]
    from hpdistill.runtime import Encoder

    calls = []
    encode = Encoder.encode

    def counted(self, texts, **options):
        calls.append(len(texts))
        return encode(self, texts, **options)

    monkeypatch.setattr(Encoder, "encode", counted)
    after = rows_of(retrieval("default", "--precision", "float32,int8", "--json"))[0]
    assert set(calls) == {1}  # what is left is one query at a time, for its latency
    assert after["encode_s"] == before["encode_s"]
    assert after["mrr10"] == before["mrr10"]


def test_documents_by_the_teacher(retrieval, distilled, teacher_dir, tmp_path):
    teacher, symmetric, asymmetric = rows_of(
        retrieval(teacher_dir, distilled, "--doc-encoder", teacher_dir, "--no-bm25", "--json")
    )
    assert (teacher["doc_encoder"], symmetric["doc_encoder"]) == (None, None)
    assert asymmetric["doc_encoder"] == str(teacher_dir)
    assert asymmetric["dim"] == symmetric["dim"] == 24
    # The teacher's vectors of the documents are encoded once.
    assert asymmetric["encode_s"] == teacher["encode_s"]
    shapes = [np.load(path).shape for path in (tmp_path / "cache").glob("*.npy")]
    width = load_teacher([WeightedModel(model=str(teacher_dir))]).dim
    assert shapes.count((len(DOCUMENTS), width)) == 1


def test_pictures(retrieval, tmp_path):
    ended = retrieval("default", "--plot", tmp_path / "curve.svg")
    assert ended.code == 0, ended.err
    assert (tmp_path / "curve-bytes.svg").is_file()
    assert (tmp_path / "curve-speed.svg").is_file()
    assert "curve-speed.svg" in ended.out


def test_options_reach_the_engine(retrieval):
    ended = retrieval("default", "--engine", "hnsw", "--option", "hnsw.nprobe=3")
    assert ended.code == 2
    assert "the engine hnsw has no option 'nprobe'" in ended.err


def test_a_choice_of_a_later_engine_is_refused_before_the_first_is_measured(retrieval):
    ended = retrieval("default", "--engine", "flat,hnsw", "--option", "hnsw.nope=1")
    assert ended.code == 2
    assert "the engine hnsw has no option 'nope'" in ended.err
    assert "configurations" not in ended.err


def test_what_was_measured_is_printed_even_if_a_file_cannot_be_written(retrieval, tmp_path):
    ended = retrieval("default", "--json", "--no-bm25", "--markdown", tmp_path)
    assert ended.code == 1
    assert f"error: cannot write {tmp_path}: it is a directory" in ended.err
    assert len(json.loads(ended.out)["rows"]) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--precision", "int4"), "'int4' is none of float32, int8, binary"),
        (("--engine", "abacus"), "'abacus' is none of flat, hnsw, ivf-pq"),
        (("--dims", "0"), "not a list of positive whole numbers"),
        (("--option", "ef=3"), "'ef=3' is not ENGINE.NAME=N"),
        (("--doc-encoder", "mpnet"), "none of the models is a distilled one"),
        (("--backend", "torch", "--compute", "int8"), "torch does not compute in int8"),
    ],
)
def test_wrong_options_exit_with_2(retrieval, arguments, says):
    ended = retrieval("default", *arguments)
    assert ended.code == 2
    assert says in " ".join(ended.err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--keep", "int8"), "keep is int8, and nothing is scored again without rescore"),
        (("--rescore", "100"), "none of these vectors can be scored again by better ones"),
        (("--threshold", "3"), "is no file of pairs, so it has no use for threshold"),
    ],
)
def test_an_option_of_no_use_is_refused(retrieval, arguments, says):
    ended = retrieval("default", *arguments)
    assert ended.code == 2
    assert says in ended.err.splitlines()[-1 if "hint" not in ended.err else -2]


def test_a_model_that_is_not_so_wide_is_named(retrieval):
    ended = retrieval("default", "--dims", "300,64,128", "--json", "--no-bm25")
    assert [row["dim"] for row in json.loads(ended.out)["rows"]] == [128, 64]
    assert "default has 128 numbers, so it was not measured at 300" in ended.err


def test_another_teacher_is_refused_before_anything_is_encoded(
    retrieval, distilled, student_dir, tmp_path
):
    ended = retrieval(distilled, "--doc-encoder", student_dir)
    assert ended.code == 2
    assert f"{student_dir} is not the teacher of" in ended.err
    assert not (tmp_path / "cache").exists()


def test_what_is_wrong_with_the_data_is_one_line(retrieval, beir, tmp_path):
    with (beir / "corpus.jsonl").open("a") as file:
        file.write("{broken\n")
    ended = retrieval("default")
    assert ended.code == 1
    assert f"corpus.jsonl, line {len(DOCUMENTS) + 1}: not valid JSON" in ended.err
    ended = retrieval("default", data=tmp_path / "nowhere")
    assert ended.code == 1
    assert "nowhere does not exist" in ended.err


def test_unknown_judgements_are_counted_and_named(retrieval, beir):
    with (beir / "qrels/test.tsv").open("a") as file:
        file.write("q0\tnobody\t1\n")
    ended = retrieval("default")
    assert ended.code == 0
    assert "1 of 31 judgements" in " ".join(ended.out.split())
    assert "nobody" in ended.out


def test_a_model_of_the_runtime_needs_no_torch(beir, tmp_path):
    import subprocess

    code = "import sys; sys.modules['torch'] = None\nfrom hpdistill.cli import main\nmain()"
    options = ["eval", "retrieval", "default", "--data", beir, "--cache", tmp_path / "cache"]
    done = subprocess.run(
        [sys.executable, "-c", code, *options, "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [row["model"] for row in json.loads(done.stdout)["rows"]][-1] == "BM25"


@pytest.fixture
def reranking(monkeypatch):
    """A task of mteb whose queries rank what they are given: never their best document."""
    relevant = {"q0": {"d0": 0, "d1": 1}, "q1": {"d6": 0, "d7": 1}}
    texts = enumerate(DOCUMENTS)
    data = {
        "corpus": [{"id": f"d{number}", "title": "", "text": text} for number, text in texts],
        "queries": [{"id": "q0", "text": DOCUMENTS[0]}, {"id": "q1", "text": DOCUMENTS[6]}],
        "relevant_docs": relevant,
        "top_ranked": {"q0": ["d20", "d1"], "q1": ["d7", "d25", "d18"]},
    }

    def get_task(name):
        return SimpleNamespace(
            dataset={"default": {"test": data}},
            load_data=lambda: None,
            convert_v1_dataset_format_to_v2=lambda: None,
        )

    module = ModuleType("mteb")
    module.get_task = get_task
    monkeypatch.setitem(sys.modules, "mteb", module)
    return "mteb:Reranking"


def test_given_candidates_are_what_is_ranked(retrieval, reranking):
    ended = retrieval("default", "--precision", "float32,int8,binary", "--json", data=reranking)
    rows = rows_of(ended)
    assert [row["mrr10"] for row in rows] == [1.0] * 4  # and 0.5 in the whole corpus
    assert {row["candidates"] for row in rows} == {5}
    assert "Reranking: 2 queries, 30 documents, 2 relevant, 5 candidates" in ended.err
    assert "candidates: each query ranks only those that the task gives it, 2 to 3" in ended.err
    shown = retrieval("default", data=reranking)
    assert "candidates: each query ranks only" in " ".join(shown.out.split())
    ended = retrieval("default", "--engine", "hnsw", data=reranking)
    assert (ended.code, ended.out) == (2, "")
    assert "engine is hnsw; allowed: flat" in ended.err


def test_pairs_are_read_whatever_divides_them(retrieval, tmp_path):
    path = tmp_path / "pairs.csv"
    lines = [f"{DOCUMENTS[n]}, or not;{DOCUMENTS[n + 1]}\n" for n in range(0, 30, 2)]
    path.write_text("anchor;positive\n" + "".join(lines))
    ended = retrieval("default", "--json", data=path)
    assert rows_of(ended)[0]["queries"] == 15
    assert f"{path}: columns are divided by semicolons" in ended.err
    ended = retrieval("default", "--json", "--delimiter", ";", data=path)
    assert rows_of(ended)[0]["queries"] == 15
    assert "divided" not in ended.err
    ended = retrieval("default", "--delimiter", ";")
    assert "is no file of pairs, so it has no use for delimiter" in ended.err
