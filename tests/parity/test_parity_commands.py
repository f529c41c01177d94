"""Every command that writes vectors or a model, on every kind of model.

What a command writes is a model again: sentence-transformers loads it, and gives the vectors that
our own paths give. Minutes; run by `make test-long`.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from conftest import Built
from parity_cases import CASES
from parity_models import Case
from parity_paths import (
    FIT,
    Ended,
    cosines_of_written,
    distil,
    hpd,
    least_cosine,
    load_reference,
    reduce,
    reference,
    worst,
    write_texts,
)
from parity_texts import TEXTS

from hpdistill.corpus import Corpus, build_corpus
from hpdistill.encoder import unit
from hpdistill.projection import fit_pca, fit_whitening
from hpdistill.recipe import CorpusRecipe

pytestmark = pytest.mark.long

LEAST = 0.9999
DIM = FIT[1]
each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

Building = Callable[[Case], Built]


class Files(NamedTuple):
    """For commands to read."""

    texts: Path
    corpus: Path
    compared: Path


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(*write_texts(tmp_path_factory.mktemp("texts")))


@pytest.fixture(scope="session")
def splits(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """What commands fit on, and what they hold out."""
    folder = tmp_path_factory.mktemp("corpus")
    build_corpus(CorpusRecipe(sources=(str(files.corpus),)), folder, seed=0)
    return Corpus.open(folder)


def is_refused(case: Case, command: str, ended: Ended, out: Path) -> bool:
    """Whether a command refused, as its case says; no other refusal is right."""
    if command not in case.refused:
        assert ended.code == 0, ended.err
        return False
    assert re.search(case.refused[command], ended.line)
    assert not out.exists()
    return True


def parted(case: Case, directory: Path, tmp_path: Path) -> dict[str, float]:
    """Where our paths part from sentence-transformers on a model that we wrote."""
    cosines = cosines_of_written(case, directory, tmp_path / "graph")
    return {path: cosine for path, cosine in cosines.items() if cosine < LEAST}


def same_prompts(written: Path, case: Case) -> bool:
    settings = json.loads((written / "config_sentence_transformers.json").read_text("utf-8"))
    kept = {name: prompt for name, prompt in settings["prompts"].items() if prompt}
    return kept == dict(case.prompts) and settings["default_prompt_name"] == case.default_prompt


@each
def test_export_and_encode(built: Building, case: Case, files: Files, tmp_path: Path) -> None:
    model, out, vectors = built(case), tmp_path / "model", tmp_path / "vectors.npy"
    options = ["--precision", "float32", "--sentences", files.compared]
    if is_refused(case, "export", hpd("export", model.directory, "--out", out, *options), out):
        # What has no graph may run otherwise, or is refused.
        ended = hpd("encode", model.directory, files.texts, vectors)
        if ended.code != 0:
            assert ended.line.startswith("error: "), ended
            assert not vectors.exists()
            return
    else:
        ended = hpd("encode", out, files.texts, vectors, "--model-precision", "float32")
        assert ended.code == 0, ended.err
        assert same_prompts(out, case)
    found, expected = np.load(vectors), unit(model.expected())
    assert least_cosine(found, expected) >= LEAST, worst(found, expected, TEXTS)


@each
@pytest.mark.parametrize("command", ["pca", "whiten"])
def test_fewer_numbers(
    built: Building, case: Case, command: str, files: Files, splits: Corpus, tmp_path: Path
) -> None:
    model, out = built(case), tmp_path / "model"
    ended = reduce(command, model.directory, files.corpus, out)
    if is_refused(case, "fewer", ended, out):
        return
    if command == "whiten" and case.name == "prompt-longer-than-limit":
        return  # all texts are the prompt alone: without their mean, what is left is rounding
    assert parted(case, out, tmp_path) == {}
    assert same_prompts(out, case)
    # What it writes is that projection of the model's own vectors.
    train = unit(reference(model.model, splits.texts("train"), alone=case.alone))
    fit = fit_pca if command == "pca" else fit_whitening
    expected = unit(fit([train], DIM).apply(unit(model.expected())))
    found = reference(load_reference(out), TEXTS, alone=case.alone)
    assert least_cosine(found, expected) >= LEAST, worst(found, expected, TEXTS)


@each
def test_a_student(built: Building, case: Case, files: Files, tmp_path: Path) -> None:
    run = tmp_path / "run"
    ended, written = distil(case, built(case).directory, files.corpus, run), run / "model"
    if is_refused(case, "distil", ended, written):
        return
    assert parted(case, written, tmp_path) == {}
    # A static student has of its model the tokenizer, and nothing else.
    if not case.is_static:
        assert same_prompts(written, case)
        pooling = load_reference(written)[1]
        modes = pooling.pooling_mode
        assert ((modes,) if isinstance(modes, str) else modes) == case.pooling
        assert pooling.include_prompt == case.include_prompt
