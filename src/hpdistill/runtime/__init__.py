"""Models without PyTorch: ONNX graphs on ONNX Runtime, static models in NumPy.

    from hpdistill import Encoder

    with Encoder.load("run/model") as encoder:
        vectors = encoder.encode(["how do I remove duplicate rows"])  # (1, 128)

Never imports torch, transformers or scipy.
"""

from hpdistill.runtime._directory import (
    DEFAULT,
    DEFAULT_NAME,
    MADE_TOKENIZER,
    PROMPT_LENGTH,
    RANGES,
    STATIC_INT8,
    ModelDirectory,
    find_model,
)
from hpdistill.runtime._options import (
    NO_LIMIT,
    EmbeddingPrecision,
    Truncation,
    TruncationWarning,
)
from hpdistill.runtime._space import space_of
from hpdistill.runtime._static import read_table
from hpdistill.runtime.encoder import Encoder, EncoderPrecision

__all__ = [
    "DEFAULT",
    "DEFAULT_NAME",
    "MADE_TOKENIZER",
    "NO_LIMIT",
    "PROMPT_LENGTH",
    "RANGES",
    "STATIC_INT8",
    "EmbeddingPrecision",
    "Encoder",
    "EncoderPrecision",
    "ModelDirectory",
    "Truncation",
    "TruncationWarning",
    "find_model",
    "read_table",
    "space_of",
]
