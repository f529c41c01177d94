"""`hpd clean`: the model and what it was made of stay, all else goes and is not made again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_ends import Ended, hint, refused
from distilling import contents, resumed_rows, weights

from hpdistill.errors import RunError
from hpdistill.files import lock_on
from hpdistill.manifest import clean_run

Hpd = Callable[..., Ended]
KEPT = ["manifest.json", "model", "recipe.toml", "report.html", "report.json", "report.md"]


def names(run: Path) -> list[str]:
    return sorted(path.name for path in run.iterdir() if path.name != ".lock")


def bytes_of(*places: Path) -> int:
    return sum(f.stat().st_size for place in places for f in place.rglob("*") if f.is_file())


def test_only_the_model_and_what_it_was_made_of_stay(hpd, run):
    model = contents(run / "model")
    report = (run / "report.json").read_bytes()
    gone = [run / name for name in ("checkpoints", "corpus", "init", "targets")]
    size = bytes_of(*gone) / 1e6
    ended = hpd("clean", run)
    assert ended.code == 0, ended.err
    assert names(run) == KEPT
    assert contents(run / "model") == model
    assert (run / "report.json").read_bytes() == report
    for path in gone:
        assert f"{path}: " in ended.out
    assert f"{run}: {size:,.1f} MB freed; {run / 'model'} stays" in ended.out
    assert hpd("clean", run).out == f"{run}: nothing to remove\n"


def test_a_dry_run_says_the_same_and_removes_nothing(hpd, run):
    before = contents(run)
    ended = hpd("clean", "--dry-run", run)
    assert contents(run) == before
    assert "would be freed" in ended.out
    assert hpd("clean", run).out == ended.out.replace("would be freed", "freed")


def test_json_names_the_parts(hpd, run):
    size = bytes_of(run / "targets")
    rows = json.loads(hpd("clean", run, "--json").out)["rows"]
    assert {"run": str(run), "path": str(run / "targets"), "bytes": size, "removed": True} in rows


def test_embeddings_of_the_run_go_and_what_is_not_of_it_stays(hpd, distill, run, tmp_path):
    out = tmp_path / "own"
    assert distill(out=out).code == 0
    assert list(out.glob("targets/*/float32/*.npy"))
    (out / "notes.txt").write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/years.txt").write_text("of work")
    shutil.rmtree(out / "init")
    (out / "init").symlink_to(tmp_path / "elsewhere")
    (out / "corpus.1.tmp").mkdir()
    assert hpd("clean", out).code == 0
    assert names(out) == sorted([*KEPT, "notes.txt", "corpus.1.tmp"])  # process 1 lives
    assert (tmp_path / "elsewhere/years.txt").is_file()


def test_the_same_command_says_afterwards_that_it_is_complete(distill, hpd, run, store):
    rows = json.loads((run / "report.json").read_text("utf-8"))["rows"]
    manifest = json.loads((run / "manifest.json").read_text("utf-8"))
    before = weights(run)
    assert hpd("clean", run).code == 0
    ended = distill(store=store)
    assert ended.code == 0, ended.err
    said = " ".join(ended.out.split())
    assert f"{run} is complete, and was cleaned: nothing was computed" in said
    assert "checkpoints, corpus, init, targets" in said
    assert resumed_rows(distill, run) == rows
    assert names(run) == KEPT
    assert weights(run) == before
    after = json.loads((run / "manifest.json").read_text("utf-8"))
    assert after["stages"] == manifest["stages"]


def test_what_would_have_to_be_made_again_is_said(distill, hpd, run, store, text_file):
    before = weights(run)
    assert hpd("clean", run).code == 0
    cleaned = contents(run)
    shutil.move(run / "model", run / "away")
    ended = distill(store=store)
    assert f"error: {run} was cleaned, and its stage 'training' would have to be done again: " in (
        refused(ended)
    )
    assert "--overwrite" in hint(ended)
    shutil.move(run / "away", run / "model")
    other = text_file.with_name("other.txt")
    other.write_text("\n".join(text_file.read_text("utf-8").splitlines()[:100]), "utf-8")
    assert "run of another recipe" in refused(distill(store=store, sentences=other))
    assert contents(run) == cleaned
    # What was removed is made again where that is asked for, and is the same.
    assert distill("--overwrite", store=store).code == 0
    assert weights(run) == before
    assert (run / "corpus").is_dir()
    assert "was cleaned" not in distill(store=store).out


def test_other_evaluation_data_need_what_is_gone(distill, hpd, run, store, tmp_path):
    task = tmp_path / "sts/STS/STSBenchmark"
    task.mkdir(parents=True)
    (task / "sts-test.csv").write_text("g\tf\ty\t1\t1\ta\tb\ng\tf\ty\t1\t2\ta\tc\n")
    assert hpd("clean", run).code == 0
    ended = hpd("distill", "--resume", "--out", run, "--evaluate", tmp_path / "sts")
    assert "its stage 'report' would have to be done again" in refused(ended)


def test_a_run_that_is_not_finished_is_refused(hpd, run):
    path = run / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    del manifest["stages"]["report"]
    path.write_text(json.dumps(manifest), "utf-8")
    before = contents(run)
    ended = hpd("clean", run)
    assert refused(ended) == (
        f"error: the run in {run} is not finished: what would be removed is needed for that"
    )
    assert "Finish it" in hint(ended)
    assert contents(run) == before


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_what_is_no_run_is_refused_before_anything_goes(hpd, run, options, tmp_path):
    for name in ("none", "text"):
        other = tmp_path / name
        if name == "text":
            (other / "corpus").mkdir(parents=True)
        before = contents(tmp_path)
        assert refused(hpd("clean", run, other, *options)) == f"error: {other} holds no run"
        assert contents(tmp_path) == before
    assert not (tmp_path / "none").exists()


def test_a_run_that_another_process_works_in_is_refused(hpd, run):
    before = contents(run)
    with lock_on(run / ".lock"):
        assert refused(hpd("clean", run)) == f"error: another process is working in {run}"
        with pytest.raises(RunError, match="another process is working"):
            clean_run(run, dry_run=True)
    assert contents(run) == before
