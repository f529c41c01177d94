"""What a figure was measured on."""

import os
import platform
import sys
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["available_cores", "instructions", "machine", "versions"]

_PACKAGES = (
    "hpdistill",
    "numpy",
    "onnxruntime",
    "faiss-cpu",
    "tokenizers",
    "torch",
    "transformers",
    "sentence-transformers",
)

_INSTRUCTIONS = (
    "avx2",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimddp",
    "i8mm",
    "bf16",
)
"""What the kernels of PyTorch, ONNX Runtime and FAISS choose by; twofold speed and more."""


def machine() -> dict[str, Any]:
    """Processor, its vector instructions where they can be told, cores, system; a GPU, if any."""
    return {
        "cpu": _processor().get("model name", platform.processor() or platform.machine()),
        "instructions": list(instructions()),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        **_gpu(),
    }


@cache
def instructions() -> tuple[str, ...]:
    """Vector instructions of the processor that kernels choose by; none where it cannot be told."""
    facts = _processor()
    flags = facts.get("flags", facts.get("Features", "")).split()
    return tuple(name for name in _INSTRUCTIONS if name in flags)


def _processor() -> dict[str, str]:
    """What Linux says of one core."""
    if sys.platform != "linux":
        return {}
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _gpu() -> dict[str, str]:
    # What has not loaded PyTorch computed nothing on a GPU, and must not load it to say so.
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return {}
    return {"gpu": torch.cuda.get_device_name()}


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Versions of what the figures depend on; packages that are not installed are left out."""
    import importlib.metadata  # what only needs the number of cores starts sooner

    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
