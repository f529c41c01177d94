"""TorchEncoder gives what sentence-transformers gives, in any batches, at a stated precision."""

import json
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from hpdistill.encoder import Encoder, unit
from hpdistill.errors import HpdError, UsageError, WeightsError
from hpdistill.pytorch import (
    Calibration,
    TorchEncoder,
    choose_precision,
    intake_of,
    load_model,
    pad,
    rows_that_fit,
)

Sentences = Callable[..., list[str]]
WIDTH = 48


@pytest.fixture(scope="module")
def encoder(teacher_dir: Path) -> TorchEncoder:
    return TorchEncoder.load(str(teacher_dir), device="cpu")


@pytest.fixture(scope="module")
def reference(teacher_dir: Path) -> SentenceTransformer:
    return SentenceTransformer(str(teacher_dir), device="cpu")


@pytest.fixture(scope="module")
def mixed(sentences: Sentences) -> list[str]:
    """Texts of 0 to about 50 tokens, in no order, some of them twice."""
    short = sentences(30)
    texts = [*short, *(" ".join(short[i : i + 5]) for i in range(0, 30, 3)), "", short[0], "dog"]
    random.Random(0).shuffle(texts)
    return texts


def weights_of(encoder: TorchEncoder) -> dict[str, torch.Tensor]:
    everything = dict(encoder.model.named_parameters()) | dict(encoder.model.named_buffers())
    return {name: value.detach().clone() for name, value in everything.items()}


def assert_untouched(encoder: TorchEncoder, before: dict[str, torch.Tensor]) -> None:
    after = weights_of(encoder)
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed == []
    assert {value.dtype for value in after.values()} == {value.dtype for value in before.values()}
    assert encoder.precision == "float32"


def test_it_is_an_encoder(encoder: TorchEncoder, teacher_dir: Path) -> None:
    assert isinstance(encoder, Encoder)
    assert encoder.name == str(teacher_dir)
    assert encoder.dim == WIDTH
    assert encoder.max_tokens == 64
    assert encoder.precision == "float32"
    assert encoder.parameters == sum(p.numel() for p in encoder.model.parameters()) > 10_000


@pytest.mark.parametrize("batch_size", [1, 3, 32, 10_000])
def test_vectors_are_those_of_sentence_transformers(
    encoder: TorchEncoder, reference: SentenceTransformer, mixed: list[str], batch_size: int
) -> None:
    expected = reference.encode(mixed)
    vectors = encoder.encode(mixed, batch_size=batch_size)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_order_is_that_of_the_texts(encoder: TorchEncoder, mixed: list[str]) -> None:
    together = encoder.encode(mixed)
    for text, vector in zip(mixed, together, strict=True):
        np.testing.assert_allclose(encoder.encode([text])[0], vector, atol=1e-5)


def test_vectors_are_not_scaled_unless_asked(teacher_dir: Path, mixed: list[str]) -> None:
    model = SentenceTransformer(str(teacher_dir), device="cpu")
    bare = SentenceTransformer(modules=[model[0], model[1]], device="cpu")
    encoder = TorchEncoder(bare, name="bare")
    raw = encoder.encode(mixed, normalize=False)
    np.testing.assert_allclose(raw, bare.encode(mixed), atol=1e-5)
    assert np.abs(np.linalg.norm(raw, axis=1) - 1).min() > 0.01
    np.testing.assert_allclose(encoder.encode(mixed), unit(raw), atol=1e-6)
    np.testing.assert_array_equal(encoder.encode(mixed, normalize=False, dim=7), raw[:, :7])


def test_no_texts_give_no_vectors(encoder: TorchEncoder) -> None:
    assert encoder.encode([]).shape == (0, WIDTH)
    assert encoder.encode([], dim=5).shape == (0, 5)
    assert encoder.tokenize([]) == []


def test_odd_texts_have_vectors(encoder: TorchEncoder) -> None:
    odd = ["", " ", "\ud800", "dog \udcff cat", "\x00", "\n\t", "世界", "e\u0301" * 40]
    vectors = encoder.encode(odd)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(encoder.encode([""]), vectors[:1], atol=1e-5)
    # A lone surrogate counts as a question mark.
    np.testing.assert_allclose(encoder.encode(["dog ? cat"])[0], vectors[3], atol=1e-5)


