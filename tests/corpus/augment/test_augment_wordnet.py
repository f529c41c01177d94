"""Synonyms from WordNet: the right words, in the right form, the same ones every time."""

import re
import zipfile
from pathlib import Path

import pytest
from dictionary_files import write_wndb
from hypothesis import given
from hypothesis import strategies as st

from hpdistill.corpus.augment import WordNetAugmenter, find_thesaurus, thesaurus
from hpdistill.corpus.augment._english import English, replaced
from hpdistill.errors import AugmentError

DEBIAN = Path("/usr/share/wordnet/data.noun")


@pytest.fixture(scope="module")
def augmenter(wordnet: Path) -> WordNetAugmenter:
    return WordNetAugmenter(find_thesaurus(str(wordnet)), share=1.0)


# -- the dictionary


def test_senses_come_in_order_without_markers(wordnet):
    found = find_thesaurus(str(wordnet))
    assert found.senses("dog", "n") == [["dog", "hound"], ["dog", "frank"]]
    assert found.senses("big", "a") == [["big", "large"]]
    assert found.senses("dog", "v") == []


def test_the_identity_changes_with_the_files(tmp_path):
    one, other = write_wndb(tmp_path / "one"), write_wndb(tmp_path / "other")
    assert find_thesaurus(str(one)).identity == find_thesaurus(str(other)).identity
    data = other / "data.noun"
    data.write_text(data.read_text().replace("hound", "houns"))
    assert find_thesaurus(str(one)).identity != find_thesaurus(str(other)).identity


def test_a_damaged_dictionary_is_named(tmp_path):
    folder = write_wndb(tmp_path / "dict")
    data = folder / "data.noun"
    data.write_text(data.read_text().replace(" 05 n", "", 1))
    with pytest.raises(AugmentError, match=r"data\.noun is not of WordNet's"):
        find_thesaurus(str(folder)).senses("frank", "n")
    (folder / "index.adj").write_text("big a many\n")
    with pytest.raises(AugmentError, match=r"index\.adj is not of WordNet's"):
        find_thesaurus(str(folder))
    (folder / "index.adj").unlink()
    with pytest.raises(AugmentError, match=f"{folder} holds no WordNet"):
        find_thesaurus(str(folder))


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A machine without any WordNet."""
    import nltk.data
    import wn

    monkeypatch.setattr(thesaurus, "DEBIAN", tmp_path / "debian")
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path / "nltk")])
    monkeypatch.setattr(wn.config, "_dbpath", tmp_path / "wn/wn.db", raising=False)
    monkeypatch.setattr(wn.config, "_data_directory", tmp_path / "wn", raising=False)
    return tmp_path


def test_debians_comes_before_nltks_before_wns(nowhere):
    with pytest.raises(AugmentError) as caught:
        find_thesaurus()
    for word in ("Debian", "nltk", "wn"):
        assert word in str(caught.value)
    for way in ("apt-get install wordnet-base", "nltk.downloader wordnet", "wn download"):
        assert way in caught.value.hint
    _add_lexicon(nowhere)
    assert find_thesaurus().identity.startswith("wn tiny")
    folder = write_wndb(nowhere / "wordnet")
    packed = nowhere / "nltk/corpora/wordnet.zip"
    packed.parent.mkdir(parents=True)
    with zipfile.ZipFile(packed, "w") as bundle:
        for path in folder.iterdir():
            bundle.write(path, f"wordnet/{path.name}")
    assert find_thesaurus().place == packed  # as nltk's downloader leaves it
    assert find_thesaurus().senses("sofa", "n") == [["sofa", "couch"]]
    write_wndb(packed.with_suffix(""))
    assert find_thesaurus().place == packed.with_suffix("")
    write_wndb(nowhere / "debian")
    assert find_thesaurus().place == nowhere / "debian"


def test_a_lexicon_of_wn_has_senses_too(nowhere):
    _add_lexicon(nowhere)
    found = find_thesaurus()
    assert [set(sense) for sense in found.senses("fast", "a")] == [{"fast", "quick"}]
    assert found.senses("fast", "n") == []


def _add_lexicon(folder: Path) -> None:
    import wn

    path = folder / "lexicon.xml"
    path.write_text("""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE LexicalResource SYSTEM "http://globalwordnet.github.io/schemas/WN-LMF-1.0.dtd">
<LexicalResource xmlns:dc="http://purl.org/dc/elements/1.1/">
  <Lexicon id="tiny" label="Tiny" language="en" email="a@b.c" license="CC0" version="1">
    <LexicalEntry id="e1"><Lemma writtenForm="fast" partOfSpeech="s"/>
      <Sense id="s1" synset="tiny-1-s"/></LexicalEntry>
    <LexicalEntry id="e2"><Lemma writtenForm="quick" partOfSpeech="s"/>
      <Sense id="s2" synset="tiny-1-s"/></LexicalEntry>
    <Synset id="tiny-1-s" ili="" partOfSpeech="s"/>
  </Lexicon>
