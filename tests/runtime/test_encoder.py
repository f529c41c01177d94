"""The runtime's Encoder gives what PyTorch gives, in any order, for any text, on any thread."""

import json
import random
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpdistill
from hpdistill.encoder import Encoder as EncoderProtocol
from hpdistill.encoder import unit
from hpdistill.errors import UsageError
from hpdistill.evaluate import encode_sentences
from hpdistill.pytorch import TorchEncoder
from hpdistill.runtime import Encoder, TruncationWarning, _graph
from hpdistill.runtime import encoder as encoder_module
from hpdistill.runtime.vectors import dequantize, pack

Sentences = Callable[..., list[str]]
DIM = 24
ODD = [
    "",
    " ",
    "\0",
    "a\0b",
    "\x01\x02\x1b[31m red",
    "\n\t\r",
    "\U0001f600 the dog \U0001f469\u200d\U0001f52c",
    "\ud800",
    "the \udfff dog",
    "\u202ereversed\u202c",
    "dog " * 25_000,
    "x" * 100_000,
]


@pytest.fixture(scope="module")
def encoder(exported_dir: Path) -> Iterator[Encoder]:
    with Encoder.load(exported_dir, precision="float32", threads=2) as encoder:
        yield encoder


@pytest.fixture(scope="module")
def reference(student_dir: Path) -> TorchEncoder:
    return TorchEncoder.load(str(student_dir), device="cpu")


@pytest.fixture(scope="module")
def mixed(sentences: Sentences) -> list[str]:
    """Texts of 0 to 50 tokens, in no order, some of them twice."""
    short = sentences(200)
    texts = [*short, *(" ".join(short[i : i + 5]) for i in range(0, 30, 3)), "", short[0], "dog"]
    random.Random(0).shuffle(texts)
    return texts


def test_it_is_an_encoder(encoder: Encoder, exported_dir: Path) -> None:
    assert isinstance(encoder, EncoderProtocol)
    assert hpdistill.Encoder is Encoder
    assert hpdistill.TruncationWarning is TruncationWarning
    assert encoder.name == str(exported_dir)
    assert encoder.path == exported_dir
    assert (encoder.dim, encoder.parameters) == (DIM, 4321)
    assert (encoder.backend, encoder.precision) == ("onnx", "float32")
    assert encoder.max_tokens == 64
    assert encoder.prefixes == {8: 0.7, 16: 0.8, 24: 0.9}


def test_vectors_are_those_of_pytorch(
    encoder: Encoder, reference: TorchEncoder, mixed: list[str]
) -> None:
    vectors = encoder.encode(mixed)
    assert (vectors.shape, vectors.dtype) == ((len(mixed), DIM), np.float32)
    cosines = np.einsum("nd,nd->n", vectors, reference.encode(mixed))
    assert cosines.min() >= 0.9999
    assert np.allclose(encoder.encode(mixed, dim=16), reference.encode(mixed, dim=16), atol=1e-5)
    raw = encoder.encode(mixed, normalize=False, dim=8)
    assert np.allclose(raw, reference.encode(mixed, normalize=False, dim=8), atol=1e-5)


def test_int8_is_the_default_of_this_export_and_close(
    exported_dir: Path, encoder: Encoder, mixed: list[str]
) -> None:
    with Encoder.load(str(exported_dir)) as small:
        assert small.precision == "int8"
        cosines = np.einsum("nd,nd->n", small.encode(mixed), encoder.encode(mixed))
    assert cosines.mean() > 0.98


@given(texts=st.lists(st.text(max_size=30)))
def test_tokens_are_those_of_pytorch(
    encoder: Encoder, reference: TorchEncoder, texts: list[str]
) -> None:
    tokens = encoder._tokenizer.encode(texts)
    rows = np.split(tokens.ids, np.cumsum(tokens.lengths))[:-1]
    prefix, suffix = encoder._tokenizer.prefix, encoder._tokenizer.suffix
    assert [[*prefix, *row, *suffix] for row in rows] == reference.tokenize(texts)
    assert encoder._tokenizer.pad_id == reference.pad_id


