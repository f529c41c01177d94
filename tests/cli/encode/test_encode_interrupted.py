"""`hpd encode` interrupted, killed, or on a full disk: it goes on, and mixes nothing."""

import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_ends import hint, refused
from encoding import DIM, WORDS, close, command, expected, names, text_file, texts_of
from file_limits import largest_file
from safetensors.numpy import save_file

from hpdistill.runtime import Encoder


def has_a_block(part: Path) -> bool:
    """Whether a whole line is there: the file is made before the first block is written."""
    try:
        return "\n" in (part / "blocks.jsonl").read_text("utf-8")
    except FileNotFoundError:
        return False


@pytest.mark.long
def test_killed_at_random_moments_it_goes_on_to_the_same_bytes(exported_dir, sentences, tmp_path):
    texts = sentences(20_000)
    source = text_file(tmp_path / "in.txt", texts)
    whole, out = tmp_path / "whole.npy", tmp_path / "out.npy"
    part = tmp_path / "out.npy.part"
    began = time.perf_counter()
    subprocess.run(command(exported_dir, source, whole), check=True, capture_output=True)
    took = time.perf_counter() - began
    chance = random.Random(2)
    for number in range(4):
        process = subprocess.Popen(
            command(exported_dir, source, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if number == 0:  # once surely after a block
            while not out.exists() and not has_a_block(part):
                time.sleep(0.01)
        else:
            time.sleep(chance.uniform(0, took))
        process.kill()
        process.wait()
        if out.exists():
            break
    else:
        done = subprocess.run(
            command(exported_dir, source, out, "--json"), check=True, capture_output=True
        )
        (row,) = json.loads(done.stdout)["rows"]
        assert row["texts"] == 20_000
        assert row["resumed"] in (8192, 16384, 20_000)
    assert out.read_bytes() == whole.read_bytes()


def test_ctrl_c_keeps_what_is_complete(exported_dir, sentences, tmp_path):
    source, out = text_file(tmp_path / "in.txt", sentences(30_000)), tmp_path / "out.npy"
    process = subprocess.Popen(
        command(exported_dir, source, out), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    while not has_a_block(tmp_path / "out.npy.part") and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 130, error
    assert error.decode().splitlines()[-1] == "interrupted; what was complete is kept"
    assert b"Traceback" not in error
    assert not out.exists()
    assert has_a_block(tmp_path / "out.npy.part")
    done = subprocess.run(
        command(exported_dir, source, out, "--json"), capture_output=True, check=True
    )
    assert json.loads(done.stdout)["rows"][0]["texts"] == 30_000


@pytest.fixture
def unfinished(hpd, static, tmp_path, monkeypatch) -> Callable[..., Path]:
    """What is left of an encoding of 20,000 texts that failed in its second block."""

    def make(*options: object) -> Path:
        source = tmp_path / "in.txt"
        text_file(source, texts_of(20_000))
        encode_blocks = Encoder.encode_blocks

        def fail(self: Encoder, texts: Any, **given: Any) -> Any:
            yield next(encode_blocks(self, texts, **given))
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Encoder, "encode_blocks", fail)
            assert hpd("encode", static, source, tmp_path / "out.npy", *options).code == 130
        assert names(tmp_path) == ["in.txt", "out.npy.part"]
        return source

    return make


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--precision", "int8"), "another precision"),
        (("--dim", "8"), "another dim"),
        (("--no-normalize",), "another normalization"),
    ],
)
def test_other_options_are_not_mixed_in(options, what, hpd, static, unfinished, tmp_path):
    source, out = unfinished(), tmp_path / "out.npy"
    ended = hpd("encode", static, source, out, *options)
    assert f"holds 8,192 unfinished vectors of {what}" in refused(ended)
    assert "--overwrite" in hint(ended)
    done = hpd("encode", static, source, out, "--json")
    assert json.loads(done.out)["rows"][0]["resumed"] == 8192
    assert close(np.load(out), expected(static, texts_of(20_000)))


def test_another_model_is_not_mixed_in(hpd, static, unfinished, tmp_path_factory, tmp_path):
    source = unfinished()
    other = shutil.copytree(static, tmp_path_factory.mktemp("other") / "model")
    # The same model at another place is the same model, whatever was measured since.
    (other / "hpd.json").write_text(json.dumps({"format": 1, "dim": DIM, "prefixes": {}}))
    (other / "README.md").write_text("a model")
    line = ("encode", other, source, tmp_path / "out.npy", "--json", "--batch-size", "8")
    same = shutil.copytree(tmp_path / "out.npy.part", tmp_path_factory.mktemp("kept") / "part")
    assert json.loads(hpd(*line).out)["rows"][0]["resumed"] == 8192
    (tmp_path / "out.npy").unlink()
    shutil.copytree(same, tmp_path / "out.npy.part")
    table = np.zeros((len(WORDS) + 1, DIM), np.float32)
    save_file({"embedding.weight": table}, other / "0_StaticEmbedding/model.safetensors")
    assert "unfinished vectors of another model" in refused(hpd(*line))
    ended = hpd(*line, "--overwrite")
    assert json.loads(ended.out)["rows"][0]["resumed"] == 0
    assert not np.load(tmp_path / "out.npy").any()


def test_another_input_is_not_mixed_in(hpd, static, unfinished, tmp_path):
    source, out = unfinished(), tmp_path / "out.npy"
    others = texts_of(20_000, seed=1)
    text_file(source, others)
    assert "unfinished vectors of other texts" in refused(hpd("encode", static, source, out))
    assert hpd("encode", static, source, out, "--overwrite").code == 0
    assert close(np.load(out), expected(static, others))


def test_a_file_that_grew_is_gone_on_with(hpd, static, unfinished, tmp_path):
    source, out = unfinished(), tmp_path / "out.npy"
    texts = [*texts_of(20_000), "w1", "w2"]
    text_file(source, texts)
    ended = hpd("encode", static, source, out, "--json")
    assert json.loads(ended.out)["rows"][0]["resumed"] == 8192
    assert close(np.load(out), expected(static, texts))


def test_a_full_disk_loses_nothing(hpd, static, tmp_path):
    texts = texts_of(20_000)
    source, out = text_file(tmp_path / "in.txt", texts), tmp_path / "out.npy"
    with largest_file(8192 * DIM * 4 + 5000):
        ended = hpd("encode", static, source, out)
    assert refused(ended).startswith(f"error: cannot write {out}: ")
    assert "run the same command again" in hint(ended)
    done = hpd("encode", static, source, out, "--json")
    assert json.loads(done.out)["rows"][0]["resumed"] == 8192
    assert close(np.load(out), expected(static, texts))
