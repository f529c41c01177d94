"""Texts on which models are compared: from nothing to far over any limit."""

import random

TRAINING_TEXT = [
    "The old teacher reads a small book in the garden.",
    "A child runs along the river, and the dog follows slowly.",
    "Why does the morning train never stop near the city?",
    "She opened the window; winter light fell on the table.",
    "Two birds sing before the evening: one is red, one is green.",
    "He wrote 12 letters in 1987 but sent only 3 of them!",
    "Search query: where is the house behind the hill?",
    "Title: none | text: Instruct the reader to find the passage.",
    "Größe, naïve café, über, façade, año, Đà Nẵng.",
    "Быстрая лиса прыгает; 东京 在 日本; مرحبا بالعالم.",
    "The quick brown fox jumps over the lazy dog while they sleep.",
    "query document passage represent this sentence for searching",
]
"""Tokenizers learn from it."""

_WORDS = " ".join(TRAINING_TEXT[:7]).split()


def _run(count: int, seed: int) -> str:
    chance = random.Random(seed)
    return " ".join(chance.choices(_WORDS, k=count))


PLAIN = [
    "dog",
    "The old teacher reads.",
    "the old teacher reads.",
    "A child runs along the river, and the dog follows slowly.",
    "Why does the morning train never stop near the city?",
    _run(9, 1),
    _run(14, 2),
    _run(20, 3),
]
"""Within every limit, or about it."""

LONG = [_run(count, count) for count in (35, 45, 60, 80, 120)]
"""Over the limits: some a little, some tenfold."""

ODD = [
    "",
    " ",
    "   \n\t ",
    " leading and trailing  ",
    "two  spaces   three",
    "line\nbreak\r\nand\ttab",
    "东京在日本。我们去吗？",  # noqa: RUF001 - as it is written
    "مرحبا بالعالم كيف حالك",
    "שלום עולם",
    "नमस्ते दुनिया",
    "👩‍👩‍👧 emoji 🎉🎉",
    "e\u0301te\u0301 and \u00e9t\u00e9",
    "a" + "\u0301\u0323" * 5,
    "Straße İstanbul ǅ ﬁne",
    "zero\u200bwidth\ufeffmark\u00ad",
    "control \x07\x1b[0m end",
    "nul\x00byte",
    "replacement \ufffd sign",
    "[SEP] dog [SEP]",
    "[CLS][PAD][MASK] dog",
    "a </s> b <s> c <pad>",
    "<|endoftext|> dog <|endoftext|>",
    "<eos><bos> <sep> <cls> <unk>",
    "x" * 150,
    "1234567890 3.14159 -7e10",
    "http://example.org/a?b=c&d=%20#e",
]
"""What users type, and what files hold."""

TEXTS = [*PLAIN, *ODD, *LONG]
"""All of them."""

CORPUS = [f"{_run(3 + seed % 17, 1000 + seed)} {seed}" for seed in range(160)]
"""Distinct sentences to fit and to train on."""
