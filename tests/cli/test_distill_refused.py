"""`hpd distill`: what it cannot do is told in one line, and nothing is lost."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_ends import hint, lines_of, refused
from distilling import contents, own_store, weights

from hpdistill.corpus import Corpus
from hpdistill.recipe import Recipe
from hpdistill.teacher import text_hash


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


def test_fewer_sentences_than_k(distill, sentences, tmp_path):
    source = tmp_path / "few.txt"
    source.write_text("\n".join(sentences(20)), "utf-8")
    ended = distill(sentences=source, dim=17)
    assert "dim 17" in refused(ended)
    assert "there are 16" in refused(ended)
    assert "smaller --dim" in hint(ended)
    assert not list((tmp_path / "run").rglob("*.npy"))


def test_a_recipe_beside_the_one_of_the_run(hpd, tmp_path):
    line = refused(hpd("distill", "--resume", "--recipe", tmp_path / "r.toml", "--out", tmp_path))
    assert line == "error: --resume goes on with the recipe of the run; leave out --recipe"


@pytest.mark.parametrize("option", [{"head": "random"}, {"activation": "tanh"}])
def test_a_head_for_a_static_student(option, distill, tmp_path):
    line = refused(distill(student="static", **option))
    assert "a static student has no head" in line
    assert not (tmp_path / "run").exists()


def test_k_of_0(distill, tmp_path):
    assert refused(distill(dim=0)) == "error: --dim is 0; allowed: 1 or more"
    assert not (tmp_path / "run").exists()


def test_k_over_the_width(distill, tmp_path):
    line = refused(distill(dim=80))
    assert "dim 80" in line
    assert "1 to 72" in line
    assert not list((tmp_path / "run").rglob("*.npy"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": 80}, "allowed: 1 to 72"),
        ({"student": "layers:STUDENT:0,9"}, "layer 9 does not exist"),
        ({"student": "shape:from=STUDENT,layers=40"}, "layers is 40; the source allows 1 to"),
        ({"exclude": "no/such/folder"}, "no/such/folder does not exist"),
        ({"validation_sentences": "no.txt"}, "no.txt does not exist"),
        ({"store": "file.txt"}, "cannot write file.txt"),
    ],
)
def test_what_was_refused_does_not_stand_in_the_way_of_what_is_right(
    changes, message, distill, student_dir, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("file.txt").touch()
    changes = {k: str(v).replace("STUDENT", str(student_dir)) for k, v in changes.items()}
    ended = distill(**changes)
    assert message in refused(ended)
    assert "writing sentences" not in ended.err
    assert distill("--no-export", max_steps=0).code == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": "linear"}, "is 'linear'; allowed: ridge, rotation, random"),
        ({"activation": "gelu"}, "activation is 'gelu'; allowed: identity, tanh"),
        ({"precision": "float16"}, "precision is 'float16'; allowed: auto, float32, bfloat16"),
        ({"errors": "guess"}, "errors is 'guess'; allowed: strict, replace, ignore"),
        ({"epochs": "nan"}, "epochs is nan"),
        ({"learning_rate": 0}, "--learning-rate is 0.0; allowed: above 0"),
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"anchor": -1}, "anchor is -1.0"),
        ({"seed": -1}, "seed is -1"),
        ({"limit": 5}, "limit is 5; allowed: 15 or more"),
        ({"validation": 1}, "validation is 1"),
        ({"student": "layers:mpnet:2,1"}, "'layers:mpnet:2,1' is not understood"),
        ({"evaluate": "no/such/folder"}, "no/such/folder does not exist"),
        ({"exclude": "no/such/folder"}, "no/such/folder does not exist"),
    ],
)
def test_a_value_that_cannot_be_used(changes, message, distill):
    assert message in refused(distill(**changes))


def test_an_evaluation_folder_without_tasks_is_refused_before_any_work(distill, tmp_path):
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in refused(distill(evaluate=tmp_path / "empty"))
    assert not (tmp_path / "run").exists()


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


@pytest.mark.long
@pytest.mark.parametrize("text", ["", "[]", '{"precision": "float8"}'])
def test_a_damaged_choice_of_precision(text, distill, tmp_path):
    out = tmp_path / "run"
    assert (
        distill("--teacher-precision", "auto", "--no-export", out=out, teacher_precision=None).code
        == 0
    )
    (path,) = out.glob("targets/teacher-*/precision.json")
    path.write_text(text)
    remade = {"out": out, "dim": 4, "teacher_precision": None}
    ended = distill("--teacher-precision", "auto", "--overwrite", **remade)
    assert refused(ended) == f"error: {path} is damaged"
    assert str(path) in hint(ended)
    path.unlink()
    assert distill("--teacher-precision", "auto", "--overwrite", **remade).code == 0


def test_a_truncated_shard(distill, run, store, tmp_path):
    mine = own_store(store, run, tmp_path)
    (place,) = mine.glob("teacher-*/float32")
    key = text_hash(Corpus.open(run / "corpus").texts("train"))
    shard = place / json.loads((place / "manifest.json").read_text("utf-8"))["shards"][key]["file"]
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


def test_a_place_whose_name_is_not_unicode(distill, tmp_path):
    place = tmp_path / "caf\udce9"
    assert "its name is not Unicode" in refused(distill(out=place))
    assert not place.exists()


def test_a_place_that_is_a_file(distill, text_file):
    before = text_file.read_bytes()
    assert f"{text_file} is a file" in refused(distill(out=text_file))
    assert text_file.read_bytes() == before


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
