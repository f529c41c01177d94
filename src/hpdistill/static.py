"""The static student: a vector for each token of a text and their mean, no transformer.

It is solved in closed form. With X the sentence-by-token matrix of means, Y the targets and W0
the tokens through teacher and projection, the token vectors are the W that minimise
|XW - Y|^2 + s |W - W0|^2: tokens that the corpus holds often get what it says about them, the
others keep what the teacher says. Training may then go on from there. NumPy and SciPy only.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from tokenizers import Tokenizer

from hpdistill.encoder import Embeddings
from hpdistill.errors import UsageError, WeightsError
from hpdistill.files import read_json
from hpdistill.recipe import StaticRecipe

__all__ = [
    "STRENGTHS",
    "ClosedForm",
    "check_vocabulary",
    "closed_form",
    "count_tokens",
    "fit_vocabulary",
    "frequency_weights",
    "mean_matrix",
    "read_tokenizer",
    "solve",
    "token_texts",
    "vocabulary_size",
]

STRENGTHS = (0.003, 0.01, 0.03, 0.1)
"""Penalties that are tried unless the recipe names one."""

USUAL_WORDS = 6000

ITERATIONS = 100
TOLERANCE = 1e-3
"""Below it, fidelity moves in the fourth digit at most."""

_SPELLING_MODELS = ("WordPiece", "WordLevel")
"""Tokenizers whose vocabulary is a plain list, from which tokens can be taken or added."""

_UNUSED = re.compile(r"\[unused\d+\]")

Matrix: TypeAlias = Any
"""A `scipy.sparse.csr_matrix`, which has no types."""


def read_tokenizer(model: Path) -> Tokenizer:
    """The tokenizer of a model directory, neither cutting nor padding.

    Raises:
        WeightsError: The directory has no `tokenizer.json`, or it is damaged.
    """
    path = model / "tokenizer.json"
    if not path.is_file() and (model / "modules.json").is_file():
        path = model / read_json(model / "modules.json")[0]["path"] / "tokenizer.json"
    if not path.is_file():
        raise WeightsError(
            f"{model} has no tokenizer.json",
            hint="A static student takes its tokenizer from another model: `student=static:MODEL`.",
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise WeightsError(f"{path} is damaged: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def vocabulary_size(tokenizer: Tokenizer) -> int:
    """Rows that a table of its tokens needs; ids may have gaps."""
    return 1 + max(tokenizer.get_vocab(with_added_tokens=True).values())


def check_vocabulary(tokenizer: Tokenizer, recipe: StaticRecipe) -> None:
    """Refuse a change of vocabulary that this kind of tokenizer does not take.

    Raises:
        UsageError: Names the kind.
    """
    kind = _kind(tokenizer)
    if kind not in _SPELLING_MODELS and (recipe.vocabulary == "corpus" or recipe.add_words):
        raise UsageError(
            f"the vocabulary of a {kind} tokenizer cannot be changed; "
            f"allowed: {', '.join(_SPELLING_MODELS)}",
            hint="Leave `static.vocabulary` and `static.add_words` alone, or take the tokenizer of "
            "another model with `student=static:MODEL`.",
        )


def fit_vocabulary(
    tokenizer: Tokenizer, chunks: Callable[[], Iterable[Sequence[str]]], recipe: StaticRecipe
) -> Tokenizer:
    """Fit a vocabulary to a corpus: first frequent words are added, then rare tokens dropped.

    Args:
        tokenizer: From `read_tokenizer`.
        chunks: Gives the training sentences, anew at each call.
        recipe: What to add and drop.

    Returns:
        A tokenizer that adds no special tokens; `tokenizer` itself if nothing is to be changed.

    Raises:
        UsageError: The tokenizer is of a kind whose vocabulary cannot be changed.
    """
    check_vocabulary(tokenizer, recipe)
    wanted = recipe.add_words
    if wanted is None:
        wanted = USUAL_WORDS if _kind(tokenizer) in _SPELLING_MODELS else 0
    words = _split_words(tokenizer, chunks(), recipe.min_count)[:wanted] if wanted else []
    if words:
        tokenizer = _with_words(tokenizer, words)
    if recipe.vocabulary == "corpus":
        tokenizer = _without_rare(tokenizer, count_tokens(tokenizer, chunks()), recipe.min_count)
    return tokenizer


def count_tokens(tokenizer: Tokenizer, chunks: Iterable[Sequence[str]]) -> NDArray[np.int64]:
    """How often each token occurs, shape (vocabulary,), int64."""
    counts = np.zeros(vocabulary_size(tokenizer), np.int64)
    for texts in chunks:
        ids, _ = _encode(tokenizer, texts)
        counts += np.bincount(ids, minlength=len(counts))
    return counts


def token_texts(tokenizer: Tokenizer) -> list[str]:
    """What each token says, for the teacher to embed: continuations without their mark.

    Returns:
        One text an id; empty for special and reserved tokens and for ids without a token.
    """
    description = json.loads(tokenizer.to_str())
    special = {added["content"] for added in description["added_tokens"] if added["special"]}
    mark = description["model"].get("continuing_subword_prefix") or ""
    texts = [""] * vocabulary_size(tokenizer)
    for token, index in tokenizer.get_vocab(with_added_tokens=True).items():
        if token in special or _UNUSED.fullmatch(token):
            continue
        if description["model"]["type"] in _SPELLING_MODELS:
            continued = mark and token.startswith(mark) and len(token) > len(mark)
            texts[index] = token[len(mark) :] if continued else token
        else:
            texts[index] = tokenizer.decode([index]).strip()
    return texts


def frequency_weights(counts: NDArray[np.int64], a: float) -> NDArray[np.float32]:
    """Smooth inverse frequency (Arora et al. 2017): a / (a + p), p a token's share of all.

    Args:
        counts: Occurrences, shape (vocabulary,).
        a: Tokens of this share count half.

    Returns:
        Shape (vocabulary,), float32, in (0, 1].
    """
    share = counts / max(1, counts.sum())
    return np.asarray(a / (a + share), dtype=np.float32)


def mean_matrix(tokenizer: Tokenizer, chunks: Iterable[Sequence[str]]) -> Matrix:
    """The matrix that takes token vectors to the mean of each sentence.

    Returns:
        Sparse, shape (sentences, vocabulary), float32; a row sums to 1, or to 0 where a sentence
        has no tokens.
    """
    parts = [_encode(tokenizer, texts) for texts in chunks]
    ids = np.concatenate([part[0] for part in parts])
    lengths = np.concatenate([part[1] for part in parts])
    values = np.repeat((1 / np.maximum(lengths, 1)).astype(np.float32), lengths)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    shape = (len(lengths), vocabulary_size(tokenizer))
    matrix = sparse.csr_matrix((values, ids, starts), shape=shape)
    matrix.sum_duplicates()
    return matrix


def solve(
    means: Matrix,
    targets: Embeddings,
    prior: Embeddings,
    *,
    strength: float,
    tolerance: float = TOLERANCE,
) -> NDArray[np.float32]:
    """The W that minimises |XW - Y|^2 + s |W - W0|^2, by conjugate gradients.

    One matrix product serves all columns, each with step sizes of its own; the diagonal
    preconditions, since frequent tokens have far larger ones than rare tokens.

    Args:
        means: X, sparse, shape (n, vocabulary).
        targets: Y, shape (n, k).
        prior: W0, shape (vocabulary, k).
        strength: s, above 0.
        tolerance: Size of the residual at which to stop, relative to its start.

    Returns:
        W, shape (vocabulary, k), float32.
    """
    transposed = means.T.tocsr()
    scale = (1 / (np.asarray(means.multiply(means).sum(axis=0)).T + strength)).astype(np.float32)
    change = np.zeros_like(prior)
    residual = transposed @ (targets - means @ prior)  # (vocabulary, k)
    direction = scale * residual
    energy = first = (residual * direction).sum(axis=0)  # (k,)
    for _ in range(ITERATIONS):
        if (energy <= tolerance**2 * first).all():
            break
        image = transposed @ (means @ direction) + np.float32(strength) * direction
        # A column that is solved exactly has nothing left to divide by.
        curvature = np.maximum((direction * image).sum(axis=0), np.finfo(np.float32).tiny)
        step = energy / curvature
        change += step * direction
        residual -= step * image
        scaled = scale * residual
        following = (residual * scaled).sum(axis=0)
        direction = scaled + following / np.maximum(energy, np.finfo(np.float32).tiny) * direction
        energy = following
    return np.asarray(prior + change, dtype=np.float32)


@dataclass(frozen=True)
class ClosedForm:
    """Token vectors before any training."""

    vectors: NDArray[np.float32]
    """Shape (vocabulary, k)."""
    strength: float
    scores: dict[float, float]
    """Of each strength that was tried."""


def closed_form(
    means: Matrix,
    targets: Embeddings,
    prior: Embeddings,
    *,
    strengths: Sequence[float],
    score: Callable[[NDArray[np.float32]], float],
) -> ClosedForm:
    """Solve for several strengths and keep the best.

    The prior is first scaled as a whole to fit the targets: a mean of unit vectors is shorter
    than 1, by how much depends on the text.

    Args:
        means: X, from `mean_matrix`.
        targets: Y, shape (n, k), rows of length 1.
        prior: W0, shape (vocabulary, k).
        strengths: At least one.
        score: Judges token vectors on sentences that are not among these; higher is better.
    """
    image = means @ prior
    fit = float((image * targets).sum() / max(float((image * image).sum()), 1e-12))
    prior = np.asarray(prior * np.float32(max(fit, 0.0)))
    best: ClosedForm | None = None
    scores: dict[float, float] = {}
    for strength in strengths:
        vectors = solve(means, targets, prior, strength=strength)
        scores[strength] = score(vectors)
        if best is None or scores[strength] > scores[best.strength]:
            best = ClosedForm(vectors, strength, scores)
    assert best is not None
    return best


def _encode(
    tokenizer: Tokenizer, texts: Sequence[str]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Token ids of all texts one after another, int32, and how many each has, int64."""
    clean = [_encodable(text) for text in texts]
    rows = [e.ids for e in tokenizer.encode_batch(clean, add_special_tokens=False)]
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    ids = np.fromiter((token for row in rows for token in row), np.int32, int(lengths.sum()))
    return ids, lengths


