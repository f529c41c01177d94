import pytest
from measuring import hpd


@pytest.mark.parametrize(
    "arguments",
    [
        ["sts", "big"],
        ["sts", "--data", "."],
        ["sts", "big", "--data", ".", "--dims", "12,x"],
        ["sts", "big", "--data", ".", "--dims", "0"],
        ["sts", "big", "--data", ".", "--dims", ""],
        ["sts", "big", "--data", ".", "--precision", "float64"],
        ["fidelity", "small", "--data", "x.txt"],
        ["fidelity", "small", "--teacher", "big"],
        ["fidelity", "small", "--teacher", "big", "--data", "x.txt", "--limit", "9"],
        ["nonsense"],
        [],
        ["speed"],
        ["speed", "big", "--plot", "x.png"],
        ["speed", "big", "--lengths", "8,x"],
        ["speed", "big", "--batch-sizes", "0"],
        ["speed", "big", "--rounds", "0"],
        ["speed", "big", "--backends", "onnx"],
        ["sts", "big", "--data", ".", "--backend", "torch", "--precision", "int8"],
        ["sts", "big", "--data", ".", "--backend", "onnx", "--precision", "bfloat16"],
        ["sts", "big", "--data", ".", "--backend", "tensorrt"],
    ],
)
def test_wrong_usage_exits_with_2(loaded, arguments):
    assert hpd(*arguments).exit_code == 2
    assert loaded == []