def test_long_texts_are_cut_where_pytorch_cuts(
    encoder: Encoder, reference: TorchEncoder, sentences: Sentences
) -> None:
    texts = [" ".join(sentences(20, seed=seed)) for seed in range(5)]
    found = encoder.encode(texts, truncation="ignore")
    assert np.allclose(found, reference.encode(texts), atol=1e-5)


def test_the_default_prompt_is_put_before_each_text(exported: Path, encoder: Encoder) -> None:
    file = exported / "config_sentence_transformers.json"
    settings = json.loads(file.read_text())
    settings |= {"prompts": {"query": "find the "}, "default_prompt_name": "query"}
    file.write_text(json.dumps(settings))
    expected = encoder.encode(["find the dog"])
    with Encoder.load(exported, precision="float32") as prompted:
        assert np.allclose(prompted.encode(["dog"]), expected, atol=1e-6)
    torch = TorchEncoder.load(str(exported), device="cpu")
    assert np.allclose(torch.encode(["dog"]), expected, atol=1e-5)


def test_a_vector_depends_on_its_text_only(encoder: Encoder, mixed: list[str]) -> None:
    together = encoder.encode(mixed)
    alone = np.concatenate([encoder.encode([text]) for text in mixed])
    assert np.abs(together - alone).max() < 1e-5
    shuffled = random.Random(1).sample(range(len(mixed)), len(mixed))
    again = encoder.encode([mixed[i] for i in shuffled], batch_size=3)
    assert np.abs(again - together[shuffled]).max() < 1e-5


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_equal_calls_give_equal_vectors(
    exported_dir: Path, mixed: list[str], precision: str
) -> None:
    with Encoder.load(exported_dir, precision=precision, threads=3) as encoder:
        assert np.array_equal(encoder.encode(mixed), encoder.encode(mixed))


@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_of_any_size_give_the_same(
    exported_dir: Path, encoder: Encoder, mixed: list[str], threads: int
) -> None:
    expected = encoder.encode(mixed)
    with Encoder.load(exported_dir, precision="float32", threads=threads) as other:
        for block in (1, 7, 300, 10_000):
            blocks = list(other.encode_blocks(iter(mixed), block=block))
            assert [len(found) for found in blocks[:-1]] == [block] * (len(blocks) - 1)
            assert np.allclose(np.concatenate(blocks), expected, atol=1e-5)


def test_an_iterator_in_gives_an_iterator_out(
    encoder: Encoder, mixed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder_module, "_BLOCK", 16)
    monkeypatch.setattr(encoder_module, "_TEXTS_AT_ONCE", 4)
    taken = 0

    def stream() -> Iterator[str]:
        nonlocal taken
        for text in mixed:
            taken += 1
            yield text

    rows = encoder.encode(stream())
    assert taken == 0
    first = next(rows)
    assert taken <= 32  # one block, and one ahead
    assert np.allclose(np.stack([first, *rows]), encoder.encode(mixed), atol=1e-5)


def test_long_texts_make_small_blocks(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_module, "_TEXTS_AT_ONCE", 1)
    monkeypatch.setattr(encoder_module, "_CHARACTERS_A_BLOCK", 100)
    texts = ["dog " * 10] * 9
    assert [len(b) for b in encoder.encode_blocks(texts)] == [3, 3, 3]
    assert encoder.encode(texts).shape == (9, DIM)


def test_nothing_in_gives_nothing_out(encoder: Encoder) -> None:
    assert encoder.encode([]).shape == (0, DIM)
    assert encoder.encode([], dim=16, precision="int8").shape == (0, 16)
    assert encoder.encode([], precision="binary").shape == (0, 3)
    assert list(encoder.encode(iter([]))) == []
    assert list(encoder.encode_blocks([])) == []


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_odd_texts_give_finite_vectors(exported_dir: Path, precision: str) -> None:
    with Encoder.load(exported_dir, precision=precision) as encoder:
        vectors = encoder.encode(ODD, truncation="ignore")
    assert np.isfinite(vectors).all()
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_embeddings_in_fewer_bytes(encoder: Encoder, mixed: list[str]) -> None:
    for dim in (None, 16):
        full = encoder.encode(mixed, dim=dim)
        small = encoder.encode(mixed, dim=dim, precision="int8")
        bits = encoder.encode(mixed, dim=dim, precision="binary")
        ranges = np.stack([np.full(full.shape[1], -0.9), np.full(full.shape[1], 0.9)])
        assert (small.dtype, small.shape) == (np.int8, full.shape)
        assert np.abs(dequantize(small, ranges.astype(np.float32)) - full).max() < 0.9 / 255 + 0.1
        assert np.array_equal(bits, pack(full))


