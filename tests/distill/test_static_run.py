"""A distillation into a static student."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from tiny_runs import description, distill, model_files, shards

from hpdistill.distill import Distilled
from hpdistill.errors import UsageError
from hpdistill.pytorch import TorchEncoder
from hpdistill.recipe import Recipe, WeightedModel

# -- a static student


@pytest.fixture(scope="module")
def static(recipe: Callable[..., Recipe]) -> Callable[..., Recipe]:
    """`static(dim=16)`: the small recipe for a student without a transformer."""

    def build(**changes: Any) -> Recipe:
        return recipe(**{"student": "static", "training__learning_rate": None} | changes)

    return build


@pytest.fixture(scope="module")
def static_run(work: Path, static: Callable[..., Recipe], store: Path) -> Distilled:
    """Distilled into `work/static`; not to be changed."""
    return distill(static(), work / "static", store=store)


def test_the_rows_of_a_static_student_lead_from_tokens_to_training(static_run, teacher_dir):
    assert [row["model"] for row in static_run.rows] == [
        f"{teacher_dir}",
        f"{teacher_dir}, PCA-8",
        "static, token vectors",
        "static, closed form",
        "static, distilled",
    ]
    tokens, closed_form, student = static_run.rows[2:]
    assert tokens["spearman"] < closed_form["spearman"] <= student["spearman"]
    assert tokens["cosine"] < closed_form["cosine"]
    assert student["sentences_per_second"] > static_run.rows[0]["sentences_per_second"]
    # 60 words and four special tokens, 8 numbers each.
    assert {row["parameters"] for row in static_run.rows[2:]} == {512}


def test_the_code_of_a_static_students_card_runs(static_run):
    card = (static_run.model / "README.md").read_text("utf-8")
    blocks = re.findall("```python\n(.*?)```", card, re.DOTALL)
    vectors = []
    for block in blocks:
        names: dict[str, Any] = {}
        exec(block.replace("path/to/this/directory", str(static_run.model)), names)
        vectors.append(names["vectors"])
    with_torch, without = vectors
    np.testing.assert_allclose(with_torch[:1], without, atol=1e-5)


def test_a_static_student_is_read_by_everyone(static_run, sentences):
    texts = [*sentences(30, seed=9), "", "a word unheard of"]
    plain = SentenceTransformer(str(static_run.model), device="cpu").encode(texts)
    ours = TorchEncoder.load(str(static_run.model)).encode(texts)
    np.testing.assert_allclose(ours, plain, atol=1e-6)
    modules = json.loads((static_run.model / "modules.json").read_text("utf-8"))
    assert [module["type"].rpartition(".")[2] for module in modules] == [
        "StaticEmbedding",
        "Normalize",
    ]
    assert description(static_run.model.parent)["student"] == "static"


def test_a_static_student_has_no_anchor_and_refuses_one(static, static_run, tmp_path):
    assert len(description(static_run.model.parent)["teacher"]) == 1
    with pytest.raises(UsageError, match=r"anchor is 0\.5; a static student") as caught:
        distill(static(anchor=0.5), tmp_path / "run")
    assert "two `teachers`" in caught.value.hint
    assert not (tmp_path / "run").exists()


def test_the_teacher_reads_each_token_once(static, static_run, store, tmp_path):
    before = shards(store)
    again = distill(static(), tmp_path / "again", store=store)
    assert shards(store) == before
    assert model_files(again.model.parent) == model_files(static_run.model.parent)
    assert again.stages["student"]["facts"]["tokens"] == 64


def test_a_static_student_of_several_teachers_and_another_tokenizer(
    static, teacher_dir, student_dir, store, tmp_path
):
    teachers = WeightedModel(model=str(teacher_dir)), WeightedModel(model=str(student_dir))
    other = static(teachers=teachers, student=f"static:{student_dir}", dim=60)
    result = distill(other, tmp_path / "run", store=store)
    assert [row["dim"] for row in result.rows] == [72, 60, 60, 60, 60]
    assert result.rows[-1]["model"] == f"static:{student_dir}, distilled"


def test_the_vocabulary_of_a_static_student_is_cut_to_its_corpus(static, store, tmp_path):
    source = tmp_path / "some.txt"
    some = "the dog sleeps", "a dog runs", "the cat runs", "a cat sleeps often", "cat", "dog"
    texts = [f"{one} {more}" for one in some for more in some]
    source.write_text("\n".join(texts), "utf-8")
    cut = static(
        corpus__sources=(str(source),),
        dim=2,
        static__vocabulary="corpus",
        static__add_words=10,
        training__max_steps=1,
    )
    result = distill(cut, tmp_path / "run", store=store)
    # Seven words and four special tokens.
    assert result.stages["student"]["facts"]["tokens"] == 11
    assert np.isfinite(TorchEncoder.load(str(result.model)).encode(["dog", "river"])).all()


def test_the_strength_is_chosen_on_sentences_held_out_or_given(static, store, tmp_path):
    facts = distill(static(), tmp_path / "chosen", store=store).stages["student"]["facts"]
    tried = facts["fidelity"]
    assert tried[str(facts["strength"])] == max(tried.values())
    given = static(static__strength=0.5, training__max_steps=0)
    facts = distill(given, tmp_path / "given", store=store).stages["student"]["facts"]
    assert (facts["strength"], list(facts["fidelity"])) == (0.5, ["0.5"])


@pytest.mark.parametrize("changes", [{"static__vocabulary": "corpus"}, {"static__add_words": 5}])
def test_a_vocabulary_that_cannot_be_changed_is_refused_before_embedding(
    changes, static, teacher_dir, tmp_path
):
    from tokenizers import Tokenizer, models

    merging = shutil.copytree(teacher_dir, tmp_path / "merging")
    Tokenizer(models.BPE({"a": 0, "b": 1}, [])).save(str(merging / "tokenizer.json"))
    with pytest.raises(UsageError, match="BPE tokenizer cannot be changed"):
        distill(static(student=f"static:{merging}", **changes), tmp_path / "run")
    assert not shards(tmp_path / "run/targets")
