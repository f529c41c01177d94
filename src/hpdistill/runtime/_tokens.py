"""Texts to token ids, exactly as transformers would do it for the same model directory."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, normalizers

from hpdistill.errors import WeightsError
from hpdistill.runtime._ragged import Ints, ends_of, gather, starts_of
from hpdistill.runtime._words import WordCache

__all__ = ["TextTokenizer", "Tokens", "read_settings", "unknown_token"]

_TEXTS_AT_ONCE = 1024
_CHARACTERS_AT_ONCE = 2**19
"""The tokenizers library takes some 100 bytes a token while it works on texts."""
_NO_LIMIT = 10**6
"""transformers writes 10**30 where a tokenizer has no limit."""
_LEAST_SHARE = 0.9


@dataclass(frozen=True)
class Tokens:
    """Token ids of texts, without special tokens."""

    ids: Ints
    """Of all texts, end to end."""
    lengths: Ints
    """Tokens of each text."""
    cut: Ints
    """Which texts were longer than the model takes, in ascending order."""


class TextTokenizer:
    """A model directory's tokenizer with its limit, its special tokens and its default prompt.

    Thread-safe.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        max_tokens: int | None,
        prompt: str = "",
        special_tokens: bool = True,
        pad_id: int = 0,
        keep_end: bool = False,
    ) -> None:
        # Cutting and padding are done here, on arrays.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._words = WordCache.of(tokenizer)
        self._prompt = prompt
        self._keep_end = keep_end
        self.prefix, self.suffix = _frame(tokenizer) if special_tokens else ([], [])
        self.pad_id = pad_id
        self.highest_id: int = max(tokenizer.get_vocab().values(), default=0)
        self.max_tokens = max_tokens
        self._unknown = unknown_token(tokenizer)

    @classmethod
    def for_transformer(cls, root: Path, folder: Path) -> "TextTokenizer":
        """The tokenizer of a transformer.

        Args:
            root: The model directory, for its default prompt.
            folder: Of the transformer: tokenizer.json and what goes with it.

        Raises:
            WeightsError: Files are missing or damaged, or do not fit each other.
        """
        tokenizer = _open(folder)
        config = read_settings(folder / "config.json")
        own = read_settings(folder / "tokenizer_config.json")
        sentence = read_settings(folder / "sentence_bert_config.json")
        if sentence.get("do_lower_case"):
            parts = [normalizers.Lowercase(), tokenizer.normalizer]
            if not _lowercases(tokenizer):
                tokenizer.normalizer = normalizers.Sequence([part for part in parts if part])
        limit = sentence.get("max_seq_length") or own.get("model_max_length") or _NO_LIMIT
        limit = min(limit, config.get("max_position_embeddings") or _NO_LIMIT)
        made = cls(
            tokenizer,
            max_tokens=int(limit) if limit < _NO_LIMIT else None,
            prompt=_default_prompt(root),
            pad_id=_pad_id(tokenizer, own, read_settings(folder / "special_tokens_map.json")),
            keep_end=own.get("truncation_side") == "left",
        )
        if config.get("vocab_size") is not None:
            made.check_vocabulary(int(config["vocab_size"]), folder)
        return made

    @classmethod
    def for_static(cls, root: Path, folder: Path, *, rows: int) -> "TextTokenizer":
        """The tokenizer of a static model: no special tokens, a limit only if it states one.

        Args:
            root: The model directory, for its default prompt.
            folder: Of the static model.
            rows: Token vectors there are.

        Raises:
            WeightsError: Files are missing or damaged, or do not fit each other.
        """
        tokenizer = _open(folder)
        truncation = tokenizer.truncation or {}
        made = cls(
            tokenizer,
            max_tokens=truncation.get("max_length"),
            prompt=_default_prompt(root),
            special_tokens=False,
            keep_end=truncation.get("direction") == "left",
        )
        made.check_vocabulary(rows, folder)
        return made

    def check_vocabulary(self, rows: int, folder: Path) -> None:
        """Refuse the tokenizer of another model.

        A table may have rows to spare: many models round their number up.

        Raises:
            WeightsError: It has tokens beyond the table, or the table is another's by its size.
        """
        size = self.highest_id + 1
        if size > rows or size < _LEAST_SHARE * rows:
            raise WeightsError(
                f"{folder / 'tokenizer.json'} has {size:,} tokens, but the model has vectors for "
                f"{rows:,}",
                hint="Put back the tokenizer.json that the model was saved with.",
            )

    def encode(self, texts: Sequence[str]) -> Tokens:
        """Tokenise any number of texts."""
        if self._prompt:
            texts = [self._prompt + text for text in texts]
        parts = [self._encode(chunk) for chunk in _chunks(texts)]
        ids = np.concatenate([part[0] for part in parts] or [np.zeros(0, np.int64)])
        lengths = np.concatenate([part[1] for part in parts] or [np.zeros(0, np.int64)])
        return self._cut(ids, lengths)

    def mostly_unknown(self, tokens: Tokens) -> Ints:
        """Which texts have more unknown tokens than known ones, in ascending order."""
        hits = np.flatnonzero(tokens.ids == self._unknown) if self._unknown is not None else []
        if not len(hits):
            return np.zeros(0, np.int64)
        owners = np.searchsorted(ends_of(tokens.lengths), hits, side="right")
        counts = np.bincount(owners, minlength=len(tokens.lengths))
        return np.flatnonzero(2 * counts > tokens.lengths)

    def _encode(self, texts: Sequence[str]) -> tuple[Ints, Ints]:
        if self._words is None:
            return self._encode_any(texts)
        plain = np.array(self._words.takes(texts))
        if plain.all():
            return self._words.encode(texts)
        if not plain.any():
            return self._encode_any(texts)
        fast = self._words.encode(list(compress(texts, plain)))
        slow = self._encode_any(list(compress(texts, ~plain)))
        # Both end to end; then each text's tokens from where they are.
        lengths = np.empty(len(texts), np.int64)
        lengths[plain], lengths[~plain] = fast[1], slow[1]
        starts = np.empty(len(texts), np.int64)
        starts[plain], starts[~plain] = starts_of(fast[1]), len(fast[0]) + starts_of(slow[1])
        return np.concatenate([fast[0], slow[0]])[gather(starts, lengths)], lengths

    def _encode_any(self, texts: Sequence[str]) -> tuple[Ints, Ints]:
        # The tokenizers library refuses lone surrogates, which JSON and file names can smuggle in.
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        encoded = self._tokenizer.encode_batch_fast(clean, add_special_tokens=False)
        rows = [encoding.ids for encoding in encoded]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return np.fromiter((i for row in rows for i in row), np.int64, int(lengths.sum())), lengths

    def _cut(self, ids: Ints, lengths: Ints) -> Tokens:
        if self.max_tokens is None:
            return Tokens(ids, lengths, np.zeros(0, np.int64))
        limit = max(0, self.max_tokens - len(self.prefix) - len(self.suffix))
        cut = np.flatnonzero(lengths > limit)
        if len(cut):
            kept = np.minimum(lengths, limit)
            starts = starts_of(lengths) + (lengths - kept if self._keep_end else 0)
            ids, lengths = ids[gather(starts, kept)], kept
        return Tokens(ids, lengths, cut)


