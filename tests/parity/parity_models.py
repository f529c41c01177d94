"""Tiny sentence-transformers models with random weights: each a way in which models differ.

Weights are large enough that one other token, another pooling or another prompt turns a vector far
away; `test_parity_models.py` holds that true. Directories are written file by file, as hubs have
them: in the older and the newer form of a configuration, where a case is about that.
"""

import copy
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from parity_texts import TRAINING_TEXT
from safetensors.numpy import save_file
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from torch import nn

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTH = 24
_EVERY_LAYER_GLOBAL: dict[str, Any] = {"global_attn_every_n_layers": 1}
LIMIT = 24
"""Tokens that a model reads, where its case does not say otherwise."""
NO_LIMIT = 10**30

Json = dict[str, Any]
Order = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One model."""

    name: str
    architecture: str = "bert"
    tokenizer: str = ""
    """`wordpiece`, `bytes`, `unigram` or `words`; empty: the usual one of the architecture."""
    pooling: Order = ("mean",)
    tail: Order = ("normalize",)
    """Modules behind the pooling; see `_write_tail`."""
    legacy: bool = False
    """Configurations as sentence-transformers 2 to 5 wrote them."""
    limit: int = LIMIT
    """`model_max_length` of the tokenizer."""
    positions: int | None = LIMIT
    """Tokens that the table of positions has place for; None: no table, or one that is larger."""
    left: bool = False
    """Padding on the left."""
    edges: bool = True
    """Special tokens around a text."""
    cased: bool = False
    """Of a tokenizer of words or word pieces; the others always are."""
    added: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Tokens added to the vocabulary, and how each is found in a text."""
    spare: int = 0
    """Added tokens past the end of the embedding table, which no text uses."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    include_prompt: bool = True
    config: Mapping[str, Any] = field(default_factory=dict)
    """More of config.json."""
    sentence_config: Mapping[str, Any] = field(default_factory=dict)
    """More of sentence_bert_config.json."""
    tokenizer_config: Mapping[str, Any] = field(default_factory=dict)
    """More of tokenizer_config.json."""
    model_config: Mapping[str, Any] = field(default_factory=dict)
    """More of config_sentence_transformers.json."""
    reference_limit: int | None = None
    """Set on the reference, which otherwise looks behind the end of its table and fails."""
    alone: bool = False
    """The reference gives a text other vectors beside other texts: padding on the left moves its
    tokens to other positions. What it gives the text alone is what counts."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Paths that refuse this model, each with what the line says (a regular expression)."""

    @property
    def kind_of_tokenizer(self) -> str:
        """Of the four."""
        return self.tokenizer or _USUAL_TOKENIZER.get(self.architecture, "wordpiece")

    @property
    def is_static(self) -> bool:
        """Whether it is a table of token vectors."""
        return self.architecture in ("static", "model2vec")

    @property
    def pooled(self) -> str:
        """Its pooling, in words."""
        return "tokens' mean" if self.is_static else "+".join(self.pooling)


_USUAL_TOKENIZER = {
    "roberta": "bytes",
    "modernbert": "bytes",
    "gpt2": "bytes",
    "qwen3": "bytes",
    "xlm-roberta": "unigram",
    "t5": "unigram",
    "gemma3": "unigram",
    "xlnet": "unigram",
}
_SPECIAL = {
    # architecture: padding, start, end, unknown
    "bert": ("[PAD]", "[CLS]", "[SEP]", "[UNK]"),
    "roberta": ("<pad>", "<s>", "</s>", "<unk>"),
    "xlm-roberta": ("<pad>", "<s>", "</s>", "<unk>"),
    "mpnet": ("<pad>", "<s>", "</s>", "[UNK]"),
    "t5": ("<pad>", "", "</s>", "<unk>"),
    "gpt2": ("<|endoftext|>", "", "", ""),
    "qwen3": ("<|endoftext|>", "", "<|endoftext|>", ""),
    "gemma3": ("<pad>", "<bos>", "<eos>", "<unk>"),
    "xlnet": ("<pad>", "", "<sep><cls>", "<unk>"),
}
_PADDING_SECOND = ("roberta", "xlm-roberta", "mpnet")
"""Their padding token is number 1, and their positions count from 2."""


def build(case: Case, directory: Path) -> Path:
    """Write a case's model.

    Args:
        case: What it is like.
        directory: That does not exist.

    Returns:
        `directory`.
    """
    directory.mkdir(parents=True)
    tokenizer = _tokenizer(case)
    if case.is_static:
        _write_static(case, tokenizer, directory)
    else:
        _write_transformer(case, tokenizer, directory)
    settings: Json = {
        "prompts": dict(case.prompts),
        "default_prompt_name": case.default_prompt,
        "similarity_fn_name": "cosine",
        **case.model_config,
    }
    _json(directory / "config_sentence_transformers.json", settings)
    return directory


