"""Sentence-transformers models as encoders: length-sorted batches, bfloat16, any modules.

A model starts with a transformer or, if static, with a table of token vectors; `Intake` is all
that differs between the two. Token ids are those that sentence-transformers itself makes of a
text: prompts, limits, and whatever a model says about its tokenizer are read in one place, there.
"""

import copy
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
import torch
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Pooling,
    StaticEmbedding,
    Transformer,
)
from tokenizers import Tokenizer
from torch import nn

from hpdistill.encoder import ByRole, Embeddings, Role, check_prefix, prompt_for, unit
from hpdistill.errors import UsageError, WeightsError
from hpdistill.notices import Notices
from hpdistill.progress import Report, silent
from hpdistill.runtime import NO_LIMIT, Truncation, TruncationWarning, unknown_token
from hpdistill.weights import ModelSource, resolve

__all__ = [
    "Calibration",
    "Intake",
    "TorchEncoder",
    "batches_at_once",
    "best_device",
    "choose_precision",
    "intake_of",
    "leaves_prompt_out",
    "load_model",
    "pad",
    "positions_of",
    "reference_vectors",
]

Precision = Literal["float32", "bfloat16"]

CALIBRATION_ROUNDS = 4

TYPICAL_TOKENS = 32
"""`batch_size` sentences of this many tokens fill a batch; longer sentences share it with fewer."""

TOKENIZED_AT_ONCE = 256
"""Texts of like length, which may be tokenised as a rectangle."""

_LISTS = {"common": {"return_tensors": None}, "text": {"padding": False}}
"""What sentence-transformers is told for token ids as they are, and no rectangle of them."""

GPU_BATCHES = 16
"""What fills a CPU leaves a GPU waiting for the next launch: it takes so many times as much."""


def best_device() -> str:
    """`cuda` where there is one, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def has_bfloat16(device: str) -> bool:
    """Whether the processor computes in bfloat16 itself; emulation would be slower."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def batches_at_once(device: str) -> int:
    """How many batches of a CPU's size a device computes as one when it only embeds."""
    return GPU_BATCHES if device == "cuda" else 1


def load_model(path: Path, *, device: str | None = None) -> SentenceTransformer:
    """Load a model directory in float32; executes no code of it and unpickles nothing.

    `path` must have come from `weights.resolve`, which refuses both.

    Raises:
        WeightsError: The directory does not hold what its configuration promises.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        model = SentenceTransformer(
            str(path),
            device=device or best_device(),
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"dtype": torch.float32, "use_safetensors": True},
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(
            f"{path} cannot be loaded as a sentence-embedding model: {reason}"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    _settle_limit(model)
    for weight in model.parameters():
        # NomicBERT's query, key and value are parts of one tensor, which cannot be saved as three.
        if weight.untyped_storage().nbytes() > weight.nbytes:
            weight.data = weight.data.clone()
    return model


def _settle_limit(model: SentenceTransformer) -> None:
    """Lower a limit on length that promises more tokens than there are vectors for positions.

    RoBERTa and its kind count positions from behind the padding id: of 514 rows, 512 are for
    tokens. sentence-transformers stops with an IndexError at the first text that is longer.
    """
    if not isinstance(model[0], Transformer):
        return
    rows = positions_of(model[0].auto_model)
    if rows is not None and (model.max_seq_length is None or model.max_seq_length > rows):
        model.max_seq_length = rows


def positions_of(backbone: nn.Module) -> int | None:
    """Tokens for which a backbone has vectors of absolute positions; None: it has no such table."""
    for module in backbone.modules():
        for name in ("position_embeddings", "wpe", "embed_positions"):
            table = getattr(module, name, None)
            if isinstance(table, nn.Embedding):
                padding = getattr(module, "padding_idx", None)
                before = padding + 1 if isinstance(padding, int) else getattr(table, "offset", 0)
                return int(table.num_embeddings) - int(before)
    return None


class Intake(Protocol):
    """How a kind of model takes text: token ids of its own, and a batch of them as tensors."""

    tokens_at_once: ClassVar[int]
    """Tokens whose activations a training step may keep for its backward pass."""

    @property
    def max_tokens(self) -> int:
        """Longer texts of no role are cut to so many tokens; `sys.maxsize`: there is no limit."""
        ...

    def limit(self, role: Role | None = None) -> int:
        """Longer texts of a role are cut to so many tokens; `sys.maxsize`: there is no limit."""
        ...

    @property
    def pad_id(self) -> int:
        """Token id that fills up short rows."""
        ...

    def tokenize(self, texts: Sequence[str], role: Role | None = None) -> list[list[int]]:
        """Token ids of each text with the prompt of its role, special tokens included."""
        ...

    def is_cut(self, text: str, role: Role | None = None) -> bool:
        """Whether a text of as many tokens as the limit allows has lost some to it."""
        ...

    def padded(self, longest: int) -> int:
        """Tokens that each row of a batch is filled up to, by those of its longest row."""
        ...

    def collate(self, rows: Sequence[Sequence[int]], role: Role | None = None) -> dict[str, Any]:
        """Token ids as the features that the model's modules take, on its device."""
        ...


