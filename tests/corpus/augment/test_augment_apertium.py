"""Pipelines of Apertium: each sentence comes back by itself, whatever happens in between."""

import os
import signal
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpdistill.corpus.augment import ApertiumTranslator, BackTranslator, installed_pairs
from hpdistill.errors import AugmentError

INSTALLED = {"eng-spa", "spa-eng"} <= set(installed_pairs())
needs_apertium = pytest.mark.skipif(
    not INSTALLED, reason="needs Debian's apertium and apertium-eng-spa"
)


@pytest.fixture
def translator(pairs):
    """eng-xxx, which calls dogs perros."""
    pairs({"eng-xxx": "dog=perro"})
    made = ApertiumTranslator("eng", "xxx")
    yield made
    made.close()


def test_one_pipeline_translates_all_in_order(translator):
    texts = [f"dog {number}" for number in range(3000)]
    assert translator.translate(texts) == [f"perro {number}" for number in range(3000)]
    first = translator._pipeline
    assert translator.translate(["A dog."]) == ["A perro."]
    assert translator._pipeline is first
    assert translator.restarts == 0
    assert translator.translate([]) == []


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text(st.sampled_from("ab.!?^$/\\[]{}<>@~*#+|\n \u00e9"), max_size=12), max_size=6)
)
def test_signs_of_apertiums_own_come_back(translator, texts):
    assert translator.translate(texts) == [" ".join(text.split()) for text in texts]


def test_a_crash_loses_no_sentence(translator):
    texts = [f"dog {number}" for number in range(50)]
    texts[20] = "once dog"
    assert translator.translate(texts) == [text.replace("dog", "perro") for text in texts]
    assert translator.restarts == 1


def test_a_kill_from_outside_loses_no_sentence(translator):
    translator.translate(["dog"])
    os.kill(translator._pipeline._processes[1].pid, signal.SIGKILL)
    assert translator.translate(["dog 1", "dog 2"]) == ["perro 1", "perro 2"]
    assert translator.restarts == 1


def test_a_sentence_that_always_crashes_it_is_given_up(translator):
    texts = ["dog", "dog crash", "dog crash", "a dog"]
    assert translator.translate(texts) == ["perro", None, None, "a perro"]


def test_a_translator_that_ends_whatever_it_gets_is_an_error_that_says_why(translator):
    texts = ["dog", *["crash"] * 9]
    with pytest.raises(AugmentError) as caught:
        translator.translate(texts)
    message = str(caught.value)
    assert message.startswith("Apertium eng-xxx gave 1 translations of 10 sentences")
    assert message.endswith("it broke")


def test_fewer_lines_than_it_got(pairs):
    pairs({"eng-xxx": "dog=perro"})
    with closing(ApertiumTranslator("eng", "xxx", patience=0.3)) as translator:
        assert translator.translate(["dog", "swallow"]) == ["perro", None]
        with pytest.raises(AugmentError, match="gave 0 translations of 4 sentences"):
            translator.translate(["swallow"] * 4)


def test_more_lines_than_it_got(translator):
    with pytest.raises(AugmentError, match="gave more than 1 translations of 1 sentences"):
        translator.translate(["double"])


def test_no_process_is_left_behind(translator):
    translator.translate(["dog"])
    running = [process.pid for process in translator._pipeline._processes]
    translator.close()
    for pid in running:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_pair_that_is_not_installed(pairs, tmp_path, monkeypatch):
    pairs({"eng-xxx": "a=b", "xxx-eng": "b=a"})
    with pytest.raises(AugmentError) as caught:
        ApertiumTranslator("eng", "fra")
    assert str(caught.value) == (
        "Apertium has no pair eng-fra installed; installed: eng-xxx, xxx-eng"
    )
    assert "apt-get install apertium apertium-eng-fra" in caught.value.hint
    monkeypatch.setenv("APERTIUM_DATADIR", str(tmp_path / "nothing"))
    with pytest.raises(AugmentError, match="no pair is"):
        ApertiumTranslator("eng", "spa")


def test_a_program_that_is_not_installed(pairs):
    mode = pairs({"eng-xxx": "a=b"}) / "modes/eng-xxx.mode"
    mode.write_text("lt-nothing file.bin | " + mode.read_text())
    with pytest.raises(AugmentError, match="needs the program lt-nothing"):
        ApertiumTranslator("eng", "xxx")


# -- there and back


def there_and_back() -> BackTranslator:
    return BackTranslator(ApertiumTranslator("eng", "xxx"), ApertiumTranslator("xxx", "eng"))


def test_there_and_back(pairs):
    pairs({"eng-xxx": "dog=perro,the=el", "xxx-eng": "perro=hound,el =the "})
    with closing(there_and_back()) as back:
        copies = back.copies(["the dog runs", "crash", "  a dog "])
    assert copies == ["the hound runs", None, "a hound"]


def test_a_pair_that_returns_its_input(pairs):
    pairs({"eng-xxx": "dog=perro", "xxx-eng": "zzz=z"})
    texts = [f"the dog runs {number}" for number in range(10)]
    with (
        closing(there_and_back()) as back,
        pytest.raises(AugmentError, match=r"Apertium xxx-eng returns its input unchanged, 10 "),
    ):
        back.copies(texts)
    # A few names alone prove nothing.
    with closing(there_and_back()) as back:
        assert back.copies(["Rio de Janeiro"]) == ["Rio de Janeiro"]


def test_the_identity_tells_pairs_and_their_files_apart(pairs):
    pairs({"eng-xxx": "a=b", "eng-yyy": "a=c"})
    one, other = ApertiumTranslator("eng", "xxx"), ApertiumTranslator("eng", "yyy")
    assert one.identity == ApertiumTranslator("eng", "xxx").identity
    assert one.identity != other.identity
    program = Path(one._programs[0][0])
    program.write_text(program.read_text() + "# changed\n")
    assert one.identity != ApertiumTranslator("eng", "xxx").identity


# -- the real one


@needs_apertium
def test_apertium_translates_each_sentence_by_itself():
    translator = ApertiumTranslator("eng", "spa", patience=20)
    texts = [
        "The house is red.",
        "A dog",
        "50% of [them] cost $5 ^ {x} <b> \\ @ # *",
        "",
        "Is it late?",
        "The house is red.",
    ]
    found = translator.translate(texts)
    translator.close()
    assert translator.restarts == 0
    assert found[0] == found[5] == "La casa es roja."
    assert found[1] == "Un perro"
    assert found[3] == ""
    for sign in "%[]$^{}<>\\@#*":
        assert sign in str(found[2])


@needs_apertium
def test_apertium_there_and_back():
    back = BackTranslator(ApertiumTranslator("eng", "spa"), ApertiumTranslator("spa", "eng"))
    texts = [f"{number} men are walking on the street with a dog." for number in range(2, 60)]
    copies = back.copies(texts)
    back.close()
    assert [str(copy).split()[0] for copy in copies] == [text.split()[0] for text in texts]
    assert all("dog" in str(copy) for copy in copies)
