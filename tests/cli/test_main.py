"""The command as a whole: what it lists, and how little it loads before it knows what to do."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command_ends import refused

HEAVY = (
    "torch",
    "transformers",
    "sentence_transformers",
    "onnxruntime",
    "tokenizers",
    "pyarrow",
    "datasets",
    "scipy",
)
COMMANDS = ("demo", "distill", "encode", "eval", "export", "index", "models", "search")


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh Python has loaded after running some code."""
    end = "import sys; print('loaded:', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{end}"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.rpartition("loaded:")[2].split())


def run_main(*arguments: str, code: int = 0) -> str:
    """Code that runs `hpd ARGUMENTS`, which ends with this exit code, and goes on."""
    return (
        "import sys\n"
        f"sys.argv = {['hpd', *arguments]!r}\n"
        "from hpdistill.cli import main\n"
        "try: main()\n"
        f"except SystemExit as end: assert end.code == {code}, end.code"
    )


def test_importing_the_package_loads_neither_torch_nor_numpy():
    loaded = loaded_by("import hpdistill")
    assert "hpdistill" in loaded
    assert not loaded & {*HEAVY, "numpy", "typer", "rich", "huggingface_hub"}


def test_importing_the_command_loads_nothing_heavy():
    loaded = loaded_by("import hpdistill.cli")
    assert "typer" in loaded
    assert not loaded & {*HEAVY, "numpy"}


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("distill", "--help"), ("encode", "--help"), ("eval", "sts", "--help")],
    ids=" ".join,
)
def test_help_loads_nothing_heavy(arguments):
    loaded = loaded_by(run_main(*arguments))
    assert "hpdistill.cli" in loaded
    assert not loaded & {*HEAVY, "numpy"}


@pytest.mark.parametrize(
    "line",
    [
        "distill --teacher no-such --student minilm --sentences {file}",
        "distill --teacher mpnet --student layers:minilm:2,1 --sentences {file}",
        "distill --teacher mpnet --student minilm --sentences {file}.txt",
        "pca no-such --dim 8 --sentences {file}",
        "whiten mpnet --dim 8 --sentences {file}.txt",
        "train simcse --backbone no-such --unsupervised --sentences {file}",
        "export no-such",
    ],
)
def test_a_typing_error_is_told_before_pytorch_is_imported(line, corpus_file, tmp_path):
    words = line.format(file=corpus_file).split()
    code = 2 if "layers:minilm:2,1" in words else 1
    assert "torch" not in loaded_by(run_main(*words, "--out", str(tmp_path / "out"), code=code))


def test_the_installed_command_lists_its_commands():
    hpd = Path(sys.executable).with_name("hpd")
    done = subprocess.run([hpd, "--help"], capture_output=True, text=True, check=True)
    for command in COMMANDS:
        assert any(line.split()[:1] == [command] for line in done.stdout.splitlines())
    assert done.stderr == ""


def test_python_m_hpdistill_cli_is_the_same_command():
    line = [sys.executable, "-m", "hpdistill.cli", "distill", "--out", "nowhere", "--resume"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "error: nowhere holds no run to resume\n"


@pytest.mark.parametrize("options", [(), ("--json",)])
@pytest.mark.parametrize(
    ("end", "line"),
    [
        (">&-", "error: standard output is closed"),
        ("> /dev/full", "error: cannot write: No space left on device"),
        ("| true; exit ${PIPESTATUS[0]}", ""),
    ],
)
def test_standard_output_that_takes_nothing_is_said_in_a_line(options, end, line, monkeypatch):
    # As for most users: Python keeps what it writes, perhaps until it ends.
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    command = shlex.join([sys.executable, "-m", "hpdistill.cli", "models", "list", *options])
    done = subprocess.run(
        ["bash", "-c", f"{command} {end}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert [found for found in done.stderr.splitlines() if not found.startswith("hint:")] == (
        [line] if line else []
    )


def test_standard_input_that_is_closed_is_said_in_a_line(tmp_path):
    command = shlex.join([sys.executable, "-m", "hpdistill.cli", "encode", "default"])
    done = subprocess.run(
        ["bash", "-c", f"{command} - {tmp_path / 'a.npy'} <&-"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: standard input is closed")
    assert not (tmp_path / "a.npy").exists()


@pytest.mark.parametrize(
    "line",
    [
        ("encode", "default", "{text}", "{name}.npy"),
        ("pca", "{model}", "--sentences", "{text}", "--dim", "4"),
        ("index", "default", "{text}"),
    ],
)
def test_a_name_that_is_too_long_is_said_in_a_line(hpd, line, teacher_dir, corpus_file, tmp_path):
    names = {"text": corpus_file, "model": teacher_dir, "name": tmp_path / ("x" * 251)}
    out = () if line[0] == "encode" else ("--out", names["name"])
    line = refused(hpd(*(part.format(**names) for part in line), *out))
    assert "x" * 251 in line
    assert "too long" in line


def test_an_unknown_command_is_wrong_usage():
    line = [sys.executable, "-m", "hpdistill.cli", "distil"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "distil" in done.stderr
    assert "Traceback" not in done.stderr
