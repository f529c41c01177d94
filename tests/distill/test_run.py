"""What one distillation leaves: a model, its measures and its manifest."""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sentence_transformers import SentenceTransformer
from tiny_runs import STAGES, description, distill, manifest, model_files

from hpdistill.corpus import Corpus
from hpdistill.encoder import unit
from hpdistill.projection import Projection
from hpdistill.pytorch import TorchEncoder
from hpdistill.recipe import Recipe, WeightedModel
from hpdistill.teacher import load_teacher

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


def test_targets_are_partly_whitened(finished):
    run = finished.model.parent
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


def test_hpd_json_and_the_report_say_the_same_fidelity(finished):
    row = next(row for row in finished.rows if row["model"].endswith("distilled"))
    assert description(finished.model.parent)["prefixes"]["8"] == round(row["spearman"], 4)


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
