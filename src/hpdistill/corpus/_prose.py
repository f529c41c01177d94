"""Prose out of docstrings: which lines are sentences, and what they say without markup."""

import re
from collections.abc import Iterator

# Where a docstring stops explaining and starts listing, in the styles of Google, numpydoc,
# Sphinx and Epydoc.
_SECTION = re.compile(
    r"(?:(?:other |keyword |optional )?(?:param(?:eter)?s?|arg(?:ument)?s?|inputs?|outputs?|"
    r"options|returns?|yields?|raises?|receives?|exceptions?|warns?|attributes|members|methods|"
    r"fields|properties|kwargs|shapes?|examples?|example usage|usages?|see also|references?|"
    r"citations?|notes?|warnings?|todo|authors?|copyright|licen[cs]e)(?:\b[^.:]{0,24}:)?"
    r"|[:@\\](?:param|parameter|type|arg|args|keyword|returns?|rtype|raises?|ivar|cvar|var|"
    r"meta|author|since|yields?)\b.*)",
    re.IGNORECASE,
)
_SECTION_COLON = re.compile(r"(?i)(?:args|arguments|parameters|returns|yields|raises|attributes):")
_UNDERLINE = re.compile(r"([=\-~^\"'#*+.:_])\1{2,}")
# Doctests, directives and their options, tables, HTML, quoted shell, comments, list items.
_MARKUP = re.compile(
    r">>>|\.\. |\.\.$|:[\w-]+:(?!`)|[|+<#$%@{}\[\]](?!`)|[-*•o] |[-*•]$|\(?(?:\d{1,2}|[a-z])[.)] |"
    r"[=\-+| ]+$|.*\|.*\|"
)
_BROKEN_OFF = "\x00"
_FENCE = "```"
_INLINE = (
    (re.compile(r"\[`(?:~(?:[^`]*\.)?)?([^`]+)`\](?!\()"), r"\1"),
    (re.compile(r":[\w:+-]+:`[~!]?([^`<]+?)\s*<[^`>]*>`"), r"\1"),
    (re.compile(r":[\w:+-]+:`!?(?:~(?:[^`]*\.)?)?([^`]+)`"), r"\1"),
    (re.compile(r"`([^`<]+?)\s*<[^`>]*>`__?"), r"\1"),
    (re.compile(r"\s?\[(?:\d+|[#*]\w*)\]_"), ""),
    (re.compile(r"!?\[([^\]]+)\]\((?:[^()]|\([^()]*\))*\)"), r"\1"),
    (re.compile(r"``?([^`]+)``?(?:__?(?!\w))?"), r"\1"),
    (re.compile(r"(?<![\w*])(\*{1,3})(\w(?:[^*]*[\w.,!?)'\"])?)\1(?![\w*])"), r"\2"),
    (re.compile(r"::(?=\s|$)"), ":"),
)

_MIN_WORDS, _MAX_WORDS = 4, 60
_WORD = re.compile(
    r"[(\"'\u2018\u201c]*[A-Za-z]+(?:['\u2019-][A-Za-z]+)*[)\"'\u2019\u201d]*[.,;:!?]*[)\"'\u2019\u201d]*"
)
_START = re.compile(r"[\"'\u201c(]?[A-Z]")
_CODE = re.compile(
    r"[{}<>\\|^~=@`]|https?://|\*\*|__|Copyright|\s[.,;](?:\s|$)|[^\x00-\x7f\u2010-\u201f\u2026]{2}"
)
_PLAIN_SHARE = 0.75
# Words that English can hardly do without and other languages and code do not use.
_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a all an and are as at be been but by can for from has have if in into is it its may must "
        "no not of on only or other should so such than that the their them then there these they "
        "this to until used was were when where whether which will with without you your",
    )
)


def paragraphs(docstring: str) -> Iterator[str]:
    """The prose paragraphs of a cleaned docstring, one line each, without markup.

    Lists, tables, code, headings, indented blocks, and all from the first section of parameters
    on, are left out. A paragraph that runs into one of them ends in a colon if its sentence does
    not end there.
    """
    prose: list[str] = []
    for line in _prose_lines(docstring):
        if line and line != _BROKEN_OFF:
            prose.append(line)
        elif prose:
            ended = not line or prose[-1].endswith((".", "!", "?", ":"))
            yield _plain(" ".join(prose)) + ("" if ended else ":")
            prose = []


def is_english_sentence(text: str) -> bool:
    """Whether a text looks like an English sentence of at least four words, not like code."""
    words = text.split()
    if not _MIN_WORDS <= len(words) <= _MAX_WORDS or not _START.match(text):
        return False
    if text.endswith((":", ",", ";", "(", "...", "-")) or _CODE.search(text):
        return False
    if words[-1].lower() in _FUNCTION_WORDS:
        return False  # "is given by", and then came a formula
    plain = sum(_WORD.fullmatch(word) is not None for word in words)
    lowered = {word.lower().strip("(),.") for word in words}
    return plain >= _PLAIN_SHARE * len(words) and not _FUNCTION_WORDS.isdisjoint(lowered)


def _prose_lines(docstring: str) -> Iterator[str]:
    """Stripped lines of prose; an empty one ends a paragraph, `_BROKEN_OFF` cuts it."""
    fenced = listed = False
    lines = docstring.splitlines() or [""]
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        text = line.strip()
        if text.startswith(_FENCE):
            fenced = not fenced
            yield _BROKEN_OFF
        elif fenced:
            continue
        elif not text:
            listed = False
            yield ""
        elif _SECTION.fullmatch(text) or _SECTION_COLON.match(text):
            break
        elif _UNDERLINE.fullmatch(after.strip()) or _UNDERLINE.fullmatch(text):
            yield ""  # a heading
        elif line[0].isspace() or listed or _MARKUP.match(text):
            # What follows one of these without a blank line belongs to it.
            listed = True
            yield _BROKEN_OFF
        else:
            yield text
    yield ""


def _plain(text: str) -> str:
    for pattern, replacement in _INLINE:
        text = pattern.sub(replacement, text)
    return " ".join(text.split())
