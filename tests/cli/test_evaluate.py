import json
import re
import shutil
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from hpdistill.cli import evaluate
from hpdistill.encoder import Embeddings, unit
from hpdistill.errors import EvaluationError, UsageError, WeightsError
from hpdistill.projection import fit_pca

WIDTHS = {"big": 64, "small": 16}


class WordCounts:
    """A true encoder that needs no weights: counts of hashed words."""

    parameters = 0

    def __init__(self, name: str, dim: int) -> None:
        self.name = name
        self.dim = dim

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        normalize: bool = True,
        dim: int | None = None,
    ) -> Embeddings:
        counts = np.zeros((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()):
                counts[row, zlib.crc32(word.encode()) % self.dim] += 1
        return unit(counts, dim=dim) if normalize else counts[:, :dim]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, str]]:
    """Puts word counters in the place of models; lists what was loaded, in which precision.

    A model called `big` or `small` has the directory of that name under `tmp_path`.
    """
    calls: list[tuple[str, str]] = []

    def resolve(name: str, *, report=None):
        if name not in WIDTHS:
            raise WeightsError(f"unknown model {name!r}")
        return SimpleNamespace(name=name, path=tmp_path / name)

    def load(source, *, precision="float32", report=None):
        calls.append((source.name, precision))
        return WordCounts(source.name, WIDTHS[source.name])

    def load_teacher(specs, *, precision="float32", report=None):
        (spec,) = specs
        return load(resolve(spec.model), precision=precision)

    pytorch, teacher = ModuleType("hpdistill.pytorch"), ModuleType("hpdistill.teacher")
    pytorch.TorchEncoder = SimpleNamespace(load=load)
    teacher.load_teacher = load_teacher
    monkeypatch.setitem(sys.modules, "hpdistill.pytorch", pytorch)
    monkeypatch.setitem(sys.modules, "hpdistill.teacher", teacher)
    monkeypatch.setattr("hpdistill.weights.resolve", resolve)
    return calls


