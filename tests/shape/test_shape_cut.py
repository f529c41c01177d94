"""A cut keeps what fits, is solved rather than guessed, and what it leaves is a normal model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer

from hpdistill.encoder import unit
from hpdistill.errors import UsageError
from hpdistill.evaluate import evaluate_fidelity
from hpdistill.head import ridge
from hpdistill.pytorch import load_model
from hpdistill.recipe import HeadRecipe, Shape
from hpdistill.shape import Cutter, token_batches
from hpdistill.shape._algebra import LineFit, Moments, low_rank
from hpdistill.student import (
    backbone,
    build_student,
    check_student,
    pooled_backbone,
    save_student,
)

Sentences = Callable[..., list[str]]
K = 8
SIZE: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "vocab_size": 70,
    "max_position_embeddings": 68,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "type_vocab_size": 2,
}
KINDS = {"bert": "Bert", "mpnet": "MPNet", "roberta": "Roberta", "xlm-roberta": "XLMRoberta"}


@pytest.fixture(scope="module")
def texts(sentences: Sentences) -> list[str]:
    return sentences(240)


@pytest.fixture(scope="module")
def held_out(sentences: Sentences) -> list[str]:
    return sentences(80, seed=5)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, teacher_dir: Path) -> Callable[[str], Path]:
    """The directory of a random backbone of a kind; its norms and biases are random as well."""
    root = tmp_path_factory.mktemp("backbones")

    def make(kind: str) -> Path:
        if not (root / kind).is_dir():
            torch.manual_seed(0)
            config = getattr(transformers, f"{KINDS[kind]}Config")(**SIZE)
            model = getattr(transformers, f"{KINDS[kind]}Model")(config)
            for name, weight in model.named_parameters():
                if name.endswith("bias") or "LayerNorm" in name:
                    weight.data += 0.2 * torch.randn_like(weight)
            model.save_pretrained(root / kind)
            tokenizer = transformers.AutoTokenizer.from_pretrained(teacher_dir)
            tokenizer.model_max_length = 60
            tokenizer.save_pretrained(root / kind)
        return root / kind

    return make


def cut(directory: Path, shape: str, texts: list[str], *, seed: int = 0) -> SentenceTransformer:
    spec = "shape:" + ",".join(filter(None, [shape, f"from={directory}"]))
    return build_student(spec, K, HeadRecipe(), seed=seed, texts=texts)


def explained(student: SentenceTransformer, whole: SentenceTransformer, texts: list[str]) -> float:
    """Share of the variance of one backbone's pooled states that is linear in the other's."""
    x, y = pooled_backbone(student, texts), pooled_backbone(whole, texts)
    half = len(texts) // 2
    weight, bias = ridge(x[:half], y[:half], strength=1e-3)
    rest = y[half:] - (x[half:] @ weight.T + bias)
    return 1 - float(rest.var(axis=0).sum() / y[half:].var(axis=0).sum())


@pytest.mark.parametrize("kind", KINDS)
def test_a_shape_like_the_source_is_the_source(
    source: Callable[[str], Path], texts: list[str], held_out: list[str], kind: str
) -> None:
    student = cut(source(kind), "", texts)
    whole = build_student(str(source(kind)), K, HeadRecipe(), seed=0)
    expected = pooled_backbone(whole, held_out)
    np.testing.assert_allclose(pooled_backbone(student, held_out), expected, atol=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_model_has_the_shape_and_comes_back_from_disk(
    source: Callable[[str], Path], texts: list[str], held_out: list[str], kind: str, tmp_path: Path
) -> None:
    student = cut(source(kind), "layers=2,width=12,heads=2,ffn=20", texts)
    config = backbone(student).config
    assert (config.num_hidden_layers, config.hidden_size) == (2, 12)
    assert (config.num_attention_heads, config.intermediate_size) == (2, 20)
    assert type(backbone(student)).__name__ == f"{KINDS[kind]}Model"
    vectors = student.encode(held_out)
    assert vectors.shape == (len(held_out), K)
    save_student(student, tmp_path)
    again = SentenceTransformer(str(tmp_path), device="cpu")
    np.testing.assert_allclose(again.encode(held_out), vectors, atol=1e-5)
    weights = backbone(again).state_dict()
    for name, weight in backbone(student).state_dict().items():
        assert torch.equal(weight, weights[name]), name


@pytest.mark.parametrize("kind", ["bert", "mpnet"])
def test_a_cut_model_knows_more_of_its_source_than_chance(
    source: Callable[[str], Path], texts: list[str], kind: str
) -> None:
    whole = build_student(str(source(kind)), K, HeadRecipe(), seed=0)
    student = cut(source(kind), "layers=3,width=20,ffn=30", texts)
    torch.manual_seed(1)
    chance = build_student(str(source(kind)), K, HeadRecipe(), seed=0)
    chance[0].model = type(backbone(student))(backbone(student).config).eval()
    chance = SentenceTransformer(modules=[chance[0], student[1]], device="cpu")
    ours, random = explained(student, whole, texts), explained(chance, whole, texts)
    assert ours > random + 0.1


def test_a_narrow_stream_in_a_wide_model_is_found(teacher_dir: Path, texts: list[str]) -> None:
    """Where a stream has no more directions than the student, rotation loses almost nothing."""
    torch.manual_seed(0)
    narrow = transformers.BertModel(
        transformers.BertConfig(**SIZE | {"num_attention_heads": 2, "initializer_range": 0.1})
    ).eval()
    batches = token_batches(load_model(teacher_dir), texts)
    sizes = Shape(width=12, heads=2).settle(narrow.config)
    with torch.no_grad():
        # Twelve dimensions, each twice: mean and gain of the norms act on both alike.
        pairs = torch.arange(24) // 2
        for weight in narrow.parameters():
            for axis in range(weight.ndim):
                if weight.shape[axis] == 24:
                    weight.copy_(weight.index_select(axis, pairs))
    small = Cutter(narrow, sizes, batches).cut()
    ids, mask = batches[0]
    with torch.no_grad():
        large = narrow(input_ids=ids, attention_mask=mask.long()).last_hidden_state[mask]
        states = small(input_ids=ids, attention_mask=mask.long()).last_hidden_state[mask]
    solution = torch.linalg.lstsq(states - states.mean(0), large - large.mean(0))
    rest = large - large.mean(0) - (states - states.mean(0)) @ solution.solution
    assert float(rest.var() / large.var()) < 0.02


def test_a_head_may_grow_wider_than_the_sources(
    source: Callable[[str], Path], texts: list[str], held_out: list[str]
) -> None:
    # 24 / 2 = 12 directions a head, of which the source's heads have 6.
    one, same, other = (cut(source("bert"), "heads=2", texts, seed=s) for s in (3, 3, 4))
    query, key = (
        getattr(backbone(one).encoder.layer[0].attention.self, n).weight for n in ("query", "key")
    )
    assert query.count_nonzero() == query.numel()
    assert key[6:12].count_nonzero() == key[18:].count_nonzero() == 0  # nothing changes at first
    np.testing.assert_array_equal(one.encode(held_out), same.encode(held_out))
    assert not np.allclose(one.encode(held_out), other.encode(held_out))


def test_heads_of_mpnet_keep_their_biases_by_distance(
    source: Callable[[str], Path], texts: list[str]
) -> None:
    whole = load_model(source("mpnet"))[0].auto_model.encoder.relative_attention_bias.weight
    cut_down = backbone(cut(source("mpnet"), "width=12,heads=2", texts))
    table = cut_down.encoder.relative_attention_bias.weight
    assert table.shape == (32, 2)
    places = [
        [old for old in range(4) if torch.equal(whole[:, old], table[:, new])] for new in range(2)
    ]
    assert all(len(found) == 1 for found in places)
    assert places[0] < places[1]


def test_a_cut_is_the_same_every_time_and_needs_few_sentences(
    source: Callable[[str], Path], texts: list[str], held_out: list[str]
) -> None:
    shape = "layers=2,width=12,heads=2,ffn=20"
    one, other = (cut(source("bert"), shape, texts[:3]) for _ in range(2))
    np.testing.assert_array_equal(one.encode(held_out), other.encode(held_out))
    assert np.isfinite(one.encode(held_out)).all()
    for weight in backbone(one).parameters():
        assert weight.abs().max() < 100


def test_the_source_is_left_as_it_was(source: Callable[[str], Path], texts: list[str]) -> None:
    model = load_model(source("bert"))
    large = model[0].auto_model
    before = {name: weight.clone() for name, weight in large.state_dict().items()}
    sizes = Shape(layers=2, width=12, heads=2).settle(large.config)
    Cutter(large, sizes, token_batches(model, texts)).cut()
    assert large.config.hidden_size == 24
    assert all(torch.equal(before[name], weight) for name, weight in large.state_dict().items())


def test_a_source_without_a_pooler_gives_a_student_without(
    source: Callable[[str], Path], texts: list[str]
) -> None:
    model = load_model(source("bert"))
    large = model[0].auto_model
    large.pooler = None
    sizes = Shape(layers=1).settle(large.config)
    assert Cutter(large, sizes, token_batches(model, texts)).cut().pooler is None


def test_steps_are_reported(source: Callable[[str], Path], texts: list[str]) -> None:
    calls: list[tuple[str, int, int]] = []
    spec = f"shape:from={source('bert')},layers=2"
    build_student(
        spec, K, HeadRecipe(), seed=0, texts=texts, report=lambda *call: calls.append(call)
    )
    assert [call for call in calls if call[0] == "cutting the backbone"] == [
        ("cutting the backbone", done, 3) for done in (1, 2, 3)
    ]


def test_without_sentences_nothing_is_cut_but_all_is_checked(source: Callable[[str], Path]) -> None:
    spec = f"shape:from={source('bert')},width=12"
    check_student(spec, K)
    with pytest.raises(UsageError, match="none were given"):
        build_student(spec, K, HeadRecipe(), seed=0)
    with pytest.raises(UsageError, match="width 14 is not divisible by 4 heads"):
        check_student(f"shape:from={source('bert')},width=14", K)
    with pytest.raises(UsageError, match="dim is 0"):
        check_student(spec, 0)


def test_long_corpora_are_read_evenly(teacher_dir: Path, texts: list[str]) -> None:
    model = load_model(teacher_dir)
    whole, part = token_batches(model, texts), token_batches(model, texts, tokens=1000)
    count = sum(int(mask.sum()) for _, mask in part)
    assert count < 1100 < sum(int(mask.sum()) for _, mask in whole)
    rows = {tuple(row.tolist()) for ids, mask in part for row in (ids * mask)[:, :3]}
    last = model.tokenizer(texts[-20:])["input_ids"]
    assert any(tuple(row[:3]) in rows for row in last)


# The layers of MPNet, as a student ------------------------------------------------------------


def test_layers_of_mpnet_keep_the_biases_by_distance(
    source: Callable[[str], Path], held_out: list[str], tmp_path: Path
) -> None:
    student = build_student(f"layers:{source('mpnet')}:0,2,3", K, HeadRecipe(), seed=0)
    large = load_model(source("mpnet"))[0].auto_model
    large.encoder.layer = torch.nn.ModuleList([large.encoder.layer[i] for i in (0, 2, 3)])
    features = student.tokenizer(held_out, padding=True, return_tensors="pt")
    features.pop("token_type_ids", None)
    with torch.no_grad():
        expected = large(**features).last_hidden_state
    mask = features["attention_mask"][..., None]
    pooled = (expected * mask).sum(1) / mask.sum(1)
    np.testing.assert_allclose(pooled_backbone(student, held_out), pooled.numpy(), atol=1e-5)
    save_student(student, tmp_path)
    again = SentenceTransformer(str(tmp_path), device="cpu")
    np.testing.assert_allclose(again.encode(held_out), student.encode(held_out), atol=1e-5)


# The algebra ----------------------------------------------------------------------------------


def test_regression_without_penalty_is_least_squares() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(300, 5) + 2, torch.randn(300, 3)
    moments = Moments(5, 3)
    for start in (0, 100, 200):
        moments.add(x[start : start + 100], y[start : start + 100])
    weight, bias = moments.solve(torch.zeros(3, 5, dtype=torch.float64), strength=0)
    augmented = np.hstack([x.numpy(), np.ones((300, 1))]).astype(np.float64)
    expected, *_ = np.linalg.lstsq(augmented, y.numpy(), rcond=None)
    np.testing.assert_allclose(weight.numpy(), expected[:-1].T, atol=1e-4)
    np.testing.assert_allclose(bias.numpy(), expected[-1], atol=1e-4)


def test_a_large_penalty_leaves_the_prior_and_moves_the_bias() -> None:
    torch.manual_seed(0)
    x, y, prior = torch.randn(300, 5), torch.randn(300, 3) + 7, torch.randn(3, 5).double()
    moments = Moments(5, 3)
    moments.add(x, y)
    weight, bias = moments.solve(prior, strength=1e9)
    torch.testing.assert_close(weight, prior, atol=1e-6, rtol=0)
    torch.testing.assert_close(bias, (y.mean(0) - x.mean(0) @ prior.float().T).double())
    nothing, none = Moments(5, 3).solve(prior, strength=1.0)
    torch.testing.assert_close(nothing, prior)
    assert not none.any()


def test_a_line_is_fitted_in_each_dimension() -> None:
    torch.manual_seed(0)
    u = torch.randn(200, 3)
    u[:, 2] = 5
    fit = LineFit(3)
    fit.add(u, u * torch.tensor([2.0, -1.0, 1.0]) + torch.tensor([0.5, 3.0, 4.0]))
    gain, shift = fit.solve()
    torch.testing.assert_close(gain, torch.tensor([2.0, -1.0, 1.0]).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(shift, torch.tensor([0.5, 3.0, 4.0]).double(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_low_rank_is_the_truncated_svd_of_the_product(rank: int) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(50, 6).double(), torch.randn(40, 6).double()
    x[:, 0] *= 5
    a, b = low_rank(x.T @ x, y.T @ y, rank)
    u, s, vt = torch.linalg.svd(x @ y.T, full_matrices=False)
    expected = u[:, :rank] * s[:rank] @ vt[:rank]
    torch.testing.assert_close(x @ a @ (y @ b).T, expected, atol=1e-8, rtol=0)


def test_low_rank_bears_directions_without_energy() -> None:
    zero = torch.zeros(4, 4).double()
    a, b = low_rank(zero, torch.eye(4).double(), 2)
    assert torch.isfinite(a).all()
    assert torch.isfinite(b).all()


def test_vectors_of_a_solved_head_agree_with_the_source(
    source: Callable[[str], Path], texts: list[str], held_out: list[str]
) -> None:
    whole = build_student(str(source("bert")), K, HeadRecipe(), seed=0)
    student = cut(source("bert"), "layers=3,width=20", texts)
    targets = unit(pooled_backbone(whole, texts))
    weight, bias = ridge(pooled_backbone(student, texts), targets, strength=1e-3)
    scores = evaluate_fidelity(
        pooled_backbone(student, held_out) @ weight.T + bias, pooled_backbone(whole, held_out)
    )
    assert scores.spearman > 0.5
