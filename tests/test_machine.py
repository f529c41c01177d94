import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

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


def test_a_gpu_is_named_where_there_is_one():
    assert ("gpu" in machine()) == torch.cuda.is_available()


def test_telling_the_machine_does_not_load_torch():
    code = "import sys, hpdistill.machine as m; m.machine(); print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
