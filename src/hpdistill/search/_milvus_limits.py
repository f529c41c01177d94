"""What Milvus takes: settings, documents, and ids in its filters."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hpdistill.errors import SearchError, UsageError
from hpdistill.search.backend import Settings
from hpdistill.search.document import Document

__all__ = [
    "ID_BYTES",
    "MOST_HITS",
    "TEXT_BYTES",
    "batches",
    "check_document",
    "check_settings",
    "expressions",
]

MOST_HITS = 16_384
"""Milvus gives no more for a query."""
ID_BYTES = 512
"""Ours; Milvus asks for some limit."""
TEXT_BYTES = 65_535
_METADATA_BYTES = 65_536
_INSERT_BYTES = 8 << 20
_IDS_AT_ONCE = 1000
_OPTIONS = ("index_params", "index_type", "overwrite", "search_params")


def batches(documents: Sequence[Document], dim: int) -> Iterator[range]:
    """Places of documents, in as many calls as their size demands."""
    start = size = 0
    for place, document in enumerate(documents):
        row = 4 * len(document.text) + 8 * dim + 1000
        if place > start and size + row > _INSERT_BYTES:
            yield range(start, place)
            start, size = place, 0
        size += row
    yield range(start, len(documents))


def expressions(ids: Sequence[str]) -> Iterator[str]:
    """Filters that name ids, so many in each that Milvus parses it."""
    # Those that cannot be stored are not there, and need not be quoted.
    names = [name for name in dict.fromkeys(ids) if not _refusal(name)]
    for start in range(0, len(names), _IDS_AT_ONCE):
        quoted = (
            '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
            for name in names[start : start + _IDS_AT_ONCE]
        )
        yield f"id in [{', '.join(quoted)}]"


def _refusal(name: str) -> str:
    """Why Milvus cannot store an id; empty when it can."""
    if len(name.encode("utf-8", "surrogatepass")) > ID_BYTES:
        return f"longer than {ID_BYTES} bytes"
    if any(ord(character) < 32 or 0xD800 <= ord(character) < 0xE000 for character in name):
        return "with a control character"
    return "" if name else "empty"


def check_document(document: Document) -> None:
    """Refuse a document before others of its batch are stored."""
    refusal = _refusal(document.id)
    if refusal:
        raise SearchError(f"the id {document.id[:60]!r} is {refusal}, which Milvus does not take")
    size = len(document.text.encode("utf-8", "surrogatepass"))
    if size > TEXT_BYTES:
        raise SearchError(
            f"the text of {document.id!r} has {size:,} bytes; Milvus takes {TEXT_BYTES:,}",
            hint="Split it, or use another engine.",
        )
    size = len(json.dumps(dict(document.metadata)).encode())
    if size > _METADATA_BYTES:
        raise SearchError(
            f"the metadata of {document.id!r} have {size:,} bytes; Milvus takes {_METADATA_BYTES:,}"
        )


def check_search_params(options: Mapping[str, Any]) -> None:
    """Refuse what Milvus cannot search by.

    Raises:
        UsageError: The option `search_params` is no object.
    """
    value = options.get("search_params", {})
    if not isinstance(value, Mapping):
        raise UsageError(f"search_params must be an object of JSON, not {value!r}")


def check_settings(settings: Settings, *, lite: bool) -> None:
    """Refuse what Milvus cannot store, before anything is computed for it."""
    unknown = sorted(set(settings.options) - set(_OPTIONS))
    if unknown:
        raise UsageError(
            f"the engine milvus has no option {unknown[0]!r}; allowed: {', '.join(_OPTIONS)}"
        )
    check_search_params(settings.options)
    if settings.precision == "int8" or settings.keep == "int8":
        raise SearchError("the engine milvus takes no int8 vectors; allowed: float32, binary")
    if lite and (settings.precision == "binary" or settings.keep):
        raise SearchError(
            "Milvus Lite takes float32 vectors only, and one for a document",
            hint="Binary vectors, with float32 beside them, need a cluster: `uri=http://host:port`.",
        )