# Tokenizers --------------------------------------------------------------------------------------


@cache
def _trained(kind: str, special: Order, lower: bool) -> str:
    """A tokenizer without special tokens around texts, as JSON."""
    extra: Json = {"special_tokens": list(special), "show_progress": False}
    trainer: Any
    if kind == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token=special[-1]))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=300, **extra)
    elif kind == "bytes":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, **extra)
    elif kind == "unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.NFKC(), normalizers.Replace("  ", " ")]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=200, unk_token=special[-1], **extra)
    else:
        tokenizer = Tokenizer(models.WordLevel(unk_token=special[-1]))
        tokenizer.normalizer = normalizers.Lowercase() if lower else None
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        trainer = trainers.WordLevelTrainer(vocab_size=200, **extra)
    tokenizer.train_from_iterator(TRAINING_TEXT, trainer)
    return str(tokenizer.to_str())


def _special(case: Case) -> tuple[str, str, str, str]:
    return _SPECIAL.get(case.architecture, _SPECIAL["bert"])


def _tokenizer(case: Case) -> Tokenizer:
    padding, start, end, unknown = _special(case)
    ends = [f"<{part}" for part in end.split("<") if part] if end.startswith("<") else [end]
    first = [start, padding] if case.architecture in _PADDING_SECOND else [padding, start]
    named = [token for token in (*first, *ends, unknown or padding) if token]
    order = tuple(dict.fromkeys(named))
    tokenizer = Tokenizer.from_str(_trained(case.kind_of_tokenizer, order, not case.cased))
    tokenizer.add_tokens([AddedToken(text, **how) for text, how in case.added.items()])
    if case.spare:
        tokenizer.add_special_tokens([f"<spare{number}>" for number in range(case.spare)])
    if case.edges and (start or end):
        # XLNet tells its last token apart by a type of its own.
        types = {token: 2 * (case.architecture == "xlnet" and token == "<cls>") for token in ends}
        around = [f"{start}:0"] * bool(start) + ["$A:0"] + [f"{t}:{types[t]}" for t in ends if t]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=" ".join(around),
            pair=" ".join([*around, "$B:1"]),
            special_tokens=[(t, tokenizer.token_to_id(t)) for t in (start, *ends) if t],
        )
    return tokenizer


_ALTERNATING = ("modernbert", "gemma3")
"""Some of their layers see neighbours only."""


# Backbones ---------------------------------------------------------------------------------------


def _backbone(case: Case, rows: int, padding: int) -> nn.Module:
    """A backbone of one layer, or two where layers differ, with weights of its case's own."""
    import transformers as t

    positions = case.positions or 4 * LIMIT
    usual: Json = {
        "vocab_size": rows,
        "hidden_size": WIDTH,
        "num_hidden_layers": 2 if case.architecture in _ALTERNATING else 1,
        "num_attention_heads": 2,
        "intermediate_size": 2 * WIDTH,
        "max_position_embeddings": positions,
        "pad_token_id": padding,
    }
    rotary: Json = {"num_key_value_heads": 1, "head_dim": 12, **usual}
    edges: Json = {"bos_token_id": None, "eos_token_id": None}
    second = {**usual, "max_position_embeddings": positions + 2, "type_vocab_size": 1}
    made: dict[str, Any] = {
        "bert": lambda: t.BertModel(t.BertConfig(**usual, **case.config)),
        "roberta": lambda: t.RobertaModel(t.RobertaConfig(**second, **case.config)),
        "xlm-roberta": lambda: t.XLMRobertaModel(t.XLMRobertaConfig(**second, **case.config)),
        "mpnet": lambda: t.MPNetModel(t.MPNetConfig(**second, **case.config)),
        "distilbert": lambda: t.DistilBertModel(
            t.DistilBertConfig(
                vocab_size=rows,
                dim=WIDTH,
                n_layers=1,
                n_heads=2,
                hidden_dim=2 * WIDTH,
                max_position_embeddings=positions,
                pad_token_id=padding,
                **case.config,
            )
        ),
        "modernbert": lambda: t.ModernBertModel(
            t.ModernBertConfig(
                **usual,
                **_EVERY_LAYER_GLOBAL,
                local_attention=8,
                cls_token_id=None,
                sep_token_id=None,
                **edges,
                **case.config,
            )
        ),
        "nomic": lambda: t.NomicBertModel(t.NomicBertConfig(**usual, **case.config)),
        "t5": lambda: t.T5EncoderModel(
            t.T5Config(
                vocab_size=rows,
                d_model=WIDTH,
                d_kv=12,
                d_ff=2 * WIDTH,
                num_layers=1,
                num_heads=2,
                relative_attention_num_buckets=8,
                relative_attention_max_distance=16,
                pad_token_id=padding,
                **case.config,
            )
        ),
        "gpt2": lambda: t.GPT2Model(
            t.GPT2Config(
                vocab_size=rows,
                n_positions=positions,
                n_embd=WIDTH,
                n_layer=1,
                n_head=2,
                pad_token_id=padding,
                **edges,
                **case.config,
            )
        ),
        "qwen3": lambda: t.Qwen3Model(t.Qwen3Config(**rotary, **edges, **case.config)),
        "gemma3": lambda: t.Gemma3TextModel(
            t.Gemma3TextConfig(
                **rotary,
                sliding_window=8,
                layer_types=["sliding_attention", "full_attention"],
                query_pre_attn_scalar=12,
                **edges,
                **case.config,
            )
        ),
        "xlnet": lambda: t.XLNetModel(
            t.XLNetConfig(
                vocab_size=rows,
                d_model=WIDTH,
                n_layer=1,
                n_head=2,
                d_inner=2 * WIDTH,
                pad_token_id=padding,
                **case.config,
            )
        ),
    }
    model: nn.Module = made[case.architecture]()
    return _scattered(model, _seed(case))


