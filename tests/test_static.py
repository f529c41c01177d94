"""A static student is its closed form: what algebra says, and a vocabulary that fits its corpus."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy import sparse
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from hpdistill.encoder import unit
from hpdistill.errors import UsageError, WeightsError
from hpdistill.pytorch import TorchEncoder, load_model
from hpdistill.recipe import StaticRecipe
from hpdistill.static import (
    check_vocabulary,
    closed_form,
    count_tokens,
    fit_vocabulary,
    frequency_weights,
    mean_matrix,
    read_tokenizer,
    solve,
    token_texts,
    vocabulary_size,
)
from hpdistill.student import build_static, is_static, save_student
from hpdistill.weights import resolve

Sentences = Callable[..., list[str]]

PIECES = ["[PAD]", "[UNK]", "[unused0]", "play", "##ing", "##ed", "the", "dog", "zebra", "!"]
LETTERS = "adeginlopst"


def word_pieces() -> Tokenizer:
    """BERT's kind: letters, their continuations, and some words."""
    tokens = [*PIECES, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    tokenizer = Tokenizer(
        models.WordPiece({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]"])
    return tokenizer


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    return list(tokenizer.encode(text, add_special_tokens=False).tokens)


def chunks(*texts: str) -> Callable[[], Iterator[list[str]]]:
    """The texts in chunks of two, anew at each call."""
    return lambda: iter([list(texts[i : i + 2]) for i in range(0, len(texts), 2)])


# Reading a tokenizer -----------------------------------------------------------------------------


def test_a_tokenizer_neither_cuts_nor_pads(teacher_dir: Path, tmp_path: Path) -> None:
    model = shutil.copytree(teacher_dir, tmp_path / "model")
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4)
    tokenizer.save(str(model / "tokenizer.json"))
    read = read_tokenizer(model)
    assert pieces(read, "dog " * 50) == ["dog"] * 50
    assert pieces(read, "dog") == ["dog"]


def test_the_tokenizer_of_a_static_model_is_found(tmp_path: Path) -> None:
    tokenizer = word_pieces()
    save_student(build_static(tokenizer, np.ones((vocabulary_size(tokenizer), 2))), tmp_path)
    assert pieces(read_tokenizer(tmp_path), "playing!") == ["play", "##ing", "!"]


def test_a_missing_or_damaged_tokenizer_is_said(teacher_dir: Path, tmp_path: Path) -> None:
    model = shutil.copytree(teacher_dir, tmp_path / "model")
    (model / "tokenizer.json").write_text("{", "utf-8")
    with pytest.raises(WeightsError, match=r"tokenizer\.json is damaged"):
        read_tokenizer(model)
    (model / "tokenizer.json").unlink()
    with pytest.raises(WeightsError, match=r"has no tokenizer\.json") as caught:
        read_tokenizer(model)
    assert "static:MODEL" in caught.value.hint


# What tokens say ---------------------------------------------------------------------------------


def test_a_continuation_says_its_letters_and_a_special_token_nothing() -> None:
    tokenizer = word_pieces()
    texts = dict(zip(tokenizer.get_vocab(), [""] * 99, strict=False))
    for token, index in tokenizer.get_vocab().items():
        texts[token] = token_texts(tokenizer)[index]
    assert (texts["##ing"], texts["##a"], texts["zebra"], texts["!"]) == ("ing", "a", "zebra", "!")
    assert (texts["[PAD]"], texts["[UNK]"], texts["[unused0]"]) == ("", "", "")


def test_tokens_of_bytes_are_decoded() -> None:
    vocabulary = {"a": 0, "b": 1, "Ġ": 2, "Ġa": 3, "Ġab": 4, "ÃŃ": 5}
    merges = [("Ġ", "a"), ("Ġa", "b")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    assert token_texts(tokenizer) == ["a", "b", "", "a", "ab", "í"]


def test_ids_may_have_gaps() -> None:
    tokenizer = Tokenizer(models.WordLevel({"dog": 0, "cat": 7, "[UNK]": 3}, unk_token="[UNK]"))
    assert vocabulary_size(tokenizer) == 8
    assert token_texts(tokenizer) == ["dog", "", "", "[UNK]", "", "", "", "cat"]


def test_rare_tokens_weigh_more() -> None:
    counts = np.array([0, 1, 9, 990])
    weights = frequency_weights(counts, 0.01)
    np.testing.assert_allclose(weights, [1, 0.01 / 0.011, 0.01 / 0.019, 0.01 / 1.0], rtol=1e-6)
    assert weights.dtype == np.float32
    assert frequency_weights(np.zeros(3, np.int64), 0.01).tolist() == [1, 1, 1]


# Vocabulary --------------------------------------------------------------------------------------

TEXTS = ("The dog played.", "spaniel dog dog", "A spaniel!", "spaniels", "stipend poodle", "poodle")


def test_nothing_is_changed_if_told_so() -> None:
    tokenizer = word_pieces()
    assert fit_vocabulary(tokenizer, chunks(*TEXTS), StaticRecipe(add_words=0)) is tokenizer


def test_unless_told_words_are_added_where_the_tokenizer_takes_them() -> None:
    after = fit_vocabulary(word_pieces(), chunks(*TEXTS), StaticRecipe(min_count=2))
    assert pieces(after, "spaniel poodle") == ["spaniel", "poodle"]
    merging = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    assert fit_vocabulary(merging, chunks(*TEXTS), StaticRecipe(min_count=1)) is merging


def test_frequent_words_get_tokens_of_their_own() -> None:
    recipe = StaticRecipe(add_words=2, min_count=2)
    before, after = word_pieces(), fit_vocabulary(word_pieces(), chunks(*TEXTS), recipe)
    assert "spaniel" not in pieces(before, "spaniel")
    assert pieces(after, "Spaniel poodle") == ["spaniel", "poodle"]
    assert pieces(after, "stipend") == pieces(before, "stipend")  # only once in the corpus
    assert vocabulary_size(after) == vocabulary_size(before) + 2
    old = before.get_vocab()
    assert {token: after.get_vocab()[token] for token in old} == old


def test_words_and_added_tokens_have_ids_of_their_own() -> None:
    before = word_pieces()
    before.add_special_tokens(["<mask>"])
    before.add_tokens(["[NEW]"])
    after = fit_vocabulary(before, chunks(*TEXTS), StaticRecipe(add_words=2, min_count=2))
    ids = after.get_vocab(with_added_tokens=True)
    assert {"spaniel", "poodle", "<mask>", "[NEW]"} <= ids.keys()
    assert len(set(ids.values())) == len(ids)


@pytest.mark.parametrize(("limit", "count", "added"), [(1, 2, 1), (9, 2, 2), (9, 1, 4), (0, 1, 0)])
def test_words_are_added_up_to_a_number_and_down_to_a_count(
    limit: int, count: int, added: int
) -> None:
    recipe = StaticRecipe(add_words=limit, min_count=count)
    after = fit_vocabulary(word_pieces(), chunks(*TEXTS[1:]), recipe)
    assert vocabulary_size(after) - vocabulary_size(word_pieces()) == added


def test_unused_tokens_are_dropped_and_every_word_can_still_be_spelt() -> None:
    recipe = StaticRecipe(vocabulary="corpus", add_words=0, min_count=1)
    before, after = word_pieces(), fit_vocabulary(word_pieces(), chunks(*TEXTS), recipe)
    kept = after.get_vocab()
    assert not {"zebra", "##ing", "[unused0]"} & kept.keys()
    assert {"the", "dog", "play", "##ed"} <= kept.keys()
    assert sorted(kept.values()) == list(range(len(kept)))
    for text in TEXTS:
        assert pieces(after, text) == pieces(before, text)
    assert pieces(after, "playing") == ["play", "##i", "##n", "##g"]
    assert pieces(after, "zzz") == pieces(before, "zzz") == ["[UNK]"]
    assert after.encode("dog").ids == [kept["dog"]]  # no special tokens by old ids


def test_tokens_that_are_rare_in_the_corpus_are_dropped() -> None:
    recipe = StaticRecipe(vocabulary="corpus", add_words=0, min_count=2)
    after = fit_vocabulary(word_pieces(), chunks("the dog", "the dog", "play the"), recipe)
    assert {"the", "dog"} <= after.get_vocab().keys()
    assert "play" not in after.get_vocab()


def test_a_vocabulary_is_cut_and_grown_at_once() -> None:
    recipe = StaticRecipe(vocabulary="corpus", add_words=5, min_count=1)
    after = fit_vocabulary(word_pieces(), chunks(*TEXTS), recipe)
    assert pieces(after, "the spaniel") == ["the", "spaniel"]
    assert "zebra" not in after.get_vocab()


def test_the_same_corpus_gives_the_same_vocabulary() -> None:
    recipe = StaticRecipe(vocabulary="corpus", add_words=5, min_count=1)
    one, other = (fit_vocabulary(word_pieces(), chunks(*TEXTS), recipe) for _ in range(2))
    assert one.to_str() == other.to_str()


@pytest.mark.parametrize("recipe", [StaticRecipe(vocabulary="corpus"), StaticRecipe(add_words=1)])
def test_a_tokenizer_that_merges_cannot_be_changed(recipe: StaticRecipe) -> None:
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    check_vocabulary(tokenizer, StaticRecipe())
    for refuse in (check_vocabulary, lambda t, r: fit_vocabulary(t, chunks(*TEXTS), r)):
        with pytest.raises(UsageError, match=r"BPE tokenizer cannot be changed; .*WordPiece"):
            refuse(tokenizer, recipe)


def test_lone_surrogates_are_no_reason_to_stop() -> None:
    recipe = StaticRecipe(vocabulary="corpus", add_words=5, min_count=1)
    after = fit_vocabulary(word_pieces(), chunks("dog \ud800 spaniel"), recipe)
    assert "spaniel" in after.get_vocab()


# The matrix of means -----------------------------------------------------------------------------


def test_a_row_of_means_gives_the_mean_of_its_tokens() -> None:
    tokenizer = word_pieces()
    matrix = mean_matrix(tokenizer, chunks("dog dog the", "", "playing")())
    index = tokenizer.get_vocab()
    dense = matrix.toarray()
    assert dense.shape == (3, vocabulary_size(tokenizer))
    assert dense[0, index["dog"]] == pytest.approx(2 / 3)
    assert dense[0, index["the"]] == pytest.approx(1 / 3)
    np.testing.assert_allclose(dense.sum(axis=1), [1, 0, 1], atol=1e-6)
    assert dense.dtype == np.float32


def test_tokens_are_counted() -> None:
    tokenizer = word_pieces()
    counts = count_tokens(tokenizer, chunks("dog dog", "", "the dog!")())
    index = tokenizer.get_vocab()
    assert (counts[index["dog"]], counts[index["the"]], counts[index["!"]]) == (3, 1, 1)
    assert counts.sum() == 5


# The closed form ---------------------------------------------------------------------------------


def problem(
    seed: int = 0, count: int = 80, tokens: int = 12, k: int = 3
) -> tuple[Any, NDArray[np.float32], NDArray[np.float32]]:
    """Means, targets and a prior; the last token occurs in no sentence."""
    generator = np.random.default_rng(seed)
    dense = generator.poisson(0.4, size=(count, tokens)).astype(np.float32)
    dense[:, -1] = 0
    dense /= np.maximum(dense.sum(axis=1, keepdims=True), 1)
    targets = unit(generator.normal(size=(count, k)).astype(np.float32))
    prior = generator.normal(size=(tokens, k)).astype(np.float32)
    return sparse.csr_matrix(dense), targets, prior


@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
@given(seed=st.integers(0, 10**6))
def test_the_solution_is_that_of_the_normal_equations(strength: float, seed: int) -> None:
    means, targets, prior = problem(seed)
    dense = means.toarray().astype(np.float64)
    system = dense.T @ dense + strength * np.eye(dense.shape[1])
    expected = np.linalg.solve(system, dense.T @ targets + strength * prior)
    found = solve(means, targets, prior, strength=strength, tolerance=1e-6)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=5e-3)


def test_the_solution_has_a_lower_loss_than_its_neighbours() -> None:
    means, targets, prior = problem()

    def loss(vectors: NDArray[np.float64]) -> float:
        return float(
            np.square(means @ vectors - targets).sum() + 0.3 * np.square(vectors - prior).sum()
        )

    found = solve(means, targets, prior, strength=0.3, tolerance=1e-6).astype(np.float64)
    generator = np.random.default_rng(1)
    for _ in range(20):
        assert loss(found) < loss(found + 0.05 * generator.normal(size=found.shape))


def test_a_token_that_no_sentence_holds_keeps_its_prior() -> None:
    means, targets, prior = problem()
    np.testing.assert_array_equal(solve(means, targets, prior, strength=0.1)[-1], prior[-1])


def test_a_strong_penalty_leaves_the_prior_and_a_weak_one_fits() -> None:
    means, targets, prior = problem()
    np.testing.assert_allclose(solve(means, targets, prior, strength=1e6), prior, atol=1e-4)
    dense = means.toarray()[:, :-1]
    best, *_ = np.linalg.lstsq(dense, targets, rcond=None)
    found = solve(means, targets, prior, strength=1e-6, tolerance=1e-6)[:-1]
    np.testing.assert_allclose(dense @ found, dense @ best, atol=5e-3)


def test_a_prior_that_is_already_the_answer_stays() -> None:
    means, _, prior = problem()
    np.testing.assert_allclose(solve(means, means @ prior, prior, strength=0.1), prior, atol=1e-5)


def test_no_targets_at_all_are_no_division_by_zero() -> None:
    means, targets, prior = problem()
    assert np.isfinite(solve(means, 0 * targets, 0 * prior, strength=0.1)).all()


def test_the_strength_with_the_best_score_is_kept() -> None:
    means, targets, prior = problem()
    norms = {0.01: 0.2, 0.1: 0.9, 1.0: 0.4}
    given = iter(norms.values())
    found = closed_form(means, targets, prior, strengths=list(norms), score=lambda _: next(given))
    assert (found.strength, found.scores) == (0.1, norms)
    alone = closed_form(means, targets, prior, strengths=[0.1], score=lambda _: 0.0)
    np.testing.assert_array_equal(found.vectors, alone.vectors)


def test_the_length_of_the_prior_does_not_matter() -> None:
    means, targets, prior = problem()
    one, other = (
        closed_form(means, targets, scale * prior, strengths=[1.0], score=lambda _: 0.0).vectors
        for scale in (1, 50)
    )
    np.testing.assert_allclose(one, other, atol=1e-4)


# The model directory -----------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    tokenizer = word_pieces()
    vectors = np.random.default_rng(0).normal(size=(vocabulary_size(tokenizer), 5))
    (tmp_path / "model").mkdir()
    save_student(build_static(tokenizer, vectors.astype(np.float32)), tmp_path / "model")
    return tmp_path / "model"


def test_a_static_student_is_saved_in_the_form_that_all_releases_read(saved: Path) -> None:
    modules = json.loads((saved / "modules.json").read_text("utf-8"))
    assert [(module["type"], module["path"]) for module in modules] == [
        ("sentence_transformers.models.StaticEmbedding", "0_StaticEmbedding"),
        ("sentence_transformers.models.Normalize", "1_Normalize"),
    ]
    tensors = load_file(saved / "0_StaticEmbedding/model.safetensors")
    assert {name: value.dtype for name, value in tensors.items()} == {
        "embedding.weight": np.float32
    }
    assert (saved / "0_StaticEmbedding/tokenizer.json").is_file()
    assert {path.suffix for path in saved.rglob("*") if path.is_file()} == {".json", ".safetensors"}


def test_everyone_reads_the_mean_of_its_vectors(saved: Path) -> None:
    texts = ["the dog played!", "zebra", "playing " * 300, ""]
    tokenizer = Tokenizer.from_file(str(saved / "0_StaticEmbedding/tokenizer.json"))
    table = load_file(saved / "0_StaticEmbedding/model.safetensors")["embedding.weight"]
    means = [
        table[tokenizer.encode(text, add_special_tokens=False).ids].mean(axis=0)
        if text
        else np.zeros(5, np.float32)
        for text in texts
    ]
    expected = unit(np.array(means, np.float32))
    plain = SentenceTransformer(str(saved), device="cpu").encode(texts)
    np.testing.assert_allclose(plain, expected, atol=1e-6)
    ours = TorchEncoder.load(resolve(str(saved))).encode(texts)
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    assert is_static(load_model(saved))