</LexicalResource>
""")
    wn.add(path, progress_handler=None)


# -- the substitution


@pytest.mark.parametrize(
    ("text", "copy"),
    [
        ("Two dogs started on the sofa.", "Two hounds began on the couch."),
        ("the child is leaping", "the kid is jumping"),
        ("The children were on the roads.", "The kids were on the routes."),
        ("It runs on the bigger road.", "It runs on the larger route."),
        ("She sat on a sofa.", "She sat on a couch."),
        ("He was quickly gone.", "He was rapidly gone."),
    ],
)
def test_synonyms_take_the_form_of_what_they_replace(augmenter, text, copy):
    assert augmenter.copies([text]) == [copy]


@pytest.mark.parametrize(
    "text",
    [
        "Nothing here has synonyms.",
        "The Dog and the Road",
        "They met at Dog Road yesterday.",
        "It was the House of dogs and Children.",
        'He said "the dog" twice.',
        "He said \u201cthe dog on the sofa\u201d.",
        "He said 'the dog sofa' twice.",
        'He said "the dog on the sofa',
        "See dog.example.org, dog@sofa.com and #dog or sofa_dog.",
        "The dog's leash",
        "an apple",
        "",
    ],
)
def test_names_quotes_addresses_and_words_without_synonyms_stay(augmenter, text):
    assert augmenter.copies([text]) == [None]


def test_only_the_first_sense_unless_more_are_asked_for(wordnet):
    found = find_thesaurus(str(wordnet))

    def copies(senses: int) -> set[str | None]:
        return {
            copy
            for seed in range(20)
            for copy in WordNetAugmenter(found, senses=senses, seed=seed).copies(["I saw dogs."])
        }

    assert copies(1) == {"I saw hounds."}
    assert copies(2) == {"I saw hounds.", "I saw franks."}


def test_a_copy_depends_on_seed_and_sentence_alone(wordnet):
    texts = [
        f"The {size} dog and the child leap over the sofa on the road {number}."
        for number in range(20)
        for size in ("big", "large")
    ]
    found = find_thesaurus(str(wordnet))
    one = WordNetAugmenter(found, seed=1).copies(texts)
    assert WordNetAugmenter(found, seed=1).copies(texts[::-1]) == one[::-1]
    assert [WordNetAugmenter(found, seed=1).copies([text])[0] for text in texts[:3]] == one[:3]
    assert WordNetAugmenter(found, seed=2).copies(texts) != one


def test_a_known_copy(wordnet):
    # Of an earlier process: neither the order of sets nor Python's hashes decide it.
    text = "The big dog and the child leap over the sofa on the road."
    made = WordNetAugmenter(find_thesaurus(str(wordnet)), seed=3).copies([text])
    assert made == ["The big hound and the kid leap over the sofa on the road."]


def test_the_share_decides_how_many(wordnet):
    text = "big dogs and children quickly began with sofas"

    def changed(share: float) -> int:
        (copy,) = WordNetAugmenter(find_thesaurus(str(wordnet)), share=share).copies([text])
        return sum(a != b for a, b in zip(text.split(), str(copy).split(), strict=True))

    assert changed(0.01) == 1
    assert changed(0.5) == 3
    assert changed(1.0) == 6
    assert changed(0.34) == 2


def test_articles_fit_the_new_word():
    english = English()

    def put(text: str, new: str) -> str:
        word = english.content_words(text)[0]
        return replaced(text, [(word, new)])

    assert put("This is a dog.", "animal") == "This is an animal."
    assert put("An apple fell", "uniform") == "A uniform fell"
    assert put("It was an apple.", "hour") == "It was an hour."
    assert put("the dog", "animal") == "the animal"


@given(st.text(st.sampled_from("ab dog sofa DOG's\"'.,()\u201c\u201d"), max_size=60))
def test_any_text_goes_through_and_only_words_change(augmenter, text):
    (copy,) = augmenter.copies([text])
    assert copy is None or re.sub(r"\w+", "", copy) == re.sub(r"\w+", "", text)


@pytest.mark.skipif(not DEBIAN.is_file(), reason="needs Debian's wordnet-base")
def test_debians_wordnet():
    found = find_thesaurus()
    assert found.senses("sofa", "n")[0] == ["sofa", "couch", "lounge"]
    texts = ["A man is playing a guitar while sitting on the couch.", "Two boys leap quickly."]
    first = WordNetAugmenter(found, share=1.0).copies(texts)
    assert first == WordNetAugmenter(found, share=1.0).copies(texts)
    assert re.fullmatch(r"Two \w+ (jump|bound|spring|bounce)s? (rapidly|speedily)\.", str(first[1]))
