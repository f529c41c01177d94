"""The README's way to run a graph with ONNX Runtime and tokenizers alone works as printed."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hpdistill.export import export_model
from hpdistill.pytorch import TorchEncoder, load_model

README = Path(__file__).parents[2] / "README.md"


def test_the_readmes_lines_give_the_models_vectors(
    student_dir: Path, sentences: Callable[..., list[str]], tmp_path: Path
) -> None:
    model = shutil.copytree(student_dir, tmp_path / "model")
    export_model(model, sentences(60), precisions=["float32"])
    blocks = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), flags=re.DOTALL)
    (code,) = [block for block in blocks if "onnxruntime.InferenceSession" in block]
    names: dict[str, np.ndarray] = {}
    exec(code.replace("run/model", str(model)), names)
    expected = TorchEncoder(load_model(model), name="model").encode(
        ["how do I remove duplicate rows"]
    )
    assert np.einsum("nd,nd->n", names["vectors"], expected).min() > 0.9999