def _encodable(text: str) -> str:
    """A text without the lone surrogates that the tokenizers library refuses."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _kind(tokenizer: Tokenizer) -> str:
    return str(json.loads(tokenizer.to_str())["model"]["type"])


def _split_words(
    tokenizer: Tokenizer, chunks: Iterable[Sequence[str]], min_count: int
) -> list[str]:
    """Words that have no token of their own, the most frequent first."""
    found: Counter[str] = Counter()
    normalizer, splitter = tokenizer.normalizer, tokenizer.pre_tokenizer
    for texts in chunks:
        for text in texts:
            plain = _encodable(text)
            plain = normalizer.normalize_str(plain) if normalizer else plain
            pieces = splitter.pre_tokenize_str(plain) if splitter else [(plain, (0, len(plain)))]
            found.update(word for word, _ in pieces)
    model = json.loads(tokenizer.to_str())["model"]
    longest = model.get("max_input_chars_per_word", len(max(found, key=len, default="")))
    known = model["vocab"]
    new = [
        (-count, word)
        for word, count in found.items()
        if count >= min_count and word not in known and len(word) <= longest
    ]
    return [word for _, word in sorted(new)]


def _with_words(tokenizer: Tokenizer, words: Sequence[str]) -> Tokenizer:
    size = vocabulary_size(tokenizer)
    vocabulary = json.loads(tokenizer.to_str())["model"]["vocab"]
    return _with_vocabulary(
        tokenizer, vocabulary | {word: size + index for index, word in enumerate(words)}
    )


def _without_rare(tokenizer: Tokenizer, counts: NDArray[np.int64], least: int) -> Tokenizer:
    """Keep what occurs so often, and what a word piece tokenizer spells unknown words with."""
    description = json.loads(tokenizer.to_str())
    model = description["model"]
    mark = model.get("continuing_subword_prefix") or ""
    always = {added["content"] for added in description["added_tokens"]} | {model["unk_token"]}

    def is_letter(token: str) -> bool:
        return model["type"] == "WordPiece" and len(token.removeprefix(mark)) == 1

    kept = [
        token
        for token, index in sorted(model["vocab"].items(), key=lambda item: int(item[1]))
        if counts[index] >= least or token in always or is_letter(token)
    ]
    return _with_vocabulary(tokenizer, {token: index for index, token in enumerate(kept)})


def _with_vocabulary(tokenizer: Tokenizer, vocabulary: dict[str, int]) -> Tokenizer:
    description = json.loads(tokenizer.to_str())
    description["model"]["vocab"] = vocabulary
    # It names special tokens by their old ids, and a static student has no use for them.
    description["post_processor"] = None
    for added in description["added_tokens"]:
        # Not len(vocabulary): words that were added have ids beyond those of the added tokens.
        free = 1 + max(vocabulary.values(), default=-1)
        added["id"] = vocabulary.setdefault(added["content"], free)
    return Tokenizer.from_str(json.dumps(description))
