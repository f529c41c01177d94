"""Kinds of teachers, students and heads, and choices that do not fit."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from tiny_runs import description, distill, manifest, model_files, shards

from hpdistill.corpus import Corpus
from hpdistill.distill import report_tables
from hpdistill.distill.advice import shortfall
from hpdistill.errors import HpdError, RunError, UsageError
from hpdistill.evaluate import evaluate_fidelity
from hpdistill.export.model import TOLERANCE
from hpdistill.projection import Projection
from hpdistill.pytorch import TorchEncoder
from hpdistill.recipe import WeightedModel

pytestmark = pytest.mark.long

# -- kinds of teachers and students


@pytest.mark.parametrize(("anchor", "members"), [(None, 2), (1.0, 2), (0.5, 2), (0.0, 1)])
def test_the_anchor_adds_the_untrained_student_to_the_teacher(
    anchor, members, recipe, student_dir, store, tmp_path
):
    result = distill(recipe(anchor=anchor, training__max_steps=0), tmp_path / "run", store=store)
    found = description(tmp_path / "run")["teacher"]
    assert len(found) == members
    projection = Projection.load(result.model / "projection.safetensors")
    assert projection.width == (72 if members == 2 else 48)
    if members == 2:
        assert found[1]["model"] == str(student_dir)
        assert found[1]["weight"] == (1 if anchor is None else anchor)
    (target,) = (row["model"] for row in result.rows if "the target" in row["model"])
    weight = ":0.5" if anchor == 0.5 else ""
    assert (f" + {student_dir}{weight}, PCA-8" in target) == (members == 2)


def test_a_bare_backbone_is_no_anchor_unless_told(
    recipe, student_dir, teacher_dir, store, tmp_path
):
    backbone = student_dir.with_name("student-backbone")
    distill(recipe(student=str(backbone), training__max_steps=0), tmp_path / "without", store=store)
    assert [member["model"] for member in description(tmp_path / "without")["teacher"]] == [
        str(teacher_dir)
    ]
    distill(
        recipe(student=str(backbone), anchor=1.0, training__max_steps=0),
        tmp_path / "with",
        store=store,
    )
    assert len(description(tmp_path / "with")["teacher"]) == 2


def test_a_distilled_model_is_distilled_again(recipe, store, tmp_path):
    first = distill(recipe(dim=12, training__max_steps=0), tmp_path / "first", store=store)
    again = recipe(student=str(first.model), training__max_steps=1)
    rows = distill(again, tmp_path / "again", store=store).rows
    widths = {row["model"].removeprefix(f"{first.model}, "): row["dim"] for row in rows[-4:]}
    assert widths == {"untouched": 12, "own PCA-8": 8, "closed-form head": 8, "distilled": 8}


def test_several_teachers_with_weights(recipe, teacher_dir, student_dir, store, tmp_path):
    both = recipe(
        teachers=(
            WeightedModel(model=str(teacher_dir)),
            WeightedModel(model=str(student_dir), weight=0.25),
        ),
        student=f"layers:{teacher_dir}:0",
        anchor=0.0,
        training__max_steps=2,
    )
    result = distill(both, tmp_path / "run", store=store)
    found = [(m["model"], m["weight"]) for m in description(tmp_path / "run")["teacher"]]
    assert found == [(str(teacher_dir), 1), (str(student_dir), 0.25)]
    assert result.rows[0]["dim"] == 72
    assert str(teacher_dir) in result.rows[0]["model"]
    assert str(student_dir) in result.rows[0]["model"]


def test_some_layers_of_a_model_are_a_student(recipe, teacher_dir, store, tmp_path):
    student = f"layers:{teacher_dir}:0,2"
    result = distill(recipe(student=student, training__max_steps=3), tmp_path / "run", store=store)
    assert result.rows[-1]["model"] == f"{student}, distilled"
    *_, closed_form, row = result.rows
    assert row["parameters"] < result.rows[0]["parameters"]
    # The best of the training is at least its start.
    assert row["overlap10"] >= closed_form["overlap10"] - 1e-3
    model = SentenceTransformer(str(result.model), device="cpu")
    assert model[0].auto_model.config.num_hidden_layers == 2
    assert model.encode(["the dog sleeps"]).shape == (1, 8)


@pytest.mark.parametrize("init", ["random", "ridge"])
def test_a_tanh_head_as_the_authors_released_it(init, recipe, store, tmp_path):
    paper = recipe(
        head__init=init,
        head__activation="tanh",
        anchor=0.0,
        training__similarity_weight=0.0,
        training__max_steps=3,
    )
    result = distill(paper, tmp_path / "run", store=store)
    assert any("closed-form" in row["model"] for row in result.rows) == (init == "ridge")
    config = json.loads((result.model / "2_Dense/config.json").read_text("utf-8"))
    assert config["activation_function"].endswith("Tanh")
    texts = ["the dog sleeps", "a red bird sings near the river"]
    plain = SentenceTransformer(str(result.model), device="cpu").encode(texts)
    np.testing.assert_allclose(TorchEncoder.load(str(result.model)).encode(texts), plain, atol=1e-5)


def test_no_training_leaves_the_closed_form_head(recipe, store, tmp_path):
    result = distill(recipe(training__max_steps=0), tmp_path / "run", store=store)
    *_, closed_form, student = result.rows
    assert student["spearman"] == pytest.approx(closed_form["spearman"], abs=1e-4)
    assert description(tmp_path / "run")["training"]["steps"] == 0


@pytest.mark.parametrize("centred", [False, True])
def test_without_an_anchor_the_projected_teacher_is_the_target(centred, recipe, store, tmp_path):
    plain = recipe(anchor=0.0, projection__centred=centred, training__max_steps=0)
    result = distill(plain, tmp_path / "run", store=store)
    assert result.rows[2]["model"].endswith("PCA-8: the target")
    assert result.rows[2]["cosine"] == pytest.approx(1, abs=1e-5)


def test_a_row_is_named_after_the_width_that_it_has(recipe, store, tmp_path):
    # Wider than the teacher alone, not than teacher and anchor together.
    result = distill(recipe(dim=60, training__max_steps=0), tmp_path / "run", store=store)
    for row in result.rows:
        _, found, width = row["model"].partition("PCA-")
        assert not found or int(width.partition(":")[0]) == row["dim"]


def test_the_teacher_and_its_targets_rank_neighbours_differently(recipe, store, tmp_path):
    weights = {}
    for ranking in ("teacher", "targets"):
        run = tmp_path / ranking
        distill(recipe(training__ranking=ranking), run, store=store)
        weights[ranking] = model_files(run)["model.safetensors"]
        # As large as the teacher's vectors in the store, and of no use any more.
        assert not list(run.rglob("teacher.npy"))
    assert weights["teacher"] != weights["targets"]


def test_damaged_vectors_of_the_teacher_are_named(recipe, store, tmp_path):
    def stop(task, done, total):
        if task == "training":
            raise KeyboardInterrupt

    chosen = recipe(training__ranking="teacher")
    with pytest.raises(KeyboardInterrupt):
        distill(chosen, tmp_path / "run", store=store, report=stop)
    [vectors] = (tmp_path / "run").rglob("teacher.npy")
    vectors.write_bytes(vectors.read_bytes()[:200])
    with pytest.raises(RunError, match=r"teacher\.npy is damaged") as raised:
        distill(chosen, tmp_path / "run", store=store)
    assert "Delete" in raised.value.hint
    vectors.unlink()
    distill(chosen, tmp_path / "run", store=store)


def test_a_student_that_learns_the_ranking_of_targets_is_the_one_most_like_them(
    recipe, store, tmp_path
):
    run = tmp_path / "run"
    distill(recipe(training__ranking="targets"), run, store=store)
    texts = Corpus.open(run / "corpus").texts("validation")
    student = TorchEncoder.load(str(run / "model")).encode(texts)
    held_out = np.load(run / "targets/validation.npy")
    best = manifest(run)["stages"]["training"]["facts"]["best_score"]
    assert best == pytest.approx(evaluate_fidelity(student, held_out).spearman, abs=1e-4)


@pytest.mark.parametrize("anchor", [0.0, 4.0])
def test_a_student_that_learns_the_teachers_ranking_is_chosen_by_it_without_the_anchor(
    recipe, teacher_dir, store, tmp_path, anchor
):
    run = tmp_path / "run"
    distill(recipe(anchor=anchor), run, store=store)
    texts = Corpus.open(run / "corpus").texts("validation")
    student = TorchEncoder.load(str(run / "model")).encode(texts)
    teacher = TorchEncoder.load(str(teacher_dir)).encode(texts)
    best = manifest(run)["stages"]["training"]["facts"]["best_score"]
    assert best == pytest.approx(evaluate_fidelity(student, teacher).overlap10, abs=0.005)


def test_dropout_and_auto_precision_train_a_model_too(recipe, tmp_path):
    auto = recipe(
        teacher__precision="auto",
        training__precision="auto",
        training__dropout=True,
        training__max_steps=3,
    )
    first = distill(auto, tmp_path / "run")
    assert first.rows[-1]["dim"] == 8
    assert distill(auto, tmp_path / "run").stages == first.stages


def test_a_random_head_is_not_kept_for_its_rank_correlation(recipe, store, tmp_path):
    random = recipe(head__init="random", anchor=0.0, training__learning_rate=1e-9)
    result = distill(random, tmp_path / "run", store=store)
    assert result.stages["training"]["facts"]["best_step"] > 0


def test_a_student_below_what_it_was_made_from_is_called_that(recipe, store, tmp_path):
    # A random head that learns nothing: the untouched student is worth more.
    worse = recipe(
        head__init="random", anchor=0.0, training__learning_rate=1e-9, training__max_steps=1
    )
    result = distill(worse, tmp_path / "run", store=store)
    (said, *_) = report_tables(result.rows, result.stages)[0].notes
    report = json.loads((tmp_path / "run" / "report.json").read_text("utf-8"))
    assert report["warnings"][0] == said
    assert said in (tmp_path / "run" / "report.md").read_text("utf-8")
    student = next(row for row in result.rows if row["kind"] == "distilled")
    cheap = [row for row in result.rows if row["kind"] in ("untouched", "own_pca")]
    best = max(cheap, key=lambda row: row["overlap10"])
    figures = f"{100 * student['overlap10']:.2f} against {100 * best['overlap10']:.2f}"
    assert said.startswith(f"The distilled student ended below {best['label']}, ")
    assert figures in said
    assert ("nothing has to be distilled" in said) == (best["kind"] == "untouched")
    assert set(report["corpus"]) >= {"read", "kept", "split", "parts", "dropped"}


@pytest.mark.parametrize(
    ("student", "alternative", "said"),
    [
        ({"overlap10": 0.6, "spearman": 0.9}, {"overlap10": 0.5, "spearman": 0.8}, ""),
        ({"overlap10": 0.5, "spearman": 0.9}, {"overlap10": 0.6, "spearman": 0.8}, "50.00 against"),
        # Given up for what is near.
        ({"overlap10": 0.6, "spearman": 0.8}, {"overlap10": 0.5, "spearman": 0.9}, ""),
        (
            {"overlap10": 0.5, "spearman": 0.8},
            {"overlap10": 0.5, "spearman": 0.9},
            "fidelity 80.00",
        ),
        ({"overlap10": 0.50001}, {"overlap10": 0.50004}, ""),
    ],
)
def test_a_student_is_below_by_what_counts(student, alternative, said):
    usual = {"spearman": 0.9, "dim": 8, "backend": "torch"}
    rows = [
        {"label": "teacher", "kind": "teacher", "overlap10": 1.0, **usual},
        {"label": "own", "kind": "own_pca", **usual, **alternative},
        {"label": "student", "kind": "distilled", **usual, **student},
    ]
    found = shortfall(rows)
    assert said in found
    assert bool(found) == bool(said)


@pytest.mark.parametrize(("steps", "said"), [(2, True), (0, False)])
def test_it_is_said_when_training_was_of_no_use(recipe, store, tmp_path, steps, said):
    # Steps that move no weight.
    idle = recipe(training__max_steps=steps, training__learning_rate=1e-30)
    result = distill(idle, tmp_path / "run", store=store)
    assert result.stages["training"]["facts"]["best_step"] == 0
    notes = "\n".join(report_tables(result.rows, result.stages)[0].notes)
    assert ("None of 2 steps" in notes) == said
    assert ("None of 2 steps" in (tmp_path / "run" / "report.md").read_text("utf-8")) == said


def test_a_cheap_alternative_is_plain_pca_whatever_the_target_is(recipe, store, tmp_path):
    whitened = recipe(anchor=0.0, training__max_steps=0, projection__whitening=0.5)
    rows = distill(whitened, tmp_path / "whitened", store=store).rows
    plain = recipe(anchor=0.0, training__max_steps=0, projection__whitening=0.0)
    expected = distill(plain, tmp_path / "plain", store=store).rows
    names = [row["model"].rpartition(", ")[2] for row in rows]
    assert names[1:3] == ["PCA-8", "PCA-8: the target"]
    assert rows[1]["spearman"] == pytest.approx(expected[1]["spearman"], abs=1e-6)
    assert rows[2]["spearman"] < rows[1]["spearman"]
    assert (rows[1]["cosine"], rows[2]["cosine"]) == (None, pytest.approx(1))


def test_the_teacher_is_found_from_any_directory(recipe, store, teacher_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(teacher_dir.parent)
    relative = recipe(teachers=(WeightedModel(model=f"./{teacher_dir.name}"),))
    distill(replace(relative, training=replace(relative.training, max_steps=0)), tmp_path / "run")
    assert description(tmp_path / "run")["teacher"][0]["model"] == str(teacher_dir)


def test_another_encoder_of_the_same_name_is_measured_anew(
    recipe, store, teacher_dir, student_dir, tmp_path
):
    rows = [
        distill(
            recipe(training__max_steps=0),
            tmp_path / "run",
            store=store,
            beside=[TorchEncoder(TorchEncoder.load(str(model)).model, name="other")],
        ).rows
        for model in (teacher_dir, student_dir)
    ]
    dims = [[row["dim"] for row in found if row["model"] == "other"] for found in rows]
    assert dims == [[48], [24]]


def test_a_graph_that_was_refused_is_named(recipe, store, tmp_path, monkeypatch):
    # Nothing agrees so well.
    monkeypatch.setitem(TOLERANCE, "int8", (1.1, 1.1))
    result = distill(recipe(training__max_steps=0), tmp_path / "run", store=store, export=True)
    assert not (result.model / "onnx" / "model_int8.onnx").exists()
    notes = "\n".join(report_tables(result.rows, result.stages)[0].notes)
    said = "There is no export in int8: it disagrees with the student, cosine "
    assert said in notes
    assert said in (tmp_path / "run" / "report.md").read_text("utf-8")


def test_a_rotated_head_starts_with_the_similarities_of_the_own_pca(recipe, store, tmp_path):
    rotated = recipe(head__init="rotation", training__max_steps=0)
    result = distill(rotated, tmp_path / "run", store=store)
    *_, own, start, _ = result.rows
    assert ("own PCA" in own["model"], "closed-form" in start["model"]) == (True, True)
    assert start["spearman"] == pytest.approx(own["spearman"], abs=1e-4)
    assert start["overlap10"] == own["overlap10"]
    assert start["cosine"] > 0


# -- values that do not fit, found before the teacher is run


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": 73}, r"dim 73 .* 1 to 72"),
        ({"dim": 49, "anchor": 0.0}, r"dim 49 .* 1 to 48"),
        ({"dim": 70, "corpus__limit": 50}, r"dim 70 .* there are 40"),
        ({"projection__fit_sentences": 5}, r"dim 8 .* there are 5"),
    ],
    ids=["the width", "the teacher's width", "the sentences", "the sentences to fit on"],
)
def test_a_k_over_what_pca_can_give_is_refused_before_embedding(changes, message, recipe, tmp_path):
    with pytest.raises(UsageError, match=message):
        distill(recipe(**changes), tmp_path / "run")
    assert not shards(tmp_path / "run/targets")


def test_a_layer_that_does_not_exist_is_refused_before_embedding(recipe, student_dir, tmp_path):
    with pytest.raises(UsageError, match=r"layer 2 does not exist; .* 0 to 1"):
        distill(recipe(student=f"layers:{student_dir}:0,2"), tmp_path / "run")
    assert not shards(tmp_path / "run/targets")


@pytest.mark.parametrize("count", [10, 15])
def test_few_sentences_are_enough_or_refused_before_embedding(count, recipe, sentences, tmp_path):
    source = tmp_path / "few.txt"
    source.write_text("\n".join(sentences(count)), "utf-8")
    few = recipe(corpus__sources=(str(source),), dim=3)
    try:
        rows = distill(few, tmp_path / "run").rows
    except HpdError:
        assert not shards(tmp_path / "run/targets")
    else:
        assert rows[-1]["dim"] == 3