class _TransformerIntake:
    """Special tokens, a limit on length, and rectangles with padding."""

    tokens_at_once: ClassVar[int] = 4096  # about 0.2 MB a token for a MiniLM of 6 layers

    def __init__(self, model: SentenceTransformer) -> None:
        self._model = model

    @property
    def max_tokens(self) -> int:
        return self.limit()

    def limit(self, role: Role | None = None) -> int:
        transformer: Any = self._model[0]
        said = (getattr(transformer, "processing_kwargs", None) or {}).get("text", {})
        of_role = None if role is None else getattr(transformer, f"{role}_length", None)
        limit = said.get("max_length") or of_role or self._model.max_seq_length
        return int(limit) if limit is not None and limit < NO_LIMIT else sys.maxsize

    @property
    def pad_id(self) -> int:
        return int(self._model.tokenizer.pad_token_id or 0)

    def tokenize(self, texts: Sequence[str], role: Role | None = None) -> list[list[int]]:
        rows: list[list[int]] = [[] for _ in texts]
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for start in range(0, len(order), TOKENIZED_AT_ONCE):
            chosen = order[start : start + TOKENIZED_AT_ONCE]
            found = self._rows([texts[index] for index in chosen], role)
            self._check_known(found)
            for index, row in zip(chosen, found, strict=True):
                rows[index] = row
        return rows

    def _rows(self, texts: list[str], role: Role | None) -> list[list[int]]:
        transformer: Any = self._model[0]
        options: dict[str, Any] = {}
        # Padding, tensors, and lists again would take half of the time; these two need tensors.
        needs_tensors = "message" in transformer.modality_config or getattr(
            transformer, "query_expansion", None
        )
        if hasattr(transformer, "processing_kwargs") and not needs_tensors:
            options["processing_kwargs"] = _LISTS
        features = self._preprocess(texts, role, **options)
        ids = features["input_ids"]
        if not isinstance(ids, torch.Tensor):
            return list(ids)
        mask = features["attention_mask"].bool()
        tokens: Any = ids[mask].long()  # (of all texts, without padding)
        return [row.tolist() for row in tokens.split(mask.sum(1).tolist())]

    def is_cut(self, text: str, role: Role | None = None) -> bool:
        whole = self._model.tokenizer(_prompt(self._model, role) + text, verbose=False)
        return len(whole["input_ids"]) > self.limit(role)

    def padded(self, longest: int) -> int:
        # Eight lengths an octave. oneDNN compiles kernels for every shape and keeps 1,024 of them:
        # those of more lengths drive each other out, and what is compiled again and again between
        # tensors cuts the heap into pieces, until a training takes thrice the memory.
        step = 1 << max(0, longest.bit_length() - 4)
        return max(longest, min(-(-longest // step) * step, self.max_tokens))

    def collate(self, rows: Sequence[Sequence[int]], role: Role | None = None) -> dict[str, Any]:
        features = pad(rows, self.pad_id, self.padded(max(map(len, rows))))
        if (types := self._token_types(rows, features["input_ids"].shape)) is not None:
            features["token_type_ids"] = types
        placed: dict[str, Any] = {
            key: value.to(self._model.device) for key, value in features.items()
        }
        if leaves_prompt_out(self._model) and _prompt(self._model, role):
            placed["prompt_length"] = self._preprocess([""], role)["prompt_length"]
        return placed

    def _preprocess(self, texts: list[str], role: Role | None, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        if role is not None:
            options["task"] = role
        return self._model.preprocess(texts, prompt=_prompt(self._model, role), **options)

    def _check_known(self, rows: Sequence[Sequence[int]]) -> None:
        """Refuse tokens that were added to a tokenizer and not to the model.

        Raises:
            UsageError: Names the first of them.
        """
        transformer: Any = self._model[0]
        known = int(transformer.auto_model.get_input_embeddings().num_embeddings)
        highest = max((max(row, default=0) for row in rows), default=0)
        if highest >= known:
            token = self._model.tokenizer.convert_ids_to_tokens(highest)
            raise UsageError(
                f"a text holds {token!r}, token {highest:,} of the tokenizer; the model "
                f"has vectors for {known:,} only"
            )

    def _token_types(self, rows: Sequence[Sequence[int]], shape: torch.Size) -> torch.Tensor | None:
        """Types of tokens where they are not all 0, as those of XLNet's closing token."""
        if "token_type_ids" not in self._model.tokenizer.model_input_names:
            return None
        alone = self._model.tokenizer("")["token_type_ids"]
        if not any(alone):
            return None
        types = torch.zeros(shape, dtype=torch.int64)
        for index, row in enumerate(rows):
            types[index, len(row) - len(alone) : len(row)] = torch.tensor(alone)
        return types


class _StaticIntake:
    """No special tokens, no limit, no padding: flat ids and where each text begins."""

    tokens_at_once: ClassVar[int] = 2**20  # one vector a token and nothing else
    pad_id = 0

    def __init__(self, model: SentenceTransformer) -> None:
        self._model = model

    @property
    def max_tokens(self) -> int:
        return self.limit()

    def limit(self, role: Role | None = None) -> int:  # noqa: ARG002 - the same for all
        return int((self._model.tokenizer.truncation or {}).get("max_length", sys.maxsize))

    def tokenize(self, texts: Sequence[str], role: Role | None = None) -> list[list[int]]:
        prompt = _prompt(self._model, role)
        encodings = self._model.tokenizer.encode_batch(
            [prompt + text for text in texts], add_special_tokens=False
        )
        return [encoding.ids for encoding in encodings]

    def is_cut(self, text: str, role: Role | None = None) -> bool:
        encoded = self._model.tokenizer.encode(
            _prompt(self._model, role) + text, add_special_tokens=False
        )
        return bool(encoded.overflowing)

    def padded(self, longest: int) -> int:
        return longest

    def collate(
        self,
        rows: Sequence[Sequence[int]],
        role: Role | None = None,  # noqa: ARG002 - a mean of all tokens
    ) -> dict[str, Any]:
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        ids = np.fromiter((token for row in rows for token in row), np.int64, lengths.sum())
        offsets = np.cumsum(lengths) - lengths
        device = self._model.device
        return {
            "input_ids": torch.from_numpy(ids).to(device),
            "offsets": torch.from_numpy(offsets).to(device),
        }


def _clean(texts: Sequence[str]) -> list[str]:
    # The tokenizers library refuses lone surrogates, which JSON and file names can smuggle in.
    return [text.encode("utf-8", "replace").decode("utf-8") for text in texts]


def _prompt(model: SentenceTransformer, role: Role | None) -> str:
    return prompt_for(role, model.prompts, model.default_prompt_name)


def leaves_prompt_out(model: SentenceTransformer) -> bool:
    """Whether the tokens of a prompt are read, but not pooled."""
    return any(isinstance(module, Pooling) and not module.include_prompt for module in model)


def intake_of(model: SentenceTransformer) -> Intake:
    """How a model takes text, by its first module.

    Raises:
        UsageError: Its first module is neither a transformer nor a table of token vectors.
    """
    first = model[0]
    if isinstance(first, Transformer):
        return _TransformerIntake(model)
    if isinstance(first, StaticEmbedding):
        return _StaticIntake(model)
    raise UsageError(
        f"a model that starts with a {type(first).__name__} is not read; allowed: Transformer, "
        "StaticEmbedding"
    )


def rows_that_fit(intake: Intake, longest: int, tokens: int) -> int:
    """Rows of a batch that hold so many tokens together, padding included; at least one.

    Args:
        intake: Of the model.
        longest: Tokens of the longest row.
        tokens: That fit.
    """
    return max(1, tokens // max(1, intake.padded(longest)))


def pad(rows: Sequence[Sequence[int]], pad_id: int, least: int = 1) -> dict[str, torch.Tensor]:
    """Token ids as a rectangle.

    Returns:
        `input_ids` and `attention_mask`, each of shape (len(rows), longest row or `least`), int64.
    """
    width = max(1, least, *(len(row) for row in rows))
    ids = np.full((len(rows), width), pad_id, np.int64)
    mask = np.zeros((len(rows), width), np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}


@dataclass(frozen=True)
class Calibration:
    """What was measured before a precision was chosen."""

    sentences: int
    cosine_mean: float
    cosine_min: float
    speedup: float
    """Sentences/s of bfloat16 over those of float32."""

    MEAN_TOLERANCE = 0.999
    MIN_TOLERANCE = 0.99
    LEAST_SPEEDUP = 1.1

    @property
    def passed(self) -> bool:
        """Whether bfloat16 is faithful and worth it."""
        return (
            self.cosine_mean >= self.MEAN_TOLERANCE
            and self.cosine_min >= self.MIN_TOLERANCE
            and self.speedup >= self.LEAST_SPEEDUP
        )

    def to_dict(self) -> dict[str, Any]:
        """For manifests."""
        return asdict(self)


class TorchEncoder(ByRole):
    """A sentence-transformers model that satisfies the Encoder protocol.

    Its vectors are those of `SentenceTransformer.encode`. It fills batches by tokens instead of
    with an equal count of texts, and can compute in bfloat16.

    Attributes:
        model: The model itself.
        truncated: How many texts were cut so far.
    """

    def __init__(
        self, model: SentenceTransformer, *, name: str, precision: Precision = "float32"
    ) -> None:
        self.model = model.eval()
        self.notices = Notices()
        self.truncated = 0
        self._name = name
        self.set_precision(precision)

    @classmethod
    def load(
        cls,
        model: str | ModelSource,
        *,
        precision: Precision = "float32",
        device: str | None = None,
        report: Report = silent,
    ) -> Self:
        """Load from a path, a short name, a hub id, or what `weights.resolve` returned.

        Raises:
            WeightsError: It cannot be found, verified, trusted or loaded.
        """
        source = resolve(model, report=report) if isinstance(model, str) else model
        return cls(load_model(source.path, device=device), name=source.name, precision=precision)

    @property
    def name(self) -> str:
        """As given to `load`."""
        return self._name

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        width = self.model.get_embedding_dimension()
        assert width is not None
        return int(width)

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(weight.numel() for weight in self.model.parameters())

    @property
    def precision(self) -> Precision:
        """In which the weights are held and multiplied."""
        return "bfloat16" if self.model.dtype == torch.bfloat16 else "float32"

    @property
    def max_tokens(self) -> int:
        """Longer texts are cut to so many tokens."""
        return intake_of(self.model).max_tokens

    def set_precision(self, precision: Precision) -> None:
        """Convert the weights; going back from bfloat16 does not bring lost digits back."""
        if precision not in ("float32", "bfloat16"):
            raise UsageError(f"precision is {precision!r}; allowed: float32, bfloat16")
        # Buffers stay: a rotary frequency of 8 bits is turns off after a few hundred tokens.
        for weight in self.model.parameters():
            weight.data = weight.data.to(getattr(torch, precision))

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        normalize: bool = True,
        dim: int | None = None,
        role: Role | None = None,
        truncation: Truncation = "ignore",
        advance: Callable[[int], None] | None = None,
    ) -> Embeddings:
        """Embed texts; see `hpdistill.encoder.Encoder.encode`.

        Args:
            texts: Any number of strings.
            batch_size: Sentences of 32 tokens that fill a batch; on a GPU, 16 times as many.
            normalize: Scale each vector to length 1 (after cutting it to `dim`).
            dim: Keep only the first `dim` numbers of each vector.
            role: What the texts are to a search; None: neither, as in `SentenceTransformer.encode`.
            truncation: What to do about texts longer than `max_tokens`: cut them and `warn`
                (TruncationWarning), cut them and say nothing, or raise an error.
            advance: Called after each batch with how many texts are finished, by their tokens:
                the longest come first, and a count of heads would promise too much time.

        Returns:
            Array of shape (len(texts), dim), float32.

        Raises:
            UsageError: `dim` is not between 1 and the width; a text is too long, if that is to be
                an error, or holds a token that the model has no vector for.
        """
        check_prefix(self, dim)
        intake = intake_of(self.model)
        vectors = np.empty((len(texts), self.dim), np.float32)
        ids = self.tokenize(texts, role)
        self._note_cut(texts, ids, role, truncation)
        order = sorted(range(len(ids)), key=lambda index: len(ids[index]), reverse=True)
        budget = batch_size * TYPICAL_TOKENS * batches_at_once(self.model.device.type)
        start = told = work = 0
        whole = sum(map(len, ids)) + len(ids)
        with torch.inference_mode():
            while start < len(order):
                count = rows_that_fit(intake, len(ids[order[start]]), budget)
                batch = order[start : start + count]
                features = intake.collate([ids[index] for index in batch], role)
                output = self.model(features)["sentence_embedding"]  # (B, width)
                # A model may say that no more than its first numbers are meant.
                vectors[batch] = output[:, : self.dim].float().cpu().numpy()
                start += count
                if advance is not None:
                    work += sum(len(ids[index]) + 1 for index in batch)
                    before, told = told, len(texts) * work // whole
                    advance(told - before)
        if normalize:
            return unit(vectors, dim=dim)
        return vectors if dim is None else vectors[:, :dim]

    @property
    def pad_id(self) -> int:
        """Token id that fills up short rows."""
        return intake_of(self.model).pad_id

    def cut(
        self,
        texts: Sequence[str],
        rows: Sequence[Sequence[int]],
        role: Role | None = None,
        *,
        most: int | None = None,
    ) -> list[int]:
        """Places of texts that are longer than what is read of them.

        Args:
            texts: Any number.
            rows: Their token ids, as `tokenize` gives them.
            role: Of the texts.
            most: Tokens that are read, where those are fewer than `max_tokens`.
        """
        intake = intake_of(self.model)
        limit = intake.limit(role)
        return [
            index
            for index, row in enumerate(rows)
            if (most is not None and len(row) > most)
            or (len(row) >= limit and intake.is_cut(_clean([texts[index]])[0], role))
        ]

    def mostly_unknown(self, rows: Sequence[Sequence[int]], role: Role | None = None) -> list[int]:
        """Places of texts most of whose tokens are none of the vocabulary.

        Args:
            rows: Their token ids, as `tokenize` gives them.
            role: Of the texts.
        """
        unknown = self._unknown
        counts = [0 if unknown is None else row.count(unknown) for row in rows]
        if not any(counts):
            return []
        # Prompt and special tokens are in every row, and known.
        frame = len(self.tokenize([""], role)[0])
        return [
            index
            for index, (row, count) in enumerate(zip(rows, counts, strict=True))
            if count and 2 * count > len(row) - frame
        ]

    @cached_property
    def _unknown(self) -> int | None:
        tokenizer = self.model.tokenizer
        if isinstance(tokenizer, Tokenizer):
            return unknown_token(tokenizer)
        fast = getattr(tokenizer, "backend_tokenizer", None)
        return tokenizer.unk_token_id if fast is None else unknown_token(fast)

    def tokenize(self, texts: Sequence[str], role: Role | None = None) -> list[list[int]]:
        """Token ids of each text, with the prompt of its role and special tokens if any."""
        if not texts:
            return []
        return intake_of(self.model).tokenize(_clean(texts), role)

    def prompt(self, role: Role | None = None) -> str:
        """What is put before each text of a role."""
        return _prompt(self.model, role)

    def _note_cut(
        self,
        texts: Sequence[str],
        rows: Sequence[Sequence[int]],
        role: Role | None,
        truncation: Truncation,
    ) -> None:
        limit = intake_of(self.model).limit(role)
        cut = self.cut(texts, rows, role)
        self.notices.add(len(rows), cut, self.mostly_unknown(rows, role), limit=limit)
        if not cut:
            return
        self.truncated += len(cut)
        warning = TruncationWarning.of(self.name, cut, total=len(texts), limit=limit)
        if truncation == "error":
            raise UsageError(str(warning))
        if truncation == "warn":
            warnings.warn(warning, stacklevel=3)


def reference_vectors(
    model: SentenceTransformer,
    texts: Sequence[str],
    role: Role | None = None,
    *,
    batch_size: int = 32,
) -> Embeddings:
    """What sentence-transformers itself makes of texts, by nothing of ours.

    Args:
        model: Its model.
        texts: Any number of strings.
        role: `encode_query` and `encode_document`, or None: `encode`.
        batch_size: Texts at once; one where padding before a text would change its vector.

    Returns:
        Shape (len(texts), width), float32, of whatever length the model gives them.
    """
    first = model[0]
    if (
        isinstance(first, Transformer)
        and model.tokenizer.padding_side == "left"
        and positions_of(first.auto_model) is not None
    ):
        batch_size = 1
    chosen = "encode" if role is None else f"encode_{role}"
    vectors = getattr(model, chosen)(list(texts), batch_size=batch_size, show_progress_bar=False)
    return np.asarray(vectors, np.float32)


def choose_precision(encoder: TorchEncoder, sample: Sequence[str]) -> Calibration | None:
    """Turn a float32 encoder to bfloat16 where that is faster and faithful on this machine.

    Both precisions take turns on the sample and the fastest round of each counts, so that
    another process starting in between does not decide.

    Args:
        encoder: In float32; left in bfloat16 if the trial passed, else untouched.
        sample: A few dozen sentences like those to come.

    Returns:
        What was measured; None where the processor has no bfloat16.
    """
    if not has_bfloat16(encoder.model.device.type):
        return None
    half = TorchEncoder(copy.deepcopy(encoder.model), name=encoder.name, precision="bfloat16")
    seconds: dict[Precision, list[float]] = {"float32": [], "bfloat16": []}
    for contender in (encoder, half):
        contender.encode(sample[:4])  # the first call allocates
    for _ in range(CALIBRATION_ROUNDS):
        for contender in (encoder, half):
            started = time.perf_counter()
            contender.encode(sample)
            seconds[contender.precision].append(time.perf_counter() - started)
    exact, approximate = encoder.encode(sample), half.encode(sample)
    cosines = np.einsum("nd,nd->n", exact, approximate)
    calibration = Calibration(
        sentences=len(sample),
        cosine_mean=round(float(cosines.mean()), 6),
        cosine_min=round(float(cosines.min()), 6),
        speedup=round(min(seconds["float32"]) / min(seconds["bfloat16"]), 2),
    )
    if calibration.passed:
        encoder.set_precision("bfloat16")
    return calibration
