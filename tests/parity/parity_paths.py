"""What gives vectors: sentence-transformers, and each way of ours."""

import contextlib
import io
import json
import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from parity_models import Case
from parity_texts import CORPUS, LONG, PLAIN, TEXTS
from sentence_transformers import SentenceTransformer

from hpdistill.cli import main
from hpdistill.export import export_model
from hpdistill.pytorch import TorchEncoder
from hpdistill.runtime import Encoder, TruncationWarning

Vectors = NDArray[np.float32]

ROLES = ("", "query", "document")
"""None, and the two that sentence-transformers has."""


def load_reference(directory: Path, *, limit: int | None = None) -> SentenceTransformer:
    """The model as its own library loads it."""
    model = SentenceTransformer(str(directory), device="cpu", local_files_only=True)
    if limit is not None:
        model.max_seq_length = limit
    return model


def reference(
    model: SentenceTransformer, texts: list[str], role: str = "", *, alone: bool = False
) -> Vectors:
    """What sentence-transformers says.

    Args:
        model: From `load_reference`.
        texts: Any.
        role: One of `ROLES`.
        alone: Each text by itself, but for one without tokens, which it takes beside others only.

    Returns:
        Shape (len(texts), width), as they come out of the model: not scaled.
    """
    encode = getattr(model, _method(role))
    if not alone:
        return np.asarray(encode(texts), np.float32)
    vectors = np.asarray(encode(texts), np.float32)
    for row, text in zip(vectors, texts, strict=True):
        if model.preprocess([text])["input_ids"].numel():
            row[:] = encode([text])[0]
    return vectors


def by_torch(encoder: TorchEncoder, texts: list[str], role: str = "") -> Vectors:
    """Our PyTorch path."""
    vectors: Vectors = getattr(encoder, _method(role))(texts, normalize=False)
    return vectors


def load_torch(directory: Path) -> TorchEncoder:
    """A model on our PyTorch path."""
    return TorchEncoder.load(str(directory), device="cpu")


def exported(directory: Path, out: Path, texts: list[str]) -> Path:
    """A copy of a model with its float32 graph."""
    return export_model(directory, texts, precisions=("float32",), out=out).directory


def load_runtime(directory: Path) -> Encoder:
    """An exported graph, or a table of token vectors, without PyTorch."""
    return Encoder.load(directory, precision="float32", threads=1)


def by_runtime(encoder: Encoder, texts: list[str], role: str = "") -> Vectors:
    """The path without PyTorch; text that is cut is no news here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        vectors: Vectors = getattr(encoder, _method(role))(texts, normalize=False)
    return vectors


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """Why it refused."""
        lines = [line for line in self.err.splitlines() if line.startswith("error:")]
        return lines[0] if len(lines) == 1 and self.code in (1, 2) else f"no refusal: {self}"


def hpd(*arguments: object) -> Ended:
    """A command as the shell starts it, in this process."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    code: Any = 0
    with (
        mock.patch.object(sys, "argv", ["hpd", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code
    out.seek(0)
    return Ended(
        code if isinstance(code, int) else int(code is not None), out.read(), err.getvalue()
    )


FIT = ("--dim", 5)
"""Numbers that a command leaves of a model's vectors."""

QUICK = (
    *("--validation", 10, "--batch-size", 32, "--max-steps", 1, "--no-export"),
    *("--precision", "float32", "--teacher-precision", "float32"),
)
"""A distillation of one step, which writes what longer ones write."""


def distil(case: Case, directory: Path, sentences: Path, run: Path) -> Ended:
    """A student of a model, made from that model; of a table of token vectors, another table."""
    student = f"static:{directory}" if case.is_static else directory
    options = ("--teacher", directory, "--student", student, "--sentences", sentences)
    return hpd("distill", *options, "--out", run, *FIT, *QUICK)


def reduce(command: str, directory: Path, sentences: Path, out: Path) -> Ended:
    """`pca` or `whiten`."""
    options = ("--sentences", sentences, "--precision", "float32")
    return hpd(command, directory, "--out", out, *FIT, *options)


def cosines_of_written(case: Case, directory: Path, graph: Path) -> dict[str, float]:
    """A model that we wrote: our paths against sentence-transformers, on all texts.

    Args:
        case: Of the model that it was made from.
        directory: What was written.
        graph: Where to export it.

    Returns:
        The least cosine of each path and role.
    """
    model = load_reference(directory)
    torch_encoder = load_torch(directory)
    expected = {role: reference(model, TEXTS, role, alone=case.alone) for role in ROLES}
    cosines = {
        f"torch {role}".strip(): least_cosine(by_torch(torch_encoder, TEXTS, role), vectors)
        for role, vectors in expected.items()
    }
    if "export" not in case.refused:
        with load_runtime(exported(directory, graph, PLAIN)) as runtime:
            cosines |= {
                f"runtime {role}".strip(): least_cosine(by_runtime(runtime, TEXTS, role), vectors)
                for role, vectors in expected.items()
            }
    return cosines


def write_texts(folder: Path) -> tuple[Path, Path, Path]:
    """Files for commands to read: all texts, sentences to fit on, sentences to compare on."""
    places = folder / "texts.jsonl", folder / "corpus.txt", folder / "compared.txt"
    places[0].write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), "utf-8")
    for place, lines in zip(places[1:], (CORPUS, [*PLAIN, *LONG]), strict=True):
        place.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return places


def least_cosine(found: Vectors, expected: Vectors) -> float:
    """Of all texts; of one without tokens, which is zero in both, 1; of what is no number, -1."""
    if found.shape != expected.shape:
        return -1.0
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines = np.einsum("nd,nd->n", found, expected, dtype=np.float64) / norms
    both = ~found.any(axis=1) & ~expected.any(axis=1)
    return float(np.nan_to_num(np.where(both, 1.0, cosines), nan=-1.0).min())


def worst(found: Vectors, expected: Vectors, texts: list[str]) -> str:
    """The text that is furthest off."""
    cosines = [least_cosine(found[[i]], expected[[i]]) for i in range(len(texts))]
    return f"{min(cosines):.6f} for {texts[int(np.argmin(cosines))][:60]!r}"


def same_lengths(found: Vectors, expected: Vectors) -> bool:
    """Whether vectors that are not scaled have the lengths they should."""
    lengths = np.linalg.norm(found, axis=1), np.linalg.norm(expected, axis=1)
    return bool(np.allclose(*lengths, rtol=1e-3, atol=1e-5))


def _method(role: str) -> str:
    return f"encode_{role}" if role else "encode"


def has_roles(case: Case) -> bool:
    """Whether a role could make a difference."""
    return bool(case.prompts) or "query_length" in case.sentence_config