_ATTENTION = re.compile(r"query|key|\b[qk]\b|[qk]_(proj|lin)|qkv", re.IGNORECASE)
"""Names of weights that decide which tokens a token looks at."""


def _seed(case: Case) -> int:
    return zlib.crc32(case.name.encode())


def _scattered(model: nn.Module, seed: int) -> nn.Module:
    """Every weight drawn anew, biases and scales too, so that none can be left out unseen."""
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            drawn = torch.randn(weight.shape, generator=chance)
            if weight.ndim < 2:
                # Around what it was made as: 1 or 0.
                weight.add_(0.15 * drawn)
            elif "token_type" in name:
                weight.copy_(0.3 * drawn)  # common to all tokens
            elif any(part in name for part in ("embed", "wte", "wpe", "shared")):
                weight.copy_(drawn)
            else:
                # Neither so sharp nor so blunt an attention that single tokens do not matter.
                gain = 0.7 if _ATTENTION.search(name) else 1.5
                weight.copy_(gain * drawn / weight.shape[-1] ** 0.5)
    return model.eval()


# Directories -------------------------------------------------------------------------------------


def _write_transformer(case: Case, tokenizer: Tokenizer, directory: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    padding, start, end, unknown = _special(case)
    number = tokenizer.token_to_id(padding)
    assert number is not None
    rows = max(tokenizer.get_vocab().values()) + 1 - case.spare
    backbone: Any = _backbone(case, rows, number)
    backbone.save_pretrained(directory)
    named = {"unk_token": unknown, "bos_token": start, "eos_token": end}
    if start and end and not end.startswith("<"):
        named |= {"cls_token": start, "sep_token": end}
    types = ["token_type_ids"] * (case.architecture in ("bert", "xlnet", "nomic"))
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=copy.deepcopy(tokenizer),
        pad_token=padding,
        padding_side="left" if case.left else "right",
        model_max_length=case.limit,
        model_input_names=["input_ids", *types, "attention_mask"],
        **{key: token for key, token in named.items() if token and "><" not in token},
    )
    fast.save_pretrained(directory)
    _update(directory / "tokenizer_config.json", case.tokenizer_config)
    if case.legacy:
        first: Json = {"max_seq_length": min(case.limit, 512), "do_lower_case": False}
    else:
        first = {
            "transformer_task": "feature-extraction",
            "modality_config": {
                "text": {"method": "forward", "method_output_name": "last_hidden_state"}
            },
            "module_output_name": "token_embeddings",
        }
    _json(directory / "sentence_bert_config.json", {**first, **case.sentence_config})
    modules = _Modules(case, directory)
    modules.add("Transformer", "base.modules.transformer", {}, place="")
    _write_pooling(case, modules)
    _write_tail(case, modules, WIDTH * len(case.pooling))


