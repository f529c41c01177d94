"""`hpd distill` at the command line: what it prints, and how it refuses."""

import itertools
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from command_ends import Ended, hint, lines_of, refused
from file_limits import largest_file
from sentence_transformers import SentenceTransformer

from hpdistill.projection import Projection
from hpdistill.recipe import Recipe


def contents(place: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """More threads only slow such small models down."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def text_file(
    tmp_path_factory: pytest.TempPathFactory, sentences: Callable[..., list[str]]
) -> Path:
    path = tmp_path_factory.mktemp("text") / "sentences.txt"
    path.write_text("\n".join(sentences(120)) + "\n", "utf-8")
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Teacher embeddings that the tests share."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def distill(
    hpd: Callable[..., Ended], teacher_dir: Path, student_dir: Path, text_file: Path, tmp_path: Path
) -> Callable[..., Ended]:
    """`distill("--json", dim=4)`: a small distillation to `tmp_path/run`; None drops an option."""

    def run(*more: object, **changes: object) -> Ended:
        options = {
            "out": tmp_path / "run",
            "teacher": teacher_dir,
            "student": student_dir,
            "sentences": text_file,
            "dim": 8,
            "validation": 20,
            "batch_size": 32,
            "max_steps": 2,
            "precision": "float32",
            "teacher_precision": "float32",
            **changes,
        }
        line: list[object] = ["distill", "--no-export"]
        for name, value in options.items():
            if value is not None:
                line += [f"--{name.replace('_', '-')}", value]
        return hpd(*line, *more)

    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finished") / "run"


@pytest.fixture
def run(distill: Callable[..., Ended], finished: Path, store: Path, tmp_path: Path) -> Path:
    """A copy of a finished run of `distill(store=store)`, at the place where it writes."""
    if not finished.exists():
        assert distill(out=finished, store=store).code == 0
    return shutil.copytree(finished, tmp_path / "run")


def weights(run: Path) -> dict[str, bytes]:
    return contents_by_name(run / "model", "*.safetensors")


def contents_by_name(place: Path, pattern: str) -> dict[str, bytes]:
    return {
        path.relative_to(place).as_posix(): path.read_bytes()
        for path in sorted(place.rglob(pattern))
        if path.name != "projection.safetensors"
    }


# -- done


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
    resumed = hpd_rows(distill, tmp_path / "run")
    assert all(isinstance(row["STSBenchmark"], float) for row in resumed)


def hpd_rows(distill: Callable[..., Ended], run: Path) -> list[dict[str, Any]]:
    """The rows of `hpd distill --out RUN --resume --json`, with no other option."""
    none = dict.fromkeys(
        (
            "teacher",
            "student",
            "sentences",
            "dim",
            "validation",
            "batch_size",
            "max_steps",
            "precision",
            "teacher_precision",
        )
    )
    ended = distill("--resume", "--json", out=run, **none)
    assert ended.code == 0, ended.err
    rows: list[dict[str, Any]] = json.loads(ended.out)["rows"]
    return rows


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


# -- a recipe file, and going on with a run


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


def senteval(folder: Path, sentences: list[str]) -> Path:
    """A folder of one task, whose pairs are of these sentences."""
    task = folder / "STS/STSBenchmark"
    task.mkdir(parents=True)
    pairs = itertools.pairwise(sentences)
    rows = (f"g\tf\ty\t1\t{i % 6}.0\t{a}\t{b}\n" for i, (a, b) in enumerate(pairs))
    (task / "sts-test.csv").write_text("".join(rows), "utf-8")
    return folder


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


def test_what_a_killed_process_left_in_a_shared_store_goes(distill, run, store, tmp_path):
    mine = own_store(store, run, tmp_path)
    (manifest,) = mine.glob("teacher-*/float32/manifest.json")
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1)
    left = manifest.with_name(f"{'0' * 32}.npy.{int(dead.stdout)}.tmp")
    left.write_bytes(b"half")
    os.utime(left, (1, 1))
    assert distill(store=mine, out=tmp_path / "other", dim=4).code == 0
    assert not left.exists()


def test_resume_of_a_finished_run_computes_nothing(distill, run):
    manifest = (run / "manifest.json").read_bytes()
    rows = hpd_rows(distill, run)
    assert rows == json.loads((run / "report.json").read_text("utf-8"))["rows"]
    assert (run / "manifest.json").read_bytes() == manifest
    # Nor in another store than that of the run.
    assert not list((run / "targets").rglob("float32/*.npy"))


def test_resume_goes_on_by_the_recipe_of_the_run(distill, run, finished):
    shutil.rmtree(run / "model")
    stages = json.loads((run / "manifest.json").read_text("utf-8"))
    del stages["stages"]["training"]
    (run / "manifest.json").write_text(json.dumps(stages), "utf-8")
    hpd_rows(distill, run)
    assert weights(run) == weights(finished)


def test_resume_without_a_run(hpd, tmp_path):
    ended = hpd("distill", "--out", tmp_path / "none", "--resume")
    assert refused(ended) == f"error: {tmp_path / 'none'} holds no run to resume"
    assert not (tmp_path / "none").exists()


def test_resume_with_changed_options(hpd, run):
    before = contents(run)
    ended = hpd("distill", "--out", run, "--resume", "--dim", "4")
    assert "these options change it" in refused(ended)
    assert "--overwrite" in hint(ended)
    assert contents(run) == before


def test_resume_with_the_same_options(distill, run, store):
    assert distill("--resume", store=store).code == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('student = "s', "is not valid TOML"),
        ("", "teachers is missing"),
        ('student = "s"\nstduent = "t"', "unknown key stduent"),
        ('student = "s"\nteachers = "t"', "teachers must be a list, not 't'"),
        ("dim = 3.5", "dim must be of type int, not 3.5"),
        ("corpus = 3", "corpus. must be a table, not 3"),
        (b"\xff\xfe\x00", "cannot read recipe"),
    ],
    ids=["TOML", "empty", "unknown key", "list", "number", "table", "bytes"],
)
def test_a_malformed_recipe_file(text, message, hpd, tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    line = refused(hpd("distill", "--recipe", path, "--out", tmp_path / "run"))
    assert message in line
    assert str(path) in line
    assert not (tmp_path / "run").exists()


def test_a_recipe_file_that_is_not_there(hpd, tmp_path):
    line = refused(hpd("distill", "--recipe", tmp_path / "no.toml", "--out", tmp_path / "run"))
    assert f"cannot read recipe {tmp_path / 'no.toml'}" in line


# -- sentences


def test_an_empty_file(distill, tmp_path):
    empty = tmp_path / "empty.txt"
    empty.touch()
    line = refused(distill(sentences=empty))
    assert line == f"error: there are no sentences in {empty}"


def test_a_file_of_blank_lines(distill, tmp_path):
    blank = tmp_path / "blank.txt"
    blank.write_text("\n  \n\t\n\n")
    line = refused(distill(sentences=blank))
    assert str(blank) in line
    assert "4 empty" in line


def test_a_file_that_is_not_there(distill, tmp_path):
    assert f"{tmp_path / 'no.txt'} does not exist" in refused(
        distill(sentences=tmp_path / "no.txt")
    )


def test_the_file_that_was_mended_is_distilled_by_the_same_command(
    distill, text_file, store, tmp_path
):
    source = tmp_path / "source.txt"
    source.touch()
    refused(distill(sentences=source, store=store))
    shutil.copyfile(text_file, source)
    assert distill(sentences=source, store=store).code == 0


@pytest.mark.parametrize("options", [("--encoding", "latin-1"), ("--errors", "replace")])
def test_a_file_that_is_not_utf_8(options, distill, text_file, tmp_path):
    source = tmp_path / "latin.txt"
    good = text_file.read_bytes()
    source.write_bytes(good + "das Café am Fluß\n".encode("latin-1"))
    ended = distill(sentences=source, max_steps=0)
    assert refused(ended).startswith(f"error: {source} is not utf-8: ")
    assert f"at byte {len(good) + len('das Caf')}" in refused(ended)
    assert "--encoding" in hint(ended)
    assert "--errors replace" in hint(ended)
    # What the hint says, and nothing else.
    mended = distill(*options, sentences=source, max_steps=0)
    assert mended.code == 0, mended.err


def test_an_encoding_that_does_not_exist(distill):
    assert "encoding is 'utf-9'" in refused(distill(encoding="utf-9"))


def test_parquet_without_the_column(distill, sentences, tmp_path):
    source = tmp_path / "some.parquet"
    texts = sentences(30)
    pq.write_table(pa.table({"question": texts, "answer": texts, "id": range(30)}), source)
    line = refused(distill(sentences=source, column="sentence"))
    assert line == f"error: {source}: no column 'sentence'; columns: question, answer, id"
    ended = distill(sentences=source)
    assert "question, answer, id" in refused(ended)
    assert "--column" in hint(ended)
    assert distill("--overwrite", sentences=source, column="answer", dim=4).code == 0


def test_the_name_of_a_file_is_printed_as_it_is(distill, tmp_path):
    source = tmp_path / "[bold]my [red]sentences[/].txt"
    source.parent.mkdir()  # the slash of a closing tag is one of the path, too
    source.touch()
    assert f"in {source}" in refused(distill(sentences=source))


# -- values


def test_fewer_sentences_than_k(distill, sentences, tmp_path):
    source = tmp_path / "few.txt"
    source.write_text("\n".join(sentences(20)), "utf-8")
    ended = distill(sentences=source, dim=17)
    assert "dim 17" in refused(ended)
    assert "there are 16" in refused(ended)
    assert "smaller --dim" in hint(ended)
    assert not list((tmp_path / "run").rglob("*.npy"))


def test_k_of_0(distill, tmp_path):
    assert refused(distill(dim=0)) == "error: dim is 0; allowed: 1 or more"
    assert not (tmp_path / "run").exists()


def test_k_over_the_width(distill, tmp_path):
    line = refused(distill(dim=80))
    assert "dim 80" in line
    assert "1 to 72" in line
    assert not list((tmp_path / "run").rglob("*.npy"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": "linear"}, "is 'linear'; allowed: ridge, rotation, random"),
        ({"activation": "gelu"}, "activation is 'gelu'; allowed: identity, tanh"),
        ({"precision": "float16"}, "precision is 'float16'; allowed: auto, float32, bfloat16"),
        ({"errors": "guess"}, "errors is 'guess'; allowed: strict, replace, ignore"),
        ({"epochs": "nan"}, "epochs is nan"),
        ({"learning_rate": 0}, "learning_rate is 0.0; allowed: above 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"anchor": -1}, "anchor is -1.0"),
        ({"seed": -1}, "seed is -1"),
        ({"limit": 5}, "limit is 5; allowed: 10 or more"),
        ({"validation": 1}, "validation is 1"),
        ({"student": "layers:mpnet:2,1"}, "'layers:mpnet:2,1' is not understood"),
        ({"evaluate": "no/such/folder"}, "no/such/folder does not exist"),
        ({"exclude": "no/such/folder"}, "no/such/folder does not exist"),
    ],
)
def test_a_value_that_cannot_be_used(changes, message, distill):
    assert message in refused(distill(**changes))


@pytest.mark.parametrize("missing", ["teacher", "student", "sentences"])
def test_a_missing_option(missing, distill, tmp_path):
    ended = distill(**{missing: None})
    assert refused(ended) == f"error: missing --{missing}"
    assert "--recipe" in hint(ended)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("distill",),
        ("distill", "--teacher", "mpnet"),
        ("distill", "--out", "run", "--dmi", "8"),
        ("distill", "--out", "run", "--dim", "eight"),
        ("distill", "run"),
        ("distil",),
    ],
)
def test_wrong_usage_exits_with_2(arguments, hpd):
    ended = hpd(*arguments)
    assert ended.code == 2
    assert "Traceback" not in ended.err
    assert "Usage:" in ended.err


# -- models


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_an_unknown_model(role, distill, tmp_path):
    ended = distill(**{role: "minlm"})
    assert "unknown model 'minlm'" in refused(ended)
    assert hint(ended) == "hint: Did you mean minilm?"
    assert not (tmp_path / "run").exists()


def test_a_model_directory_that_is_not_there(distill, tmp_path):
    line = refused(distill(teacher=tmp_path / "no-model"))
    assert line == f"error: no such directory: {tmp_path / 'no-model'}"


class Bomb:
    """Unpickling it leaves a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.target), "w"))


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_a_model_that_is_only_a_pickle(role, distill, student_dir, tmp_path):
    model = shutil.copytree(student_dir, tmp_path / "model")
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "owned")))
    ended = distill(**{role: model})
    line = refused(ended)
    assert str(model) in line
    assert "safetensors" in line + hint(ended)
    assert not (tmp_path / "owned").exists()


