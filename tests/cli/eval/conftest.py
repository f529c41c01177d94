"""What the evaluations measure: word counters in the place of models, tiny real ones, data."""

import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from measuring import PAIRS
from word_counts import WordCounts

from hpdistill.errors import WeightsError

WIDTHS = {"big": 64, "small": 16}


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, str]]:
    """Puts word counters in the place of models; lists what was loaded, in which precision.

    A model called `big` or `small` has the directory of that name under `tmp_path`.
    """
    calls: list[tuple[str, str]] = []

    def resolve(name: str, *, others=(), report=None):
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


@pytest.fixture(scope="session")
def twice_exported_dir(exported_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny student with a graph that also stands for its int8 one."""
    path = tmp_path_factory.mktemp("exported") / "twice"
    shutil.copytree(exported_dir, path)
    shutil.copy(path / "onnx" / "model.onnx", path / "onnx" / "model_quint8_avx2.onnx")
    return path


@pytest.fixture(scope="session")
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
