"""From a float32 graph to an int8 one: two ways, of which the better is kept."""

import logging
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

__all__ = ["METHODS", "int8_file_name"]

Feeds = Iterable[Mapping[str, NDArray[np.int64]]]

# Without it, the quantiser fails on graphs whose types it cannot infer.
_TYPES = {"DefaultTensorType": onnx.TensorProto.FLOAT}


def int8_file_name() -> str:
    """The file name by which sentence-transformers knows an int8 graph for this processor."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return "model_qint8_arm64.onnx"
    if _has_vnni():
        return "model_qint8_avx512_vnni.onnx"
    return "model_quint8_avx2.onnx"


def _has_vnni() -> bool:
    if sys.platform != "linux":
        return False
    return "avx512_vnni" in Path("/proc/cpuinfo").read_text("utf-8")


def dynamic(graph: Path, target: Path, feeds: Feeds) -> None:
    """Weights per channel; activations by the range that each batch turns out to have."""
    del feeds
    with _quiet():
        quantize_dynamic(graph, target, extra_options=_TYPES, **_weights())


def static(graph: Path, target: Path, feeds: Feeds) -> None:
    """The same weights; activations by ranges seen on calibration sentences."""
    with _quiet():
        quantize_static(
            graph,
            target,
            _Feeds(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["MatMul", "Gemm", "Gather"],
            activation_type=QuantType.QUInt8,
            calibrate_method=CalibrationMethod.MinMax,
            # Products of two activations, as in attention, stay float32, as in `dynamic`.
            extra_options={**_TYPES, "MatMulConstBOnly": True},
            **_weights(),
        )


METHODS: dict[str, Callable[[Path, Path, Feeds], None]] = {"dynamic": dynamic, "static": static}
"""Each takes the float32 graph, the file to write, and batches of inputs to calibrate on."""


def _weights() -> dict[str, Any]:
    if int8_file_name() == "model_quint8_avx2.onnx":
        # Without VNNI, sums of products of 8 bits overflow their 16 bits; 7 bits do not.
        return {"weight_type": QuantType.QUInt8, "per_channel": True, "reduce_range": True}
    return {"weight_type": QuantType.QInt8, "per_channel": True}


class _Feeds(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: Feeds) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Mapping[str, NDArray[np.int64]] | None:
        return next(self._feeds, None)


@contextmanager
def _quiet() -> Any:  # noqa: ANN401 - a generator, for contextlib
    """The quantiser advises a preprocessing that brings nothing here, through the root logger."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
