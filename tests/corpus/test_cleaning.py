"""Cleaning: what a sentence looks like afterwards, and which sentences count as the same."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpdistill.corpus import clean, exclusion_key
from hpdistill.corpus.cleaning import text_digest

ANY_TEXT = st.text(st.characters())  # lone surrogates included
SPACED = st.text(st.sampled_from(" \t\n\x00\x1c\u00a0\u2028\u3000\ufeffab\u0301e\u00e9.\ud800"))


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("A plain sentence.", "A plain sentence."),
        ("  tabs\tand\r\nlines \n", "tabs and lines"),
        ("a\x00b\x07c\x7fd\x85e", "a b c d e"),
        ("no\u00a0break\u2028line\u3000wide", "no break line wide"),
        ("Cafe\u0301", "Caf\u00e9"),
        ("joined\ufefffiles", "joined files"),
        ("half \ud83d an emoji", "half an emoji"),
        ("👩\u200d🚀 stays whole", "👩\u200d🚀 stays whole"),
        ("日本語の文。", "日本語の文。"),
        ("\x00\x01 \n", ""),
        ("", ""),
    ],
)
def test_known_answers(raw: str, cleaned: str) -> None:
    assert clean(raw) == cleaned


@given(ANY_TEXT | SPACED)
def test_a_clean_text_stays_as_it_is(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@given(ANY_TEXT | SPACED)
def test_a_clean_text_is_one_line_that_any_file_can_hold(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode()
    assert unicodedata.is_normalized("NFC", cleaned)
    assert not any(unicodedata.category(character) == "Cc" for character in cleaned)
    assert cleaned == " ".join(cleaned.split())
    assert len(cleaned.split()) == (cleaned.count(" ") + 1 if cleaned else 0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It's GOOD!", "its good"),
        ("a man , a plan", "A man, a plan."),
        ("STRASSE", "straße"),
        ("«Élan»", "élan"),
        ("naïve Café", "NAÏVE CAFÉ..."),
    ],
)
def test_trivially_different_texts_share_a_key(one: str, other: str) -> None:
    assert exclusion_key(clean(one)) == exclusion_key(clean(other))


@pytest.mark.parametrize(
    ("one", "other"), [("1.5", "2.5"), ("!!!", "❤"), ("---", "..."), ("a", "á")]
)
def test_different_texts_have_different_keys(one: str, other: str) -> None:
    assert exclusion_key(one) != exclusion_key(other)


@given(st.text(st.characters(codec="ascii")))
def test_the_quick_way_for_ascii_gives_the_key_of_the_general_way(text: str) -> None:
    key = exclusion_key(text)
    general = "".join(character for character in text.casefold() if character.isalnum())
    assert key == exclusion_key(general or text)


def test_a_digest_depends_on_the_seed() -> None:
    assert text_digest("a", b"1") == text_digest("a", b"1") != text_digest("a", b"2")
