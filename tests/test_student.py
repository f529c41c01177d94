"""A student is what its spec says, its head is what regression says, its files say it to all."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from hpdistill.encoder import unit
from hpdistill.errors import UsageError, WeightsError
from hpdistill.head import ridge, rotated_pca
from hpdistill.loop import TokenCache, embed_tokens
from hpdistill.pytorch import TorchEncoder, load_model
from hpdistill.recipe import HeadRecipe
from hpdistill.student import (
    StudentSpec,
    build_student,
    is_sentence_encoder,
    keep_layers,
    pooled_backbone,
    save_student,
    set_head,
    untouched,
)
from hpdistill.weights import resolve

Sentences = Callable[..., list[str]]
K = 8


@pytest.fixture
def student(student_dir: Path) -> SentenceTransformer:
    return build_student(str(student_dir), K, HeadRecipe(), seed=0)


@pytest.fixture(scope="module")
def texts(sentences: Sentences) -> list[str]:
    return [*sentences(60), "", "dog"]


def heads(student: SentenceTransformer, texts: list[str]) -> NDArray[np.float32]:
    """Outputs of the head, before normalisation."""
    rows = TorchEncoder(student, name="student").tokenize(texts)
    return embed_tokens(student, TokenCache(iter([rows]), max_tokens=64), bfloat16=False)


def saved(student: SentenceTransformer, directory: Path) -> Path:
    directory.mkdir()
    save_student(student, directory)
    return directory


@pytest.mark.parametrize(
    ("text", "model", "layers"),
    [
        ("minilm", "minilm", None),
        ("org/model", "org/model", None),
        ("C:/models/small", "C:/models/small", None),
        ("layers:minilm:0", "minilm", (0,)),
        ("layers:minilm:0,2,4", "minilm", (0, 2, 4)),
        ("layers:C:/models/small:1,3", "C:/models/small", (1, 3)),
        ("layers:/data/layers:2:1, 5", "/data/layers:2", (1, 5)),
        ("statics", "statics", None),
        ("./static", "./static", None),
    ],
)
def test_a_spec_is_parsed(text: str, model: str, layers: tuple[int, ...] | None) -> None:
    assert StudentSpec.parse(text) == StudentSpec(model, layers)


@pytest.mark.parametrize(
    ("text", "model"), [("static", ""), ("static:minilm", "minilm"), ("static:C:/m", "C:/m")]
)
def test_a_static_spec_is_parsed(text: str, model: str) -> None:
    assert StudentSpec.parse(text) == StudentSpec(model, static=True)


def test_a_static_spec_without_its_model_is_named() -> None:
    with pytest.raises(UsageError, match=r"'static:' names no model; allowed: static, static:M"):
        StudentSpec.parse("static:")


@pytest.mark.parametrize(
    "text",
    [
        "layers:",
        "layers:minilm",
        "layers:minilm:",
        "layers::0,1",
        "layers:minilm:2,0",
        "layers:minilm:1,1",
        "layers:minilm:-1,0",
        "layers:minilm:0,,2",
        "layers:minilm:first",
        "layers:minilm:0.5",
    ],
)
def test_a_spec_that_means_nothing_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="layers:MODEL:0,2,4") as caught:
        StudentSpec.parse(text)
    assert repr(text) in str(caught.value)


def test_a_student_is_backbone_pooling_head_and_normalisation(
    student: SentenceTransformer, texts: list[str]
) -> None:
    assert [type(module).__name__ for module in student] == [
        "Transformer",
        "Pooling",
        "Dense",
        "Normalize",
    ]
    vectors = student.encode(texts)
    assert vectors.shape == (len(texts), K)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors, unit(heads(student, texts)), atol=1e-5)
    assert student.max_seq_length == 64


def test_a_random_head_depends_on_the_seed_alone(student_dir: Path) -> None:
    def head(seed: int) -> torch.Tensor:
        return build_student(str(student_dir), K, HeadRecipe(), seed=seed)[2].linear.weight

    assert torch.equal(head(1), head(1))
    assert not torch.equal(head(1), head(2))


def test_a_dim_below_1_is_refused(student_dir: Path) -> None:
    with pytest.raises(UsageError, match="dim is 0; allowed: 1 or more"):
        build_student(str(student_dir), 0, HeadRecipe(), seed=0)


def test_a_student_may_be_wider_than_its_backbone(student_dir: Path) -> None:
    student = build_student(str(student_dir), 40, HeadRecipe(), seed=0)
    assert student.encode(["dog"]).shape == (1, 40)


def test_a_missing_model_is_a_weights_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such directory"):
        build_student(f"layers:{tmp_path / 'none'}:0", K, HeadRecipe(), seed=0)


def test_a_bare_backbone_is_no_sentence_encoder(student_dir: Path) -> None:
    bare = student_dir.with_name(f"{student_dir.name}-backbone")
    assert is_sentence_encoder(resolve(str(student_dir)))
    assert not is_sentence_encoder(resolve(str(bare)))


def test_a_bare_backbone_gives_the_same_student(student_dir: Path, texts: list[str]) -> None:
    bare = student_dir.with_name(f"{student_dir.name}-backbone")
    one, other = (build_student(str(path), K, HeadRecipe(), seed=0) for path in (student_dir, bare))
    np.testing.assert_allclose(one.encode(texts), other.encode(texts), atol=1e-6)


# Some layers of a model -------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [(0,), (1,), (0, 2), (0, 1, 2)])
def test_kept_layers_compute_what_these_layers_compute(
    teacher_dir: Path, texts: list[str], layers: tuple[int, ...]
) -> None:
    model = load_model(teacher_dir, device="cpu")
    bert = model[0].auto_model
    features = model.tokenizer(texts, padding=True, return_tensors="pt")
    mask = features["attention_mask"]
    with torch.no_grad():
        hidden = bert.embeddings(features["input_ids"])
        wide = torch.zeros(mask.shape).masked_fill(mask == 0, -torch.inf)[:, None, None, :]
        for layer in layers:
            hidden = bert.encoder.layer[layer](hidden, wide.expand(-1, -1, mask.shape[1], -1))
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    spec = f"layers:{teacher_dir}:{','.join(map(str, layers))}"
    student = build_student(spec, K, HeadRecipe(), seed=0)
    np.testing.assert_allclose(pooled_backbone(student, texts), pooled.numpy(), atol=1e-5)
    np.testing.assert_allclose(untouched(spec).encode(texts), unit(pooled.numpy()), atol=1e-5)


def test_all_layers_are_the_model_itself(teacher_dir: Path, texts: list[str]) -> None:
    whole = build_student(str(teacher_dir), K, HeadRecipe(), seed=0)
    all_of_it = build_student(f"layers:{teacher_dir}:0,1,2", K, HeadRecipe(), seed=0)
    np.testing.assert_array_equal(whole.encode(texts), all_of_it.encode(texts))


def test_the_untouched_student_is_the_model_itself(teacher_dir: Path, texts: list[str]) -> None:
    expected = SentenceTransformer(str(teacher_dir), device="cpu").encode(texts)
    np.testing.assert_allclose(untouched(str(teacher_dir)).encode(texts), expected, atol=1e-6)


@pytest.mark.parametrize("layers", ["3", "0,7", "0,1,2,3"])
def test_a_layer_out_of_range_is_named(teacher_dir: Path, layers: str) -> None:
    wrong = layers.split(",")[-1]
    with pytest.raises(UsageError, match=f"layer {wrong} does not exist; .* layers 0 to 2"):
        build_student(f"layers:{teacher_dir}:{layers}", K, HeadRecipe(), seed=0)


def test_a_model_whose_layers_cannot_be_told_is_refused(teacher_dir: Path) -> None:
    model = load_model(teacher_dir, device="cpu")
    model[0].auto_model.config.num_hidden_layers = 5
    with pytest.raises(UsageError, match="cannot tell the layers of a BertModel"):
        keep_layers(model[0], [0])


SHAPE = {"hidden_size": 24, "intermediate_size": 32, "num_attention_heads": 2, "vocab_size": 70}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2}
ARCHITECTURES = {
    "Bert": SHAPE,
    "MPNet": SHAPE,
    "DistilBert": {"dim": 24, "hidden_dim": 32, "n_heads": 2, "vocab_size": 70},
    "ModernBert": {**SHAPE, **SPECIAL, "sep_token_id": 3, "max_position_embeddings": 64},
    "T5": {"d_model": 24, "d_kv": 12, "d_ff": 32, "num_heads": 2, "vocab_size": 70},
}


@pytest.mark.parametrize("layers", ["0,2", "1,2"])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_some_layers_of_any_model_come_back_from_disk_or_are_refused(
    tmp_path: Path, teacher_dir: Path, texts: list[str], kind: str, layers: str
) -> None:
    import transformers

    torch.manual_seed(0)
    size = {"n_layers" if kind == "DistilBert" else "num_hidden_layers": 3}
    size = {"num_layers": 3} if kind == "T5" else size
    config = getattr(transformers, f"{kind}Config")(**ARCHITECTURES[kind], **size)
    model = getattr(transformers, "T5EncoderModel" if kind == "T5" else f"{kind}Model")
    model(config).save_pretrained(tmp_path / kind)
    tokenizer = transformers.AutoTokenizer.from_pretrained(teacher_dir)
    tokenizer.save_pretrained(tmp_path / kind)
    try:
        student = build_student(f"layers:{tmp_path / kind}:{layers}", K, HeadRecipe(), seed=0)
    except UsageError:
        # The first layer of these holds what all need, or lacks what the others have.
        assert kind in ("T5", "ModernBert")
        assert layers == "1,2"
        return
    again = SentenceTransformer(str(saved(student, tmp_path / "out")), device="cpu")
    np.testing.assert_allclose(again.encode(texts), student.encode(texts), atol=1e-5)


# The head ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def targets(teacher_dir: Path, texts: list[str]) -> NDArray[np.float32]:
    """The first numbers of another encoder's vectors: something to regress to."""
    return TorchEncoder.load(str(teacher_dir), device="cpu").encode(texts)[:, :K]