# -- damaged teacher embeddings


def own_store(store: Path, run: Path, tmp_path: Path) -> Path:
    """A copy of the shared store with the shards of `run`; the fixture `run` has filled it."""
    assert run.is_dir()
    return shutil.copytree(store, tmp_path / "store")


def test_a_truncated_shard(distill, run, store, tmp_path):
    mine = own_store(store, run, tmp_path)
    shard = max(mine.glob("teacher-*/float32/*.npy"), key=lambda path: path.stat().st_size)
    shard.write_bytes(shard.read_bytes()[:-100])
    others = {path: data for path, data in contents(mine).items() if path != str(shard)}
    ended = distill(store=mine, out=tmp_path / "other", dim=4)
    assert refused(ended).startswith(f"error: shard {shard} is damaged: sha256 ")
    assert str(shard) in hint(ended)
    assert others.items() <= contents(mine).items()
    # What the hint says.
    shard.unlink()
    assert distill(store=mine, out=tmp_path / "other", dim=4).code == 0
    assert distill(store=store, out=tmp_path / "sound", dim=4).code == 0
    assert weights(tmp_path / "other") == weights(tmp_path / "sound")


def test_an_edited_store_manifest(distill, run, store, tmp_path):
    mine = own_store(store, run, tmp_path)
    (manifest,) = mine.glob("teacher-*/float32/manifest.json")
    manifest.write_text(manifest.read_text("utf-8").replace('"seconds": ', '"seconds": 1'), "utf-8")
    before = contents(mine)
    ended = distill(store=mine, out=tmp_path / "other", dim=4)
    assert refused(ended).startswith(f"error: {manifest} was edited or damaged")
    assert str(manifest.parent) in hint(ended)
    assert contents(mine) == before
    shutil.rmtree(manifest.parent)
    assert distill(store=mine, out=tmp_path / "other", dim=4).code == 0


