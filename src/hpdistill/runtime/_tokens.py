"""Texts to token ids, exactly as transformers would do it for the same model directory."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, normalizers

from hpdistill.encoder import Role, prompt_for
from hpdistill.errors import UsageError, WeightsError
from hpdistill.runtime._options import NO_LIMIT
from hpdistill.runtime._ragged import Ints, ends_of, gather, starts_of
from hpdistill.runtime._words import WordCache

__all__ = ["TextTokenizer", "Tokens", "read_settings", "unknown_token"]

_TEXTS_AT_ONCE = 1024
_CHARACTERS_AT_ONCE = 2**19
"""The tokenizers library takes some 100 bytes a token while it works on texts."""
_LEAST_SHARE = 0.9
_SENTENCE_SETTINGS = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
"""Names that sentence-transformers has given one file; the first with anything in it counts."""
_OFFSET_POSITIONS = {
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "mpnet",
    "roberta",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}
"""Their positions are counted from behind the padding id."""
_HELD_BY_TOKENIZER = {"do_lower_case", "max_length", "padding_side", "use_fast"}
"""What sentence-transformers may hand to a tokenizer and is no matter of ours: in the file of the
tokenizer already, or of no effect on a text's own tokens."""


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
    """A model directory's tokenizer with its limit, its special tokens and its prompts.

    Thread-safe.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        max_tokens: int | None,
        limits: Mapping[Role, int] | None = None,
        prompts: Mapping[str, str | None] | None = None,
        default_prompt: str | None = None,
        special_tokens: bool = True,
        pad_id: int = 0,
        keep_end: bool = False,
    ) -> None:
        # Cutting and padding are done here, on arrays.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._words = WordCache.of(tokenizer)
        self._prompts = prompts or {}
        self._default_prompt = default_prompt
        self._keep_end = keep_end
        self.prefix, self.suffix = _frame(tokenizer) if special_tokens else ([], [])
        self.pad_id = pad_id
        self.highest_id: int = max(tokenizer.get_vocab().values(), default=0)
        self.max_tokens = max_tokens
        self._unknown = unknown_token(tokenizer)
        self._limits = limits or {}
        self._rows: int | None = None

    @classmethod
    def for_transformer(
        cls, root: Path, folder: Path, *, made: Path | None = None, limit: int | None = None
    ) -> "TextTokenizer":
        """The tokenizer of a transformer.

        Args:
            root: The model directory, for its prompts.
            folder: Of the transformer: tokenizer.json and what goes with it.
            made: The tokenizer as transformers made it of these files, where that is another.
            limit: Tokens that the graph takes, where that is known.

        Raises:
            WeightsError: Files are missing or damaged, do not fit each other, or ask for what only
                transformers can do.
        """
        tokenizer = _open(made or folder / "tokenizer.json")
        prompts, default_prompt = _prompts(root)
        config = read_settings(folder / "config.json")
        own = read_settings(folder / "tokenizer_config.json")
        sentence = _sentence_settings(folder)
        handed = {
            key: value
            for name in ("tokenizer_args", "processor_kwargs")
            for key, value in (sentence.get(name) or {}).items()
        }
        if made is None:
            _refuse_unknown(handed, sentence, folder)
        if sentence.get("do_lower_case"):
            parts = [normalizers.Lowercase(), tokenizer.normalizer]
            if not _lowercases(tokenizer):
                tokenizer.normalizer = normalizers.Sequence([part for part in parts if part])
        side = handed.get("truncation_side") or own.get("truncation_side")
        if side is None and made is None:
            side = (tokenizer.truncation or {}).get("direction")
        found = cls(
            tokenizer,
            max_tokens=_limit(config, own, sentence, handed, limit),
            limits=_limits_of_roles(config, sentence),
            prompts=prompts,
            default_prompt=default_prompt,
            pad_id=_pad_id(tokenizer, own, read_settings(folder / "special_tokens_map.json")),
            keep_end=str(side).lower() == "left",
        )
        if config.get("vocab_size") is not None:
            found.check_vocabulary(int(config["vocab_size"]), folder)
        return found

    @classmethod
    def for_static(cls, root: Path, folder: Path, *, rows: int) -> "TextTokenizer":
        """The tokenizer of a static model: no special tokens, a limit only if it states one.

        Args:
            root: The model directory, for its prompts.
            folder: Of the static model.
            rows: Token vectors there are.

        Raises:
            WeightsError: Files are missing or damaged, or do not fit each other.
        """
        tokenizer = _open(folder / "tokenizer.json")
        truncation = tokenizer.truncation or {}
        prompts, default_prompt = _prompts(root)
        found = cls(
            tokenizer,
            max_tokens=truncation.get("max_length"),
            prompts=prompts,
            default_prompt=default_prompt,
            special_tokens=False,
            keep_end=truncation.get("direction") == "left",
        )
        found.check_vocabulary(rows, folder)
        return found

    def check_vocabulary(self, rows: int, folder: Path) -> None:
        """Refuse the tokenizer of another model.

        A table may have rows to spare: many models round their number up. It may lack those of
        tokens that were added to the tokenizer alone, as long as no text holds one.

        Raises:
            WeightsError: It has tokens beyond the table, or the table is another's by its size.
        """
        size = self.highest_id + 1
        if size > rows:
            added = self._tokenizer.get_added_tokens_decoder()
            vocabulary = self._tokenizer.get_vocab().values()
            if all(number in added for number in vocabulary if number >= rows):
                self._rows, self.highest_id = rows, rows - 1
                return
        if size > rows or size < _LEAST_SHARE * rows:
            raise WeightsError(
                f"{folder / 'tokenizer.json'} has {size:,} tokens, but the model has vectors for "
                f"{rows:,}",
                hint="Put back the tokenizer.json that the model was saved with.",
            )

    def limit(self, role: Role | None = None) -> int | None:
        """Longer texts of a role are cut to so many tokens; None: there is no limit."""
        return self._limits.get(role, self.max_tokens) if role else self.max_tokens

    def prompt(self, role: Role | None = None) -> str:
        """What is put before each text of a role."""
        return prompt_for(role, self._prompts, self._default_prompt)

    @property
    def has_prompts(self) -> bool:
        """Whether any role has a prompt."""
        return any(self.prompt(role) for role in (None, "query", "document"))

    def prompt_length(self, role: Role | None = None) -> int:
        """Tokens that a prompt has, as sentence-transformers counts those that are not pooled."""
        prompt = self.prompt(role)
        if not prompt:
            return 0
        ids, _ = self._encode([prompt])
        row = [*self.prefix, *ids.tolist(), *self.suffix]
        special = {n for n, t in self._tokenizer.get_added_tokens_decoder().items() if t.special}
        return len(row) - (row[-1] in special)

    def encode(self, texts: Sequence[str], role: Role | None = None) -> Tokens:
        """Tokenise any number of texts, each behind the prompt of its role.

        Raises:
            UsageError: One holds a token that the model has no vector for.
        """
        if prompt := self.prompt(role):
            texts = [prompt + text for text in texts]
        parts = [self._encode(chunk) for chunk in _chunks(texts)]
        ids = np.concatenate([part[0] for part in parts] or [np.zeros(0, np.int64)])
        lengths = np.concatenate([part[1] for part in parts] or [np.zeros(0, np.int64)])
        tokens = self._cut(ids, lengths, self.limit(role))
        if self._rows is not None and len(tokens.ids) and int(tokens.ids.max()) >= self._rows:
            number = int(tokens.ids.max())
            raise UsageError(
                f"a text holds {self._tokenizer.id_to_token(number)!r}, token {number:,} of the "
                f"tokenizer; the model has vectors for {self._rows:,} only"
            )
        return tokens

    def mostly_unknown(self, tokens: Tokens, role: Role | None = None) -> Ints:
        """Which texts have more unknown tokens than known ones, in ascending order."""
        none = np.zeros(0, np.int64)
        if self._unknown is None:
            return none
        hits = np.flatnonzero(tokens.ids == self._unknown)
        if not len(hits):
            return none
        owners = np.searchsorted(ends_of(tokens.lengths), hits, side="right")
        counts = np.bincount(owners, minlength=len(tokens.lengths))
        # A prompt is in every text, and known.
        own = tokens.lengths - max(0, self.prompt_length(role) - len(self.prefix))
        return np.flatnonzero((counts > 0) & (2 * counts > own))

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

    def _cut(self, ids: Ints, lengths: Ints, most: int | None) -> Tokens:
        if most is None:
            return Tokens(ids, lengths, np.zeros(0, np.int64))
        limit = max(0, most - len(self.prefix) - len(self.suffix))
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


def _open(file: Path) -> Tokenizer:
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


def _sentence_settings(folder: Path) -> dict[str, Any]:
    for name in _SENTENCE_SETTINGS:
        if settings := read_settings(folder / name):
            return settings
    return {}


def _refuse_unknown(handed: Mapping[str, Any], sentence: Mapping[str, Any], folder: Path) -> None:
    """Refuse what makes of the tokenizer's files another tokenizer, as only transformers does."""
    known = {*_HELD_BY_TOKENIZER, "model_max_length", "truncation_side"}
    others = [f"{key}={value!r}" for key, value in handed.items() if key not in known]
    modalities = sentence.get("modality_config") or {}
    if "message" in modalities:
        others.append("a chat template")
    # Padding is ours, and a limit is read; anything else changes tokens.
    for modality, options in (sentence.get("processing_kwargs") or {}).items():
        if modality in ("text", "common"):
            others += [key for key in options if key not in ("max_length", "padding")]
    if sentence.get("query_expansion"):
        others.append("query_expansion")
    if others:
        raise WeightsError(
            f"{folder} wants its texts tokenised with {', '.join(others)}, which only "
            "sentence-transformers can do",
            hint="`hpd export` writes the tokenizer that comes of it, where there is one.",
        )


