"""A cache, an index and a hub of each test's own, and tiny models to put into them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from weights_data import Packages, Tiny, archive_of, contents, in_parts, pins, sha256, write_model

from hpdistill.weights._known import KnownModel, Package


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, and no way to the network."""
    monkeypatch.setenv("HPDISTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tmp_path / "cache"


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packages:
    made = Packages(tmp_path)
    monkeypatch.syspath_prepend(made.site)
    return made


Hub = Callable[..., str]


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[Hub], None]:
    """Replace the hub by a function; without one it cannot be reached."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    def use(answer: Hub) -> None:
        monkeypatch.setattr("huggingface_hub.snapshot_download", answer)

    def unreachable(*args: object, **kwargs: object) -> str:
        raise LocalEntryNotFoundError("Got: ConnectError: [Errno -2] Name or service not known")

    use(unreachable)
    return use


@pytest.fixture
def folder_model(tmp_path: Path) -> Tiny:
    """One package that holds a model directory, beside code that must not be imported."""
    model = write_model(tmp_path / "folder_model")
    package = Package(name="tiny-weights", version="1.0", data="tiny_weights/model")
    files = {f"tiny_weights/model/{name}": data for name, data in contents(model).items()}
    files["tiny_weights/__init__.py"] = b"raise SystemExit('imported')\n"
    files["tiny_weights/model/modeling.py"] = b"raise SystemExit('imported')\n"
    files["tiny_weights/model/optimizer.pt"] = b"a pickle"
    known = KnownModel(
        name="tiny",
        hub_id="owner/tiny-model",
        parameters=8,
        dim=4,
        licence="Apache-2.0",
        sha256=sha256((model / "model.safetensors").read_bytes()),
        files=pins(model),
        packages=(package,),
    )
    return Tiny(known, [files], model)


@pytest.fixture
def archive_model(tmp_path: Path) -> Tiny:
    model = write_model(tmp_path / "archive_model")
    members = {f"tiny-model/{name}": data for name, data in contents(model).items()}
    members["tiny-model/desktop.ini"] = b"[.ShellClassInfo]"
    members["tiny-model/1_Pooling/desktop.ini"] = b"[.ShellClassInfo]"
    return in_parts(model, archive_of(members, tmp_path / "tiny.zip"))
