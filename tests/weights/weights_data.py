"""Tiny models, wheels and installed packages, for tests to build where they like."""

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from hpdistill.weights._known import KnownModel, Package

MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {
        "idx": 2,
        "name": "2",
        "path": "2_Normalize",
        "type": "sentence_transformers.models.Normalize",
    },
]


def write_model(folder: Path, *, seed: int = 0) -> Path:
    """A directory as sentence-transformers writes it, with eight numbers for weights."""
    (folder / "1_Pooling").mkdir(parents=True)
    numbers = np.random.default_rng(seed).normal(size=(2, 4)).astype(np.float32)
    save_file({"embeddings": numbers}, folder / "model.safetensors")
    for name, value in {
        "config.json": {"model_type": "bert", "hidden_size": 4},
        "modules.json": MODULES,
        "tokenizer.json": {"version": "1.0"},
        "1_Pooling/config.json": {"pooling_mode_mean_tokens": True},
    }.items():
        (folder / name).write_text(json.dumps(value))
    (folder / "vocab.txt").write_text("[PAD]\nword\n")
    return folder


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class Packages:
    """Where this test's packages are installed, and its package index."""

    def __init__(self, root: Path) -> None:
        self.site = root / "site"
        self.index = root / "index"
        self.site.mkdir()
        self.index.mkdir()

    def install(self, package: Package, files: dict[str, bytes]) -> None:
        info = f"{package.name.replace('-', '_')}-{package.version}.dist-info"
        for name, data in {**files, f"{info}/METADATA": _metadata(package)}.items():
            path = self.site / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def publish(self, package: Package, files: dict[str, bytes]) -> Path:
        stem = f"{package.name.replace('-', '_')}-{package.version}"
        info = f"{stem}.dist-info"
        wheel = self.index / f"{stem}-py3-none-any.whl"
        tags = b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        files = {
            **files,
            f"{info}/METADATA": _metadata(package),
            f"{info}/WHEEL": tags,
            f"{info}/RECORD": b"",
        }
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as bundle:
            for name, data in files.items():
                bundle.writestr(name, data)
        return wheel


def _metadata(package: Package) -> bytes:
    return f"Metadata-Version: 2.1\nName: {package.name}\nVersion: {package.version}\n".encode()


class Tiny:
    """A model with its registry entry and the files of its packages."""

    def __init__(self, known: KnownModel, files: list[dict[str, bytes]], model: Path) -> None:
        self.known = known
        self.files = files
        self.model = model

    def install(self, packages: Packages) -> None:
        for package, files in zip(self.known.packages, self.files, strict=True):
            packages.install(package, files)

    def publish(self, packages: Packages) -> None:
        for package, files in zip(self.known.packages, self.files, strict=True):
            packages.publish(package, files)


def pins(model: Path) -> dict[str, str]:
    sums = {name: sha256(data) for name, data in contents(model).items()}
    return {name: value for name, value in sums.items() if name != "model.safetensors"}


def archive_of(members: dict[str, bytes], path: Path) -> bytes:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, data in members.items():
            bundle.writestr(name, data)
    return path.read_bytes()


def in_parts(model: Path, archive: bytes) -> Tiny:
    """Three packages that hold the byte-split parts of one zip."""
    size = len(archive) // 3 + 1
    packages, files = [], []
    for part in range(3):
        data = f"tiny-part_{part}/input/tiny.zip.{part}"
        packages.append(Package(name=f"tiny-part-{part}", version="1.0", data=data))
        files.append({data: archive[part * size : (part + 1) * size]})
    known = KnownModel(
        name="tiny",
        hub_id="owner/tiny-model",
        parameters=8,
        dim=4,
        licence="Apache-2.0",
        sha256=sha256((model / "model.safetensors").read_bytes()),
        files=pins(model),
        packages=tuple(packages),
        archive=sha256(archive),
        archive_folder="tiny-model",
    )
    return Tiny(known, files, model)
