"""The report of a run: rows told apart, one of them advised, a page for people, a model card."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from test_run import PAIRS, write_benchmark
from tiny_runs import STAGES, TINY, distill, manifest

import hpdistill.distill.run
from hpdistill.card import write_card
from hpdistill.distill import report_tables
from hpdistill.distill.advice import advise, measure_of
from hpdistill.distill.labels import labelled
from hpdistill.distill.report import write_report
from hpdistill.recipe import Recipe, WeightedModel

# -- labels

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "model": st.sampled_from(["a", "a #2", "a (torch)", "b, distilled", "/x/y"]),
            "backend": st.sampled_from(["torch", "onnx"]),
            "precision": st.sampled_from(["float32", "int8"]),
            "dim": st.sampled_from([8, 16]),
        }
    ),
    max_size=12,
)


@given(ROWS)
def test_no_two_rows_have_the_same_label(rows):
    found = labelled(TINY, rows)
    assert len({row["label"] for row in found}) == len(rows)
    assert [{**row, "label": None} for row in found] == [{**row, "label": None} for row in rows]
    for row in found:
        assert row["model"] in row["label"]


def test_a_label_says_what_tells_rows_of_one_model_apart():
    rows = [
        {"model": "m, distilled", "backend": "torch", "precision": "float32", "dim": 8},
        {"model": "m, distilled", "backend": "onnx", "precision": "float32", "dim": 8},
        {"model": "m, distilled", "backend": "onnx", "precision": "int8", "dim": 8},
        {"model": "m, untouched", "backend": "torch", "precision": "float32", "dim": 24},
    ]
    assert [row["label"] for row in labelled(TINY, rows)] == [
        "m, distilled (torch float32)",
        "m, distilled (onnx float32)",
        "m, distilled (onnx int8)",
        "m, untouched",
    ]


def test_directories_go_by_their_names(finished, teacher_dir, student_dir):
    assert [row["label"] for row in finished.rows] == [
        row["model"].replace(f"{teacher_dir}", "teacher").replace(f"{student_dir}", "student")
        for row in finished.rows
    ]


def test_the_weights_of_teachers_are_told(recipe, store, teacher_dir, student_dir, tmp_path):
    # Of the student itself, too: it is a teacher here, not an anchor.
    weighted = recipe(
        teachers=(
            WeightedModel(model=str(teacher_dir), weight=2.0),
            WeightedModel(model=str(student_dir)),
        ),
        training__max_steps=0,
    )
    rows = distill(weighted, tmp_path / "run", store=store).rows
    assert rows[0]["model"] == f"{teacher_dir}:2 + {student_dir}"
    assert rows[0]["label"] == "teacher:2 + student"
    assert [row["kind"] for row in rows] == [
        *("teacher", "pca", "target", "untouched", "own_pca", "closed_form", "distilled")
    ]
    card = (tmp_path / "run/model/README.md").read_text("utf-8")
    assert "Teacher: teacher (weight 2), student." in card


# -- which row to take

MEASURED = st.lists(
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(
                ["pca", "target", "untouched", "own_pca", "other", "distilled"]
            ),
            "backend": st.sampled_from(["torch", "onnx"]),
            "precision": st.just("float32"),
            "overlap10": st.floats(0, 1),
            "vector_bytes": st.sampled_from([512, 1536, 3072]),
            "sentences_per_second": st.floats(1, 1e5),
        }
    ),
    max_size=8,
)


@given(MEASURED, st.one_of(st.none(), st.lists(st.floats(-50, 100), min_size=9, max_size=9)))
def test_the_row_to_take_follows_the_rule(others, scores):
    teacher = {"kind": "teacher", "overlap10": 1.0, "vector_bytes": 3072}
    rows = [{**teacher, "sentences_per_second": 10.0}, *others]
    rows = [{**row, "label": str(number)} for number, row in enumerate(rows)]
    for row, score in zip(rows, scores or (), strict=False):
        row |= {"average_present": score, "tasks_present": 2}
    advice = advise(rows)
    own = [row for row in rows if row["kind"] not in ("teacher", "pca", "target")]
    if not own:
        assert advice is None
        return
    assert advice is not None
    measure = measure_of(rows)
    assert measure.key == ("average_present" if scores else "overlap10")
    best = max(map(measure.points, own))
    near = [row for row in own if measure.points(row) >= best - 1]
    assert advice.row in near
    for row in near:
        assert row["vector_bytes"] >= advice.row["vector_bytes"]
        if row["vector_bytes"] == advice.row["vector_bytes"]:
            assert row["sentences_per_second"] * 0.9 <= advice.row["sentences_per_second"]
    assert f"Take {advice.row['label']}: " in advice.sentence
    assert " 1 times" not in advice.sentence
    size = rows[0]["vector_bytes"] / advice.row["vector_bytes"]
    assert f" with vectors {f'{size:.3g} times smaller' if size > 1 else 'of the same size'}" in (
        advice.sentence
    )


def test_the_advice_stands_in_every_form(finished):
    run = finished.model.parent
    report = json.loads((run / "report.json").read_text("utf-8"))
    advice = advise(finished.rows)
    assert advice is not None
    assert report["advice"]["label"] == advice.row["label"]
    assert report["advice"]["label"] in [row["label"] for row in finished.rows]
    notes = report_tables(finished.rows, finished.stages)[0].notes
    for text in (advice.sentence, advice.rule):
        assert text in notes
        assert text in (run / "report.md").read_text("utf-8")
    assert advice.rule in Page(run).text


# -- the page


class Page(HTMLParser):
    """`report.html` of a run: well-formed, its text and its elements."""

    def __init__(self, run: Path) -> None:
        super().__init__()
        self.source = (run / "report.html").read_text("utf-8")
        self.elements: list[tuple[str, dict[str, str | None], str]] = []
        self._open: list[list[Any]] = []
        self._pieces: list[str] = []
        self.feed(self.source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "circle", "rect", "path"):
            self._open.append([tag, dict(attrs), []])

    def handle_data(self, data):
        self._pieces.append(data)
        for element in self._open:
            element[2].append(data)

    def handle_endtag(self, tag):
        if tag in ("circle", "rect", "path"):
            return
        name, attributes, pieces = self._open.pop()
        assert name == tag
        self.elements.append((tag, attributes, "".join(pieces)))

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def texts(self, tag: str) -> list[str]:
        return [text for name, _, text in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(finished) -> Page:
    return Page(finished.model.parent)


def test_the_page_loads_nothing_and_runs_nothing(page):
    assert page.texts("script") == page.texts("link") == page.texts("img") == []
    for _, attributes, _ in page.elements:
        assert not {"src", "href"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
    assert not re.search(r"url\(|@import|https?://", page.source)


def test_the_page_takes_light_and_dark_and_small_screens(page):
    assert "color-scheme: light dark" in page.source
    assert "prefers-color-scheme: dark" in page.source
    assert 'name="viewport" content="width=device-width' in page.source


def test_its_tables_can_be_read_aloud(page):
    tables = page.texts("table")
    assert len(page.texts("caption")) == len(tables) >= 3
    assert all(page.texts("caption"))
    heads = [attributes for tag, attributes, _ in page.elements if tag == "th"]
    assert {head["scope"] for head in heads} == {"col", "row"}
    rows = [attributes for attributes in heads if attributes["scope"] == "row"]
    assert len(rows) == sum(len(re.findall("<tr>", body)) for body in bodies(page.source))
    for tag, attributes, _ in page.elements:
        if tag == "div" and attributes.get("class") == "scroll":
            assert attributes["role"] == "region"
            assert attributes["aria-label"]
            assert attributes["tabindex"] == "0"
        if tag == "svg":
            assert attributes["role"] == "img"
            assert attributes["aria-label"]


def bodies(source: str) -> list[str]:
    return re.findall("<tbody>(.*?)</tbody>", source, re.DOTALL)


def test_it_says_what_each_column_means_and_which_way_is_better(page, finished):
    table = report_tables(finished.rows, finished.stages)[0]
    terms = dict(zip(page.texts("dt"), page.texts("dd"), strict=True))
    for column in table.columns:
        assert terms[column.title]
        if column.format:
            assert re.search("(More|Fewer|Less) is better", terms[column.title])


def test_it_shows_every_row_in_the_table_and_in_the_picture(page, finished):
    for number, row in enumerate(finished.rows, 1):
        assert row["label"] in page.texts("th")
        (said,) = [text for text in page.texts("title") if text.startswith(f"{number}. ")]
        assert row["label"] in said
    assert page.source.count('stroke="var(--mark)"') == 1  # the ring of the row to take


def test_it_says_what_was_read_and_what_it_took_where(page, finished, recipe):
    facts = finished.stages["corpus"]["facts"]
    assert f"Trained on {facts['train']:,} unlabelled sentences" in page.text
    for name in STAGES:
        assert name in page.texts("th")
    found = manifest(finished.model.parent)
    assert found["machine"]["cpu"] in page.text
    assert f"torch {found['versions']['torch']}" in page.text
    assert page.texts("pre") == [recipe().to_toml()]
    assert Recipe.from_toml(page.texts("pre")[0]) == recipe()


def report_of(run: Path, recipe: Recipe, rows: Any, stages: Any) -> tuple[Page, str]:
    found = manifest(run)
    where = {key: found[key] for key in ("machine", "versions")}
    write_report(recipe, run, rows, stages, None, measured_on=where)
    return Page(run), (run / "report.md").read_text("utf-8")


def test_whatever_a_corpus_counts_and_drops_is_shown(run, recipe, finished):
    stages = json.loads(json.dumps(finished.stages))
    facts = stages["corpus"]["facts"]
    first = facts["sources"][0]
    second = {**first, "source": "more.txt", "split_in_two": 1234, "dropped": {"oddly_spelt": 567}}
    facts["sources"] = [{**first, "dropped": {**first["dropped"], "excluded": 89}}, second]
    page, markdown = report_of(run, recipe(), finished.rows, stages)
    (line,) = [body for body in bodies(page.source) if "more.txt" in body]
    for text in ("1,234", "567", "89", ">all<"):
        assert text in line
    for title in ("split in two", "oddly spelt", "excluded"):
        assert title in page.texts("th")
        assert f" {title} |" in markdown
    # Reasons for which nothing was dropped take no room.
    assert "too long" not in page.texts("th")


def test_names_are_text_wherever_they_stand(run, recipe, finished):
    rows = [{**row, "label": f"<b>{row['label']}</b>"} for row in finished.rows]
    page, _ = report_of(run, recipe(), rows, finished.stages)
    assert page.texts("b") == []
    assert rows[-1]["label"] in page.texts("th")


def test_rows_as_bad_as_equal_and_as_one_can_be_drawn(run, recipe, finished):
    alike = {"sentences_per_second": 100.0, "overlap10": 0.0}
    page, _ = report_of(run, recipe(), [{**row, **alike} for row in finished.rows], finished.stages)
    assert len([text for text in page.texts("title") if re.match(r"\d+\. ", text)]) == 7
    assert "nan" not in page.source


def test_the_machine_is_the_one_that_measured(run, recipe, monkeypatch):
    before = json.loads((run / "report.json").read_text("utf-8"))["machine"]
    other = {**before, "cpu": "another processor"}
    monkeypatch.setattr(hpdistill.distill.run, "machine", lambda: other)
    distill(recipe(), run)
    assert json.loads((run / "report.json").read_text("utf-8"))["machine"] == before
    assert "another processor" not in Page(run).text


# -- the model card


def python_blocks(card: Path) -> list[str]:
    found = re.findall("```python\n(.*?)```", card.read_text("utf-8"), re.DOTALL)
    return [block.replace("path/to/this/directory", str(card.parent)) for block in found]


def test_the_card_is_one_that_the_hub_reads(finished):
    card = ModelCard.load(finished.model / "README.md")
    data = card.data.to_dict()
    assert data["library_name"] == "sentence-transformers"
    assert data["pipeline_tag"] == "sentence-similarity"
    assert {"sentence-transformers", "hpdistill"} <= set(data["tags"])
    # Nobody said, and directories are not on the hub.
    assert not {"language", "license", "base_model", "datasets", "model-index"} & set(data)
    for row in finished.rows:
        assert f"| {row['label']} |" in card.text
    for column in report_tables(finished.rows, finished.stages)[0].columns:
        assert f"- **{column.title}**: " in card.text


def test_the_card_holds_no_directory_of_this_machine(finished, work, teacher_dir, text_file):
    card = (finished.model / "README.md").read_text("utf-8")
    for path in (work, teacher_dir.parent, text_file.parent):
        assert str(path) not in card
    assert text_file.name in card


def test_the_code_of_the_card_runs(finished):
    with_torch, _ = python_blocks(finished.model / "README.md")
    names: dict[str, Any] = {}
    exec(with_torch, names)
    assert names["vectors"].shape == (2, 8)
    assert names["scores"].shape == (2, 2)


def test_scores_of_the_card_are_those_of_sentence_transformers(run, recipe, tmp_path):
    data = write_benchmark(tmp_path / "senteval", PAIRS)
    rows = distill(recipe(), run, evaluation=data).rows
    (result,) = ModelCard.load(run / "model/README.md").data.eval_results
    assert (result.dataset_name, result.metric_type) == ("STSBenchmark", "spearman_cosine")
    expected = next(row for row in rows if row["kind"] == "distilled")["STSBenchmark"]
    assert result.metric_value == pytest.approx(expected / 100, abs=1e-4)


def test_models_and_data_of_the_hub_are_named_to_it(run, student_dir, monkeypatch):
    monkeypatch.chdir(student_dir.parent)
    write_card(
        run / "model",
        title="t",
        summary="s",
        sections=[],
        name="n",
        models=["minilm", "owner/model", str(student_dir), student_dir.name],
        sources=["hf:owner/data:config:train", "hf:owner/data", "sentences.txt", "allnli"],
    )
    data = ModelCard.load(run / "model/README.md").data
    assert data.base_model == ["sentence-transformers/all-MiniLM-L6-v2", "owner/model"]
    assert data["base_model_relation"] == "finetune"
    assert data.datasets == ["owner/data"]


def test_prompts_stand_in_the_card(finished, tmp_path):
    model = SentenceTransformer(str(finished.model), device="cpu")
    model.prompts = {"query": "ask: ", "document": "tell: "}
    model.save(str(tmp_path / "model"), create_model_card=False)
    shutil.copy(finished.model / "hpd.json", tmp_path / "model")
    write_card(tmp_path / "model", title="t", summary="s", sections=[], name="n")
    card = tmp_path / "model/README.md"
    for text in ("- `query`: `'ask: '`", "- `document`: `'tell: '`"):
        assert text in card.read_text("utf-8")
    names: dict[str, Any] = {}
    exec(python_blocks(card)[0], names)
    assert names["queries"].shape == names["documents"].shape == (1, 8)
    assert names["scores"].shape == (1, 1)


def test_a_title_of_a_shape_or_layers_is_one_line(
    recipe: Callable[..., Recipe], store: Path, student_dir: Path, tmp_path: Path
) -> None:
    layers = replace(recipe(training__max_steps=0), student=f"layers:{student_dir}:0")
    distill(layers, tmp_path / "run", store=store)
    first = (tmp_path / "run/report.md").read_text("utf-8").splitlines()[0]
    assert first == "# layers:student:0 at 8, distilled from teacher"
