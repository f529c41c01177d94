"""Which vectors may be compared: those of one space."""

from pathlib import Path

from hpdistill.errors import WeightsError
from hpdistill.files import json_hash, sha256_file
from hpdistill.runtime._tokens import read_settings

__all__ = ["space_of"]

_PROJECTION = "projection.safetensors"


def space_of(path: Path) -> str:
    """Identity of the space that a model's vectors lie in.

    A distilled model lies in that of its teacher and projection, like every other student of the
    two and like the projected teacher itself: their vectors may meet in one index. Any other model
    has a space of its own, told by its weights.

    Args:
        path: A model directory.

    Returns:
        Sha256 in hexadecimal; the same for a model and its ONNX graphs.

    Raises:
        WeightsError: The directory holds no weights.
    """
    description = read_settings(path / "hpd.json")
    projection = path / _PROJECTION
    if description.get("teacher") and projection.is_file():
        teacher = [
            {key: member.get(key) for key in ("weight", "weights", "configuration")}
            for member in description["teacher"]
        ]
        return json_hash({"teacher": teacher, "projection": sha256_file(projection)})
    # A static table may be there in int8 too, and a graph beside the weights that it came from.
    for pattern in ("model.safetensors", "*.safetensors", "model.onnx", "*.onnx"):
        files = [
            file
            for file in sorted(path.rglob(pattern))
            if file.name not in (_PROJECTION, "embedding_ranges.safetensors")
        ]
        if files:
            return json_hash({str(file.relative_to(path)): sha256_file(file) for file in files})
    raise WeightsError(f"{path} holds no weights")
