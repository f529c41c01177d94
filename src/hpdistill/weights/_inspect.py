"""What a model directory may hold before anything loads it: data, checked; never code."""

import hashlib
import json
import math
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from hpdistill.errors import RunError, WeightsError
from hpdistill.files import write_json
from hpdistill.progress import Report
from hpdistill.weights._known import KnownModel

__all__ = [
    "check_directory",
    "check_known",
    "digest",
    "is_model_directory",
    "module_folders",
    "vocabulary_files",
    "weights_hash",
]

_PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_CHUNK = 8 * 2**20
_MIB = 2**20

# sentence-transformers imports whatever `modules.json` names, so only these may be named; in
# every place they have lived: `.models` up to 5.3, the two `modules` packages since.
_MODULE = re.compile(
    r"sentence_transformers\.(?:models|sentence_transformer\.modules|base\.modules)"
    r"(?:\.[A-Za-z_]+)?\.(?P<kind>[A-Z]\w+)"
)
_KINDS = {
    # kind: whether it has weights of its own
    "Dense": True,
    "Dropout": False,
    "LayerNorm": True,
    "Normalize": False,
    "Pooling": False,
    "StaticEmbedding": True,
    "Transformer": True,
    "WeightedLayerPooling": True,
}
_ACTIVATION = re.compile(r"torch\.nn\.(?:modules\.(?:activation|linear)\.)?[A-Z]\w*")
_CONVERT = (
    "Where you trust a model's pickle, load it with transformers or sentence-transformers and "
    "save it again: both write safetensors. Then give that directory."
)
_TOKENIZERS = {
    # kind: patterns of the files of which one holds its vocabulary
    "StaticEmbedding": ("tokenizer.json",),
    "Transformer": ("tokenizer.json", "vocab.txt", "vocab.json", "*.model"),
}
_WITHOUT_VOCABULARY = ("ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer")
"""Of bytes and code points."""
_CODE_KEYS = (
    "allow_all_kernels",
    "auto_map",
    "custom_pipelines",
    "kernel_config",
    "trust_remote_code",
    "use_kernels",
)
_ATTENTION_KEYS = ("_attn_implementation", "attn_implementation")
_ATTENTION = re.compile(r"eager|sdpa|flex_attention|flash_attention_\d")
"""Anything else is a kernel that transformers would fetch from the hub and import."""
_LOADING = re.compile(r"(model|tokenizer|processor|config)_(args|kwargs)")
_LOADING_KEYS = {
    "add_pooling_layer",
    "add_prefix_space",
    "attn_implementation",
    "do_lower_case",
    "dtype",
    "max_length",
    "model_max_length",
    "padding_side",
    "torch_dtype",
    "truncation_side",
    "use_fast",
}
"""What a model may say about how it is loaded: not which weights, nor from where."""


def is_model_directory(path: Path) -> bool:
    """Whether a directory claims to be a model."""
    return (path / "config.json").is_file() or (path / "modules.json").is_file()


def check_directory(path: Path) -> list[Path]:
    """Refuse a directory that is no model, is damaged, or would make a loader run code.

    Returns:
        The safetensors files that a loader will read, in the order of the modules.

    Raises:
        WeightsError: With the file and the reason.
    """
    if not is_model_directory(path):
        also = ", only pickled weights, which could run code when loaded" * _has_pickle(path)
        raise WeightsError(
            f"{path} is not a model directory: it has neither modules.json nor config.json{also}",
            hint=_CONVERT if also else "Give the folder that directly holds these files.",
        )
    _refuse_adapter(path)
    files: list[Path] = []
    for kind, folder in _modules(path):
        _refuse_adapter(folder)
        _refuse_code(folder, kind)
        if _KINDS[kind]:
            files += [file for file in _weight_files(folder) if file not in files]
        _require_tokenizer(folder, kind)
    for file in files:
        _check_safetensors(file)
    return files


def module_folders(path: Path) -> list[Path]:
    """The folders that a loader reads of a checked model: its own, and those of its modules."""
    return sorted({path, *(folder for _, folder in _modules(path))})


def vocabulary_files(folder: Path) -> list[Path]:
    """What a tokenizer without `tokenizer.json` is made from, but for JSON."""
    if (folder / "tokenizer.json").is_file():
        return []
    patterns = ("vocab.txt", "merges.txt", "*.model", "*.spm")
    return sorted(file for pattern in patterns for file in folder.glob(pattern))


