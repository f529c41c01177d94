"""OPUS-MT and other Marian models, through transformers."""

from collections.abc import Sequence
from typing import Any

from hpdistill.corpus.augment._marian_files import find_marian
from hpdistill.extras import extra
from hpdistill.progress import Report, silent

__all__ = ["MarianTranslator"]

MAX_TOKENS = 256


class MarianTranslator:
    """One direction, by one model.

    Args:
        model: Hub id or folder; only safetensors are read.
        batch_size: Sentences that are translated at once, of like length.
        beams: Of the search; 1 takes the likeliest word each time.
        report: Progress of fetching.

    Raises:
        WeightsError: The model cannot be found or fetched, is no Marian model, or has no
            safetensors.
        PackageError: An extra is not installed.
    """

    def __init__(
        self, model: str, *, batch_size: int = 32, beams: int = 1, report: Report = silent
    ) -> None:
        path, sha256 = find_marian(model, report)
        self.name = f"Marian {model}"
        self.identity = {"translator": self.name, "weights": sha256, "beams": beams}
        self._path = path
        self._batch_size = batch_size
        self._beams = beams
        self._loaded: tuple[Any, Any] | None = None

    def translate(self, texts: Sequence[str]) -> list[str | None]:
        """Translate sentences; see `Translator.translate`."""
        torch = extra("torch")
        tokenizer, model = self._loaded = self._loaded or self._load()
        limit = min(MAX_TOKENS, model.config.max_position_embeddings)
        found: list[str | None] = [None] * len(texts)
        # Of like length, or most of a batch is padding.
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        for start in range(0, len(order), self._batch_size):
            numbers = order[start : start + self._batch_size]
            batch = tokenizer(
                [texts[number] for number in numbers],
                return_tensors="pt",
                padding=True,
                truncation=True,
                max_length=limit,
            )
            with torch.inference_mode():
                tokens = model.generate(
                    **batch, num_beams=self._beams, do_sample=False, max_length=limit
                )
            decoded = tokenizer.batch_decode(tokens, skip_special_tokens=True)
            for number, text in zip(numbers, decoded, strict=True):
                found[number] = text
        return found

    def close(self) -> None:
        """Let go of the model."""
        self._loaded = None

    def _load(self) -> tuple[Any, Any]:
        extra("sentencepiece", "augment")
        transformers, torch = extra("transformers"), extra("torch")
        tokenizer = transformers.MarianTokenizer.from_pretrained(
            str(self._path), local_files_only=True
        )
        model = transformers.MarianMTModel.from_pretrained(
            str(self._path), local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
        return tokenizer, model.eval()