# -- output


def test_a_run_of_another_recipe(distill, run, store):
    before = contents(run)
    ended = distill(dim=4, store=store)
    assert refused(ended) == f"error: {run} holds a run of another recipe"
    assert "--overwrite" in hint(ended)
    assert contents(run) == before
    assert distill("--overwrite", dim=4, store=store).code == 0
    assert Recipe.load(run / "recipe.toml").dim == 4


def test_a_directory_of_something_else(distill, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/thesis.tex").write_text("years of work")
    assert "is not empty and holds no run" in refused(distill())
    assert "is not empty and holds no run" in refused(distill("--overwrite"))
    assert (tmp_path / "run/thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    "place",
    ["file/run", "file/deep/run", "/proc/hpdistill/run", "/proc/run", "dangling", "x" * 300],
)
def test_a_place_that_cannot_be_written(place, distill, store, tmp_path):
    (tmp_path / "file").write_text("not a directory")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere/at/all")
    line = refused(distill(out=tmp_path / place, store=store))
    assert place in line
    assert (tmp_path / "file").read_text() == "not a directory"


def test_a_place_that_is_a_file(distill, text_file):
    before = text_file.read_bytes()
    assert f"{text_file} is a file" in refused(distill(out=text_file))
    assert text_file.read_bytes() == before


@pytest.mark.parametrize(
    ("size", "written"),
    [
        (2_000, []),
        (10_000, ["corpus"]),
        (20_000, ["corpus", "teacher", "targets"]),
        (70_000, ["corpus", "teacher", "targets", "student"]),
    ],
    ids=["corpus", "shard", "student", "checkpoint"],
)
def test_a_full_disk(size, written, distill, run, tmp_path):
    out = tmp_path / "full"
    with largest_file(size):
        ended = distill(out=out)
    assert refused(ended).startswith(f"error: cannot write {out}")
    assert "make room, then run the same command again" in hint(ended)
    assert not list(out.rglob("*.tmp"))
    manifest = out / "manifest.json"
    if written:
        stages = json.loads(manifest.read_text("utf-8"))["stages"]
        assert list(stages) == written
    assert distill(out=out).code == 0
    assert weights(out) == weights(run)
    if written:
        after = json.loads(manifest.read_text("utf-8"))["stages"]
        assert {name: after[name] for name in written} == stages


# -- tracebacks


@pytest.mark.parametrize("position", [0, 1, 99])
def test_debug_shows_where_an_error_comes_from(position, hpd, tmp_path):
    line = ["distill", "--out", str(tmp_path / "run"), "--resume"]
    line.insert(position, "--debug")
    ended = hpd(*line)
    assert ended.code == 1
    assert "Traceback (most recent call last)" in ended.err
    assert len(lines_of(ended, "error:")) == 1


def test_an_error_that_nobody_foresaw_is_one_line_too(distill, monkeypatch):
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("the flux capacitor\nis empty")

    monkeypatch.setattr("hpdistill.distill.distill", fail)
    assert "the flux capacitor" in refused(distill())
    ended = distill("--debug")
    assert ended.code == 1
    assert "Traceback (most recent call last)" in ended.err


def test_ctrl_c_ends_with_130(distill, monkeypatch):
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hpdistill.distill.distill", interrupt)
    ended = distill()
    assert ended.code == 130
    assert "interrupted; what was complete is kept" in ended.err
    assert "Traceback" not in ended.err


def test_the_model_is_one_that_sentence_transformers_loads(run):
    model = SentenceTransformer(str(run / "model"), device="cpu")
    assert model.encode(["the dog sleeps"]).shape == (1, 8)
