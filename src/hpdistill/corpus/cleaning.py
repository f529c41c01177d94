"""What a sentence looks like in the corpus, and when two count as the same."""

import re
from hashlib import blake2b
from unicodedata import normalize

__all__ = ["DIGEST_BYTES", "clean", "exclusion_key", "text_digest"]

DIGEST_BYTES = 8
"""Width of digests: among 100 million sentences two collide with probability 0.03 %."""

# Control characters, and lone surrogates, which no encoding can write. U+FEFF is left behind
# inside files that were joined from several with byte order marks.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ufeff\ud800-\udfff]")
_UPPER = bytes(range(ord("A"), ord("Z") + 1))
_LOWERED = bytes.maketrans(_UPPER, _UPPER.lower())
_ASCII_OTHER = bytes(code for code in range(128) if not chr(code).isalnum())


def clean(text: str) -> str:
    r"""Unicode NFC, control characters to spaces, white space collapsed and stripped.

    >>> clean("  Cafe\u0301\tau\x00lait\n")
    'Café au lait'
    """
    text = " ".join(text.split())
    if not text.isascii():
        text = normalize("NFC", text)
    if text.isprintable():  # nearly always, and far quicker to tell than to substitute
        return text
    return " ".join(_CONTROL.sub(" ", text).split())


def text_digest(text: str, salt: bytes) -> bytes:
    """Digest of a cleaned text: its identity, and by its order a draw that the salt seeds.

    Args:
        text: A cleaned sentence.
        salt: At most 16 bytes.

    Returns:
        `DIGEST_BYTES` bytes.
    """
    return blake2b(text.encode(), digest_size=DIGEST_BYTES, salt=salt).digest()


def exclusion_key(text: str) -> bytes:
    """Digest of a normal form that ignores case, punctuation and spacing.

    A text without letters or digits stands for itself: were all of them alike, one evaluation
    line of dashes would exclude every emoji.

    Args:
        text: A cleaned sentence.

    Returns:
        `DIGEST_BYTES` bytes, equal for texts that differ trivially.

    >>> exclusion_key("It's GOOD!") == exclusion_key("its good")
    True
    """
    if text.isascii():
        form = text.encode().translate(_LOWERED, _ASCII_OTHER)
    else:
        form = "".join(filter(str.isalnum, text.casefold())).encode()
    return blake2b(form or text.encode(), digest_size=DIGEST_BYTES).digest()
