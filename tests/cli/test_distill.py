"""`hpd distill` at the command line: what it makes and prints."""

import json
import shutil

import numpy as np
from command_ends import refused
from distilling import resumed_rows, senteval, weights
from sentence_transformers import SentenceTransformer

from hpdistill.projection import Projection
from hpdistill.recipe import Recipe


def test_it_prints_the_table_and_where_the_model_lies(distill, teacher_dir, student_dir, tmp_path):
    ended = distill()
    assert ended.code == 0
    text = " ".join(ended.out.split())
    for title in ("model", "dim", "sent/s", "fidelity", "top-10"):
        assert title in text
    for value in ("untouched", "PCA-8", "distilled"):
        assert value in text
    assert str(tmp_path / "run/model") in ended.out.replace("\n", "")
    assert "peak memory" in text
    assert (tmp_path / "run/model/model.safetensors").is_file()
    assert "Traceback" not in ended.err


def test_json_is_one_object_and_nothing_else(distill, teacher_dir, store):
    ended = distill("--json", store=store)
    assert ended.code == 0
    document = json.loads(ended.out)
    assert list(document) == ["command", "versions", "machine", "rows"]
    assert document["command"] == "distill"
    assert document["versions"]["python"]
    assert document["machine"]["cores"] >= 1
    first, *_, last = document["rows"]
    assert first["model"] == str(teacher_dir)
    assert last["model"].endswith(", distilled")
    assert last["dim"] == 8
    for row in document["rows"]:
        assert all(not isinstance(value, dict | list) for value in row.values())


def test_json_of_a_finished_run_prints_the_same_rows(distill, run, store):
    rows = json.loads((run / "report.json").read_text("utf-8"))["rows"]
    ended = distill("--json", store=store)
    assert json.loads(ended.out)["rows"] == rows


def test_an_evaluation_folder_is_measured_and_kept_out_of_the_corpus(distill, sentences, tmp_path):
    first, second, third, *others = sentences(120)
    folder = tmp_path / "senteval/STS/STSBenchmark"
    folder.mkdir(parents=True)
    pairs = [
        (first, second, 4.5),
        (second, third, 1.0),
        (first, third, 0.5),
        *zip(others[:4], others[4:8], (2.0, 3.0, 0.0, 5.0), strict=True),
    ]
    rows = (f"g\tf\ty\t1\t{gold}\t{one}\t{two}\n" for one, two, gold in pairs)
    (folder / "sts-test.csv").write_text("".join(rows), "utf-8")
    ended = distill("--json", evaluate=tmp_path / "senteval")
    assert ended.code == 0, ended.err
    for row in json.loads(ended.out)["rows"]:
        assert isinstance(row["STSBenchmark"], float)
        assert row["STS12"] is row["average"] is None
        assert row["tasks_present"] == 1
    summary = json.loads((tmp_path / "run/corpus/summary.json").read_text("utf-8"))
    assert summary["dropped"]["excluded"] == 11
    table = distill(evaluate=tmp_path / "senteval")
    assert "STS-B" in table.out
    assert "Not in the evaluation folder: STS12" in " ".join(table.out.split())
    # --resume needs no other option: not this one either.
    resumed = resumed_rows(distill, tmp_path / "run")
    assert all(isinstance(row["STSBenchmark"], float) for row in resumed)


def test_several_sources_and_teachers(distill, student_dir, sentences, tmp_path):
    more = tmp_path / "more.jsonl"
    more.write_text(
        "".join(json.dumps({"n": 1, "text": text}) + "\n" for text in sentences(30, seed=5)),
        "utf-8",
    )
    ended = distill(
        "--json", "--sentences", more, "--teacher", f"{student_dir}:0.5", "--anchor", "0"
    )
    assert ended.code == 0, ended.err
    first = json.loads(ended.out)["rows"][0]
    assert first["dim"] == 72
    kept = Recipe.load(tmp_path / "run/recipe.toml")
    assert kept.corpus.sources[1] == str(more)
    assert kept.teachers[1].weight == 0.5


def test_options_reach_the_recipe(distill, store, tmp_path):
    ended = distill(
        "--centred",
        seed=3,
        anchor=0,
        target_whitening=0.5,
        head="random",
        activation="tanh",
        epochs=1.5,
        max_steps=1,
        learning_rate=2e-4,
        similarity_weight=0,
        limit=80,
        store=store,
    )
    assert ended.code == 0, ended.err
    kept = Recipe.load(tmp_path / "run/recipe.toml")
    assert (kept.seed, kept.anchor, kept.projection.centred) == (3, 0, True)
    # Rows of a whitened projection are no longer as long as each other.
    projection = Projection.load(tmp_path / "run/model/projection.safetensors")
    lengths = np.linalg.norm(projection.components, axis=1)
    spread = np.sqrt(projection.explained_variance / projection.explained_variance[0])
    np.testing.assert_allclose(lengths, spread**-kept.projection.whitening, rtol=1e-3)
    described = json.loads((tmp_path / "run/model/hpd.json").read_text("utf-8"))
    assert kept.projection.whitening == described["projection"]["whitening"] == 0.5
    assert (kept.head.init, kept.head.activation) == ("random", "tanh")
    assert (kept.training.epochs, kept.training.max_steps) == (1.5, 1)
    assert (kept.training.learning_rate, kept.training.similarity_weight) == (2e-4, 0)
    assert (kept.corpus.limit, kept.corpus.validation) == (80, 20)


def test_a_recipe_file_replays_a_run(hpd, run, store, tmp_path):
    again = tmp_path / "again"
    line = (
        "distill",
        "--no-export",
        "--recipe",
        run / "recipe.toml",
        "--store",
        store,
        "--out",
        again,
    )
    assert hpd(*line).code == 0
    assert weights(again) == weights(run)
    assert hpd(*line[:-1], tmp_path / "other", "--dim", "4").code == 0
    assert Recipe.load(tmp_path / "other/recipe.toml").dim == 4


def test_folders_to_evaluate_on_join_those_that_a_recipe_excludes(
    distill, hpd, sentences, store, tmp_path
):
    texts = sentences(120)
    first, second = senteval(tmp_path / "a", texts[:6]), senteval(tmp_path / "b", texts[10:15])
    assert distill(exclude=first, store=store, max_steps=0).code == 0
    recipe = tmp_path / "recipe.toml"
    shutil.move(tmp_path / "run/recipe.toml", recipe)
    again = tmp_path / "again"
    line = ("distill", "--recipe", recipe, "--store", store, "--out", again)
    ended = hpd(*line, "--exclude", first, "--evaluate", second)
    assert ended.code == 0, ended.err
    assert Recipe.load(again / "recipe.toml").corpus.exclude == (str(first), str(second))
    summary = json.loads((again / "corpus/summary.json").read_text("utf-8"))
    assert summary["dropped"]["excluded"] == 11
    # What the recipe excludes already does not change it: neither again, nor by --resume.
    for more in (line[1:5], ("--resume",)):
        kept = (again / "recipe.toml").read_bytes()
        ended = hpd("distill", *more, "--out", again, "--evaluate", second, "--exclude", first)
        assert ended.code == 0, ended.err
        assert (again / "recipe.toml").read_bytes() == kept
    ended = hpd("distill", "--resume", "--out", again, "--exclude", tmp_path)
    assert "these options change it" in refused(ended)


def test_the_model_is_one_that_sentence_transformers_loads(run):
    model = SentenceTransformer(str(run / "model"), device="cpu")
    assert model.encode(["the dog sleeps"]).shape == (1, 8)