PAIRS = [
    ("a man plays a guitar", "a man plays a guitar on stage", 4.2),
    ("the cat sat on the mat", "a dog ran in the park", 0.6),
    ("rain is expected today", "it will rain today", 3.8),
    ("two women talk", "a horse eats grass", 0.0),
    ("stocks fell sharply", "shares dropped sharply on monday", 3.0),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The STS benchmark, test and dev, and nothing else."""
    folder = tmp_path / "senteval/STS/STSBenchmark"
    folder.mkdir(parents=True)
    for part, pairs in (("test", PAIRS), ("dev", PAIRS[::-1][:4])):
        rows = (f"g\tf\ty\t1\t{gold}\t{first}\t{second}\n" for first, second, gold in pairs)
        (folder / f"sts-{part}.csv").write_text("".join(rows))
    return tmp_path / "senteval"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    numbers = np.random.default_rng(0).integers(0, 40, (60, 6))
    path = tmp_path / "corpus.txt"
    path.write_text(
        "".join(f"sentence of {' '.join(f'word{n}' for n in row)}\n" for row in numbers)
    )
    return path


def hpd(*arguments: object) -> Result:
    app = typer.Typer()
    evaluate.register(app)
    return CliRunner().invoke(app, ["eval", *map(str, arguments)], env={"COLUMNS": "120"})


def rows_of(result: Result, command: str) -> list[dict]:
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["command"] == command
    return document["rows"]


# -- hpd eval sts


def test_sts_prints_one_table_and_names_what_is_missing(loaded, data):
    result = hpd("sts", "big", "small", "--data", data)
    assert result.exit_code == 0, result.output
    big, small = (x for x in result.stdout.splitlines() if re.match(" *(big|small) ", x))
    assert big.split()[-1] == "100.0"
    assert small.split()[1] == "16"
    missing = "STS12, STS13, STS14, STS15, STS16, SICKRelatedness"
    assert f"Missing in the data: {missing}" in " ".join(result.stdout.split())


def test_sts_json_holds_flat_rows_and_nothing_else_on_standard_output(loaded, data):
    result = hpd("sts", "big", "small", "--data", data, "--json")
    big, small = rows_of(result, "eval sts")
    assert [big["model"], big["dim"], big["precision"]] == ["big", 64, "float32"]
    assert big["STS12"] is big["average"] is None
    assert big["average_present"] == big["STSBenchmark"]
    assert big["retention"] == 100
    assert small["retention"] == pytest.approx(100 * small["STSBenchmark"] / big["STSBenchmark"])
    assert "Missing in the data" in result.stderr


def test_sts_against_puts_the_reference_first(loaded, data):
    rows = rows_of(hpd("sts", "small", "--against", "big", "--data", data, "--json"), "eval sts")
    assert [(row["model"], row["retention"] == 100) for row in rows] == [
        ("big", True),
        ("small", False),
    ]


def test_sts_against_one_of_the_models_measures_it_once(loaded, data):
    result = hpd("sts", "small", "big", "--against", "big", "--data", data, "--json")
    assert [row["model"] for row in rows_of(result, "eval sts")] == ["big", "small"]
    assert [name for name, _ in loaded] == ["big", "small"]


def test_sts_dims_adds_prefixes_and_leaves_out_the_full_width(loaded, data):
    result = hpd("sts", "small", "--against", "big", "--dims", "16,8", "--data", data, "--json")
    rows = rows_of(result, "eval sts")
    assert [(row["model"], row["dim"]) for row in rows] == [
        ("big", 64),
        ("small", 16),
        ("small", 8),
    ]


def test_sts_refuses_a_width_of_any_model_before_measuring_one(loaded, data, monkeypatch):
    monkeypatch.setattr(WordCounts, "encode", None)
    result = hpd("sts", "big", "small", "--dims", "32", "--data", data)
    assert isinstance(result.exception, UsageError)
    assert str(result.exception) == "dim is 32; small allows 1 to 16"


def test_sts_finds_a_wrong_name_before_measuring_anything(loaded, data):
    result = hpd("sts", "big", "bgi", "--data", data)
    assert isinstance(result.exception, WeightsError)
    assert loaded == []


def test_sts_finds_wrong_data_before_loading_anything(loaded, tmp_path):
    result = hpd("sts", "big", "--data", tmp_path / "nowhere")
    assert isinstance(result.exception, EvaluationError)
    assert loaded == []


def test_sts_dev_scores_the_development_set(loaded, data):
    (row,) = rows_of(hpd("sts", "big", "--dev", "--data", data, "--json"), "eval sts")
    assert row["STSBenchmark-dev"] == row["average_present"]
    assert "STSBenchmark" not in row
    assert "STS-B dev" in hpd("sts", "big", "--dev", "--data", data).stdout


def test_precision_reaches_the_models_and_the_rows(loaded, data):
    (row,) = rows_of(
        hpd("sts", "big", "--precision", "bfloat16", "--data", data, "--json"), "eval sts"
    )
    assert loaded == [("big", "bfloat16")]
    assert row["precision"] == "bfloat16"


@pytest.mark.parametrize(
    "arguments",
    [
        ["sts", "big"],
        ["sts", "--data", "."],
        ["sts", "big", "--data", ".", "--dims", "12,x"],
        ["sts", "big", "--data", ".", "--dims", "0"],
        ["sts", "big", "--data", ".", "--dims", ""],
        ["sts", "big", "--data", ".", "--precision", "float64"],
        ["fidelity", "small", "--data", "x.txt"],
        ["fidelity", "small", "--teacher", "big"],
        ["fidelity", "small", "--teacher", "big", "--data", "x.txt", "--limit", "9"],
        ["nonsense"],
        [],
    ],
)
def test_wrong_usage_exits_with_2(loaded, arguments):
    assert hpd(*arguments).exit_code == 2
    assert loaded == []


# -- hpd eval fidelity


def test_fidelity_compares_models_with_the_teacher(loaded, corpus):
    result = hpd("fidelity", "small", "big", "--teacher", "big", "--data", corpus, "--json")
    small, big = rows_of(result, "eval fidelity")
    assert list(small) == ["model", "dim", "sentences", "spearman", "cosine", "overlap10"]
    assert (small["model"], small["dim"], small["sentences"]) == ("small", 16, 60)
    assert small["cosine"] is None
    assert 0.2 < small["spearman"] < 1
    assert [big[key] for key in ("spearman", "cosine", "overlap10")] == pytest.approx([1, 1, 1])


def test_fidelity_prints_a_table(loaded, corpus):
    result = hpd("fidelity", "small", "--teacher", "big", "--data", corpus)
    assert result.exit_code == 0, result.output
    assert "Agreement with big on 60 sentences" in result.stdout
    assert "overlap10" in result.stdout


def test_fidelity_takes_a_sample_of_a_larger_corpus(loaded, corpus):
    options = ("--teacher", "big", "--data", corpus, "--limit", "20", "--json")
    first, second = (rows_of(hpd("fidelity", "small", *options), "eval fidelity") for _ in range(2))
    assert first[0]["sentences"] == 20
    assert first == second


def test_fidelity_measures_the_cosine_to_the_projected_teacher(loaded, corpus, tmp_path):
    sentences = corpus.read_text().splitlines()
    teacher = WordCounts("big", 64).encode(sentences)
    projection = fit_pca([teacher], 16, centred=False)
    projection.save(tmp_path / "small/projection.safetensors")
    result = hpd("fidelity", "small", "--teacher", "big", "--data", corpus, "--json")
    student = WordCounts("small", 16).encode(sentences)
    known = (student * unit(projection.apply(teacher))).sum(axis=1).mean()
    assert rows_of(result, "eval fidelity")[0]["cosine"] == pytest.approx(float(known), abs=1e-5)


def test_fidelity_with_a_projection_of_another_teacher_says_why_there_is_no_cosine(
    loaded, corpus, tmp_path
):
    other = np.random.default_rng(0).standard_normal((50, 32), np.float32)
    fit_pca([other], 16).save(tmp_path / "small/projection.safetensors")
    result = hpd("fidelity", "small", "--teacher", "big", "--data", corpus, "--json")
    assert rows_of(result, "eval fidelity")[0]["cosine"] is None
    assert (
        "its projection leads from width 32 to 16, and this teacher's width is 64" in result.stderr
    )


def test_fidelity_finds_a_wrong_name_before_loading_the_teacher(loaded, corpus):
    result = hpd("fidelity", "smal", "--teacher", "big", "--data", corpus)
    assert isinstance(result.exception, WeightsError)
    assert loaded == []


# -- exported and static models


@pytest.fixture(scope="module")
def exported_dir(student_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny student with a graph that also stands for its int8 one."""
    from hpdistill.export.graph import write_graph
    from hpdistill.pytorch import load_model

    path = tmp_path_factory.mktemp("exported") / "student"
    shutil.copytree(student_dir, path)
    (path / "onnx").mkdir()
    write_graph(load_model(path, device="cpu"), path / "onnx" / "model.onnx")
    shutil.copy(path / "onnx" / "model.onnx", path / "onnx" / "model_quint8_avx2.onnx")
    return path


@pytest.fixture(scope="module")
def static_dir(student_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static model of 12 random numbers a token."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(student_dir / "tokenizer.json"))
    table = np.random.default_rng(0).standard_normal((tokenizer.get_vocab_size(), 12))
    path = tmp_path_factory.mktemp("static") / "table"
    modules = [StaticEmbedding(tokenizer, embedding_weights=table.astype("f")), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(path), create_model_card=False)
    return path


@pytest.mark.parametrize(
    ("options", "precision"),
    [
        (("--backend", "onnx"), "float32"),
        (("--backend", "onnx", "--precision", "int8"), "int8"),
        (("--backend", "runtime"), "float32"),
    ],
)
def test_sts_scores_the_graph_as_it_scores_the_model(exported_dir, data, options, precision):
    common = ("sts", exported_dir, "--data", data, "--dims", "8", "--json")
    reference = rows_of(hpd(*common), "eval sts")
    rows = rows_of(hpd(*common, *options), "eval sts")
    assert [(row["dim"], row["precision"]) for row in rows] == [(24, precision), (8, precision)]
    for row, wanted in zip(rows, reference, strict=True):
        assert row["model"] == wanted["model"] == str(exported_dir)
        assert row["STSBenchmark"] == pytest.approx(wanted["STSBenchmark"], abs=1e-6)


def test_fidelity_of_a_graph_to_its_model_is_whole(exported_dir, sentences, tmp_path):
    file = tmp_path / "lines.txt"
    file.write_text("\n".join(sentences(50)))
    options = ("--teacher", exported_dir, "--data", file, "--backend", "onnx", "--json")
    (row,) = rows_of(hpd("fidelity", exported_dir, *options), "eval fidelity")
    assert [row["spearman"], row["cosine"]] == pytest.approx([1, 1], abs=1e-4)


def test_sts_scores_a_static_model_by_its_table(static_dir, data):
    common = ("sts", static_dir, "--data", data, "--json")
    (torch,) = rows_of(hpd(*common), "eval sts")
    (table,) = rows_of(hpd(*common, "--backend", "runtime"), "eval sts")
    assert table["STSBenchmark"] == pytest.approx(torch["STSBenchmark"], abs=1e-6)
    assert (table["dim"], table["precision"]) == (12, "float32")


def test_sts_of_a_graph_that_is_not_there_says_how_to_get_it(student_dir, static_dir, data):
    result = hpd("sts", student_dir, "--data", data, "--backend", "onnx")
    assert isinstance(result.exception, UsageError)
    assert "hpd export" in str(result.exception)
    result = hpd("sts", static_dir, "--data", data, "--backend", "onnx")
    assert "it is a static model" in str(result.exception)


# -- hpd eval speed

QUICK = ("--rounds", "2", "--seconds", "0.01", "--lengths", "8,16", "--batch-sizes", "1,4")


def test_speed_measures_scores_and_draws_a_model(static_dir, data, tmp_path):
    picture = tmp_path / "picture.png"
    options = ("--backends", "runtime,static-float32,static-int8", "--sts", data, "--plot", picture)
    result = hpd("speed", static_dir, *QUICK, *options, "--threads", "1", "--json")
    first, second = rows_of(result, "eval speed")
    keys = (
        "model backend precision sentences_per_second ratio p50_ms p95_ms p99_ms load_s rss_mb "
        "file_mb parameters"
    )
    assert {*keys.split()} <= {*first}
    assert first["model"] == str(static_dir)
    assert (first["backend"], first["precision"], first["ratio"]) == ("static", "float32", 1)
    assert first["average_present"] == pytest.approx(second["average_present"])
    for length in (8, 16):
        for size in (1, 4):
            assert first[f"tokens{length}_batch{size}_sentences_per_second"] > 0
            assert first[f"tokens{length}_batch{size}_ratio"] == 1
    assert all(not isinstance(value, dict | list) for value in first.values())
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"Picture: {picture}" in result.stderr
    assert f"Left out: {static_dir} on static-int8" in result.stderr
    assert "sentences of Python's language reference" in result.stderr


def test_speed_prints_tables(static_dir, corpus):
    result = hpd("speed", static_dir, "--backends", "runtime", "--data", corpus, *QUICK)
    assert result.exit_code == 0, result.output
    shown = " ".join(result.stdout.split())
    assert "60 sentences of" in shown
    for title in ("ratio: to (1)", "p50 ms", "8 x 4", "16 x 1"):
        assert title in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["speed"],
        ["speed", "big", "--plot", "x.png"],
        ["speed", "big", "--lengths", "8,x"],
        ["speed", "big", "--batch-sizes", "0"],
        ["speed", "big", "--rounds", "0"],
        ["speed", "big", "--backends", "onnx"],
        ["sts", "big", "--data", ".", "--precision", "int8"],
        ["sts", "big", "--data", ".", "--backend", "onnx", "--precision", "bfloat16"],
        ["sts", "big", "--data", ".", "--backend", "tensorrt"],
    ],
)
def test_wrong_usage_of_back_ends_exits_with_2(loaded, arguments):
    assert hpd(*arguments).exit_code == 2
    assert loaded == []


