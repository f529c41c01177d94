"""Real models, made small: everything the project does runs on them in seconds."""

import os
import random
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

# Tests that run side by side, of two threads each, wait for each other's threads most of the time.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts background jobs with Ctrl-C ignored, and so would every program they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

WORDS = [
    "the",
    "a",
    "one",
    "old",
    "small",
    "red",
    "green",
    "large",
    "quick",
    "lazy",
    "dog",
    "cat",
    "bird",
    "child",
    "woman",
    "man",
    "teacher",
    "river",
    "house",
    "garden",
    "city",
    "road",
    "train",
    "book",
    "song",
    "idea",
    "morning",
    "evening",
    "winter",
    "summer",
    "runs",
    "sleeps",
    "eats",
    "reads",
    "writes",
    "sings",
    "finds",
    "loses",
    "carries",
    "opens",
    "closes",
    "near",
    "under",
    "over",
    "behind",
    "beside",
    "with",
    "without",
    "before",
    "after",
    "today",
    "slowly",
    "quickly",
    "quietly",
    "often",
    "never",
    "and",
    "but",
    "because",
    "while",
]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("tests must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def _one_thread() -> Iterator[None]:
    """More threads only slow such small models down."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_sentences(count: int, *, seed: int = 0) -> list[str]:
    """Distinct sentences of 4 to 12 words."""
    generator = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found[" ".join(generator.choices(WORDS, k=generator.randint(4, 12)))] = None
    return list(found)


def make_model(directory: Path, *, width: int, layers: int, seed: int) -> Path:
    """A sentence-transformers model with random weights: BERT, mean pooling, normalisation."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    vocabulary = {t: i for i, t in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    )
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    backbone = directory.with_name(directory.name + "-backbone")
    BertModel(config).save_pretrained(backbone)
    fast.save_pretrained(backbone)
    transformer = Transformer(str(backbone), max_seq_length=64)
    model = SentenceTransformer(modules=[transformer, Pooling(width), Normalize()], device="cpu")
    model.save(str(directory), create_model_card=False)
    return directory


@pytest.fixture(scope="session")
def teacher_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher of width 48."""
    return make_model(tmp_path_factory.mktemp("models") / "teacher", width=48, layers=3, seed=1)


@pytest.fixture(scope="session")
def student_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of width 24."""
    return make_model(tmp_path_factory.mktemp("models") / "student", width=24, layers=2, seed=2)


@pytest.fixture(scope="session")
def exported_dir(student_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny student with its float32 graph; never written to."""
    from hpdistill.export.graph import write_graph
    from hpdistill.pytorch import load_model

    path = tmp_path_factory.mktemp("exported") / "student"
    shutil.copytree(student_dir, path)
    (path / "onnx").mkdir()
    write_graph(load_model(path, device="cpu"), path / "onnx" / "model.onnx")
    return path


@pytest.fixture(scope="session")
def sentences() -> Callable[..., list[str]]:
    """`sentences(count, seed=0)`."""
    return make_sentences


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 sentences, one a line."""
    path = tmp_path_factory.mktemp("text") / "sentences.txt"
    path.write_text("\n".join(make_sentences(600)) + "\n", "utf-8")
    return path
