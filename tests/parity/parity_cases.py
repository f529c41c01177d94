"""The matrix: each case is a way in which a model may differ from a plain one."""

from collections.abc import Mapping
from typing import Any

from parity_models import LIMIT, NO_LIMIT, Case

E5 = {"query": "search query: ", "passage": "text: "}
ROLES = {"query": "search query: ", "document": "title: none | text: "}
INSTRUCT = {"query": "Instruct the reader to find the passage.\nquery: "}

POOLINGS = ("cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")

_TEXT: Mapping[str, Any] = {
    "text": {"method": "forward", "method_output_name": "last_hidden_state"}
}

ARCHITECTURES = [
    Case(name="bert"),
    Case(name="roberta", architecture="roberta"),
    Case(name="xlm-roberta", architecture="xlm-roberta", prompts=E5),
    Case(name="mpnet", architecture="mpnet"),
    Case(name="distilbert", architecture="distilbert"),
    Case(name="modernbert", architecture="modernbert", pooling=("cls",)),
    Case(name="nomic", architecture="nomic", prompts=ROLES),
    Case(name="t5", architecture="t5", tail=("dense-bare", "normalize"), positions=None),
    Case(name="gpt2", architecture="gpt2", pooling=("weightedmean",)),
    Case(
        name="qwen3",
        architecture="qwen3",
        pooling=("lasttoken",),
        left=True,
        prompts=INSTRUCT,
        positions=None,
    ),
    Case(name="gemma3", architecture="gemma3", positions=None),
    Case(
        # EmbeddingGemma
        name="gemma3-bidirectional",
        architecture="gemma3",
        config={"use_bidirectional_attention": True},
        tail=("dense-bare", "dense-bare", "normalize"),
        prompts=ROLES,
        spare=1,
        positions=None,
    ),
    Case(
        name="xlnet",
        architecture="xlnet",
        left=True,
        limit=NO_LIMIT,
        positions=None,
        refused={"export": "XLNetModel: its special tokens are of types of their own"},
    ),
]

POOLED = [
    *(Case(name=f"pooling-{mode}", pooling=(mode,), tail=()) for mode in POOLINGS),
    *(
        Case(
            name=f"pooling-{mode}-left",
            architecture="qwen3",
            pooling=(mode,),
            left=True,
            positions=None,
            include_prompt=mode == "lasttoken",
            prompts=INSTRUCT,
            refused={"export": "weighted mean that leaves the prompt out"}
            if mode == "weightedmean"
            else {},
        )
        for mode in POOLINGS
    ),
    Case(name="pooling-legacy", pooling=("cls", "mean"), legacy=True),
    Case(name="pooling-mean-cls", pooling=("mean", "cls")),
    Case(name="pooling-last-max-weighted", pooling=("lasttoken", "max", "weightedmean")),
    Case(name="pooling-all-backwards", pooling=POOLINGS[::-1]),
]

TAILS = [
    Case(name="dense-tanh", tail=("dense-tanh",)),
    Case(name="dense-two", tail=("dense-gelu", "dense", "normalize")),
    Case(name="dense-after-normalize", tail=("normalize", "dense-bare")),
    Case(name="dense-residual", tail=("dense-residual", "normalize")),
    Case(name="layernorm", tail=("layernorm", "normalize")),
    Case(name="dropout", tail=("dropout", "dense-relu", "dropout", "normalize")),
    Case(name="no-tail", tail=(), legacy=True),
    Case(name="truncate-dim", model_config={"truncate_dim": 9}),
]

TOKENIZERS = [
    Case(name="words-cased", tokenizer="words", cased=True),
    Case(name="words", tokenizer="words"),
    Case(name="wordpiece-cased", cased=True),
    Case(name="unigram", tokenizer="unigram"),
    Case(name="bytes", tokenizer="bytes"),
    Case(name="left-bert", left=True, alone=True),
    Case(name="left-gpt2", architecture="gpt2", left=True, pooling=("lasttoken",), alone=True),
    Case(name="left-roberta", architecture="roberta", left=True),
    Case(name="no-edges", edges=False, pooling=("mean",)),
    Case(
        name="added-tokens",
        cased=True,
        added={
            "garden": {"lstrip": True, "rstrip": True},
            "<mark>": {"special": True},
            "The": {"normalized": False, "single_word": True},
        },
    ),
    Case(name="spare-token", spare=1),
    Case(name="spare-tokens-unigram", architecture="xlm-roberta", spare=3),
    Case(name="lower-cased", cased=True, sentence_config={"do_lower_case": True}),
    Case(
        name="lower-cased-unigram",
        tokenizer="unigram",
        legacy=True,
        sentence_config={"do_lower_case": True},
    ),
    Case(
        name="padding-side-kwargs",
        sentence_config={"processor_kwargs": {"padding_side": "left"}},
        alone=True,
    ),
]

