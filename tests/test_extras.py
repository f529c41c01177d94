"""Packages that are not installed: named, with what installs them."""

import json
import sys

import pytest

from hpdistill.errors import PackageError
from hpdistill.extras import extra, extra_version


def test_a_module_that_is_there() -> None:
    assert extra("json") is json


def test_a_missing_package_says_who_needs_it_and_what_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(PackageError, match=r"^searching needs the Python package faiss,") as caught:
        extra("faiss", "search", task="searching")
    assert caught.value.hint == "pip install 'hpdistill[search]'"


def test_the_version_of_a_missing_package_is_refused_alike() -> None:
    with pytest.raises(PackageError, match=r"needs the Python package never-heard-of,") as caught:
        extra_version("never-heard-of", "augment")
    assert caught.value.hint == "pip install 'hpdistill[augment]'"


def test_another_way_takes_the_place_of_installing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(PackageError, match="package mteb") as caught:
        extra("mteb", hint="pip install 'mteb>=2'")
    assert caught.value.hint == "pip install 'mteb>=2'"


def test_a_package_missing_below_is_the_one_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("packages")
    (folder / "needs_another.py").write_text("import another_that_is_missing\n")
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(PackageError, match="package another_that_is_missing"):
        extra("needs_another")
