"""Copies to a file: which are dropped, how they are linked, and that a kill loses no block."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpdistill.corpus import exclusion_key
from hpdistill.corpus.augment import REASONS, Judge, copies, fault, read_copies, write_copies
from hpdistill.errors import AugmentError, CorpusError, RunError, UsageError


class Changer:
    """An augmenter that a function of the sentence describes."""

    name = "changer"

    def __init__(self, change: Callable[[str], str | None], identity: str = "one") -> None:
        self.change = change
        self.identity = {"augmenter": identity}
        self.given: list[str] = []

    def copies(self, texts: Sequence[str]) -> list[str | None]:
        self.given += texts
        return [self.change(text) for text in texts]

    def close(self) -> None:
        pass


TEXTS = [f"The dog number {number} runs." for number in range(1200)]


def lines(path: Path) -> list[dict]:
    return list(read_copies(path))


def dogs(text: str) -> str:
    return text.replace("dog", "hound")


# -- the filter


@pytest.mark.parametrize(
    ("original", "copy", "reason"),
    [
        ("A dog runs.", "A hound runs.", None),
        ("A dog runs.", "a DOG, runs!", "unchanged"),
        ("A dog runs.", "A cat runs.", "excluded"),
        ("A dog runs.", "", "not_sentence"),
        ("A dog runs.", "... --- !!! ???", "not_sentence"),
        ("A dog runs.", "the the the dog", "not_sentence"),
        ("A dog runs.", "a b c d e f g h i j k", "not_sentence"),
        ("A dog runs over the green hill at night.", "A dog.", "not_sentence"),
        ("Hi.", "Hello there.", None),
        ("7 * 6 = 42", "6 * 7 = 42", None),
    ],
)
def test_what_the_texts_alone_tell(original, copy, reason):
    assert fault(original, copy, {exclusion_key("a cat runs")}) == reason


@settings(max_examples=50)
@given(st.text(max_size=30))
def test_no_sentence_is_a_copy_of_itself(text):
    assert fault(text, text) is not None


class Angles:
    """An encoder in which a text's angle is the number in it."""

    name, dim, parameters = "angles", 2, 0

    def encode(self, texts: Sequence[str], **options: object) -> np.ndarray:
        angles = np.array([float(text.split()[-1]) for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_copies_that_mean_something_else_are_dropped(tmp_path):
    texts = [f"at an angle of {angle}" for angle in (0.1, 0.2, 0.3, 1.0)]
    turned = Changer(lambda text: f"it stands at {float(text.split()[-1]) * 2:g}")
    judge = Judge(Angles(), 0.97)  # 0.245 radians
    summary = write_copies(texts, turned, tmp_path / "out.jsonl", judge=judge)
    found = lines(tmp_path / "out.jsonl")
    assert [line["row"] for line in found] == [0, 1]
    assert [line["similarity"] for line in found] == [
        pytest.approx(np.cos(angle), abs=1e-4) for angle in (0.1, 0.2)
    ]
    assert summary.kept == 2
    assert summary.dropped["dissimilar"] == 2


# -- the file


def test_every_copy_is_linked_and_every_drop_is_counted(tmp_path):
    texts = ["A dog runs.", "no change", "", "A cat sat.", "Nothing at all", "A dog sleeps."]
    made = {
        "A dog runs.": "A hound runs.",
        "no change": "No change!",
        "Nothing at all": None,
        "A dog sleeps.": "A hound runs.",
    }
    augmenter = Changer(lambda text: made[text])
    out = tmp_path / "out.jsonl"
    summary = write_copies(texts, augmenter, out, excluded={exclusion_key("a cat sat")})
    assert lines(out) == [
        {
            "row": 0,
            "original": "A dog runs.",
            "text": "A hound runs.",
            "augmenter": "changer",
        }
    ]
    assert "A cat sat." not in augmenter.given  # an excluded sentence has no copy
    assert summary.sentences == 6
    assert summary.dropped == {
        "none": 2,
        "not_sentence": 0,
        "unchanged": 1,
        "excluded": 1,
        "duplicate": 1,
        "dissimilar": 0,
    }
    assert summary.kept + sum(summary.dropped.values()) == summary.sentences
    assert tuple(summary.dropped) == REASONS
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_copy_that_equals_a_sentence_before_it_or_excluded_is_dropped(tmp_path):
    texts = ["The hound runs.", "The dog runs.", "The dog ran."]
    summary = write_copies(
        texts, Changer(dogs), tmp_path / "out.jsonl", excluded={exclusion_key("The hound ran")}
    )
    assert lines(tmp_path / "out.jsonl") == []
    assert (summary.dropped["duplicate"], summary.dropped["excluded"]) == (1, 1)


def test_an_interrupted_file_goes_on_with_what_is_done(tmp_path):
    out, whole = tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    expected = write_copies(TEXTS, Changer(dogs), whole)

    def breaks(text: str) -> str:
        if "1100" in text:
            raise AugmentError("the translator broke")
        return dogs(text)

    with pytest.raises(AugmentError):
        write_copies(TEXTS, Changer(breaks), out)
    assert not out.exists()
    again = Changer(dogs)
    summary = write_copies(TEXTS, again, out)
    assert out.read_bytes() == whole.read_bytes()
    assert again.given == TEXTS[2 * copies.BLOCK :]
    assert summary.resumed == 2 * copies.BLOCK
    assert summary.to_dict() == expected.to_dict()
    assert not out.with_name("out.jsonl.part").exists()


KILLED = """
import os, sys
sys.path.insert(0, {here!r})
from test_augment_copies import TEXTS, Changer, dogs
from hpdistill.corpus.augment import write_copies
from pathlib import Path
count = 0
def dies(text):
    global count
    count += 1
    if count > int(sys.argv[2]):
        os.kill(os.getpid(), 9)
    return dogs(text)
write_copies(TEXTS, Changer(dies), Path(sys.argv[1]))
"""


def test_killed_it_loses_no_finished_block(tmp_path):
    code = KILLED.format(here=str(Path(__file__).parent))
    out = tmp_path / "out.jsonl"
    ended = subprocess.run([sys.executable, "-c", code, str(out), "700"], env=os.environ)
    assert ended.returncode == -9
    again = Changer(dogs)
    write_copies(TEXTS, again, out)
    assert again.given == TEXTS[copies.BLOCK :]
    write_copies(TEXTS, Changer(dogs), tmp_path / "whole.jsonl")
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_half_a_block_and_changed_sentences_are_made_again(tmp_path):
    out = tmp_path / "out.jsonl"

    def stop(text: str) -> str:
        if "1190" in text:
            raise AugmentError("stop")
        return dogs(text)

    with pytest.raises(AugmentError):
        write_copies(TEXTS, Changer(stop), out)
    (tmp_path / "out.jsonl.part/000001.json").write_text('{"texts": "')
    changed = Changer(dogs)
    texts = ["The dog is first.", *TEXTS[1:]]
    write_copies(texts, changed, out)
    assert changed.given == texts
    assert lines(out)[0]["text"] == "The hound is first."
    assert len(lines(out)) == len(texts)


def test_unfinished_copies_of_another_kind_are_not_mixed_in(tmp_path):
    out = tmp_path / "out.jsonl"

    def stop(text: str) -> str:
        if "600" in text:
            raise AugmentError("stop")
        return dogs(text)

    with pytest.raises(AugmentError):
        write_copies(TEXTS, Changer(stop), out)
    other = Changer(lambda text: text.replace("dog", "cat"), identity="other")
    with pytest.raises(RunError, match="unfinished copies that were made otherwise"):
        write_copies(TEXTS, other, out)
    write_copies(TEXTS, other, out, overwrite=True)
    assert {line["text"].split()[1] for line in lines(out)} == {"cat"}


def test_a_folder_where_unfinished_copies_would_be_is_left_alone(tmp_path):
    (tmp_path / "out.jsonl.part").mkdir()
    thesis = tmp_path / "out.jsonl.part/thesis.tex"
    thesis.write_text("years of work")
    with pytest.raises(RunError, match=r"out\.jsonl\.part is in the way: unfinished copies"):
        write_copies(TEXTS, Changer(dogs), tmp_path / "out.jsonl", overwrite=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["out.jsonl.part", "thesis.tex"]


def test_a_name_that_is_too_long_is_told_before_any_copy_is_made(tmp_path):
    augmenter = Changer(dogs)
    out = tmp_path / f"{'x' * 242}.jsonl"  # room for `.part`, and not for what is renamed to it
    with pytest.raises(RunError, match="the name is too long"):
        write_copies(TEXTS, augmenter, out)
    assert augmenter.given == []
    assert list(tmp_path.iterdir()) == []


def test_no_sentences_are_no_copies(tmp_path):
    with pytest.raises(CorpusError, match="no sentences to make copies of"):
        write_copies([], Changer(dogs), tmp_path / "out.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_kept(tmp_path):
    out = tmp_path / "out.jsonl"
    out.write_text("mine")
    with pytest.raises(RunError, match="exists already"):
        write_copies(TEXTS, Changer(dogs), out)
    assert out.read_text() == "mine"
    write_copies(TEXTS[:3], Changer(dogs), out, overwrite=True)
    assert len(lines(out)) == 3
    with pytest.raises(UsageError, match=r"must end in \.jsonl"):
        write_copies(TEXTS, Changer(dogs), tmp_path / "out.txt")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(RunError, match="is a directory"):
        write_copies(TEXTS, Changer(dogs), tmp_path / "folder.jsonl")


def test_the_summary_is_there_when_the_file_is(tmp_path):
    about = tmp_path / "about.json"
    summary = write_copies(TEXTS[:5], Changer(dogs), tmp_path / "out.jsonl", summary_file=about)
    assert json.loads(about.read_text()) == summary.to_dict()