def test_the_head_gives_what_the_regression_predicts(
    student: SentenceTransformer, texts: list[str], targets: NDArray[np.float32]
) -> None:
    pooled = pooled_backbone(student, texts)
    assert pooled.shape == (len(texts), 24)
    set_head(student, pooled, targets, HeadRecipe(ridge_strength=0.01))
    weight, bias = ridge(pooled, targets, strength=0.01)
    np.testing.assert_allclose(heads(student, texts), pooled @ weight.T + bias, atol=1e-5)
    np.testing.assert_allclose(student.encode(texts), unit(pooled @ weight.T + bias), atol=1e-5)
    fit = np.square(heads(student, texts) - targets).sum()
    assert fit < 0.8 * np.square(targets - targets.mean(axis=0)).sum()


def test_a_rotated_head_gives_what_the_rotation_predicts(
    student: SentenceTransformer, texts: list[str], targets: NDArray[np.float32]
) -> None:
    pooled = pooled_backbone(student, texts)
    set_head(student, pooled, targets, HeadRecipe(init="rotation"))
    np.testing.assert_allclose(
        heads(student, texts), pooled @ rotated_pca(pooled, targets).T, atol=1e-5
    )


def test_a_tanh_head_gives_what_the_regression_predicts(
    student_dir: Path, texts: list[str], targets: NDArray[np.float32]
) -> None:
    recipe = HeadRecipe(activation="tanh", ridge_strength=0.01)
    student = build_student(str(student_dir), K, recipe, seed=0)
    pooled = pooled_backbone(student, texts)
    set_head(student, pooled, targets, recipe)
    weight, bias = ridge(pooled, np.arctanh(targets), strength=0.01)
    expected = np.tanh(pooled @ weight.T + bias)
    np.testing.assert_allclose(heads(student, texts), expected, atol=1e-5)


