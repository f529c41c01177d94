"""`hpd encode` between standard input and standard output."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from encoding import close, command, expected, text_file, texts_of


def test_a_pipe_of_json_lines(static):
    texts = texts_of(20_000)
    data = "".join(f"{text}\n" for text in texts).encode()
    done = subprocess.run(command(static, "-", "-"), input=data, capture_output=True, check=True)
    found = np.array([json.loads(line) for line in done.stdout.splitlines()], np.float32)
    assert np.array_equal(found, expected(static, texts)) or close(found, expected(static, texts))
    assert b"20,000 x 16 float32" in done.stderr


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float32", "<f4"), ("int8", "i1"), ("binary", "u1")]
)
def test_a_pipe_of_raw_rows(precision, dtype, static):
    texts = texts_of(3_000)
    data = "".join(f"{text}\n" for text in texts).encode()
    done = subprocess.run(
        command(static, "-", "-", "--format", "raw", "--precision", precision),
        input=data,
        capture_output=True,
        check=True,
    )
    wanted = expected(static, texts, precision=precision)
    found = np.frombuffer(done.stdout, dtype).reshape(wanted.shape)
    assert close(found.astype(np.float32), wanted.astype(np.float32))


def test_a_reader_that_leaves_early_is_no_error_to_talk_about(static, tmp_path):
    source = text_file(tmp_path / "in.txt", texts_of(30_000))
    line = " ".join(command(static, source, "-"))
    done = subprocess.run(f"{line} | head -n 2", shell=True, capture_output=True, check=True)
    assert len(done.stdout.splitlines()) == 2
    assert b"Traceback" not in done.stderr
    assert b"error" not in done.stderr.lower()


def test_standard_output_that_is_full_is_one_line(static, tmp_path):
    source = text_file(tmp_path / "in.txt", texts_of(3_000))
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command(static, source, "-"), stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        "error: cannot write standard output: the disk is full"
    ]
