"""Encoding many sentences with progress, and with a check that the figures depend on."""

import time
from collections.abc import Callable, Sequence

import numpy as np

from hpdistill.encoder import Embeddings, Encoder, Role, encode_as
from hpdistill.errors import EvaluationError
from hpdistill.progress import Report, silent

__all__ = ["encode_sentences", "sentences_per_second"]

# Between two reports of progress; enough that an encoder's sorting by length still pays.
_CHUNK = 1024
_WARM_UP = 16


def encode_sentences(
    encoder: Encoder,
    sentences: Sequence[str],
    *,
    role: Role | None = None,
    report: Report = silent,
) -> Embeddings:
    """Encode sentences chunk by chunk.

    Args:
        encoder: Anything that turns texts into vectors.
        sentences: At least one.
        role: What they are to a search; None: neither.
        report: Called after each chunk, with a task named after the encoder.

    Returns:
        Shape (len(sentences), encoder.dim), float32, rows of length 1.

    Raises:
        EvaluationError: A vector is not finite; names the sentence.
    """
    parts = []
    for start in range(0, len(sentences), _CHUNK):
        chunk = sentences[start : start + _CHUNK]
        vectors = encode_as(encoder, chunk, role)
        broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(broken):
            sentence = chunk[broken[0]]
            shown = sentence if len(sentence) <= 100 else f"{sentence[:99]}…"
            raise EvaluationError(
                f"{encoder.name} gives a vector that is not finite for the sentence {shown!r}",
                hint="The model's weights are damaged, or its precision is too low for it.",
            )
        parts.append(vectors)
        report(f"{encoder.name}: sentences", start + len(chunk), len(sentences))
    return np.concatenate(parts)


def sentences_per_second(
    encode: Callable[[Sequence[str]], object], sentences: Sequence[str]
) -> float:
    """Time one call of `encode` with all sentences, after a warm-up with a few of them."""
    encode(sentences[:_WARM_UP])
    started = time.perf_counter()
    encode(sentences)
    return len(sentences) / (time.perf_counter() - started)