def test_a_very_long_text_is_cut(
    encoder: TorchEncoder, reference: SentenceTransformer, sentences: Sentences
) -> None:
    long = " ".join(sentences(200))
    ids = encoder.tokenize([long, "the dog"])
    assert [len(row) for row in ids] == [64, 4]
    assert (ids[0][0], ids[0][-1]) == (2, 3)  # [CLS] and [SEP] stay
    texts = [long, "the dog", long + " cat"]
    np.testing.assert_allclose(encoder.encode(texts), reference.encode(texts), atol=1e-5)
    first_62 = " ".join(long.split()[:62])
    np.testing.assert_allclose(encoder.encode([first_62]), encoder.encode([long]), atol=1e-5)


@pytest.mark.parametrize("dim", [1, 7, WIDTH])
def test_a_prefix_is_scaled_to_length_1(
    encoder: TorchEncoder, sentences: Sentences, dim: int
) -> None:
    texts = sentences(9)
    cut = encoder.encode(texts, dim=dim)
    assert cut.shape == (9, dim)
    np.testing.assert_allclose(np.linalg.norm(cut, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(cut, unit(encoder.encode(texts)[:, :dim]), atol=1e-6)


@pytest.mark.parametrize("dim", [0, -1, WIDTH + 1])
@pytest.mark.parametrize("normalize", [False, True])
def test_a_dim_out_of_range_is_named(encoder: TorchEncoder, dim: int, normalize: bool) -> None:
    with pytest.raises(UsageError, match=f"dim is {dim}; .* allows 1 to {WIDTH}"):
        encoder.encode(["dog"], dim=dim, normalize=normalize)


def test_progress_counts_every_text(encoder: TorchEncoder, mixed: list[str]) -> None:
    counts: list[int] = []
    encoder.encode(mixed, batch_size=2, advance=counts.append)
    assert sum(counts) == len(mixed)
    assert len(counts) > 3


def test_a_default_prompt_is_put_before_each_text(teacher_dir: Path, mixed: list[str]) -> None:
    model = load_model(teacher_dir, device="cpu")
    model.prompts = {"query": "teacher reads: "}
    model.default_prompt_name = "query"
    encoder = TorchEncoder(model, name="prompted")
    vectors = encoder.encode(mixed)
    np.testing.assert_allclose(vectors, model.encode(mixed), atol=1e-5)
    plain = TorchEncoder.load(str(teacher_dir), device="cpu")
    np.testing.assert_allclose(
        vectors, plain.encode([f"teacher reads: {text}" for text in mixed]), atol=1e-5
    )


def test_a_tokenizer_without_special_tokens_gives_even_an_empty_text_a_vector(
    teacher_dir: Path, tmp_path: Path
) -> None:
    bare = shutil.copytree(teacher_dir, tmp_path / "bare")
    tokenizer = json.loads((bare / "tokenizer.json").read_text("utf-8"))
    tokenizer["post_processor"] = None
    (bare / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    encoder = TorchEncoder.load(str(bare), device="cpu")
    assert encoder.tokenize(["the dog", ""])[1] == []
    assert np.isfinite(encoder.encode(["the dog", ""])).all()
    assert np.isfinite(encoder.encode([""])).all()


@pytest.fixture
def static_dir(teacher_dir: Path, tmp_path: Path) -> Path:
    """A table of token vectors and nothing else, as sentence-transformers writes it."""
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    torch.manual_seed(0)
    tokenizer = Tokenizer.from_file(str(teacher_dir / "tokenizer.json"))
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu")
    model.save(str(tmp_path / "static"), create_model_card=False)
    return tmp_path / "static"


@pytest.mark.parametrize("batch_size", [1, 32])
def test_a_static_model_gives_its_vectors(
    static_dir: Path, mixed: list[str], batch_size: int
) -> None:
    expected = unit(SentenceTransformer(str(static_dir), device="cpu").encode(mixed))
    encoder = TorchEncoder.load(str(static_dir), device="cpu")
    vectors = encoder.encode(mixed, batch_size=batch_size)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    assert (encoder.dim, encoder.precision) == (8, "float32")
    assert encoder.encode([]).shape == (0, 8)


def test_a_static_model_has_no_limit_and_no_special_tokens(static_dir: Path) -> None:
    encoder = TorchEncoder.load(str(static_dir), device="cpu")
    dog, cat = (encoder.tokenize([word])[0] for word in ("dog", "cat"))
    assert (len(dog), len(cat)) == (1, 1)
    assert encoder.tokenize(["dog " * 5000 + "cat"]) == [dog * 5000 + cat]
    assert encoder.max_tokens > 5001


def test_a_text_without_tokens_has_the_zero_vector_in_a_static_model(static_dir: Path) -> None:
    encoder = TorchEncoder.load(str(static_dir), device="cpu")
    alone, beside = encoder.encode([""]), encoder.encode(["dog", "", "cat"])
    assert not alone.any()
    assert not beside[1].any()
    np.testing.assert_allclose(beside[[0, 2]], encoder.encode(["dog", "cat"]), atol=1e-6)


def test_a_model_that_starts_with_something_else_is_refused_in_words() -> None:
    from sentence_transformers.sentence_transformer.modules import BoW

    model = SentenceTransformer(modules=[BoW(["dog", "cat"])], device="cpu")
    with pytest.raises(HpdError, match="starts with a BoW is not read; allowed: Transformer"):
        TorchEncoder(model, name="bag").encode(["dog"])


def test_bfloat16_is_faithful_within_the_stated_tolerance(
    teacher_dir: Path, encoder: TorchEncoder, mixed: list[str]
) -> None:
    half = TorchEncoder.load(str(teacher_dir), precision="bfloat16", device="cpu")
    assert half.precision == "bfloat16"
    vectors = half.encode(mixed)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    cosines = (vectors * encoder.encode(mixed)).sum(axis=1)
    assert cosines.mean() >= Calibration.MEAN_TOLERANCE
    assert cosines.min() >= Calibration.MIN_TOLERANCE
    assert cosines.min() < 1 - 1e-7  # it was not float32 after all


def test_an_unknown_precision_is_named(teacher_dir: Path) -> None:
    with pytest.raises(UsageError, match="precision is 'float16'; allowed: float32, bfloat16"):
        TorchEncoder.load(str(teacher_dir), precision="float16")  # type: ignore[arg-type]


def supported(monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
    monkeypatch.setattr("hpdistill.pytorch.has_bfloat16", lambda device: answer)


def test_without_bfloat16_in_the_processor_nothing_is_tried(
    teacher_dir: Path, sentences: Sentences, monkeypatch: pytest.MonkeyPatch
) -> None:
    supported(monkeypatch, False)
    encoder = TorchEncoder.load(str(teacher_dir), device="cpu")
    before = weights_of(encoder)
    assert choose_precision(encoder, sentences(16)) is None
    assert_untouched(encoder, before)


@pytest.mark.parametrize(
    ("limit", "value"), [("LEAST_SPEEDUP", 1e9), ("MEAN_TOLERANCE", 1.1), ("MIN_TOLERANCE", 1.1)]
)
def test_a_failed_trial_leaves_every_bit_of_float32(
    teacher_dir: Path,
    sentences: Sentences,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    value: float,
) -> None:
    supported(monkeypatch, True)
    monkeypatch.setattr(Calibration, "LEAST_SPEEDUP", 0.0)
    monkeypatch.setattr(Calibration, limit, value)
    encoder = TorchEncoder.load(str(teacher_dir), device="cpu")
    before, vectors = weights_of(encoder), encoder.encode(sentences(16))
    calibration = choose_precision(encoder, sentences(16))
    assert calibration is not None
    assert not calibration.passed
    assert_untouched(encoder, before)
    np.testing.assert_array_equal(encoder.encode(sentences(16)), vectors)


@pytest.fixture
def rotary(teacher_dir: Path, tmp_path: Path) -> TorchEncoder:
    """Qwen3-Embedding's kind: frequencies are a float buffer that no file and no state holds."""
    from transformers import AutoTokenizer, Qwen3Config, Qwen3Model

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=70,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
    )
    Qwen3Model(config).save_pretrained(tmp_path / "qwen")
    AutoTokenizer.from_pretrained(teacher_dir).save_pretrained(tmp_path / "qwen")
    encoder = TorchEncoder.load(str(tmp_path / "qwen"), device="cpu")
    assert any(name.endswith("inv_freq") for name in weights_of(encoder))
    return encoder


def test_a_failed_trial_leaves_rotary_frequencies_alone(
    rotary: TorchEncoder, sentences: Sentences, monkeypatch: pytest.MonkeyPatch
) -> None:
    supported(monkeypatch, True)
    monkeypatch.setattr(Calibration, "LEAST_SPEEDUP", 1e9)
    before, vectors = weights_of(rotary), rotary.encode(sentences(16))
    assert choose_precision(rotary, sentences(16)) is not None
    assert_untouched(rotary, before)
    np.testing.assert_array_equal(rotary.encode(sentences(16)), vectors)


def test_bfloat16_keeps_rotary_frequencies_exact(
    rotary: TorchEncoder, sentences: Sentences
) -> None:
    """A frequency rounded to 8 bits is a whole turn off after a few hundred tokens."""
    exact = {k: v for k, v in weights_of(rotary).items() if k.endswith("inv_freq")}
    vectors = rotary.encode(sentences(16))
    rotary.set_precision("bfloat16")
    after = weights_of(rotary)
    for name, value in exact.items():
        assert torch.equal(after[name].float(), value), name
    cosines = (rotary.encode(sentences(16)) * vectors).sum(axis=1)
    assert cosines.min() >= Calibration.MIN_TOLERANCE


def test_a_passed_trial_leaves_bfloat16(
    teacher_dir: Path, sentences: Sentences, monkeypatch: pytest.MonkeyPatch
) -> None:
    supported(monkeypatch, True)
    monkeypatch.setattr(Calibration, "LEAST_SPEEDUP", 0.0)
    encoder = TorchEncoder.load(str(teacher_dir), device="cpu")
    calibration = choose_precision(encoder, sentences(16))
    assert calibration is not None
    assert calibration.passed
    assert encoder.precision == "bfloat16"
    facts = calibration.to_dict()
    assert facts["sentences"] == 16
    assert 0.99 <= facts["cosine_min"] <= facts["cosine_mean"] <= 1
    assert facts["speedup"] > 0


def test_a_trial_that_gives_nan_fails() -> None:
    nan = float("nan")
    assert not Calibration(sentences=1, cosine_mean=nan, cosine_min=nan, speedup=2.0).passed
    assert not Calibration(sentences=1, cosine_mean=1.0, cosine_min=nan, speedup=2.0).passed


def test_rows_are_filled_up_to_few_lengths(encoder: TorchEncoder) -> None:
    intake = intake_of(encoder.model)
    limit = intake.max_tokens
    padded = [intake.padded(longest) for longest in range(1, limit + 1)]
    assert padded == sorted(padded)
    for longest, width in enumerate(padded, start=1):
        assert longest <= width <= min(limit, 9 / 8 * longest)
    assert padded[:16] == list(range(1, 17))
    assert len(set(padded)) <= 8 * math.log2(limit)
    features = intake.collate([[5] * 17, [5] * 3])
    assert features["attention_mask"].sum(dim=1).tolist() == [17, 3]
    assert features["input_ids"].shape == (2, 18)


def test_as_many_rows_as_fit_with_their_padding_and_at_least_one(encoder: TorchEncoder) -> None:
    intake = intake_of(encoder.model)
    assert rows_that_fit(intake, 16, 64) == 4
    assert rows_that_fit(intake, 17, 72) == 4
    assert rows_that_fit(intake, 17, 71) == 3
    assert rows_that_fit(intake, 60, 8) == 1


def test_pad_makes_a_rectangle() -> None:
    features = pad([[5, 6, 7], [8], [9, 1]], 4)
    assert features["input_ids"].tolist() == [[5, 6, 7], [8, 4, 4], [9, 1, 4]]
    assert features["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 0]]
    assert features["input_ids"].dtype == features["attention_mask"].dtype == torch.int64


def test_a_directory_without_its_weights_cannot_be_loaded(
    teacher_dir: Path, tmp_path: Path
) -> None:
    broken = shutil.copytree(teacher_dir, tmp_path / "broken")
    (broken / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="broken"):
        load_model(broken)
    with pytest.raises(WeightsError, match="broken"):
        TorchEncoder.load(str(broken))


def test_loading_prints_nothing(teacher_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    TorchEncoder.load(str(teacher_dir), device="cpu").encode(["dog"])
    assert capfd.readouterr() == ("", "")
