"""One distillation, from sentences to a measured model."""

import fcntl
import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer
from tiny_runs import distill, model_files, shards, times, tiny_recipe

from hpdistill.corpus import Corpus
from hpdistill.distill import Distilled
from hpdistill.encoder import unit
from hpdistill.errors import CorpusError, HpdError, RunError, UsageError
from hpdistill.evaluate import evaluate_fidelity
from hpdistill.projection import Projection
from hpdistill.pytorch import TorchEncoder
from hpdistill.recipe import Recipe, WeightedModel
from hpdistill.teacher import load_teacher

STAGES = ("corpus", "teacher", "targets", "student", "training", "report")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """More threads only slow such small models down."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def text_file(work: Path, sentences: Callable[..., list[str]]) -> Path:
    path = work / "sentences.txt"
    path.write_text("\n".join(sentences(300)), "utf-8")
    return path


@pytest.fixture(scope="module")
def recipe(teacher_dir: Path, student_dir: Path, text_file: Path) -> Callable[..., Recipe]:
    """`recipe(dim=16, corpus__limit=50)`: the small recipe with other choices."""

    def build(**changes: Any) -> Recipe:
        return tiny_recipe(teacher_dir, student_dir, text_file, **changes)

    return build


@pytest.fixture(scope="module")
def store(work: Path) -> Path:
    """Teacher embeddings that the tests share, so that most of them need no teacher."""
    return work / "store"


@pytest.fixture(scope="module")
def finished(work: Path, recipe: Callable[..., Recipe]) -> Distilled:
    """The small recipe distilled into `work/first`; not to be changed."""
    return distill(recipe(), work / "first")


@pytest.fixture
def run(finished: Distilled, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed."""
    return shutil.copytree(finished.model.parent, tmp_path / "run")


def manifest(run: Path) -> dict[str, Any]:
    return json.loads((run / "manifest.json").read_text("utf-8"))


def description(run: Path) -> dict[str, Any]:
    return json.loads((run / "model/hpd.json").read_text("utf-8"))


# -- what a run leaves


def test_a_run_holds_what_the_design_promises(finished, recipe):
    run = finished.model.parent
    assert {path.name for path in run.iterdir() if not path.name.startswith(".")} == {
        "recipe.toml",
        "manifest.json",
        "corpus",
        "targets",
        "init",
        "checkpoints",
        "model",
        "report.json",
        "report.md",
        "report.html",
    }
    assert Recipe.load(run / "recipe.toml") == recipe()
    assert not list(run.rglob("*.tmp"))


def test_the_student_kept_is_the_one_most_like_its_targets(finished):
    run = finished.model.parent
    texts = Corpus.open(run / "corpus").texts("validation")
    student = TorchEncoder.load(str(run / "model")).encode(texts)
    held_out = np.load(run / "targets/validation.npy")
    best = manifest(run)["stages"]["training"]["facts"]["best_score"]
    assert best == pytest.approx(evaluate_fidelity(student, held_out).spearman, abs=1e-4)
    # Which are partly whitened, and so not like the teacher itself.
    joint = Projection.load(run / "targets/projection.safetensors")
    assert description(run)["projection"]["whitening"] == 0.3
    assert np.ptp(np.linalg.norm(joint.components, axis=1)) > 0.1


def test_the_manifest_tells_versions_machine_and_every_stage(finished, recipe):
    found = manifest(finished.model.parent)
    assert found["recipe"] == recipe().hash
    assert found["seed"] == recipe().seed
    assert {"python", "hpdistill", "torch"} <= found["versions"].keys()
    assert {"cpu", "cores", "system"} <= found["machine"].keys()
    assert tuple(found["stages"]) == STAGES
    for stage in found["stages"].values():
        assert len(stage["inputs"]) == 64
        assert stage["seconds"] >= 0
        assert stage["peak_memory_mb"] > 0
    assert found["stages"] == finished.stages


