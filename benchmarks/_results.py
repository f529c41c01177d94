"""Writing a results file."""

import json
import shlex
import sys
from datetime import date
from pathlib import Path
from typing import Any

from hpdistill.machine import machine, versions

RESULTS = Path(__file__).parent / "results"


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