PROMPTS = [
    Case(name="prompt-default", prompts=ROLES, default_prompt="query"),
    Case(name="prompt-default-document", prompts=E5, default_prompt="passage"),
    Case(name="prompt-corpus", prompts={"query": "search query: ", "corpus": "text: "}),
    Case(
        name="prompt-other", prompts={"clustering": "represent this: "}, default_prompt="clustering"
    ),
    Case(name="prompt-excluded", prompts=ROLES, default_prompt="document", include_prompt=False),
    Case(
        name="prompt-excluded-unigram",
        architecture="t5",
        prompts=ROLES,
        default_prompt="query",
        include_prompt=False,
        positions=None,
    ),
    Case(
        name="prompt-excluded-cls-max",
        pooling=("cls", "max"),
        prompts=ROLES,
        default_prompt="query",
        include_prompt=False,
    ),
    Case(
        name="prompt-longer-than-limit",
        prompts={"query": "represent this sentence for searching the passage: " * 4},
        default_prompt="query",
        limit=16,
    ),
    Case(
        name="prompt-cut-on-the-left",
        prompts=ROLES,
        default_prompt="query",
        limit=16,
        tokenizer_config={"truncation_side": "left"},
    ),
    Case(
        name="prompt-excluded-cut-on-the-left",
        prompts=ROLES,
        default_prompt="query",
        include_prompt=False,
        limit=16,
        tokenizer_config={"truncation_side": "left"},
    ),
]

LIMITS = [
    Case(name="limit-legacy", legacy=True, limit=512, sentence_config={"max_seq_length": 14}),
    Case(name="limit-tokenizer", limit=14),
    Case(name="limit-positions", limit=NO_LIMIT),
    Case(name="limit-n-positions", architecture="gpt2", limit=NO_LIMIT),
    Case(name="limit-n-positions-1024", architecture="gpt2", limit=1024),
    Case(
        name="limit-roberta-positions",
        architecture="roberta",
        limit=NO_LIMIT,
        reference_limit=LIMIT,
    ),
    Case(
        name="limit-xlm-roberta-512",
        architecture="xlm-roberta",
        limit=512,
        reference_limit=LIMIT,
    ),
    Case(name="limit-mpnet-positions", architecture="mpnet", limit=NO_LIMIT, reference_limit=LIMIT),
    Case(
        name="limit-roberta-in-sentence-config",
        architecture="roberta",
        limit=NO_LIMIT,
        legacy=True,
        sentence_config={"max_seq_length": LIMIT + 2},
        reference_limit=LIMIT,
    ),
    Case(
        name="limit-beyond-positions",
        legacy=True,
        sentence_config={"max_seq_length": 4 * LIMIT},
        reference_limit=LIMIT,
    ),
    Case(
        # Its positions are turns, which have no table to run out of.
        name="limit-beyond-turns",
        architecture="modernbert",
        legacy=True,
        sentence_config={"max_seq_length": 2 * LIMIT},
    ),
    Case(name="limit-none-t5", architecture="t5", limit=NO_LIMIT, positions=None),
    Case(name="limit-none-said", legacy=True, sentence_config={"max_seq_length": None}),
    Case(
        name="limit-sentence-over-tokenizer",
        limit=14,
        legacy=True,
        sentence_config={"max_seq_length": 22},
    ),
    Case(
        name="limit-processor-kwargs",
        sentence_config={"processor_kwargs": {"model_max_length": 14}},
    ),
    Case(
        name="limit-tokenizer-args",
        legacy=True,
        sentence_config={"max_seq_length": 22, "tokenizer_args": {"model_max_length": 14}},
    ),
    Case(
        name="limit-processing-kwargs",
        sentence_config={"processing_kwargs": {"text": {"max_length": 14}}},
    ),
    Case(
        name="limit-by-role",
        sentence_config={"query_length": 12, "document_length": 20},
    ),
    Case(name="cut-on-the-left", limit=14, tokenizer_config={"truncation_side": "left"}),
    Case(
        name="cut-on-the-left-processor-kwargs",
        limit=14,
        sentence_config={"processor_kwargs": {"truncation_side": "left"}},
    ),
    Case(
        name="cut-on-the-left-tokenizer-args",
        architecture="roberta",
        limit=14,
        legacy=True,
        sentence_config={"tokenizer_args": {"truncation_side": "left"}},
    ),
]

_NO_TRANSFORMER = {"fewer": "starts with a StaticEmbedding; allowed: a Transformer"}

STATIC = [
    Case(name="static", architecture="static", limit=NO_LIMIT, refused=_NO_TRANSFORMER),
    Case(
        name="static-legacy",
        architecture="static",
        limit=NO_LIMIT,
        legacy=True,
        refused=_NO_TRANSFORMER,
    ),
    Case(
        name="static-bare", architecture="static", limit=NO_LIMIT, tail=(), refused=_NO_TRANSFORMER
    ),
    Case(
        name="static-dense",
        refused={"export": "a Dense behind its table of token vectors", **_NO_TRANSFORMER},
        architecture="static",
        limit=NO_LIMIT,
        tail=("dense-tanh", "normalize"),
    ),
    Case(
        name="static-unigram",
        architecture="static",
        tokenizer="unigram",
        limit=NO_LIMIT,
        refused=_NO_TRANSFORMER,
    ),
    Case(
        name="static-bytes",
        architecture="static",
        tokenizer="bytes",
        limit=30,
        refused=_NO_TRANSFORMER,
    ),
    Case(
        name="static-cut-left", architecture="static", limit=14, left=True, refused=_NO_TRANSFORMER
    ),
    Case(
        name="static-prompts",
        architecture="static",
        prompts=ROLES,
        default_prompt="document",
        refused=_NO_TRANSFORMER,
    ),
    Case(name="model2vec", architecture="model2vec", refused=_NO_TRANSFORMER),
    Case(name="model2vec-quantised", architecture="model2vec", refused=_NO_TRANSFORMER),
]

CASES = [*ARCHITECTURES, *POOLED, *TAILS, *TOKENIZERS, *PROMPTS, *LIMITS, *STATIC]
