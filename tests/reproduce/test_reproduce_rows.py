"""The files of the package say what they must, and mistakes in them or in names are told."""

import shutil
from pathlib import Path

import pytest
from tiny_tables import Lab

import hpdistill.reproduce
from hpdistill.errors import UsageError, WeightsError
from hpdistill.evaluate import TASKS
from hpdistill.reproduce import (
    ScaleName,
    StandIn,
    Supply,
    load_catalogue,
    load_scale,
    load_stand_ins,
    parse_models,
    plan,
)

PACKAGE = Path(hpdistill.reproduce.__file__).parent
CATALOGUE = load_catalogue()
WEIGHTS = [row.weights for row in CATALOGUE.rows.values() if row.weights is not None]


def test_every_row_file_stands_in_the_tables():
    assert set(CATALOGUE.rows) == {path.stem for path in (PACKAGE / "rows").glob("*.toml")}
    assert len(CATALOGUE.rows) > 30


def test_published_averages_are_those_of_the_published_tasks():
    known = [row for row in CATALOGUE.rows.values() if row.poster.average is not None]
    assert len(known) >= 5
    for row in known:
        tasks = [getattr(row.poster, task) for task in TASKS]
        # One was published so: see its file.
        rounding = 0.031 if row.name == "sbert-base" else 0.0051
        assert sum(tasks) / len(tasks) == pytest.approx(row.poster.average, abs=rounding)


def test_published_figures_name_their_source():
    for row in CATALOGUE.rows.values():
        figures = [value for key, value in vars(row.poster).items() if key != "source"]
        assert bool(row.poster.source) == any(value is not None for value in figures), row.name


def test_rows_are_as_wide_as_what_they_say():
    for row in CATALOGUE.rows.values():
        numbers = [int(part) for part in row.name.split("-") if part.isdigit()]
        assert not numbers or numbers == [row.width], row.name


@pytest.fixture
def package(tmp_path):
    """A copy of the files, to be broken."""
    shutil.copytree(PACKAGE / "rows", tmp_path / "rows")
    shutil.copy(PACKAGE / "tables.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('title = "x"\nwidth = 8\nwidht = 9\n[pca]\nof = "sbert-base"\n', "unknown key widht"),
        ('title = "x"\nwidth = "8"\n[pca]\nof = "sbert-base"\n', "width must be of type int"),
        ('title = "x"\n[pca]\nof = "sbert-base"\n', "width is missing"),
        ('title = "x"\nwidth = 8\n', "made in 0 ways"),
        ('title = "x"\nwidth = 8\n[pca]\nof = "a"\n[whitening]\nof = "a"\n', "made in 2 ways"),
        ('title = "x"\nwidth = 8\n[pca]\nof = "hpd-minilm-f128"\n', "does not come before it"),
        ('title = "x"\nwidth = 8\n[pca]\nof = "nothing"\n', "does not come before it"),
        ('title = "x"\nwidth = 8\n[published]\nmodel = "a/b"\npooling = "sum"\n', "'sum'"),
        ("title = x\n", "cannot read"),
    ],
)
def test_a_broken_row_is_told(package, text, complaint):
    (package / "rows/simcse-mpnet-pca-128.toml").write_text(text)
    with pytest.raises(UsageError, match=complaint) as told:
        load_catalogue(package)
    assert "simcse-mpnet-pca-128" in str(told.value)


def test_a_row_without_a_place_is_told(package):
    shutil.copy(package / "rows/sbert-base.toml", package / "rows/other.toml")
    with pytest.raises(UsageError, match=r"differ in other$"):
        load_catalogue(package)


def test_rows_are_chosen_by_name_pattern_and_table():
    assert CATALOGUE.select(["simcse-minilm", "sbert-base"]) == ["sbert-base", "simcse-minilm"]
    assert CATALOGUE.select(["simcse-minilm*"]) == [
        "simcse-minilm",
        "simcse-minilm-projection-128",
        "simcse-minilm-whitening-128",
    ]
    assert set(CATALOGUE.select(["sts"])) == set(CATALOGUE.sts.rows)
    poster = {*CATALOGUE.sts.rows, *CATALOGUE.retrieval.rows}
    assert set(CATALOGUE.select([])) == poster < set(CATALOGUE.rows)


