"""`hpd distill --plan`: what it would take, and nothing is done."""

import json

from command_ends import refused
from distilling import contents

PARTS = ["corpus", "teacher", "targets", "student", "training", "report"]


def test_it_says_texts_steps_disk_and_time_and_writes_nothing(distill, tmp_path, store):
    ended = distill("--plan", max_steps=None, epochs=2, store=store)
    assert ended.code == 0, ended.err
    assert "texts: 100 to learn from and 20 held out, of 120 read" in ended.out
    assert "steps: 8, of 32 texts each" in ended.out
    stages = [line.split() for line in ended.out.splitlines()]
    assert [words[0] for words in stages if words and words[0] in (*PARTS, "all")] == [
        *PARTS,
        "all",
    ]
    assert f"nothing was written to {tmp_path / 'run'}" in ended.out
    assert not (tmp_path / "run").exists()


def test_its_figures_are_those_of_the_run(distill, tmp_path):
    ended = distill("--plan", "--json", max_steps=None, epochs=2)
    *rows, whole = json.loads(ended.out)["rows"]
    assert [row["stage"] for row in rows] == PARTS
    assert whole["seconds"] > 0
    assert whole["bytes"] == sum(row["bytes"] for row in rows)
    assert distill(max_steps=None, epochs=2).code == 0
    run = tmp_path / "run"
    facts = json.loads((run / "manifest.json").read_text("utf-8"))["stages"]
    assert whole["steps"] == facts["training"]["facts"]["steps"]
    assert whole["train"] == 100
    # The teacher's vectors, and the targets, of both splits.
    found = {row["stage"]: row["bytes"] for row in rows}
    vectors = sum(len(data) for name, data in contents(run).items() if name.endswith(".npy"))
    assert abs(found["teacher"] + found["targets"] - vectors) < 5000


def test_a_static_student_is_planned_too(distill, tmp_path):
    ended = distill("--plan", "--json", student="static", max_steps=None)
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["rows"][-1]["steps"] == 16
    assert not (tmp_path / "run").exists()


def test_a_finished_run_is_left_as_it_is(distill, run, store):
    before = contents(run)
    assert distill("--plan", store=store).code == 0
    assert contents(run) == before
    assert "holds a run of another recipe" in refused(distill("--plan", dim=4, store=store))
    assert distill("--plan", "--overwrite", dim=4, store=store).code == 0
    assert contents(run) == before


def test_what_the_run_would_refuse_is_refused(distill, tmp_path):
    assert "1 to 72" in refused(distill("--plan", dim=80))
    assert "does not exist" in refused(distill("--plan", sentences=tmp_path / "no.txt"))