def _limit(
    config: Mapping[str, Any],
    own: Mapping[str, Any],
    sentence: Mapping[str, Any],
    handed: Mapping[str, Any],
    most: int | None,
) -> int | None:
    """Tokens of a text that are read, special ones included; None: all.

    As sentence-transformers settles it, but never more than there are vectors for positions. Which
    models have those is known where one was exported (`most`); else all are taken to have them.
    """
    stated = [
        _said_limit(sentence),
        handed.get("model_max_length"),
        sentence.get("max_seq_length"),
        own.get("model_max_length"),
    ]
    limits = [next((value for value in stated if value is not None), NO_LIMIT), most]
    positions = config.get("max_position_embeddings")
    if positions is None and config.get("model_type") in ("gpt2", "openai-gpt"):
        positions = config.get("n_positions", 1024)
    if most is None and positions is not None and positions > 0:
        if config.get("model_type") in _OFFSET_POSITIONS:
            positions -= config.get("pad_token_id", 1) + 1
        limits.append(positions)
    lowest = min(int(limit) for limit in limits if limit is not None)
    return lowest if lowest < NO_LIMIT else None


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


def _said_limit(sentence: Mapping[str, Any]) -> int | None:
    text = (sentence.get("processing_kwargs") or {}).get("text") or {}
    limit = text.get("max_length")
    return None if limit is None else int(limit)


def _limits_of_roles(config: Mapping[str, Any], sentence: Mapping[str, Any]) -> Mapping[Role, int]:
    """Limits that queries and documents have of their own."""
    if _said_limit(sentence) is not None:
        return {}
    roles: tuple[Role, ...] = ("query", "document")
    lengths = {role: sentence.get(f"{role}_length") for role in roles}
    return {
        role: found
        for role, length in lengths.items()
        if length and (found := _limit(config, {}, {"max_seq_length": length}, {}, None))
    }


def _prompts(root: Path) -> tuple[Mapping[str, str | None], str | None]:
    """A model's prompts by name, and the name of the default one."""
    file = root / "config_sentence_transformers.json"
    settings = read_settings(file)
    prompts = settings.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(
        value is None or isinstance(value, str) for value in prompts.values()
    ):
        raise WeightsError(f"{file} is damaged: prompts is no object of texts")
    name = settings.get("default_prompt_name")
    return prompts, None if name is None else str(name)


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