@pytest.mark.parametrize(
    ("wrong", "meant"), [("SBERT", "sbert-base"), ("simcse-minlm", "simcse-minilm")]
)
def test_an_unknown_row_suggests_near_ones(wrong, meant):
    with pytest.raises(UsageError, match=repr(wrong)) as told:
        CATALOGUE.select(["sts", wrong])
    assert meant in told.value.hint


def test_what_a_row_rests_on_comes_before_it():
    chosen = ["hpd-minilm-128-from-simcse-mpnet", "simcse-tinybert-whitening-128"]
    assert CATALOGUE.with_foundations(chosen) == [
        "simcse-mpnet",
        "simcse-tinybert",
        "simcse-tinybert-whitening-128",
        "hpd-minilm-128-from-simcse-mpnet",
    ]
    assert CATALOGUE.with_foundations(chosen, given=[chosen[0]])[0] == "simcse-tinybert"


@pytest.mark.parametrize("name", list(ScaleName))
def test_scales_are_files(name):
    assert load_scale(name).name == name
    assert len(list((PACKAGE / "scales").iterdir())) == len(ScaleName)


def test_an_unknown_scale_is_told():
    with pytest.raises(UsageError, match=r"'huge'; allowed: tiny, cpu, full"):
        load_scale("huge")


@pytest.mark.parametrize("name", ["cpu"])
def test_all_trainings_have_one_budget(name):
    scale = load_scale(name)
    simcse = 3 * scale.simcse.batch_size * scale.simcse.max_steps
    trainings = [scale.paper.training.settled(), scale.ours.training.settled()]
    assert {simcse} == {training.batch_size * training.max_steps for training in trainings}
    # So that it is the steps that end every training.
    assert min(scale.simcse.epochs, *(training.epochs for training in trainings)) >= 1000


@pytest.mark.parametrize("name", list(ScaleName))
def test_the_papers_recipe_is_the_papers(name):
    paper = load_scale(name).paper
    assert paper.anchor == 0
    assert paper.training.similarity_weight == paper.training.neighbour_weight == 0
    assert (paper.head.init, paper.head.activation) == ("random", "tanh")
    assert not paper.projection.centred


def test_stand_ins_are_for_weights_of_rows():
    stand_ins = load_stand_ins()
    assert set(stand_ins) <= set(WEIGHTS)
    assert all(stand_in.needs in stand_in.use for stand_in in stand_ins.values())


def test_models_are_given_by_row_hub_id_or_short_name():
    given = ["simcse-mpnet=a/b", "tinybert=./c", "nreimers/MiniLM-L6-H384-uncased=layers:d:0,1"]
    assert parse_models(given, rows=CATALOGUE.rows, weights=WEIGHTS) == {
        "simcse-mpnet": "a/b",
        "huawei-noah/TinyBERT_General_4L_312D": "./c",
        "nreimers/MiniLM-L6-H384-uncased": "layers:d:0,1",
    }


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["simcse-mpnet"], "not of the form NAME=MODEL"),
        (["=x"], "not of the form NAME=MODEL"),
        (["simcse-mpnet="], "not of the form NAME=MODEL"),
        (["simcse-mpent=x"], "neither a row nor weights"),
        (["tinybert=x", "huawei-noah/TinyBERT_General_4L_312D=y"], "twice"),
    ],
)
def test_models_given_wrongly_are_told(given, complaint):
    with pytest.raises(UsageError, match=complaint) as told:
        parse_models(given, rows=CATALOGUE.rows, weights=WEIGHTS)
    assert "simcse-mpnet" in told.value.hint or "neither" not in complaint


