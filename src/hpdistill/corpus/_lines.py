"""Decoded lines of plain and gzipped text files, with errors that say where the fault is."""

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from hpdistill.delimited import first_twice
from hpdistill.errors import CorpusError, UsageError

_BLOCK = 1 << 20


def open_bytes(path: Path) -> IO[bytes]:
    """Open for reading, decompressing if the name ends in `.gz`."""
    compressed = path.suffix.lower() == ".gz"
    return cast("IO[bytes]", gzip.open(path)) if compressed else path.open("rb")


def lines(
    path: Path, *, encoding: str = "utf-8", errors: str = "strict", newline: str | None = None
) -> Generator[str, None, None]:
    r"""Lines of a text file, each with its line end; a byte order mark is dropped.

    Unlike `str.splitlines` this breaks only at `\n`, `\r\n` and `\r`: U+0085, U+2028 and such
    occur inside sentences.

    Args:
        path: A text file, gzipped if its name ends in `.gz`.
        encoding: What the bytes mean.
        errors: `strict`, `replace` or `ignore`, as for `bytes.decode`.
        newline: As for `open`; the csv module wants an empty string.

    Raises:
        CorpusError: The file is missing, unreadable, a damaged gzip, or in another encoding.
        UsageError: There is no such encoding.
    """
    with reading(path, encoding=encoding), open_bytes(path) as raw:
        try:
            codec = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
            text = io.TextIOWrapper(raw, encoding=codec, errors=errors, newline=newline)
        except LookupError as error:
            raise UsageError(
                f"encoding is {encoding!r}, which Python does not know as a text encoding",
                hint="Common ones: utf-8, utf-16, latin-1, cp1252, shift_jis, gb18030.",
            ) from error
        yield from text


def json_rows(path: Path, texts: Iterable[str]) -> Iterator[tuple[int, Any]]:
    """Line number and value of every JSON line that is not blank.

    Raises:
        CorpusError: A line is not JSON, or an object in it has a name twice, of which JSON's
            readers keep one in silence; names the file and the line.
    """
    for number, line in enumerate(texts, start=1):
        if not line.strip():
            continue
        try:
            yield number, _JSON.decode(line)
        except _NamedTwiceError as error:
            raise CorpusError(f"{path}, line {number}: {error.args[0]!r} is there twice") from error
        except (ValueError, RecursionError) as error:
            reason = (
                f"{error.msg} at column {error.colno}"
                if isinstance(error, json.JSONDecodeError)
                else error
            )
            raise CorpusError(f"{path}, line {number}: not valid JSON: {reason}") from error


class _NamedTwiceError(Exception):
    """An object has this name twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _NamedTwiceError(first_twice(name for name, _ in pairs))
    return found


_JSON = json.JSONDecoder(object_pairs_hook=_object)


@contextmanager
def reading(path: Path, *, encoding: str = "utf-8") -> Iterator[None]:
    """Turn whatever reading a file may raise into one clear CorpusError."""
    try:
        yield
    except UnicodeDecodeError as error:
        place = _bad_byte(path, encoding)
        of = " of the decompressed text" if path.suffix.lower() == ".gz" else ""
        raise CorpusError(
            f"{path} is not {encoding}: {error.reason} at byte {place}{of}",
            hint="Name its encoding with `encoding`, or pass `errors='replace'` (or ignore).",
        ) from error
    except UnicodeError as error:
        # Of the codec as a whole: UTF-16 without a byte order mark.
        raise CorpusError(
            f"{path} is not {encoding}: {error}", hint="Name its encoding with `encoding`."
        ) from error
    except FileNotFoundError as error:
        raise CorpusError(f"{path} does not exist", hint="Check the path.") from error
    except IsADirectoryError as error:
        raise CorpusError(
            f"{path} is a directory, not a file of sentences", hint="Name the files inside it."
        ) from error
    except EOFError as error:
        raise CorpusError(
            f"{path} is truncated: the gzip stream ends too early",
            hint="Copy or download it again.",
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise CorpusError(
            f"{path} is not a sound gzip file: {error}", hint="Copy or download it again."
        ) from error
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror or error}") from error


def _bad_byte(path: Path, encoding: str) -> int:
    """Offset of the first byte that cannot be decoded.

    TextIOWrapper only knows the offset within its buffer, so the file is read once more.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    end = 0
    with open_bytes(path) as raw:
        while True:
            block = raw.read(_BLOCK)
            end += len(block)
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                # What the decoder complains about always ends where the block ends.
                return end - len(error.object) + error.start
            if not block:
                return end