def test_a_tanh_head_bears_targets_that_it_cannot_reach(
    student_dir: Path, texts: list[str], targets: NDArray[np.float32]
) -> None:
    recipe = HeadRecipe(activation="tanh")
    student = build_student(str(student_dir), K, recipe, seed=0)
    set_head(student, pooled_backbone(student, texts), targets * 100, recipe)
    assert np.isfinite(heads(student, texts)).all()
    assert np.abs(heads(student, texts)).max() <= 1


def test_pooling_reports_every_sentence(student: SentenceTransformer, texts: list[str]) -> None:
    calls: list[tuple[str, int, int]] = []
    pooled_backbone(student, texts, report=lambda *call: calls.append(call))
    assert calls[-1] == ("reading the untrained student", len(texts), len(texts))


# What is written --------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["identity", "tanh"])
def test_a_saved_student_gives_the_same_vectors(
    tmp_path: Path, student_dir: Path, texts: list[str], activation: str
) -> None:
    recipe = HeadRecipe(activation=activation)  # type: ignore[arg-type]
    student = build_student(f"layers:{student_dir}:1", K, recipe, seed=3)
    directory = saved(student, tmp_path / "model")
    expected = student.encode(texts)
    plain = SentenceTransformer(str(directory), device="cpu")
    np.testing.assert_allclose(plain.encode(texts), expected, atol=1e-6)
    ours = TorchEncoder.load(str(directory), device="cpu")
    np.testing.assert_allclose(ours.encode(texts), expected, atol=1e-6)
    np.testing.assert_allclose(load_model(directory).encode(texts), expected, atol=1e-6)