def weights_hash(root: Path, files: list[Path], stamps: Path | None, report: Report) -> str:
    """Identify all weights of a model.

    Returns:
        The sha256 of the only file, or of the lines `sha256  path` of several (shards, or a
        backbone and the dense layers after it).
    """
    hashes = {file.relative_to(root).as_posix(): digest(file, stamps, report) for file in files}
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    lines = "".join(f"{value}  {name}\n" for name, value in sorted(hashes.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def check_known(
    model: KnownModel,
    path: Path,
    stamps: Path | None,
    report: Report,
    *,
    hint: str,
    small: bool = True,
) -> None:
    """Compare a known model's files with their pinned checksums.

    Args:
        model: What the directory is said to be.
        path: The directory.
        stamps: Where verdicts on large files are remembered; None forgets them.
        report: Progress of reading a large file.
        hint: What to do about a wrong file.
        small: Check the small files as well as the weights.

    Raises:
        WeightsError: A file is missing or is not the pinned one.
    """
    expected = dict(model.files) if small else {}
    if model.sha256 is not None:
        expected[_WEIGHTS] = model.sha256
    for name, wanted in expected.items():
        file = path / name
        if not file.is_file():
            raise WeightsError(f"{model.name}: {file} is missing", hint=hint)
        found = digest(file, stamps, report)
        if found != wanted:
            raise WeightsError(
                f"{model.name}: {file} is not the file it should be: "
                f"expected sha256 {wanted}, found {found}",
                hint=hint,
            )


def digest(file: Path, stamps: Path | None, report: Report) -> str:
    """Sha256 of a file; that of a large one is remembered until its size or time changes."""
    status = file.stat()
    large = status.st_size > _CHUNK
    place = str(file.resolve())
    key = {"path": place, "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    stamp = None
    if large and stamps is not None:
        stamp = stamps / f"{hashlib.sha256(place.encode()).hexdigest()}.json"
        with suppress(OSError, ValueError, LookupError, TypeError):
            seen = json.loads(stamp.read_text("utf-8"))
            if seen == {**key, "sha256": seen["sha256"]}:
                return str(seen["sha256"])
    hasher = hashlib.sha256()
    total = max(status.st_size // _MIB, 1)
    with file.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            hasher.update(chunk)
            if large:
                report("verify weights (MiB)", handle.tell() // _MIB, total)
    found = hasher.hexdigest()
    if stamp is not None:
        # A cache that cannot be written costs time at the next load, nothing else.
        with suppress(OSError, RunError):
            write_json(stamp, {**key, "sha256": found})
    return found


def _modules(path: Path) -> Iterator[tuple[str, Path]]:
    """Kind and folder of each module; a bare transformers model is one Transformer."""
    if not (path / "modules.json").is_file():
        yield "Transformer", path
        return
    entries = _read(path / "modules.json")
    if not isinstance(entries, list) or not entries:
        raise WeightsError(f"{path / 'modules.json'} is damaged: a list of modules was expected")
    for entry in entries:
        place, name = (
            (entry.get("path"), entry.get("type")) if isinstance(entry, dict) else (None, None)
        )
        if not isinstance(place, str) or not isinstance(name, str):
            raise WeightsError(f"{path / 'modules.json'} is damaged: {entry!r} is no module")
        match = _MODULE.fullmatch(name)
        kind = match["kind"] if match else None
        if kind not in _KINDS:
            raise WeightsError(
                f"{path / 'modules.json'} names the module {name}; allowed are "
                f"sentence_transformers' own {', '.join(_KINDS)}",
                hint="Code from model directories is never run.",
            )
        parts = PurePosixPath(place).parts
        if ".." in parts or PurePosixPath(place).is_absolute() or "\\" in place:
            raise WeightsError(f"{path / 'modules.json'} points outside its folder: {place!r}")
        yield kind, path / place


def _refuse_adapter(folder: Path) -> None:
    if (folder / "adapter_config.json").is_file():
        raise WeightsError(
            f"{folder} holds an adapter (adapter_config.json), not a whole model",
            hint="Merge the adapter into its base model and save that.",
        )


def _refuse_code(folder: Path, kind: str) -> None:
    """Refuse settings that make transformers or sentence-transformers import something."""
    if kind == "Transformer" and not (folder / "config.json").is_file():
        raise WeightsError(f"{folder} has no config.json, so its shape is unknown")
    for file in sorted(folder.glob("*config*.json")):
        settings = _read(file)
        for key in _code_keys(settings):
            raise WeightsError(
                f"{file} asks for code of its own ({key})",
                hint="Code from model directories is never run.",
            )
        for key in _detours(settings):
            raise WeightsError(
                f"{file} asks for other files than those that are checked ({key})",
                hint=f"Allowed about loading: {', '.join(sorted(_LOADING_KEYS))}.",
            )
        if kind == "Dense" and file.name == "config.json" and isinstance(settings, dict):
            activation = settings.get("activation_function", "torch.nn.Identity")
            if not isinstance(activation, str) or not _ACTIVATION.fullmatch(activation):
                raise WeightsError(
                    f"{file} names the activation {activation!r}; allowed: those of torch.nn"
                )


def _code_keys(value: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        yield from (key for key in _CODE_KEYS if value.get(key))
        for key in _ATTENTION_KEYS:
            chosen = value.get(key)
            each = chosen.values() if isinstance(chosen, dict) else [chosen]
            if any(one and not _ATTENTION.fullmatch(str(one)) for one in each):
                yield key
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _code_keys(inner)


def _detours(settings: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON
    """Settings that make a loader take weights or a tokenizer from elsewhere."""
    if not isinstance(settings, dict):
        return
    if settings.get("tokenizer_name_or_path"):
        yield "tokenizer_name_or_path"
    for name, value in settings.items():
        if _LOADING.fullmatch(name) and isinstance(value, dict):
            yield from (f"{name}.{key}" for key in value if key not in _LOADING_KEYS)


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors that a loader takes from this folder: one file, or the shards of one."""
    if (folder / _WEIGHTS).is_file():
        return [folder / _WEIGHTS]
    if (folder / _INDEX).is_file():
        index = _read(folder / _INDEX)
        shards = index.get("weight_map") if isinstance(index, dict) else None
        names = sorted(set(shards.values())) if isinstance(shards, dict) else []
        if not names or any(not re.fullmatch(r"[\w.-]+\.safetensors", str(n)) for n in names):
            raise WeightsError(f"{folder / _INDEX} is damaged: its weight_map names no plain files")
        if missing := [name for name in names if not (folder / name).is_file()]:
            raise WeightsError(
                f"{folder} lacks {len(missing)} of {len(names)} shards: {missing[0]}"
            )
        return [folder / name for name in names]
    if _has_pickle(folder):
        raise WeightsError(
            f"{folder} has its weights only as a pickle, which could run code when loaded",
            hint=_CONVERT,
        )
    raise WeightsError(f"{folder} has no {_WEIGHTS}; nothing else is loaded", hint=_CONVERT)


def _require_tokenizer(folder: Path, kind: str) -> None:
    """Refuse what transformers would give an empty vocabulary, to which all words are unknown."""
    patterns = _TOKENIZERS.get(kind, ())
    if not patterns or any(any(folder.glob(pattern)) for pattern in patterns):
        return
    settings = folder / "tokenizer_config.json"
    if kind == "Transformer" and settings.is_file():
        found = _read(settings)
        if isinstance(found, dict) and found.get("tokenizer_class") in _WITHOUT_VOCABULARY:
            return
    raise WeightsError(
        f"{folder} has no tokenizer: {' or '.join(patterns)} was expected",
        hint="Save the tokenizer that the model was trained with into that folder.",
    )


def _has_pickle(folder: Path) -> bool:
    return any(file.suffix in _PICKLES for file in folder.glob("*"))


def _check_safetensors(file: Path) -> None:
    """Catch what interrupted copies and large-file pointers leave, before a loader trips on it."""
    size = file.stat().st_size
    with file.open("rb") as handle:
        start = handle.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else math.inf
        if length > min(size - 8, 100 * _MIB):
            pointer = start == b"version "
            raise WeightsError(
                f"{file} is {'a Git LFS pointer' if pointer else 'damaged'}, not safetensors",
                hint="Fetch it with `git lfs pull`." if pointer else "",
            )
        header = handle.read(int(length))
    try:
        tensors = json.loads(header)
        ends = [value["data_offsets"][1] for key, value in tensors.items() if key != "__metadata__"]
        wanted = 8 + int(length) + max(ends, default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise WeightsError(f"{file} is damaged, not safetensors") from error
    if wanted != size:
        raise WeightsError(f"{file} is damaged: {size:,} bytes where {wanted:,} were expected")


def _read(file: Path) -> Any:  # noqa: ANN401 - any JSON
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{file} is damaged: {error}") from error
