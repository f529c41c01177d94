"""Just enough protobuf to see, before a graph is opened, which other files it would read.

The `onnx` package is not part of the base install. Field numbers are those of onnx.proto; they
never change.
"""

import math
import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DamagedError", "GraphFile", "read_graph_file"]

# message: field number: message inside. Whatever can hold a tensor, at any depth.
_INSIDE: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "weights", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "weights": {13: "external"},
    "tensor": {13: "external"},
}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DIMS = 1


class DamagedError(Exception):
    """Bytes that are no protobuf, or not all of it."""


@dataclass(frozen=True)
class GraphFile:
    """What an ONNX file says about itself."""

    external: tuple[str, ...]
    """Places of tensors kept in other files, as written there."""
    parameters: int
    """Numbers in its weights, those in other files included."""


def read_graph_file(path: Path) -> GraphFile:
    """Find the other files that an ONNX file refers to, and count its weights.

    Raises:
        DamagedError: It is no ONNX file, or not a whole one.
        OSError: It cannot be read.
    """
    with path.open("rb") as handle:
        if os.fstat(handle.fileno()).st_size == 0:  # which cannot be mapped
            raise DamagedError("it is empty")
        # Mapped, because the weights, nearly all of the file, are stepped over.
        with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _walk(data)


def _walk(data: mmap.mmap) -> GraphFile:
    external: dict[str, None] = {}
    parameters = 0
    graphs = 0
    todo = [("model", 0, len(data))]
    while todo:
        kind, start, end = todo.pop()
        graphs += kind == "graph"
        shape: list[int] = []
        entry = {1: b"", 2: b""}
        for number, wire, value, stop in _fields(data, start, end):
            inside = _INSIDE.get(kind, {}).get(number)
            if inside is not None and wire == _BYTES:
                todo.append((inside, value, stop))
            elif kind == "external" and number in entry and wire == _BYTES:
                entry[number] = data[value:stop]
            elif kind == "weights" and number == _DIMS:
                shape += [value] if wire == _VARINT else _varints(data, value, stop)
        if kind == "weights":
            parameters += math.prod(shape)
        if kind == "external" and entry[1] == b"location":
            external[entry[2].decode("utf-8", "replace")] = None
    if not graphs:
        raise DamagedError("it holds no graph")
    return GraphFile(external=tuple(external), parameters=parameters)


def _fields(data: mmap.mmap, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type, value (or where its bytes start), and where it stops, of each field."""
    while position < end:
        tag, position = _varint(data, position, end)
        wire = tag & 7
        if wire == _VARINT:
            value, stop = _varint(data, position, end)
        elif wire == _BYTES:
            length, value = _varint(data, position, end)
            stop = value + length
        elif wire in (_FIXED64, _FIXED32):
            value, stop = position, position + (8 if wire == _FIXED64 else 4)
        else:
            raise DamagedError(f"byte {position:,} is no field of an ONNX file")
        if stop > end:
            raise DamagedError("it ends too early")
        yield tag >> 3, wire, value, stop
        position = stop


def _varints(data: mmap.mmap, position: int, end: int) -> list[int]:
    values = []
    while position < end:
        value, position = _varint(data, position, end)
        values.append(value)
    return values


def _varint(data: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    """A number of 7 bits a byte, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise DamagedError("it ends too early")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise DamagedError(f"byte {position:,} is no number of an ONNX file")
