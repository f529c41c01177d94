import platform
from pathlib import Path

import pytest

from hpdistill.machine import machine


def test_a_figure_names_its_machine():
    found = machine()
    assert found["cpu"]
    assert found["cores"] >= 1
    assert platform.system() in found["system"]


@pytest.mark.skipif(platform.system() != "Linux", reason="the processor's flags are Linux's")
def test_the_vector_instructions_are_those_of_the_processor():
    text = Path("/proc/cpuinfo").read_text("utf-8").split()
    for name in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "asimddp"):
        assert (name in machine()["instructions"]) == (name in text)