def test_speed_finds_wrong_names_data_and_pictures_first(loaded, data, static_dir, tmp_path):
    assert isinstance(hpd("speed", "bgi").exception, WeightsError)
    nowhere = tmp_path / "nowhere"
    assert isinstance(hpd("speed", "big", "--sts", nowhere).exception, EvaluationError)
    picture = hpd("speed", "big", "--sts", nowhere, "--plot", "x.gif")
    assert "allowed: .pdf, .png, .svg" in str(picture.exception)
    nowhere.write_text("")
    options = ("--sts", data, "--plot", nowhere / "x.png")
    assert "is a file, not a directory" in str(hpd("speed", "big", *options).exception)


@pytest.mark.parametrize("json_option", [(), ("--json",)])
def test_speed_prints_what_it_measured_although_there_is_no_place_for_the_picture(
    static_dir, data, tmp_path, json_option
):
    (tmp_path / "x.png").mkdir()
    options = ("--backends", "runtime", "--sts", data, "--plot", tmp_path / "x.png")
    result = hpd("speed", static_dir, *QUICK, *options, *json_option)
    assert "x.png: it is a directory" in str(result.exception)
    assert ("eval speed" if json_option else "Sentences a second") in result.stdout
    assert "Picture:" not in result.output


def test_speed_of_nothing_says_why(static_dir):
    result = hpd("speed", static_dir, "--backends", "onnx-int8")
    assert isinstance(result.exception, UsageError)
    assert "nothing to measure" in str(result.exception)
    assert "it is a static model" in str(result.exception)


def test_the_model_in_the_package_is_scored_by_its_name(data):
    result = hpd("sts", "default", "--backend", "runtime", "--data", data, "--json")
    (row,) = rows_of(result, "eval sts")
    assert (row["model"], row["dim"], row["precision"]) == ("default", 128, "int8")


def test_a_model_without_weights_for_pytorch_says_what_runs_it(data):
    result = hpd("sts", "default", "--data", data)
    assert isinstance(result.exception, UsageError)
    assert str(result.exception) == "PyTorch cannot run default: it has no model.safetensors"
    assert result.exception.hint == "`--backend runtime` runs it."