def test_modules_are_named_as_every_reader_knows_them(
    tmp_path: Path, student: SentenceTransformer
) -> None:
    directory = saved(student, tmp_path / "model")
    modules = json.loads((directory / "modules.json").read_text("utf-8"))
    legacy = "sentence_transformers.models."
    assert modules == [
        {"idx": 0, "name": "0", "path": "", "type": f"{legacy}Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{legacy}Pooling"},
        {"idx": 2, "name": "2", "path": "2_Dense", "type": f"{legacy}Dense"},
        {"idx": 3, "name": "3", "path": "3_Normalize", "type": f"{legacy}Normalize"},
    ]


def test_pooling_is_written_with_the_keys_of_old(
    tmp_path: Path, student: SentenceTransformer
) -> None:
    path = saved(student, tmp_path / "model") / "1_Pooling" / "config.json"
    assert json.loads(path.read_text("utf-8")) == {
        "word_embedding_dimension": 24,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
        "pooling_mode_weightedmean_tokens": False,
        "pooling_mode_lasttoken": False,
        "include_prompt": True,
    }


@pytest.mark.parametrize(
    ("activation", "written"),
    [
        ("identity", "torch.nn.modules.linear.Identity"),
        ("tanh", "torch.nn.modules.activation.Tanh"),
    ],
)
def test_the_head_is_written_with_its_activation(
    tmp_path: Path, student_dir: Path, activation: str, written: str
) -> None:
    recipe = HeadRecipe(activation=activation)  # type: ignore[arg-type]
    student = build_student(str(student_dir), K, recipe, seed=0)
    path = saved(student, tmp_path / "model") / "2_Dense" / "config.json"
    assert json.loads(path.read_text("utf-8")) == {
        "in_features": 24,
        "out_features": K,
        "bias": True,
        "activation_function": written,
    }


def test_the_longest_text_stays_what_it_was(tmp_path: Path, student_dir: Path) -> None:
    student = build_student(str(student_dir), K, HeadRecipe(), seed=0)
    student.max_seq_length = 17
    directory = saved(student, tmp_path / "model")
    lengths = json.loads((directory / "sentence_bert_config.json").read_text("utf-8"))
    assert lengths == {"max_seq_length": 17, "do_lower_case": False}
    assert SentenceTransformer(str(directory), device="cpu").max_seq_length == 17
    assert TorchEncoder.load(str(directory)).max_tokens == 17
    # And a student made of it keeps it.
    assert build_student(str(directory), 4, HeadRecipe(), seed=0).max_seq_length == 17


def test_only_safetensors_json_and_text_are_written(
    tmp_path: Path, student: SentenceTransformer
) -> None:
    directory = saved(student, tmp_path / "model")
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".txt", ".md"}
    weights = sorted(str(p.relative_to(directory)) for p in directory.rglob("*.safetensors"))
    assert weights == ["2_Dense/model.safetensors", "model.safetensors"]
    for path in files:
        assert not path.read_bytes().startswith((b"\x80", b"PK")), path  # pickles, zipped or not


def test_a_student_without_a_known_module_is_not_written(
    tmp_path: Path, student: SentenceTransformer
) -> None:
    from sentence_transformers.sentence_transformer.modules import CNN

    modules = [*student, CNN(16)]
    with pytest.raises(WeightsError, match="CNN"):
        saved(SentenceTransformer(modules=modules, device="cpu"), tmp_path / "model")