def test_widths_that_were_measured_are_allowed(encoder: Encoder, mixed: list[str]) -> None:
    full = encoder.encode(mixed)
    for dim in encoder.prefixes:
        assert np.allclose(encoder.encode(mixed, dim=dim), unit(full, dim=dim), atol=1e-5)
    with pytest.raises(UsageError, match=r"dim is 10; .* was measured at 8, 16, 24") as caught:
        encoder.encode(mixed, dim=10)
    assert "allow_unvalidated" in caught.value.hint
    assert encoder.encode(mixed, dim=10, allow_unvalidated=True).shape == (len(mixed), 10)
    for dim in (0, -1, 25):
        with pytest.raises(UsageError, match=f"dim is {dim}; .* has 1 to 24"):
            encoder.encode(mixed, dim=dim, allow_unvalidated=True)


def test_int8_embeddings_need_ranges_of_their_width_and_unit_vectors(encoder: Encoder) -> None:
    with pytest.raises(UsageError, match=r"10 dimensions need .* for 8, 16, 24"):
        encoder.encode(["dog"], dim=10, precision="int8", allow_unvalidated=True)
    with pytest.raises(UsageError, match="int8 embeddings with normalize=False"):
        encoder.encode(["dog"], precision="int8", normalize=False)


def test_truncation_is_told_once_a_call(encoder: Encoder) -> None:
    long = "dog " * 100
    texts = ["dog", long, "dog", long, "dog " * 62]
    before = encoder.truncated
    with pytest.warns(TruncationWarning, match="2 of 5 texts are longer than the 64") as caught:
        encoder.encode(texts)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with pytest.warns(TruncationWarning, match="2 of 5") as caught:
        list(encoder.encode_blocks(texts, block=2))
    assert len(caught) == 1
    with pytest.warns(TruncationWarning, match="2 of 5"):
        list(encoder.encode(iter(texts)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.encode(texts, truncation="ignore")
        encoder.encode(["dog " * 62])
    assert encoder.truncated - before == 8
    with pytest.raises(UsageError, match="text 1 is longer than the 64 tokens"):
        encoder.encode(texts, truncation="error")
    with pytest.raises(UsageError, match="text 3 is longer"):
        list(encoder.encode_blocks(["dog", "dog", "dog", long], block=2, truncation="error"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"precision": "int4"}, "precision is 'int4'; allowed: float32, int8, binary"),
        ({"truncation": "cut"}, "truncation is 'cut'; allowed: warn, ignore, error"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_bad_options_are_refused_before_a_text_is_read(
    encoder: Encoder, options: dict[str, object], reason: str
) -> None:
    for call in (encoder.encode, encoder.encode_blocks):
        with pytest.raises(UsageError, match=reason):
            call(iter(["dog"]), **options)
    with pytest.raises(UsageError, match="block is 0"):
        encoder.encode_blocks(["dog"], block=0)


def test_what_is_no_list_of_strings_is_refused(encoder: Encoder) -> None:
    for call in (encoder.encode, encoder.encode_blocks):
        with pytest.raises(UsageError, match="a single string") as caught:
            call("the dog")
        assert "[text]" in caught.value.hint
        with pytest.raises(UsageError, match="texts is of type int"):
            call(5)
    with pytest.raises(UsageError, match="text 2 is of type NoneType, not str"):
        encoder.encode(["dog", "cat", None])
    with pytest.raises(UsageError, match="text 301 is of type bytes, not str"):
        list(encoder.encode(iter(["dog"] * 301 + [b"cat"])))


def test_strings_of_numpy_are_strings(encoder: Encoder) -> None:
    texts = np.array(["dog", "the old cat"])
    assert np.allclose(encoder.encode(texts), encoder.encode(["dog", "the old cat"]))


def test_threads_share_an_encoder(exported_dir: Path, sentences: Sentences) -> None:
    texts = [sentences(count, seed=count) for count in (1, 2, 40, 90)]
    wrong: list[object] = []
    with Encoder.load(exported_dir, precision="float32", threads=2) as encoder:
        expected = [encoder.encode(some) for some in texts]

        def work(seed: int) -> None:
            try:
                for number in range(12):
                    which = (seed + number) % len(texts)
                    found = encoder.encode(texts[which])
                    if np.abs(found - expected[which]).max() > 1e-5:
                        wrong.append(which)
            except Exception as error:  # noqa: BLE001 - shown by the assertion
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_an_evaluation_counts_none_of_what_another_thread_encodes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    unknown = ["\N{PARTY POPPER} \N{PARTY POPPER}"] * 3
    with Encoder.load() as encoder, ThreadPoolExecutor(1) as other:

        def meanwhile(*_: object) -> None:
            other.submit(encoder.encode, unknown).result()

        encode_sentences(encoder, ["A dog runs."], report=meanwhile)
        assert (encoder.notices.texts, encoder.notices.unknown.count) == (3, 3)
        assert "unknown" not in caplog.text
        encode_sentences(encoder, [*unknown, "A dog runs."])
    assert "3 of 4 texts are mostly unknown" in caplog.text


def test_a_failure_in_a_worker_is_raised_and_leaves_the_encoder_usable(
    encoder: Encoder, mixed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    run = _graph.Graph._run

    def fail(self: _graph.Graph, *inputs: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise MemoryError("no room")
        return run(self, *inputs)

    monkeypatch.setattr(_graph.Graph, "_run", fail)
    with pytest.raises(MemoryError, match="no room"):
        encoder.encode(mixed, batch_size=1)
    monkeypatch.undo()
    assert encoder.encode(mixed).shape == (len(mixed), DIM)


def test_a_failure_of_the_texts_is_raised(encoder: Encoder) -> None:
    def stream() -> Iterator[str]:
        yield from ["dog"] * 20_000
        raise KeyError("no more")

    with pytest.raises(KeyError, match="no more"):
        list(encoder.encode_blocks(stream()))


def test_closed_means_closed(exported_dir: Path, mixed: list[str]) -> None:
    threads = set(threading.enumerate())
    encoder = Encoder.load(exported_dir, threads=2)
    encoder.encode(mixed)
    assert len(set(threading.enumerate()) - threads) == 2
    running = encoder.encode_blocks(mixed, block=20)
    next(running)
    encoder.close()
    encoder.close()
    for call in (
        lambda: encoder.encode(["dog"]),
        lambda: encoder.encode([]),
        lambda: next(running),
    ):
        with pytest.raises(UsageError, match="is closed"):
            call()
    assert set(threading.enumerate()) <= threads


def test_closing_while_another_thread_encodes(exported_dir: Path, sentences: Sentences) -> None:
    encoder = Encoder.load(exported_dir, threads=2)
    texts = sentences(400) * 5
    begun = threading.Event()
    ended: list[BaseException | None] = []

    def work() -> None:
        try:
            for _ in encoder.encode_blocks(texts, block=50):
                begun.set()
            ended.append(None)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(60)
    encoder.close()
    thread.join(60)
    assert not thread.is_alive()
    assert ended == [None] or "is closed" in str(ended[0])


def test_importing_and_encoding_leaves_torch_out(exported_dir: Path) -> None:
    script = f"""
import sys
import hpdistill
assert not {{"numpy", "torch", "onnxruntime"}} & set(sys.modules), "import"
with hpdistill.Encoder.load({str(exported_dir)!r}) as encoder:
    encoder.encode(["the dog"] * 100)
found = {{"torch", "transformers", "scipy", "sentence_transformers", "onnx"}} & set(sys.modules)
assert not found, found
"""
    subprocess.run([sys.executable, "-c", script], check=True)


FORK = """
import os, sys
from hpdistill import Encoder
encoder = Encoder.load(sys.argv[1], threads=4)
texts = [" ".join(["dog"] * (1 + row % 40)) for row in range(300)]
first = encoder.encode(texts, batch_size=8).tobytes()
child = os.fork()
if child == 0:
    os._exit(encoder.encode(texts, batch_size=8).tobytes() != first)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_encodes_with_its_parents_model(exported_dir: Path) -> None:
    line = [sys.executable, "-c", FORK, str(exported_dir)]
    assert subprocess.run(line, timeout=60, check=False).returncode == 0
