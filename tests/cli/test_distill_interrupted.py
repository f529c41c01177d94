"""`hpd distill`, ended early: what is complete is kept, and the same command goes on."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from command_ends import hint, refused
from distilling import contents, own_store, resumed_rows, senteval, weights
from file_limits import largest_file


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
    rows = resumed_rows(distill, run)
    assert rows == json.loads((run / "report.json").read_text("utf-8"))["rows"]
    assert (run / "manifest.json").read_bytes() == manifest
    # Nor in another store than that of the run.
    assert not list((run / "targets").rglob("float32/*.npy"))


def test_resume_goes_on_by_the_recipe_of_the_run(distill, run, finished):
    shutil.rmtree(run / "model")
    stages = json.loads((run / "manifest.json").read_text("utf-8"))
    del stages["stages"]["training"]
    (run / "manifest.json").write_text(json.dumps(stages), "utf-8")
    resumed_rows(distill, run)
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


def test_resume_with_other_evaluation_data(distill, hpd, run, store, sentences, tmp_path):
    """They decide what is measured and nothing else: no stage before the report is done again."""
    before = json.loads((run / "manifest.json").read_text("utf-8"))["stages"]
    kept = (run / "recipe.toml").read_bytes()
    ours, others = sentences(120), [f"{text} once" for text in sentences(12, seed=9)]
    for texts, seen in ((others, 0), (ours, 100)):
        folder = senteval(tmp_path / f"sts{seen}", texts)
        line = ("distill", "--resume", "--out", run, "--evaluate", folder, "--store", store)
        ended = hpd(*line)
        assert ended.code == 0, ended.err
        assert "STS-B" in ended.out
        said = " ".join(ended.out.split())
        assert (f"{seen} sentences of this evaluation were trained on" in said) == (seen > 0)
        report = json.loads((run / "report.json").read_text("utf-8"))
        assert report["evaluation"] == str(folder)
        after = report["stages"]
        assert after["report"] != before.pop("report", None)
        assert {name: after[name] for name in before} == before
        assert (run / "recipe.toml").read_bytes() == kept
    # It is the run's from now on.
    assert all(isinstance(row["STSBenchmark"], float) for row in resumed_rows(distill, run))


def test_the_file_that_was_mended_is_distilled_by_the_same_command(
    distill, text_file, store, tmp_path
):
    source = tmp_path / "source.txt"
    source.touch()
    refused(distill(sentences=source, store=store))
    shutil.copyfile(text_file, source)
    assert distill(sentences=source, store=store).code == 0


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


def test_ctrl_c_ends_with_130(distill, monkeypatch):
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hpdistill.distill.distill", interrupt)
    ended = distill()
    assert ended.code == 130
    assert "interrupted; what was complete is kept" in ended.err
    assert "Traceback" not in ended.err