def test_own_weights_come_before_a_stand_in_and_the_users_before_all(lab: Lab):
    own = str(lab.teacher)
    stand_ins = {
        own: StandIn(use=str(lab.student), label="s", needs=str(lab.student), difference="")
    }
    assert Supply(stand_ins=stand_ins).find(own).kind == "own"
    given = Supply(given={own: str(lab.student)}, stand_ins=stand_ins).find(own)
    assert (given.kind, given.use) == ("given", str(lab.student))


def planned(lab: Lab, names, *, labelled=True, stand_ins=None, **given):
    supply = Supply(
        given=parse_models(lab.models[:1], rows=CATALOGUE.rows, weights=WEIGHTS),
        stand_ins=stand_ins or {},
    )
    return {
        one.row.name: one
        for one in plan(CATALOGUE, CATALOGUE.select(names), supply, labelled=labelled)
    }


def test_a_stand_in_is_told_of_all_rows_that_rest_on_it(lab: Lab):
    stand_in = StandIn(
        use=f"layers:{lab.student}:0",
        label="tiny",
        needs=str(lab.student),
        difference="It is tiny.",
    )
    found = planned(
        lab,
        ["simcse-minilm-whitening-128", "hpd-minilm-128-from-simcse-mpnet"],
        stand_ins={"nreimers/MiniLM-L6-H384-uncased": stand_in},
    )
    assert found["simcse-minilm-whitening-128"].from_what == "stand-in: tiny"
    whole = found["hpd-minilm-128-from-simcse-mpnet"]
    assert whole.from_what == f"given: {lab.teacher.name}; stand-in: tiny"
    assert whole.weights.use == f"layers:{lab.student}:0"
    assert "It is tiny." in whole.weights.note
    assert "nreimers/MiniLM-L6-H384-uncased" in whole.weights.note


def test_what_rests_on_a_missing_row_is_missing(lab: Lab):
    found = planned(lab, ["simcse-roberta-large-pca-128", "simcse-mpnet-pca-128"])
    assert "not in the hub's cache" in found["simcse-roberta-large"].missing
    assert "simcse-roberta-large" in found["simcse-roberta-large-pca-128"].missing
    assert found["simcse-roberta-large-pca-128"].from_what == "not here"
    assert found["simcse-mpnet-pca-128"].missing == ""


def test_without_labelled_pairs_only_simcse_is_missing(lab: Lab):
    names = ["simcse-mpnet", "all-mpnet-base-v2"]
    supply = Supply(given={"sentence-transformers/all-mpnet-base-v2": str(lab.teacher)})
    found = plan(CATALOGUE, names, supply, labelled=False)
    assert [("--nli" in one.missing) for one in found] == [True, False]


def test_a_missing_stand_in_is_told(lab: Lab):
    stand_in = StandIn(use="a/b", label="b", needs="a/b", difference="")
    found = planned(lab, ["simcse-minilm"], stand_ins={"nreimers/MiniLM-L6-H384-uncased": stand_in})
    assert "nor can its stand-in a/b" in found["simcse-minilm"].missing


def test_models_that_the_user_gives_must_be_there(lab: Lab):
    # A row is a model as it is; a part of one may only be what a row starts from.
    for use in ("./nowhere", f"layers:{lab.student}:0"):
        supply = Supply(given={"simcse-mpnet": use})
        with pytest.raises(WeightsError, match="no such directory"):
            plan(CATALOGUE, ["simcse-mpnet"], supply, labelled=True)
    supply = Supply(given={"nreimers/MiniLM-L6-H384-uncased": f"layers:{lab.student}:0"})
    (found,) = plan(CATALOGUE, ["simcse-minilm"], supply, labelled=True)
    assert found.missing == ""


def test_copies_are_the_scales_or_those_asked_for():
    full, cpu = load_scale("full"), load_scale("cpu")
    assert full.augmented(None) == full
    assert full.augmented("none").augment is None
    assert full.augment is not None
    some = full.augmented("wordnet").augment
    assert some is not None
    assert (some.methods, some.translator) == (("wordnet",), full.augment.translator)
    assert cpu.augment is None
    assert cpu.augmented("wordnet,backtranslate").augment is not None
    with pytest.raises(UsageError, match="wordnte"):
        cpu.augmented("wordnte")