def _write_static(case: Case, tokenizer: Tokenizer, directory: Path) -> None:
    modules = _Modules(case, directory)
    place = "0_StaticEmbedding" if case.legacy else ""
    modules.add("StaticEmbedding", "sentence_transformer.modules.static_embedding", {}, place=place)
    rows = max(tokenizer.get_vocab().values()) + 1
    chance = np.random.default_rng(_seed(case))
    table = chance.standard_normal((rows, WIDTH), np.float32)
    tensors: dict[str, NDArray[Any]] = {"embedding.weight": table}
    if case.architecture == "model2vec":
        # Its own layout: fewer vectors than tokens, and a weight for each token.
        tensors = {"embeddings": table}
        if "quantised" in case.name:
            tensors = {
                "embeddings": table[: rows // 3].copy(),
                "mapping": chance.integers(0, rows // 3, rows, np.int64),
                "weights": chance.uniform(0.2, 2, rows).astype(np.float64),
            }
        normalize = "normalize" in case.tail
        _json(directory / "config.json", {"normalize": normalize, "max_length": case.limit})
        tokenizer.enable_truncation(case.limit)
    elif case.limit != NO_LIMIT:
        tokenizer.enable_truncation(case.limit, direction="left" if case.left else "right")
    tokenizer.save(str(directory / place / "tokenizer.json"))
    save_file(tensors, directory / place / "model.safetensors")
    _write_tail(case, modules, WIDTH)


class _Modules:
    """`modules.json`, and a folder for each."""

    def __init__(self, case: Case, directory: Path) -> None:
        self._old = case.legacy or case.architecture == "model2vec"
        self._directory = directory
        self._entries: list[Json] = []

    def add(
        self,
        kind: str,
        home: str,
        config: Json,
        tensors: Mapping[str, Any] | None = None,
        *,
        place: str | None = None,
    ) -> None:
        number = len(self._entries)
        path = f"{number}_{kind}" if place is None else place
        package = "models" if self._old else home
        entry = {"idx": number, "name": str(number), "path": path}
        entry["type"] = f"sentence_transformers.{package}.{kind}"
        self._entries.append(entry)
        folder = self._directory / path
        folder.mkdir(exist_ok=True)
        if config:
            _json(folder / "config.json", config)
        if tensors:
            save_file(dict(tensors), folder / "model.safetensors")
        _json(self._directory / "modules.json", self._entries)


def _write_pooling(case: Case, modules: _Modules) -> None:
    names = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens"}
    names["weightedmean"] = "weightedmean_tokens"
    if case.legacy:
        every = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
        chosen = {f"pooling_mode_{names.get(m, m)}": m in case.pooling for m in every}
        config: Json = {"word_embedding_dimension": WIDTH, **chosen}
    else:
        modes = case.pooling[0] if len(case.pooling) == 1 else list(case.pooling)
        config = {"embedding_dimension": WIDTH, "pooling_mode": modes}
    config["include_prompt"] = case.include_prompt
    modules.add("Pooling", "sentence_transformer.modules.pooling", config)


def _write_tail(case: Case, modules: _Modules, width: int) -> None:
    """Modules behind the pooling, each by its word: `dense`, `dense-bare`, `dense-gelu`, ..."""
    chance = np.random.default_rng(_seed(case) + 1)
    for word in case.tail:
        kind, _, how = word.partition("-")
        if kind == "normalize":
            modules.add("Normalize", "base.modules.normalize", {})
        elif kind == "dropout":
            config: Json = {"dropout": 0.5}
            modules.add("Dropout", "sentence_transformer.modules.dropout", config)
        elif kind == "layernorm":
            tensors = {
                "norm.weight": (1 + 0.3 * chance.standard_normal(width)).astype(np.float32),
                "norm.bias": (0.3 * chance.standard_normal(width)).astype(np.float32),
            }
            home = "sentence_transformer.modules.layer_norm"
            modules.add("LayerNorm", home, {"dimension": width}, tensors)
        else:
            new = 20 if how != "residual" else width
            config = {
                "in_features": width,
                "out_features": new,
                "bias": how != "bare",
                "activation_function": _ACTIVATIONS.get(how, "torch.nn.modules.linear.Identity"),
            }
            if how == "residual":
                config["use_residual"] = True
            weight = chance.standard_normal((new, width)) / width**0.5
            tensors = {"linear.weight": weight.astype(np.float32)}
            if how != "bare":
                tensors["linear.bias"] = (0.3 * chance.standard_normal(new)).astype(np.float32)
            modules.add("Dense", "base.modules.dense", config, tensors)
            width = new


_ACTIVATIONS = {
    "tanh": "torch.nn.modules.activation.Tanh",
    "gelu": "torch.nn.modules.activation.GELU",
    "relu": "torch.nn.modules.activation.ReLU",
}


def _json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False), "utf-8")


def _update(file: Path, more: Mapping[str, Any]) -> None:
    if more:
        _json(file, {**json.loads(file.read_text("utf-8")), **more})
