"""Rows are made, measured and told of truly, once."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_tables import Lab, files, row_of

from hpdistill.errors import UsageError
from hpdistill.evaluate import TASKS, evaluate_sts, load_tasks
from hpdistill.evaluate.retrieval import measure
from hpdistill.files import read_json
from hpdistill.pytorch import TorchEncoder
from hpdistill.reproduce import Reproduced, StandIn, load_scale, tables_of, to_html, to_markdown

ROWS = [
    "sroberta-large",
    "simcse-mpnet-pca-128",
    "simcse-minilm-whitening-128",
    "simcse-minilm-projection-128",
    "hpd-minilm-128-from-simcse-mpnet",
    "hpd-minilm-256-from-simcse-mpnet",
]
SHOWN = ["simcse-mpnet", "simcse-minilm", *ROWS]
HPD = "hpd-minilm-128-from-simcse-mpnet"
PAIRS = load_scale("tiny").sts_pairs


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables") / "out"


@pytest.fixture(scope="module")
def result(lab: Lab, out: Path) -> Reproduced:
    with pytest.MonkeyPatch.context() as patch:
        # A fresh process for each row, whose memory nobody asks for here.
        patch.setattr(measure, "resident_mb", lambda *_: 1.0)
        patch.setattr(measure, "_ROUNDS", 1)
        patch.setenv("HF_HUB_OFFLINE", "1")
        return lab.run(ROWS, out, retrieval=str(lab.retrieval))


def test_rows_and_what_they_rest_on_are_made(result: Reproduced):
    assert {row["row"] for row in result.rows} == set(SHOWN)
    for row in result.rows:
        assert (row["missing"] is None) == (row["row"] != "sroberta-large")
        assert (row["model"] is None) == (row["row"] == "sroberta-large")
    cut = {
        row["row"]: row["dim"] for row in result.rows if row["kind"] in ("hpd", "pca", "whitening")
    }
    assert set(cut.values()) == {8}
    assert row_of(result, "simcse-minilm-projection-128")["dim"] == 8
    assert row_of(result, "simcse-minilm")["dim"] == 24


def test_figures_are_those_of_the_models(result: Reproduced, lab: Lab):
    row = row_of(result, HPD)
    encoder = TorchEncoder.load(row["model"])
    scores = evaluate_sts(encoder, load_tasks(lab.sts).at_most(PAIRS))
    for task in TASKS:
        expected = scores.tasks[task]
        assert row[task] == (None if expected is None else pytest.approx(expected, abs=1e-3))
    assert row["parameters"] == encoder.parameters
    assert row["tasks_present"] == 2
    assert row["average"] is None
    assert row["average_present"] == pytest.approx((row["STS12"] + row["STSBenchmark"]) / 2)


def test_retention_is_against_the_teacher(result: Reproduced):
    teacher = row_of(result, "simcse-mpnet")
    assert teacher["retention"] == 100
    for name in (HPD, "simcse-mpnet-pca-128", "simcse-minilm"):
        row = row_of(result, name)
        assert row["teacher"] == "simcse-mpnet"
        share = 100 * row["average_present"] / teacher["average_present"]
        assert row["retention"] == pytest.approx(share)


def test_retrieval_is_measured_where_the_poster_does(result: Reproduced):
    measured = {row["row"] for row in result.rows if row["mrr10"] is not None}
    assert measured == {"simcse-mpnet", HPD, "hpd-minilm-256-from-simcse-mpnet"}
    row, teacher = row_of(result, HPD), row_of(result, "simcse-mpnet")
    assert row["memory_ratio"] == pytest.approx(48 / 8)
    assert row["vector_bytes"] == 80 * 8 * 4
    assert row["mrr_retention"] == pytest.approx(100 * row["mrr10"] / teacher["mrr10"])
    assert row["search_ratio"] == pytest.approx(teacher["search_s"] / row["search_s"])
    # Only in the poster's retrieval table.
    assert row_of(result, "hpd-minilm-256-from-simcse-mpnet")["average_present"] is None


def test_a_part_of_the_evaluation_is_measured_and_told(result: Reproduced, lab: Lab):
    held = load_tasks(lab.sts)
    assert [task.pairs for task in held.tasks] == [60, 47]
    assert row_of(result, HPD)["sts_pairs"] == 2 * PAIRS
    assert row_of(result, "hpd-minilm-256-from-simcse-mpnet")["sts_pairs"] is None
    markdown = to_markdown(result)
    assert f"STS is scored by {2 * PAIRS} of 107 pairs, at most {PAIRS} of a task" in markdown
    # There are no more documents and queries than the scale takes.
    assert "Retrieval is" not in markdown


def test_what_a_row_was_made_from_goes_when_it_is_complete(result: Reproduced, out: Path):
    for row in result.rows:
        if row["steps"] is not None:
            run = Path(row["model"]).parent
            assert [place.name for place in run.iterdir() if place.is_dir()] == ["model"]
            assert (run / "recipe.toml").is_file()
    assert not list(out.rglob("optimizer.safetensors"))


def test_evaluation_sentences_are_kept_out_and_counted(result: Reproduced):
    assert row_of(result, HPD)["excluded_sentences"] == 2 + 1
    assert row_of(result, "simcse-minilm")["excluded_pairs"] == 2
    (note,) = [note for note in result.notes if note.startswith("Kept out")]
    assert "3 sentences" in note
    assert "2 labelled pairs" in note


def test_all_students_learn_from_one_store(result: Reproduced, out: Path):
    shards = [len(list(home.glob("*/*.npy"))) for home in (out / "store").iterdir()]
    # The teacher and the model that was whitened, one a split; of an untouched student, only what
    # was held out.
    assert sorted(shards) == [1, 2, 2]


def test_a_missing_row_has_no_figures(result: Reproduced):
    row = row_of(result, "sroberta-large")
    assert row["weights"] == "not here"
    assert "not in the hub's cache" in row["missing"]
    ours = {key: value for key, value in row.items() if not key.startswith("poster_")}
    figures = [value for value in ours.values() if isinstance(value, float)]
    assert figures == []
    assert row["poster_average"] == 76.68
    markdown = to_markdown(result)
    (line,) = [
        line for line in markdown.splitlines() if line.startswith("| SRoBERTa-large | not here")
    ]
    assert "\N{EN DASH}" in line
    assert "SRoBERTa-large is not made here" in markdown


def test_the_posters_figures_have_columns_of_their_own(result: Reproduced):
    summary, by_task, retrieval = tables_of(result)
    titles = [column.title for column in by_task.columns]
    assert titles[:5] == ["row", "STS12", "STS12°", "STS13°", "STS14°"]
    # Two tasks are measured: the published figure beside theirs is that of the same two.
    (known,) = [row for row in summary.rows if row["row"] == "sroberta-large"]
    assert "avg of 2" in [column.title for column in summary.columns]
    assert known["poster_average_present"] is None
    assert "MB°" in [column.title for column in retrieval.columns]
    assert all(row["row"] != "sroberta-large" for row in retrieval.rows)


def test_published_averages_are_compared_on_the_tasks_measured(lab: Lab, tmp_path: Path):
    name = "simcse-roberta-large"
    found = lab.run([name], tmp_path / "out", models=[f"{name}={lab.teacher}"])
    row = row_of(found, name)
    assert row["poster_average_present"] == pytest.approx((77.46 + 86.70) / 2)
    assert row["weights"] == f"given: {lab.teacher.name}"
    (note,) = [note for note in found.notes if "as the user says" in note]
    assert name in note
    # The row itself was given: nothing is made, and its figures are those of the model given.
    tasks = load_tasks(lab.sts).at_most(PAIRS)
    expected = evaluate_sts(TorchEncoder.load(str(lab.teacher)), tasks)
    assert row["STS12"] == pytest.approx(expected.tasks["STS12"], abs=1e-3)
    assert row["model"] == str(lab.teacher)


def test_the_page_has_all_in_it(result: Reproduced):
    page = to_html(result)
    assert page.count("data:image/svg+xml;base64,") == 3
    assert "http" not in page.replace("http://www.w3.org", "")
    for table in tables_of(result):
        assert table.to_html() in page


def test_what_is_complete_is_not_made_again(result: Reproduced, lab: Lab, out: Path):
    before = files(out)
    again = lab.run(ROWS, out, retrieval=str(lab.retrieval))
    assert files(out) == before
    assert again.rows == result.rows


def test_a_row_killed_after_its_record_is_tidied(result: Reproduced, lab: Lab, out: Path):
    run = Path(row_of(result, HPD)["model"]).parent
    (run / "checkpoints" / "a").mkdir(parents=True)
    lab.run([HPD], out, retrieval=str(lab.retrieval))
    assert not (run / "checkpoints").exists()


def test_a_moved_folder_is_still_complete(result: Reproduced, lab: Lab, out: Path, tmp_path: Path):
    moved = tmp_path / "moved"
    shutil.copytree(out, moved)
    before = files(moved)
    lab.run(ROWS, moved, retrieval=str(lab.retrieval))
    assert files(moved) == before


def test_other_choices_make_other_models_beside(result: Reproduced, lab: Lab, out: Path):
    name = "simcse-minilm-projection-128"  # whose layer is drawn at random
    row = row_of(lab.run([name], out, seed=1), name)
    first = row_of(result, name)
    assert row["model"] != first["model"]
    assert Path(first["model"]).is_dir()
    texts = ["the old dog sleeps", "a bird sings"]
    vectors = [TorchEncoder.load(one["model"]).encode(texts) for one in (row, first)]
    assert not np.allclose(*vectors)


def test_a_stand_in_is_named_beside_its_row(lab: Lab, tmp_path: Path):
    spec = f"shape:layers=1,width=12,heads=2,ffn=24,from={lab.student}"
    stand_in = StandIn(
        use=spec, label="half of it", needs=str(lab.student), difference="It is small."
    )
    found = lab.run(
        ["simcse-minilm"],
        tmp_path / "out",
        models=[],
        stand_ins={"nreimers/MiniLM-L6-H384-uncased": stand_in},
    )
    row = row_of(found, "simcse-minilm")
    assert row["weights"] == "stand-in: half of it"
    markdown = to_markdown(found)
    assert "| SimCSE-MiniLM (stand-in) | stand-in: half of it |" in markdown
    # Nowhere under the name of the weights that it stands in for.
    assert markdown.count("| SimCSE-MiniLM (stand-in) | ") == 2
    assert "half of it stands in for nreimers/MiniLM-L6-H384-uncased" in markdown
    assert row["dim"] == 12


def test_a_failing_row_is_named_and_the_others_are_kept(lab: Lab, tmp_path: Path):
    out = tmp_path / "out"
    broken = f"nreimers/MiniLM-L6-H384-uncased=layers:{lab.student}:0,9"
    with pytest.raises(UsageError, match=rf"^{HPD}: .*layer 9"):
        lab.run([HPD], out, models=[lab.models[0], broken])
    (record,) = (out / "rows/simcse-mpnet").glob("*/row.json")
    assert read_json(record)["row"] == "simcse-mpnet"
    before = files(out / "rows/simcse-mpnet")
    found = lab.run(["simcse-mpnet"], out, models=[lab.models[0]])
    assert row_of(found, "simcse-mpnet")["average_present"] is not None
    assert files(out / "rows/simcse-mpnet") == before


def test_sentences_of_the_pairs_serve_where_no_others_are_given(lab: Lab, tmp_path: Path):
    name = "all-minilm-l6-v2-pca-128"
    models = [f"all-minilm-l6-v2={lab.student}"]
    found = lab.run([name], tmp_path / "out", sentences=[], models=models)
    pairs = {
        sentence
        for line in lab.nli.read_text("utf-8").splitlines()[1:]
        for sentence in line.split("\t")[3:5]
    }
    row = row_of(found, name)
    # One is evaluated on, and a fifth of the rest is held out.
    assert row["excluded_sentences"] >= 1
    assert row["sentences"] == len(pairs) - 1 - (len(pairs) - 1) // 5
    with pytest.raises(UsageError, match=f"{name} needs sentences"):
        lab.run([name], tmp_path / "out", sentences=[], nli=[], models=models)


def test_there_must_be_something_to_measure_by(lab: Lab, tmp_path: Path):
    with pytest.raises(UsageError, match="nothing to measure by"):
        lab.run(["simcse-mpnet"], tmp_path / "out", data=None)
    assert not (tmp_path / "out").exists()


def test_rows_are_flat_json(result: Reproduced):
    for row in json.loads(json.dumps(result.rows, allow_nan=False)):
        assert not any(isinstance(value, list | dict) for value in row.values())
    assert len({tuple(row) for row in result.rows}) == 1
