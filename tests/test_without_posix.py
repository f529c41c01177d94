"""What only POSIX systems have is asked for nowhere when modules are imported, nor by a lock."""

import subprocess
import sys

import pytest

MISSING = """
import builtins, importlib, pkgutil, sys
usual = builtins.__import__
def ours_without(name, globals=None, *rest, **named):
    # Others have ways of their own round these.
    asks = (globals or {}).get("__name__", "").partition(".")[0]
    if name in ("fcntl", "grp", "pwd", "resource", "termios") and asks in ("hpdistill", "filelock"):
        raise ImportError(f"{asks} asks for {name}")
    return usual(name, globals, *rest, **named)
builtins.__import__ = ours_without
import hpdistill
"""

IMPORTS = """
count = 0
for module in pkgutil.walk_packages(hpdistill.__path__, "hpdistill."):
    # Being imported is what these run at.
    if module.name.rpartition(".")[2] not in ("__main__", "_serve"):
        importlib.import_module(module.name)
        count += 1
print(count)
"""

WORKS = """
import warnings
warnings.simplefilter("ignore")  # of filelock, which has no lock of Windows here
from pathlib import Path
from hpdistill.errors import RunError
from hpdistill.files import alone_in
from hpdistill.manifest import open_run
from hpdistill.recipe import CorpusRecipe, Recipe, WeightedModel
place = Path(sys.argv[1])
recipe = Recipe(
    teachers=(WeightedModel(model="t"),), student="s", corpus=CorpusRecipe(sources=("x",))
)
with open_run(place / "run", recipe, {}, overwrite=False) as manifest:
    manifest.stage("corpus", 1, lambda: {})
    try:
        with alone_in(place / "run"):
            print("not alone")
    except RunError as error:
        print(error)
print(sorted(p.name for p in (place / "run").iterdir() if p.name != ".lock"))
"""


def run(code: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", MISSING + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
def test_every_module_is_imported() -> None:
    pytest.importorskip("torch")
    assert int(run(IMPORTS)) > 100


def test_a_run_is_claimed(tmp_path) -> None:
    said = run(WORKS, tmp_path).splitlines()
    assert said[0] == f"another process is working in {tmp_path / 'run'}"
    assert said[1] == "['manifest.json', 'recipe.toml']"
