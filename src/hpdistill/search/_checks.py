"""What an index refuses, in one line."""

import json
from collections.abc import Iterable, Mapping, Sequence
from operator import index
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from hpdistill.encoder import Embeddings
from hpdistill.errors import SearchError, UsageError
from hpdistill.search._approximate import check_options
from hpdistill.search._milvus_limits import check_search_params
from hpdistill.search.backend import Engine, Kept, Precision, Settings
from hpdistill.search.document import Document

__all__ = [
    "check_choices",
    "check_depth",
    "check_documents",
    "check_new",
    "check_search_options",
    "checked_ids",
    "checked_ranges",
    "checked_vectors",
]


_SEARCH_OPTIONS: Mapping[Engine, str] = {
    "hnsw": "ef_search",
    "ivf-pq": "nprobe",
    "milvus": "search_params",
}
"""What can be chosen anew for an index that is there; the rest is built into it."""


def check_search_options(engine: Engine, options: Mapping[str, Any], dim: int) -> None:
    """Refuse options that the engine does not have when it searches.

    Raises:
        UsageError: One of them, or its value, is none.
    """
    allowed = _SEARCH_OPTIONS.get(engine, "none")
    for name in options:
        if name != allowed:
            raise UsageError(
                f"the engine {engine} has no option {name!r} of searching; it has {allowed}"
            )
    if engine == "milvus":
        check_search_params(options)
    else:
        check_options(engine, options, dim)


def check_choices(engine: str, precision: str, keep: str | None) -> None:
    """Refuse an engine, a precision, or a pair of them that there is not.

    Raises:
        UsageError: It is none.
    """
    for name, value, allowed in (
        ("engine", engine, get_args(Engine)),
        ("precision", precision, get_args(Precision)),
        ("keep", keep, (None, *get_args(Kept))),
    ):
        if value not in allowed:
            names = ", ".join(str(one) for one in allowed if one is not None)
            raise UsageError(f"{name} must be one of {names}, not {value!r}")
    if engine == "ivf-pq" and precision != "float32":
        raise UsageError(
            f"ivf-pq cuts vectors in its own way and takes the precision float32, not {precision}",
            hint="The option pq_m says how many bytes a vector gets.",
        )
    if engine != "ivf-pq" and keep is not None:
        if keep == precision:
            raise UsageError(f"`keep={keep}` adds nothing to vectors that are searched as {keep}")
        if precision == "float32":
            raise UsageError(f"`keep={keep}` is worse than the vectors searched, which are float32")


def checked_ranges(ranges: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """Ranges that int8 can use.

    Raises:
        UsageError: They are not of the right shape, not finite, or upside down.
    """
    ranges = np.asarray(ranges, np.float32)
    if ranges.shape != (2, dim):
        raise UsageError(f"ranges must be of shape (2, {dim}), not {ranges.shape}")
    if not np.isfinite(ranges).all() or (ranges[0] > ranges[1]).any():
        raise UsageError("ranges must be finite numbers, the lowest values first")
    return ranges


def checked_vectors(vectors: Embeddings, dim: int, what: str) -> Embeddings:
    """Vectors as the engines take them: contiguous float32.

    Args:
        vectors: Shape (n, dim).
        dim: That of the index.
        what: They are, for the message.

    Raises:
        UsageError: They are of another shape or type, or not finite.
    """
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise UsageError(
            f"the vectors of the {what} must be of shape (n, {dim}), not {vectors.shape}",
            hint="The index knows its width: index.space.dim.",
        )
    if vectors.dtype.kind != "f":
        raise UsageError(
            f"the vectors of the {what} must be float32, not {vectors.dtype}",
            hint="The index cuts them to its precision itself.",
        )
    vectors = np.ascontiguousarray(vectors, np.float32)
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise UsageError(f"vector {row} of the {what} has a number that is not finite")
    return vectors


def checked_ids(ids: Iterable[str]) -> list[str]:
    """Ids as a list.

    Raises:
        UsageError: They are a single text, whose letters would be taken for ids, or one is no text.
    """
    if isinstance(ids, str):
        raise UsageError(f"ids must be a list of ids, not the text {ids!r}")
    ids = list(ids)
    for one in ids:
        if not isinstance(one, str):
            raise UsageError(f"an id must be text, not {one!r}")
    return ids


def check_documents(documents: Sequence[Document], vectors: int) -> None:
    """Refuse documents that cannot be stored.

    Raises:
        UsageError: There are not as many as vectors, or one has an id that is empty, no text, or
            that of another, or metadata that is no JSON.
    """
    if len(documents) != vectors:
        raise UsageError(f"there are {len(documents):,} documents but {vectors:,} vectors")
    seen: set[str] = set()
    for document in documents:
        if not isinstance(document.id, str) or not document.id:
            raise UsageError(
                f"a document's id must be text of one letter or more, not {document.id!r}"
            )
        if document.id in seen:
            raise UsageError(f"two documents have the id {document.id!r}")
        seen.add(document.id)
        if not isinstance(document.text, str):
            raise UsageError(f"the text of {document.id!r} must be text, not {document.text!r:.40}")
        if not isinstance(document.metadata, Mapping):
            raise UsageError(
                f"the metadata of {document.id!r} must be a dict, not {document.metadata!r:.40}"
            )
        try:
            document.id.encode()
            if document.metadata:
                json.dumps(dict(document.metadata), allow_nan=False)
        except UnicodeEncodeError as error:
            raise UsageError(f"the id {document.id!r} holds half a character") from error
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"the metadata of {document.id!r} is no JSON: {error}") from error


def check_new(known: Sequence[str]) -> None:
    """Refuse ids that are in the index already.

    Raises:
        SearchError: There is one.
    """
    if known:
        more = f" (and {len(known) - 1:,} more ids)" if len(known) > 1 else ""
        raise SearchError(
            f"the id {known[0]!r}{more} is in the index already",
            hint="Delete it first to put something else in its place.",
        )


def check_depth(k: int, rescore: int | None, engine: Engine, settings: Settings) -> None:
    """Refuse numbers of hits that cannot be.

    Raises:
        UsageError: `k` or `rescore` is too small, or there is nothing to rescore with.
    """
    for name, value in (("k", k), ("rescore", k if rescore is None else rescore)):
        try:
            index(value)
        except TypeError as error:
            raise UsageError(f"{name} must be a whole number, not {value!r}") from error
    if k < 1:
        raise UsageError(f"k must be 1 or more, not {k}")
    if rescore is None:
        return
    if rescore < k:
        raise UsageError(f"rescore must be k ({k}) or more, not {rescore}")
    if settings.keep is None:
        better = "`keep='int8'` or " if settings.precision == "binary" or engine == "ivf-pq" else ""
        raise UsageError(
            "the index keeps no vectors to rescore with",
            hint="Leave `rescore` out: its vectors are whole."
            if settings.precision == "float32" and engine != "ivf-pq"
            else f"Build it with {better}`keep='float32'`.",
        )
