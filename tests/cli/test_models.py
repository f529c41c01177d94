"""`hpd models`."""

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.numpy import save_file
from typer.testing import CliRunner

from hpdistill.cli.models import register
from hpdistill.errors import WeightsError
from hpdistill.weights import known_models


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """The command on a machine that has no model at all."""

    def unreachable(*args: object, **kwargs: object) -> str:
        raise LocalEntryNotFoundError("not there")

    monkeypatch.setenv("HPDISTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("hpdistill.weights._fetch.located", lambda model: None)
    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    app = typer.Typer()
    register(app)
    return app


def test_list_as_json_has_a_flat_row_a_model(app):
    result = CliRunner().invoke(app, ["models", "list", "--json"])
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["command"] == "models list"
    assert {"versions", "machine"} <= document.keys()
    assert document["rows"] == [
        {
            "name": model.name,
            "source": "index" if model.packages else "hub",
            "parameters": model.parameters,
            "dim": model.dim,
            "sha256": model.sha256,
            "cached": False,
        }
        for model in known_models()
    ]


def test_list_tells_what_is_installed(app, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "hpdistill.weights._fetch.located", lambda model: [tmp_path] if model.packages else None
    )
    result = CliRunner().invoke(app, ["models", "list", "--json"])
    rows = {row["name"]: row for row in json.loads(result.stdout)["rows"]}
    assert (rows["minilm"]["source"], rows["minilm"]["cached"]) == ("package", True)
    assert (rows["tinybert"]["source"], rows["tinybert"]["cached"]) == ("hub", False)


def test_list_shows_every_model_and_its_licence(app):
    result = CliRunner().invoke(app, ["models", "list"])
    assert result.exit_code == 0
    for text in ("mpnet", "minilm", "tinybert", "109.5M", "768", "Apache-2.0", "no"):
        assert text in result.stdout


def test_fetch_prints_where_each_model_lies(app, tmp_path):
    places = [
        tmp_path / "a long folder name [of models] that is wider than a terminal is",
        tmp_path / "b",
    ]
    for place in places:
        place.mkdir()
        (place / "config.json").write_text('{"model_type": "bert"}')
        (place / "vocab.txt").write_text("[PAD]")
        save_file({"w": np.zeros(2, np.float32)}, place / "model.safetensors")
    result = CliRunner().invoke(app, ["models", "fetch", *map(str, places)])
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [str(place) for place in places]


def test_fetch_of_an_unknown_model_is_a_clear_error(app):
    result = CliRunner().invoke(app, ["models", "fetch", "minlm"])
    assert isinstance(result.exception, WeightsError)
    assert result.exception.hint == "Did you mean minilm?"


def test_fetch_without_a_name_is_wrong_usage(app):
    assert CliRunner().invoke(app, ["models", "fetch"]).exit_code == 2
