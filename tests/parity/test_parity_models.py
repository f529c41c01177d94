"""The net catches: in these models one other token, pooling or prompt turns a vector far away."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Built
from parity_cases import CASES, POOLINGS
from parity_models import NO_LIMIT, Case, build
from parity_paths import least_cosine, load_reference, reference
from parity_texts import LONG, PLAIN, TEXTS
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling

FAR = 0.9995
"""At most; what passes for equal is 0.9999."""

Building = Callable[[Case], Built]
each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def vector(model: SentenceTransformer, features: dict) -> np.ndarray:
    with torch.inference_mode():
        return model(dict(features))["sentence_embedding"].numpy()


def test_names_are_distinct() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)


def _other(ids: torch.Tensor) -> torch.Tensor:
    """One token in the middle another one of the text."""
    changed, middle = ids.clone(), len(ids) // 2
    changed[middle] = next(token for token in ids.flip(0)[1:] if token != ids[middle])
    return changed


FAULTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "without its first token": lambda ids: ids[1:],
    "without its last token": lambda ids: ids[:-1],
    "without one before its last": lambda ids: torch.cat([ids[:-2], ids[-1:]]),
    "with another in the middle": _other,
}


@pytest.mark.long
@each
def test_a_token_less_or_another_is_seen(built: Building, case: Case) -> None:
    """A fault in all texts, or in all that are cut."""
    if case.architecture in ("gpt2", "qwen3") and case.pooling == ("cls",):
        pytest.skip("the first token of a decoder sees no other")
    model = built(case).model

    def embed(tokens: torch.Tensor, kept: dict) -> np.ndarray:
        if case.is_static:
            place = {"offsets": torch.zeros(1, dtype=torch.int64)}
            return vector(model, {"input_ids": tokens, **place})
        mask = torch.ones(1, len(tokens), dtype=torch.int64)
        return vector(model, {"input_ids": tokens[None], "attention_mask": mask, **kept})

    # Where nothing is cut, one token of a hundred is little, and no limit can be wrong by one.
    for texts in (PLAIN[3:], [] if case.limit == NO_LIMIT else LONG):
        least = dict.fromkeys(FAULTS, 0.0 if not texts else 1.0)
        for text in texts:
            features = model.preprocess([text])
            kept = {key: features[key] for key in features if key in ("modality", "prompt_length")}
            ids = features["input_ids"].flatten()
            whole = embed(ids, kept)
            for name, fault in FAULTS.items():
                least[name] = min(least[name], least_cosine(embed(fault(ids), kept), whole))
        assert {name: cosine for name, cosine in least.items() if cosine > FAR} == {}


@each
def test_another_prompt_is_seen(built: Building, case: Case) -> None:
    model = built(case)
    prompts = {text for text in case.prompts.values() if text}
    for prompt in prompts:
        texts = PLAIN[:3]  # of longer ones a limit may cut the prompt off
        with_it = model.model.encode(texts, prompt=prompt)
        without = model.model.encode(texts, prompt="")
        cosines = [least_cosine(with_it[[i]], without[[i]]) for i in range(len(texts))]
        assert max(cosines) < FAR


@pytest.mark.parametrize("mode", POOLINGS)
def test_another_pooling_is_seen(built: Building, mode: str) -> None:
    case = next(case for case in CASES if case.name == f"pooling-{mode}")
    model, expected = built(case).model, built(case).expected()
    for other in set(POOLINGS) - {mode}:
        pooling = Pooling(model[1].embedding_dimension, pooling_mode=other)
        found = SentenceTransformer(modules=[model[0], pooling], device="cpu").encode(TEXTS)
        if {mode, other} == {"mean", "mean_sqrt_len_tokens"}:
            lengths = np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
            assert np.median(np.abs(np.log(lengths))) > 0.5
            continue
        cosines = [least_cosine(found[[i]], expected[[i]]) for i in range(len(TEXTS))]
        # Of one token only, some poolings are the same.
        assert np.quantile(cosines, 0.9) < FAR


def test_the_order_of_poolings_is_seen(built: Building) -> None:
    case = next(case for case in CASES if case.name == "pooling-mean-cls")
    expected = built(case).expected()
    half = expected.shape[1] // 2
    swapped = np.hstack([expected[:, half:], expected[:, :half]])
    assert max(least_cosine(swapped[[i]], expected[[i]]) for i in range(len(TEXTS))) < FAR


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.reference_limit], ids=lambda c: c.name
)
def test_the_reference_itself_fails_on_a_table_that_is_too_small(
    built: Building, case: Case
) -> None:
    model = load_reference(built(case).directory)
    with pytest.raises((IndexError, RuntimeError)):
        reference(model, LONG)


def test_models_are_the_same_each_time(tmp_path: Path) -> None:
    case = CASES[0]
    first, again = (build(case, tmp_path / name) for name in ("first", "again"))
    files = [path.relative_to(first) for path in sorted(first.rglob("*")) if path.is_file()]
    assert files
    assert all((first / name).read_bytes() == (again / name).read_bytes() for name in files)


def test_every_pair_of_poolings_is_kept_in_its_order_by_a_saved_model(
    built: Building, tmp_path: Path
) -> None:
    """In the older form of a configuration booleans cannot say an order."""
    from hpdistill.student import assemble, save_student

    case = CASES[0]
    model = load_reference(built(case).directory)
    lost = {}
    for pair in itertools.permutations(POOLINGS, 2):
        pooled = assemble(model, [model[0], Pooling(24, pooling_mode=pair)])
        directory = tmp_path / "-".join(pair)
        directory.mkdir()
        save_student(pooled, directory)
        cosine = least_cosine(load_reference(directory).encode(PLAIN), pooled.encode(PLAIN))
        if cosine < 0.9999:
            lost["+".join(pair)] = cosine
    assert lost == {}
