"""What a name means: a path, a short name, a hub id, or a mistake."""

import os
from pathlib import Path

import pytest
from weights_data import sha256, write_model

from hpdistill import weights
from hpdistill.errors import WeightsError
from hpdistill.weights import is_cached, resolve


def refusal(name: str) -> str:
    with pytest.raises(WeightsError) as caught:
        resolve(name)
    return f"{caught.value} | {caught.value.hint}"


def test_a_model_directory_comes_before_the_short_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "minilm")
    assert resolve("minilm").source == "path"
    assert is_cached("minilm")


def test_an_unrelated_folder_or_file_does_not_hide_a_short_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "minilm").mkdir()
    (tmp_path / "mpnet").write_text("")
    asked = []
    monkeypatch.setattr(weights, "resolve_known", lambda model, **_: asked.append(model.name))
    resolve("minilm")
    resolve("mpnet")
    assert asked == ["minilm", "mpnet"]


def test_an_unknown_name_suggests_a_near_one():
    assert refusal("minlm") == (
        "unknown model 'minlm'; allowed: a directory, a hub id (owner/model), "
        "mpnet, minilm, tinybert | Did you mean minilm?"
    )
    assert refusal("all-mpnet-base-v3").endswith("| Did you mean mpnet?")
    assert refusal("zzz").endswith("| ")


def test_the_model_in_the_package_is_no_student_and_no_teacher():
    assert refusal("default") == (
        "default, the model in the package, cannot be used here; allowed: a directory, a hub id "
        "(owner/model), mpnet, minilm, tinybert | "
    )


@pytest.mark.parametrize(
    "name", ["./model", "../model", "/no/model", "~/no-model", "runs/x/model", "model/", ".model"]
)
def test_what_looks_like_a_path_is_called_a_missing_directory(name):
    assert refusal(name) == f"no such directory: {name} | "


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_refused(name):
    assert "is empty" in refusal(name)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "~nobody-of-that-name"])
def test_names_that_no_path_can_have_are_refused(name):
    assert "unknown model" in refusal(name) or "no such directory" in refusal(name)


def test_a_file_is_not_a_model(tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    assert f"{file} is a file; a model is the directory that holds it" in refusal(str(file))


# The hub


def test_only_data_is_fetched_from_the_hub(tmp_path, hub):
    from huggingface_hub.utils import filter_repo_objects

    model = write_model(tmp_path / "model")
    listing = [
        "config.json",
        "modules.json",
        "1_Pooling/config.json",
        "model.safetensors",
        "vocab.txt",
        "spiece.model",
        "README.md",
        "pytorch_model.bin",
        "model.pkl",
        "modeling.py",
        "tf_model.h5",
        "onnx/config.json",
        "2_Dense/pytorch_model.bin",
    ]
    fetched = []

    def answer(hub_id, *, allow_patterns, ignore_patterns, **_):
        fetched.extend(
            filter_repo_objects(
                listing, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns
            )
        )
        return str(model)

    hub(answer)
    found = resolve("owner/model")
    assert fetched == listing[:7]
    assert found.source == "hub"
    assert found.sha256 == sha256((model / "model.safetensors").read_bytes())


def test_progress_of_a_download_is_reported_in_mebibytes_and_not_drawn(tmp_path, hub, capsys):
    model = write_model(tmp_path / "model")

    def answer(hub_id, *, tqdm_class, **_):
        with tqdm_class(total=3 * 2**20, unit="B", desc="bytes") as bar:
            for _ in range(6):
                bar.update(2**19)
        with tqdm_class(total=7, desc="files") as bar:
            bar.update(7)
        return str(model)

    hub(answer)
    steps = []
    resolve("owner/model", report=lambda *step: steps.append(step))
    assert steps == [("download owner/model (MiB)", done, 3) for done in range(4)]
    assert capsys.readouterr() == ("", "")


def response(status: int):
    """Whatever response class the installed hub library's errors take."""
    from types import SimpleNamespace

    return SimpleNamespace(status_code=status, headers={}, request=None, text="", url="")


def raising(error):
    def answer(*args, **kwargs):
        raise error

    return answer


def test_errors_of_the_hub_become_one_line(hub):
    from huggingface_hub import errors

    answers = {
        errors.RepositoryNotFoundError("404", response=response(404)): "the hub has no model o/m",
        errors.GatedRepoError("403", response=response(403)): "o/m is gated on the hub",
        errors.HfHubHTTPError("500", response=response(500)): "the hub answered 500 for o/m",
        errors.HFValidationError("bad"): "o/m is not a valid hub id",
        ConnectionError("a\nb: refused"): "the hub cannot be reached for o/m: b: refused",
    }
    for error, expected in answers.items():
        hub(raising(error))
        text = refusal("o/m")
        assert text.startswith("there is no directory o/m here, and ")
        assert expected in text
        assert "\n" not in text


def test_the_reason_for_a_miss_in_the_hubs_cache_is_told(hub, monkeypatch):
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    missing = LocalEntryNotFoundError("Got: many lines")
    hub(raising(missing))
    assert "not in the hub's cache, and the hub cannot be reached" in refusal("o/m")
    missing.__cause__ = HfHubHTTPError("503", response=response(503))
    assert "not in the hub's cache, and the hub answered 503" in refusal("o/m")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "not in the hub's cache, and HF_HUB_OFFLINE is set" in refusal("o/m")


def test_a_hub_id_close_to_a_known_one_is_suggested():
    assert refusal("sentence-transformer/all-MiniLM-L6-v2").endswith("| Did you mean minilm?")


def test_a_hub_model_without_safetensors_is_refused(tmp_path, hub):
    model = write_model(tmp_path / "model")
    (model / "model.safetensors").unlink()
    hub(lambda hub_id, **_: str(model))
    assert "has no model.safetensors" in refusal("owner/model")


def test_what_is_in_the_hubs_cache_counts_as_cached(tmp_path, hub):
    model = write_model(tmp_path / "model")
    asked = []

    def answer(hub_id, *, local_files_only, **_):
        asked.append(local_files_only)
        return str(model)

    assert not is_cached("owner/model")
    assert not is_cached("tinybert")
    assert not is_cached("nothing")
    hub(answer)
    assert is_cached("owner/model")
    assert is_cached("tinybert")
    assert asked == [True, True]
    (model / "model.safetensors").unlink()
    assert not is_cached("owner/model")
    assert is_cached(os.fspath(Path(model)))