def test_the_corpus_keeps_sentences_with_source_and_split_and_what_was_dropped(
    work, recipe, sentences, store, tmp_path
):
    texts = sentences(100)
    source = tmp_path / "some.txt"
    source.write_text("\n".join([*texts, texts[0], "", "  "]), "utf-8")
    distill(recipe(corpus__sources=(str(source),), training__max_steps=0), tmp_path / "run")
    tables = {
        split: pq.read_table(tmp_path / f"run/corpus/{split}.parquet")
        for split in ("train", "validation")
    }
    found = {split: table.column("text").to_pylist() for split, table in tables.items()}
    assert (len(found["train"]), len(found["validation"])) == (80, 20)
    assert sorted(found["train"] + found["validation"]) == sorted(texts)
    assert set(tables["train"].column("source").to_pylist()) == {str(source)}
    facts = manifest(tmp_path / "run")["stages"]["corpus"]["facts"]
    assert facts["dropped"]["duplicate"] == 1
    assert facts["dropped"]["empty"] == 2


def test_the_model_directory_holds_safetensors_and_text_only(finished):
    files = [path for path in finished.model.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json", ".toml", ".md"}


def test_plain_sentence_transformers_gives_the_same_vectors(finished, sentences):
    texts = sentences(30, seed=9)
    model = SentenceTransformer(str(finished.model), device="cpu")
    plain = model.encode(texts)
    assert plain.shape == (30, 8)
    np.testing.assert_allclose(np.linalg.norm(plain, axis=1), 1, atol=1e-5)
    ours = TorchEncoder.load(str(finished.model)).encode(texts)
    np.testing.assert_allclose(ours, plain, atol=1e-5)


def test_hpd_json_ties_the_model_to_its_teacher(finished, recipe, teacher_dir, student_dir):
    found = description(finished.model.parent)
    assert found["recipe"] == recipe().hash
    assert found["dim"] == 8
    assert set(found["prefixes"]) == {"8"}
    teacher, anchor = found["teacher"]
    assert (teacher["model"], teacher["weight"]) == (str(teacher_dir), 1)
    assert (anchor["model"], anchor["weight"]) == (str(student_dir), 1)
    assert len(teacher["weights"]) == len(teacher["configuration"]) == 64
    assert teacher["weights"] != anchor["weights"]
    facts = finished.stages["training"]["facts"]
    assert found["training"]["steps"] == facts["steps"] == 12
    assert found["corpus"]["sentences"] == 260


def test_validated_prefixes_are_powers_of_two_and_k(recipe, store, tmp_path):
    distill(recipe(dim=40, training__max_steps=0), tmp_path / "run", store=store)
    prefixes = description(tmp_path / "run")["prefixes"]
    assert list(prefixes) == ["16", "32", "40"]
    assert all(-1 <= value <= 1 for value in prefixes.values())


def test_the_teacher_through_the_projection_lives_in_the_space_of_the_student(finished):
    run = finished.model.parent
    texts = Corpus.open(run / "corpus").texts("validation")
    student = SentenceTransformer(str(finished.model), device="cpu").encode(texts)
    encoders = [
        WeightedModel(model=member["model"], weight=member["weight"])
        for member in description(run)["teacher"]
    ]
    projection = Projection.load(finished.model / "projection.safetensors")
    teacher = unit(projection.apply(load_teacher(encoders).encode(texts)))
    matched = (student * teacher).sum(axis=1).mean()
    shuffled = (student * np.roll(teacher, 1, axis=0)).sum(axis=1).mean()
    assert matched > 0
    assert matched > shuffled + 0.05
    assert matched == pytest.approx(finished.rows[-1]["cosine"], abs=1e-4)


def test_the_rows_lead_from_the_teacher_to_the_student(finished, teacher_dir, student_dir):
    names = [row["model"] for row in finished.rows]
    assert names == [
        f"{teacher_dir}",
        f"{teacher_dir}, PCA-8",
        f"{teacher_dir} + {student_dir}, PCA-8: the target",
        f"{student_dir}, untouched",
        f"{student_dir}, own PCA-8",
        f"{student_dir}, closed-form head",
        f"{student_dir}, distilled",
    ]
    teacher, *_, target, untouched, own, closed_form, student = finished.rows
    assert (teacher["dim"], teacher["vector_bytes"], teacher["spearman"]) == (48, 192, 1)
    assert (student["dim"], student["vector_bytes"]) == (8, 32)
    assert student["parameters"] < teacher["parameters"]
    assert target["cosine"] == pytest.approx(1, abs=1e-5)
    for row in (teacher, untouched, student):
        assert row["sentences_per_second"] > 0
    assert -1 <= own["spearman"] <= 1
    assert closed_form["cosine"] > 0
    assert student["cosine"] > 0


def test_rows_are_flat_and_full_of_numbers(finished):
    for row in finished.rows:
        for value in row.values():
            assert value is None or isinstance(value, str) or math.isfinite(value)


def test_the_reports_say_the_same(finished):
    run = finished.model.parent
    report = json.loads((run / "report.json").read_text("utf-8"))
    assert report["rows"] == finished.rows
    assert {"command", "versions", "machine", "recipe", "stages"} <= report.keys()
    card = (run / "model/README.md").read_text("utf-8")
    assert "licence" in card.lower()
    for text in (card, *((run / f"report.{kind}").read_text("utf-8") for kind in ("md", "html"))):
        assert "distilled" in text
        assert f"{finished.rows[-1]['spearman']:.4f}" in text


# -- the same again


def test_running_again_computes_nothing(run, recipe, finished):
    before = manifest(run), times(run, "model/**/*.safetensors", "model/hpd.json", "[cti]*/**/*")
    again = distill(recipe(), run)
    assert again.rows == finished.rows
    assert manifest(run) == before[0]
    kept = times(run, "model/**/*.safetensors", "model/hpd.json", "[cti]*/**/*")
    assert kept == before[1]
    assert any(name.startswith("targets/teacher") for name in kept)


def test_two_runs_of_one_recipe_give_the_same_model_bit_for_bit(finished, recipe, tmp_path):
    distill(recipe(), tmp_path / "elsewhere")
    assert model_files(tmp_path / "elsewhere") == model_files(finished.model.parent)


def test_a_projection_is_the_same_file_whenever_it_is_written(finished, tmp_path):
    projection = Projection.load(finished.model / "projection.safetensors")
    written = set()
    for number in range(10):
        projection.save(tmp_path / f"{number}.safetensors")
        written.add((tmp_path / f"{number}.safetensors").read_bytes())
    assert len(written) == 1


def test_another_seed_gives_other_weights(finished, recipe, store, tmp_path):
    distill(recipe(seed=1), tmp_path / "run", store=store)
    name = "2_Dense/model.safetensors"
    assert model_files(tmp_path / "run")[name] != model_files(finished.model.parent)[name]


def test_whole_numbers_in_a_recipe_are_the_same_choices(run, recipe):
    """`epochs=4` is written as 4 and read as 4.0."""
    whole = recipe(training__epochs=4, training__clip=1, training__weight_decay=0)
    assert Recipe.from_toml(whole.to_toml()).hash == whole.hash
    distill(recipe(training__epochs=4), run)


@pytest.mark.parametrize("place", ["recipe.toml", "model/recipe.toml"])
def test_the_recipe_that_a_run_keeps_gives_the_same_model(finished, place, store, tmp_path):
    kept = Recipe.load(finished.model.parent / place)
    distill(kept, tmp_path / "run", store=store)
    assert model_files(tmp_path / "run") == model_files(finished.model.parent)


def test_a_model_that_was_deleted_is_made_again(run, recipe, finished):
    shutil.rmtree(run / "model")
    distill(recipe(), run)
    assert model_files(run) == model_files(finished.model.parent)


def test_a_damaged_corpus_is_built_again_as_the_hint_says(run, recipe, finished):
    path = run / "corpus/train.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CorpusError, match=r"train\.parquet is damaged") as raised:
        distill(recipe(), run)
    assert raised.value.hint == "Delete its directory to have the corpus built again."
    shutil.rmtree(run / "corpus")
    distill(recipe(), run)
    assert model_files(run) == model_files(finished.model.parent)


# -- teacher embeddings, computed once


def test_a_shared_store_is_filled_once_for_several_widths(recipe, tmp_path):
    store = tmp_path / "store"
    distill(recipe(), tmp_path / "narrow", store=store)
    before = shards(store)
    assert len(before) == 12
    wide = distill(recipe(dim=16), tmp_path / "wide", store=store)
    assert shards(store) == before
    assert not shards(tmp_path / "wide/targets")
    assert wide.rows[-1]["dim"] == 16


def test_a_run_with_a_store_of_its_own_gives_the_same_model(finished, recipe, store, tmp_path):
    distill(recipe(), tmp_path / "run", store=store)
    assert model_files(tmp_path / "run") == model_files(finished.model.parent)


# -- changed inputs


def test_sentences_that_changed_are_distilled_anew(recipe, sentences, tmp_path):
    source = tmp_path / "some.txt"
    changed = recipe(corpus__sources=(str(source),), training__max_steps=0)
    source.write_text("\n".join(sentences(100)), "utf-8")
    distill(changed, tmp_path / "run")
    before = manifest(tmp_path / "run")["stages"], model_files(tmp_path / "run")
    source.write_text("\n".join(sentences(120)), "utf-8")
    distill(changed, tmp_path / "run")
    after = manifest(tmp_path / "run")["stages"]
    assert all(after[stage]["inputs"] != before[0][stage]["inputs"] for stage in STAGES)
    assert description(tmp_path / "run")["corpus"]["sentences"] == 96
    assert model_files(tmp_path / "run") != before[1]


def perturb(model: Path) -> None:
    """Give a model directory other weights."""
    path = model / "model.safetensors"
    weights = load_file(path)
    save_file(
        {name: weight + np.float32(0.01) for name, weight in weights.items()},
        path,
        metadata={"format": "pt"},
    )


@pytest.mark.parametrize("changed", ["teacher", "student"])
def test_weights_that_changed_in_their_place_are_not_mixed_with_old_ones(
    changed, recipe, teacher_dir, student_dir, tmp_path
):
    models = {"teacher": tmp_path / "teacher", "student": tmp_path / "student"}
    shutil.copytree(teacher_dir, models["teacher"])
    shutil.copytree(student_dir, models["student"])
    fixed = recipe(
        teachers=(WeightedModel(model=str(models["teacher"])),),
        student=str(models["student"]),
        anchor=0.0,
        training__max_steps=0,
    )
    distill(fixed, tmp_path / "run")
    before = model_files(tmp_path / "run")
    perturb(models[changed])
    distill(fixed, tmp_path / "run")
    distill(fixed, tmp_path / "fresh")
    assert model_files(tmp_path / "run") == model_files(tmp_path / "fresh")
    assert model_files(tmp_path / "run") != before


# -- directories that are taken


def test_a_run_of_another_recipe_is_not_touched(run, recipe):
    before = times(run, "**/*")
    with pytest.raises(RunError, match="run of another recipe") as raised:
        distill(recipe(dim=4), run)
    assert "--overwrite" in raised.value.hint
    assert times(run, "**/*") == before


def test_overwrite_keeps_the_shards_and_gives_the_model_of_a_fresh_run(run, recipe, tmp_path):
    before = shards(run / "targets")
    distill(recipe(dim=16), run, overwrite=True)
    assert shards(run / "targets") == before
    assert Recipe.load(run / "recipe.toml") == recipe(dim=16)
    distill(recipe(dim=16), tmp_path / "fresh")
    assert model_files(run) == model_files(tmp_path / "fresh")


def test_overwriting_there_and_back_gives_the_first_model(run, recipe, finished):
    distill(recipe(dim=4, training__max_steps=1), run, overwrite=True)
    distill(recipe(), run, overwrite=True)
    assert model_files(run) == model_files(finished.model.parent)


@pytest.mark.parametrize("name", ["thesis.tex", "thesis.tmp"])
def test_a_directory_of_something_else_is_refused_even_with_overwrite(name, recipe, tmp_path):
    (tmp_path / name).write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(RunError, match="is not empty and holds no run"):
            distill(recipe(), tmp_path, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_empty_directory_is_taken(recipe, store, tmp_path):
    assert distill(recipe(training__max_steps=0), tmp_path, store=store).model.is_dir()


def test_a_run_that_another_process_works_in_is_left_alone(run, recipe):
    before = times(run, "**/*")
    with (run / ".lock").open() as handle:
        # A lock belongs to an open file, so that this stands for another process.
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="another process"):
            distill(recipe(dim=4), run, overwrite=True)
    assert times(run, "**/*") == before
    assert Recipe.load(run / "recipe.toml") == recipe()


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
    assert any("the target" in row["model"] for row in result.rows) == (members == 2)


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
    assert row["spearman"] >= closed_form["spearman"] - 1e-3
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
    assert result.rows[1]["model"].endswith("PCA-8")
    assert result.rows[1]["cosine"] == pytest.approx(1, abs=1e-5)


def test_a_row_is_named_after_the_width_that_it_has(recipe, store, tmp_path):
    # Wider than the teacher alone, not than teacher and anchor together.
    result = distill(recipe(dim=60, training__max_steps=0), tmp_path / "run", store=store)
    for row in result.rows:
        _, found, width = row["model"].partition("PCA-")
        assert not found or int(width.partition(":")[0]) == row["dim"]


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


# -- measured on STS


def write_benchmark(folder: Path, pairs: list[tuple[str, str, float]]) -> Path:
    place = folder / "STS/STSBenchmark"
    place.mkdir(parents=True, exist_ok=True)
    rows = (f"g\tf\ty\t1\t{gold}\t{first}\t{second}\n" for first, second, gold in pairs)
    (place / "sts-test.csv").write_text("".join(rows), "utf-8")
    return folder


PAIRS = [
    ("the dog sleeps near the house", "the dog sleeps near a house", 4.8),
    ("a child reads a book", "a woman reads a song", 2.4),
    ("the red train runs today", "one old bird sings slowly", 0.2),
    ("winter in the city", "summer in the city", 3.0),
    ("the man opens a door", "a river behind the garden", 0.0),
]


def test_an_evaluation_folder_adds_sts_columns(run, recipe, tmp_path):
    data = write_benchmark(tmp_path / "senteval", PAIRS)
    before = model_files(run)
    result = distill(recipe(), run, evaluation=data)
    for row in result.rows:
        assert -100 <= row["STSBenchmark"] <= 100
        assert row["STS12"] is row["SICKRelatedness"] is row["average"] is None
        assert row["average_present"] == row["STSBenchmark"]
        assert row["tasks_present"] == 1
    assert result.rows[0]["retention"] == 100
    assert model_files(run) == before
    assert "STS-B" in (run / "report.md").read_text("utf-8")


def test_evaluation_data_that_changed_are_measured_again(run, recipe, tmp_path):
    data = write_benchmark(tmp_path / "senteval", PAIRS)
    first = distill(recipe(), run, evaluation=data)
    write_benchmark(data, [(a, b, 5 - gold) for a, b, gold in PAIRS])
    second = distill(recipe(), run, evaluation=data)
    score = first.rows[0]["STSBenchmark"]
    assert second.rows[0]["STSBenchmark"] == pytest.approx(-score)


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
    assert "--teacher twice" in caught.value.hint
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


def test_a_random_head_is_not_kept_for_its_rank_correlation(recipe, store, tmp_path):
    random = recipe(head__init="random", anchor=0.0, training__learning_rate=1e-9)
    result = distill(random, tmp_path / "run", store=store)
    assert result.stages["training"]["facts"]["best_step"] > 0


def test_a_rotated_head_starts_with_the_similarities_of_the_own_pca(recipe, store, tmp_path):
    rotated = recipe(head__init="rotation", training__max_steps=0)
    result = distill(rotated, tmp_path / "run", store=store)
    *_, own, start, _ = result.rows
    assert ("own PCA" in own["model"], "closed-form" in start["model"]) == (True, True)
    assert start["spearman"] == pytest.approx(own["spearman"], abs=1e-4)
    assert start["overlap10"] == own["overlap10"]
    assert start["cosine"] > 0
