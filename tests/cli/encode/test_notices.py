"""What a model did not read of the texts is said, wherever texts are embedded."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_ends import Ended

Hpd = Callable[..., Ended]

CHINESE = ["今天天气很好", "我们去公园吧", "\N{GRINNING FACE}\N{PILE OF POO}"]
LONG = "the old dog " * 40
"""120 words; the small models here read 64 tokens."""


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    rows = ["the dog runs", *CHINESE, "a cat 今天", LONG, "the river", LONG + "too"]
    path.write_text(
        "".join(json.dumps({"id": f"d{n}", "text": t}) + "\n" for n, t in enumerate(rows)), "utf-8"
    )
    return path


@pytest.mark.parametrize("model", ["exported_dir", "student_dir"])
def test_encode_names_the_rows(
    hpd: Hpd, model: str, texts: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place = (request.getfixturevalue(model), texts, tmp_path / "v.npy")
    ended = hpd("encode", *place, "--column", "text", "--json")
    assert ended.code == 0, ended
    cut = "2 of 8 texts are longer than the 64 tokens that"
    assert cut in ended.err
    assert "and were cut; first: row 6, row 8\n" in ended.err
    assert "3 of 8 texts are mostly unknown to" in ended.err
    assert "first: row 2, row 3, row 4\n" in ended.err
    (row,) = json.loads(ended.out)["rows"]
    assert (row["truncated"], row["unknown"]) == (2, 3)


def test_the_model_in_the_package_does_not_read_chinese(hpd: Hpd, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join([*CHINESE, "An English sentence."]), "utf-8")
    ended = hpd("encode", "default", tmp_path / "a.txt", tmp_path / "v.npy")
    assert "3 of 4 texts are mostly unknown to default: its vocabulary does not cover" in ended.err
    (tmp_path / "b.txt").write_text(
        "An English sentence.\nAnd another (with 3 signs)!\n\n", "utf-8"
    )
    ended = hpd("encode", "default", tmp_path / "b.txt", tmp_path / "w.npy")
    assert "unknown" not in ended.err
    assert np.load(tmp_path / "w.npy").shape == (3, 128)


@pytest.mark.parametrize("model", ["exported_dir", "student_dir"])
def test_index_names_the_ids(
    hpd: Hpd, model: str, texts: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    ended = hpd("index", request.getfixturevalue(model), texts, "--out", tmp_path / "i", "--json")
    assert ended.code == 0, ended
    assert "2 of 8 texts are longer than the 64 tokens that" in ended.err
    assert "and were cut; first: d5, d7\n" in ended.err
    assert "first: d1, d2, d3\n" in ended.err
    (row,) = json.loads(ended.out)["rows"]
    assert (row["truncated"], row["unknown"]) == (2, 3)


@pytest.mark.parametrize("model", ["exported_dir", "student_dir"])
def test_search_names_the_queries(
    hpd: Hpd, model: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "docs.txt").write_text("the dog\nthe river\n", "utf-8")
    index = tmp_path / "index"
    made = hpd("index", request.getfixturevalue(model), tmp_path / "docs.txt", "--out", index)
    assert made.code == 0, made
    ended = hpd("search", index, CHINESE[0], "--json")
    assert len(json.loads(ended.out)["rows"]) == 2
    assert "1 of 1 texts are mostly unknown to" in ended.err
    assert f"first: '{CHINESE[0]}'\n" in ended.err
    ended = hpd("search", index, LONG)
    assert "1 of 1 texts are longer than the 64 tokens that" in ended.err
    assert "first: 'the old dog" in ended.err
    ended = hpd("search", index, "a dog")
    assert "texts are" not in ended.err
