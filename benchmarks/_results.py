"""Writing a results file, and reading it again."""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from hpdistill.files import read_json
from hpdistill.machine import machine, versions

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def write(name: str, data: str, figures: dict[str, Any], *, command: str = "") -> Path:
    """Write `results/NAME.json`: the figures, and all that a reader needs to get them again.

    Args:
        name: Of the file, without suffix.
        data: What was measured on, in words.
        figures: The measurements.
        command: What measured them; this process's command line when empty.
    """
    document = {
        "command": command or shlex.join(["python", *sys.argv]),
        "date": date.today().isoformat(),
        "data": data,
        "machine": machine(),
        "versions": versions(),
        **figures,
    }
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return path


def read(name: str) -> dict[str, Any]:
    """What `write` wrote as `results/NAME.json`."""
    document: dict[str, Any] = read_json(RESULTS / f"{name}.json")
    return document


def command_without_paths(
    options: argparse.Namespace, arguments: Sequence[str] | None = None
) -> str:
    """This process's command line, with names of options in the place of paths.

    Of an option that takes several values, those that are there keep their last part.
    """
    names: dict[Path, str] = {}
    for name, value in vars(options).items():
        if isinstance(value, Path):
            names[value] = f"{name.upper()}{value.suffix}"
        elif isinstance(value, list):
            several = [Path(entry) for entry in value if isinstance(entry, str)]
            names |= {path: f"{name.upper()}/{path.name}" for path in several if path.exists()}
    given = sys.argv[1:] if arguments is None else arguments
    shown = [names.get(Path(argument), argument) for argument in given]
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *shown])
