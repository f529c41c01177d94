"""One exported directory in other people's loaders: do they give the vectors that PyTorch gives?

    python benchmarks/loaders.py MODEL --sentences FILE [--fastembed PYTHON] [--st-onnx PYTHON]

fastembed and sentence-transformers' ONNX back end (through optimum-onnx) want other versions of
shared dependencies than hpdistill's lock, so each runs in an interpreter of its own, in which
it has been installed: `pip install fastembed`; `pip install 'sentence-transformers[onnx]'`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _results import write

from hpdistill.corpus import read_clean
from hpdistill.pytorch import TorchEncoder
from hpdistill.recipe import CorpusRecipe
from hpdistill.runtime import Encoder

# Each is run as `PYTHON -c CODE MODEL TEXTS.json VECTORS.npy` and prints its versions.
SENTENCE_TRANSFORMERS = """
import importlib.metadata as m, json, sys, numpy as np
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], device="cpu")
np.save(sys.argv[3], model.encode(json.load(open(sys.argv[2]))))
print(json.dumps({p: m.version(p) for p in ("sentence-transformers", "torch", "transformers")}))
"""
ST_ONNX = """
import importlib.metadata as m, json, sys, numpy as np
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], device="cpu", backend="onnx",
    model_kwargs={"file_name": "onnx/model.onnx", "provider": "CPUExecutionProvider"})
np.save(sys.argv[3], model.encode(json.load(open(sys.argv[2]))))
names = ("sentence-transformers", "optimum-onnx", "onnxruntime", "transformers")
print(json.dumps({p: m.version(p) for p in names}))
"""
FASTEMBED = """
import importlib.metadata as m, json, sys, numpy as np
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType
dim = json.load(open(sys.argv[1] + "/onnx/export.json"))["dim"]
TextEmbedding.add_custom_model(model="local/model", pooling=PoolingType.DISABLED,
    normalization=False, sources=ModelSource(hf="local/model"), dim=dim,
    model_file="onnx/model.onnx", output_name="sentence_embedding")
model = TextEmbedding("local/model", specific_model_path=sys.argv[1])
np.save(sys.argv[3], np.stack(list(model.embed(json.load(open(sys.argv[2]))))))
print(json.dumps({p: m.version(p) for p in ("fastembed", "onnxruntime", "tokenizers")}))
"""
RAW = """
import importlib.metadata as m, json, sys, numpy as np, onnxruntime, tokenizers
tokenizer = tokenizers.Tokenizer.from_file(sys.argv[1] + "/tokenizer.json")
tokenizer.enable_truncation(256)
tokenizer.enable_padding()
session = onnxruntime.InferenceSession(sys.argv[1] + "/onnx/model.onnx")
batch = tokenizer.encode_batch(json.load(open(sys.argv[2])))
ids = np.array([encoding.ids for encoding in batch])
mask = np.array([encoding.attention_mask for encoding in batch])
feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
np.save(sys.argv[3], session.run(["sentence_embedding"], feeds)[0])
print(json.dumps({p: m.version(p) for p in ("onnxruntime", "tokenizers")}))
"""


def main() -> None:
    """Compare and write `results/loaders.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--sentences", nargs="+", required=True)
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--fastembed", metavar="PYTHON")
    parser.add_argument("--st-onnx", metavar="PYTHON")
    options = parser.parse_args()
    recipe = CorpusRecipe(sources=tuple(options.sentences), limit=options.limit)
    texts = read_clean(recipe, seed=0)
    reference = TorchEncoder.load(str(options.model)).encode(texts)
    rows = []
    with Encoder.load(options.model, precision="float32") as encoder:
        rows.append(agreement("hpdistill.Encoder", encoder.encode(texts), reference, {}))
    contenders = {
        "sentence-transformers, PyTorch": (sys.executable, SENTENCE_TRANSFORMERS),
        "onnxruntime and tokenizers alone": (sys.executable, RAW),
        "sentence-transformers, ONNX": (options.st_onnx, ST_ONNX),
        "fastembed, pooling disabled": (options.fastembed, FASTEMBED),
    }
    for name, (python, code) in contenders.items():
        if python is None:
            continue
        vectors, found = run(python, code, options.model, texts)
        rows.append(agreement(name, vectors, reference, found))
    for row in rows:
        print(row)
    print(
        write("loaders", f"{len(texts)} sentences of {', '.join(recipe.sources)}", {"rows": rows})
    )


def run(
    python: str, code: str, model: Path, texts: list[str]
) -> tuple[np.ndarray[Any, np.dtype[np.float32]], dict[str, str]]:
    """Vectors and versions of a loader in its own interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "texts.json"), Path(folder, "vectors.npy")
        source.write_text(json.dumps(texts))
        arguments = [str(path) for path in (model.absolute(), source, target)]
        done = subprocess.run(
            [python, "-c", code, *arguments], check=True, stdout=subprocess.PIPE, text=True
        )
        return np.load(target), json.loads(done.stdout.strip().splitlines()[-1])


def agreement(
    name: str,
    vectors: np.ndarray[Any, np.dtype[np.float32]],
    reference: np.ndarray[Any, np.dtype[np.float32]],
    versions: dict[str, str],
) -> dict[str, Any]:
    """Cosines to PyTorch's vectors."""
    cosines = np.einsum("nd,nd->n", vectors, reference)
    return {
        "loader": name,
        "cosine_mean": round(float(cosines.mean()), 7),
        "cosine_min": round(float(cosines.min()), 7),
        "versions": versions,
    }


if __name__ == "__main__":
    main()
