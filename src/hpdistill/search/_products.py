"""Integer inner products and the best of them, by ONNX Runtime: it has the kernels for it.

The graphs are a few operators, written here as protobuf by hand, because the `onnx` package is not
part of the base install. Field numbers are those of onnx.proto; they never change.
"""

import threading
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hpdistill.machine import instructions

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["DIGIT", "best_products", "graph"]

DIGIT = 126
"""What a leading digit of a query is worth in following ones."""

_UINT8, _INT8, _INT32, _INT64 = 2, 3, 6, 7
_ONE_BY_ONE = 6
"""Queries up to so many are faster each on its own: a matrix of one row has a kernel of its own.

Not with AMX, whose kernels first arrange all the codes anew, for one query as for many.
"""
_TOGETHER = 64


def best_products(
    queries: Sequence[NDArray[np.uint8]],
    codes: NDArray[np.int8],
    bias: NDArray[np.int32],
    k: int,
    *,
    threads: int,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The k largest products for each query.

    Queries of 0 to 127 only: without VNNI the kernels add pairs of products in 16 bits, which
    larger numbers would overflow without a word.

    Args:
        queries: One matrix of shape (m, dim), for `queries @ codes + bias`; or two, of leading and
            of following digits, for `(leading @ codes) * DIGIT + following @ codes + bias`.
        codes: Shape (dim, n), contiguous; read where they lie, nothing is copied.
        bias: Shape (n,).
        k: At most n.
        threads: For the products.

    Returns:
        Products and their columns, both of shape (m, k), largest first.
    """
    session = _session(len(queries), threads)
    alone = len(queries[0]) <= _ONE_BY_ONE and "amx_int8" not in instructions()
    step = 1 if alone else _TOGETHER
    feeds = {"codes": codes, "bias": bias, "k": np.array([k], np.int64)}
    if len(queries) > 1:
        feeds["digit"] = np.array(DIGIT, np.int32)
    parts = []
    for start in range(0, len(queries[0]), step):
        some = {f"queries{i}": digits[start : start + step] for i, digits in enumerate(queries)}
        parts.append(session.run(None, feeds | some))
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


@cache
def graph(digits: int) -> bytes:
    """The ONNX graph for queries of one or two digits; see `best_products`."""
    inputs = [
        _tensor("codes", _INT8, ["dim", "n"]),
        _tensor("bias", _INT32, ["n"]),
        _tensor("k", _INT64, [1]),
    ]
    nodes = []
    for i in range(digits):
        inputs.append(_tensor(f"queries{i}", _UINT8, ["m", "dim"]))
        nodes.append(_node("MatMulInteger", [f"queries{i}", "codes"], [f"products{i}"]))
    if digits == 2:
        inputs.append(_tensor("digit", _INT32, []))
        nodes.append(_node("Mul", ["products0", "digit"], ["shifted"]))
        nodes.append(_node("Add", ["shifted", "products1"], ["sum"]))
    nodes.append(_node("Add", ["products0" if digits == 1 else "sum", "bias"], ["scores"]))
    nodes.append(_node("TopK", ["scores", "k"], ["best", "places"]))
    outputs = [_tensor("best", _INT32, ["m", "best_k"]), _tensor("places", _INT64, ["m", "best_k"])]
    body = b"".join(_bytes(1, node) for node in nodes) + _bytes(2, b"products")
    body += b"".join(_bytes(11, value) for value in inputs)
    body += b"".join(_bytes(12, value) for value in outputs)
    opset = _bytes(1, b"") + _number(2, 13)
    return _number(1, 8) + _bytes(7, body) + _bytes(8, opset)


_making = threading.Lock()


def _session(digits: int, threads: int) -> "InferenceSession":
    with _making:
        return _new_session(digits, threads)


@cache
def _new_session(digits: int, threads: int) -> "InferenceSession":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Waiting threads that spin take the cores from the ones that search.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph(digits), options, providers=["CPUExecutionProvider"])


def _node(operator: str, inputs: list[str], outputs: list[str]) -> bytes:
    names = [_bytes(1, name.encode()) for name in inputs]
    names += [_bytes(2, name.encode()) for name in outputs]
    return b"".join(names) + _bytes(4, operator.encode())


def _tensor(name: str, kind: int, shape: list[str | int]) -> bytes:
    sizes = [
        _number(1, size) if isinstance(size, int) else _bytes(2, size.encode()) for size in shape
    ]
    dims = b"".join(_bytes(1, size) for size in sizes)
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, dims)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