def read_settings(file: Path) -> dict[str, Any]:
    """A JSON object of a model directory; empty where there is no such file.

    Raises:
        WeightsError: It is damaged.
    """
    try:
        settings = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{file} is damaged: {error}") from error
    if not isinstance(settings, dict):
        raise WeightsError(f"{file} is damaged: a JSON object was expected")
    return settings


def unknown_token(tokenizer: Tokenizer) -> int | None:
    """What a tokenizer puts for what is not in its vocabulary; None if it can spell everything."""
    names = (getattr(tokenizer.model, "unk_token", None), "<unk>", "[UNK]")
    found = (tokenizer.token_to_id(name) for name in names if name)
    return next((number for number in found if number is not None), None)


def _open(folder: Path) -> Tokenizer:
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise WeightsError(
            f"{file} is missing",
            hint="Save the model with a fast tokenizer: `tokenizer.save_pretrained` writes it.",
        )
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:
        # The library raises plain Exception for whatever is wrong with the file.
        raise WeightsError(f"{file} is damaged: {str(error).splitlines()[0]}") from error


def _frame(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The special tokens before and after every text."""
    inner: list[int] = tokenizer.encode("a", add_special_tokens=False).ids
    outer: list[int] = tokenizer.encode("a").ids
    for start in range(len(outer) - len(inner) + 1):
        if outer[start : start + len(inner)] == inner:
            return outer[:start], outer[start + len(inner) :]
    raise WeightsError(
        f"its tokenizer makes {outer} of the tokens {inner}: only special tokens before and after "
        "a text are supported"
    )


def _lowercases(tokenizer: Tokenizer) -> bool:
    return tokenizer.normalizer is not None and tokenizer.normalizer.normalize_str("A") == "a"


def _default_prompt(root: Path) -> str:
    settings = read_settings(root / "config_sentence_transformers.json")
    prompts = settings.get("prompts") or {}
    return str(prompts.get(settings.get("default_prompt_name") or "") or "")


def _pad_id(tokenizer: Tokenizer, *settings: dict[str, Any]) -> int:
    for setting in settings:
        token = setting.get("pad_token")
        if isinstance(token, dict):
            token = token.get("content")
        if isinstance(token, str) and (number := tokenizer.token_to_id(token)) is not None:
            return int(number)
    return int((tokenizer.padding or {}).get("pad_id", 0))


def _chunks(texts: Sequence[str]) -> list[Sequence[str]]:
    """Texts in a row, few enough at once for the memory that tokenising takes."""
    chunks: list[Sequence[str]] = []
    start = characters = 0
    for index, text in enumerate(texts):
        characters += len(text)
        if characters > _CHARACTERS_AT_ONCE or index - start == _TEXTS_AT_ONCE:
            chunks.append(texts[start:index])
            start, characters = index, len(text)
    chunks.append(texts[start:])
    return [chunk for chunk in chunks if len(chunk)]
