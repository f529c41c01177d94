"""Texts too long for the corpus or for the models, and texts in a script that they do not know."""

import json
import logging

import pytest
from tiny_runs import distill

LONG = " ".join(f"The old dog {n} runs near the river, and it never sleeps." for n in range(30))
UNKNOWN = [f"今天天气很好{n}" for n in range(20)]


@pytest.fixture(scope="module")
def told(recipe, sentences, work):
    """A run on such texts, and what was logged in it."""
    source = work / "long.jsonl"
    texts = [*sentences(100), *sentences(100), LONG, *UNKNOWN]
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("hpdistill")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        long = recipe(corpus__sources=(str(source),), training__max_steps=1)
        result = distill(long, work / "long")
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
    return result, lines


def test_the_corpus_is_described_when_it_has_been_read(told):
    _, lines = told
    assert lines[0] == (
        "221 texts read, 1 of them of more than 200 words and split into 2 passages; 122 kept, 100 "
        "dropped: 100 equal to one before; 24 of those kept are held out"
    )


def test_the_report_has_the_counts(told):
    result, _ = told
    run = result.model.parent
    assert json.loads((run / "report.json").read_text("utf-8"))["corpus"] == {
        "read": 221,
        "split": 1,
        "parts": 2,
        "kept": 122,
        "train": 98,
        "validation": 24,
        "dropped": {
            **dict.fromkeys(["empty", "too_short", "too_long", "excluded", "not_sampled"], 0),
            "duplicate": 100,
        },
    }
    assert "| source | read | split | parts | kept | duplicate |" in (run / "report.md").read_text()


def test_what_the_models_did_not_read_is_said_and_reported_but_not_on_the_card(told):
    result, lines = told
    said = [line for line in lines if "texts are" in line]
    assert len(said) == 6  # the teacher, the anchor, the student in training; cut, unknown
    assert sum("longer than the 64 tokens that" in line for line in said) == 3
    assert sum("first: 'The old dog 0 runs" in line for line in said) == 3
    assert sum(f"mostly unknown to {name}" in line for line in said for name in ("the ", "/")) == 3
    assert sum("first: '今天天气很好" in line for line in said) == 3
    run = result.model.parent
    report = json.loads((run / "report.json").read_text("utf-8"))
    assert {f"{line}." for line in said} <= set(report["warnings"])
    markdown = (run / "report.md").read_text("utf-8")
    assert all(f"{line}." in markdown for line in said)
    card = (result.model / "README.md").read_text("utf-8")
    assert not any(text in card for text in ("今天", "The old dog"))


def test_stored_embeddings_still_know_what_was_not_read(told, recipe, work, tmp_path):
    result, _ = told
    encoders = result.stages["teacher"]["facts"]["encoders"]
    again = distill(
        recipe(corpus__sources=(str(work / "long.jsonl"),), training__max_steps=1),
        tmp_path / "run",
        store=work / "long" / "targets",
    )
    found = again.stages["teacher"]["facts"]["encoders"]
    assert [[line.partition(";")[0] for line in one["unread"]] for one in encoders] == [
        [line.partition(";")[0] for line in one["unread"]] for one in found
    ]
