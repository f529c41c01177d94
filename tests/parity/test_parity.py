"""Every path of ours gives the vectors of sentence-transformers, or refuses the model.

This half takes seconds: our PyTorch path and the graph in the runtime, on every text. The other is
`test_parity_commands.py`.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Built
from parity_cases import ARCHITECTURES, CASES, PROMPTS, STATIC
from parity_models import Case
from parity_paths import (
    by_runtime,
    by_torch,
    exported,
    least_cosine,
    load_runtime,
    load_torch,
    same_lengths,
    worst,
)
from parity_texts import LONG, PLAIN, TEXTS

from hpdistill.errors import ExportError, HpdError
from hpdistill.export import export_model
from hpdistill.pytorch import TorchEncoder
from hpdistill.runtime._tokens import TextTokenizer

LEAST = 0.9999
QUICK = [*ARCHITECTURES, *PROMPTS, *STATIC]
each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

Building = Callable[[Case], Built]


def named(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def off(model: Built, encode: Callable[[str], np.ndarray]) -> dict[str, str]:
    """Roles in which vectors are not those of the reference, and how."""
    found = {}
    for role in model.roles:
        vectors, expected = encode(role), model.expected(role)
        if vectors.shape != expected.shape:
            found[role] = f"shape {vectors.shape}, not {expected.shape}"
        elif least_cosine(vectors, expected) < LEAST:
            found[role] = worst(vectors, expected, TEXTS)
        elif not same_lengths(vectors, expected):
            found[role] = "the right directions, but other lengths"
    return found


@each
def test_our_pytorch_path(built: Building, case: Case) -> None:
    model = built(case)
    if "torch" in case.refused:
        with pytest.raises(HpdError, match=case.refused["torch"]):
            load_torch(model.directory)
        return
    encoder = load_torch(model.directory)
    assert off(model, lambda role: by_torch(encoder, TEXTS, role)) == {}


@pytest.mark.parametrize(
    "case",
    # Each takes an export; what the others try is told by our PyTorch path, too.
    [c if c in QUICK else pytest.param(c, marks=pytest.mark.long) for c in CASES],
    ids=lambda case: case.name,
)
def test_the_graph_in_the_runtime(built: Building, case: Case, tmp_path: Path) -> None:
    model = built(case)
    if "export" in case.refused:
        with pytest.raises(HpdError, match=case.refused["export"]) as refusal:
            exported(model.directory, tmp_path / "exported", PLAIN)
        assert "\n" not in str(refusal.value)
        assert not (tmp_path / "exported").exists()
        return
    out = exported(model.directory, tmp_path / "exported", PLAIN)
    with load_runtime(out) as encoder:
        assert off(model, lambda role: by_runtime(encoder, TEXTS, role)) == {}


def break_both(
    monkeypatch: pytest.MonkeyPatch, fault: Callable[[str], str], *, runtime: bool
) -> None:
    """Have our PyTorch path, and if asked the runtime alike, read other texts than those given."""
    for owner, name in [(TorchEncoder, "tokenize"), *[(TextTokenizer, "encode")] * runtime]:
        right = getattr(owner, name)

        def wrong(self, texts, *given, right=right, **options):
            return right(self, [fault(text) for text in texts], *given, **options)

        monkeypatch.setattr(owner, name, wrong)


@pytest.mark.parametrize("runtime", [False, True], ids=["ours", "both"])
@pytest.mark.parametrize("texts", [PLAIN[:4], LONG[:2]], ids=["short", "long"])
def test_export_compares_with_sentence_transformers_itself(
    built: Building,
    texts: list[str],
    runtime: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fault that our two paths have in common is not taken for the truth."""
    directory = built(named("bert")).directory
    break_both(monkeypatch, lambda text: text[1:], runtime=runtime)
    with pytest.raises(ExportError, match="cosine"):
        export_model(directory, texts, precisions=("float32",), out=tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def test_export_tries_texts_over_the_limit_though_it_was_given_none(
    built: Building, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = built(named("bert")).directory
    longest = max(map(len, PLAIN[:4]))
    break_both(monkeypatch, lambda text: text if len(text) <= longest else text[1:], runtime=True)
    with pytest.raises(ExportError, match="cosine"):
        export_model(directory, PLAIN[:4], precisions=("float32",), out=tmp_path / "exported")
