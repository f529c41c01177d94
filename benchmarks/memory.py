"""Peak memory of whole distillations at two sizes of corpus.

    python benchmarks/memory.py --sentences FILE... --sizes 50000 100000 --steps 200

Each size is a process of its own; every stage's peak comes from its manifest. Batches have few
lengths, so that after a few hundred steps all are known to the kernels' caches: a longer training
takes hardly more.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _results import write

from hpdistill.files import read_json


def main() -> None:
    """Measure and write `results/memory.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", nargs="+", required=True)
    parser.add_argument("--sizes", nargs="+", type=int, default=[50_000, 100_000])
    parser.add_argument("--teacher", default="mpnet")
    parser.add_argument("--student", default="minilm")
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as directory:
            run = Path(directory) / "run"
            command = [sys.executable, "-m", "hpdistill.cli", "distill", "--out", str(run)]
            command += ["--teacher", options.teacher, "--student", options.student]
            command += ["--limit", str(size), "--max-steps", str(options.steps)]
            for source in options.sentences:
                command += ["--sentences", source]
            subprocess.run(command, check=True)
            manifest = read_json(run / "manifest.json")
        stages = {name: stage["peak_memory_mb"] for name, stage in manifest["stages"].items()}
        facts = manifest["stages"]["corpus"]["facts"]
        rows.append({"sentences": facts["kept"], "peak_mb": max(stages.values()), "stages": stages})
        print(rows[-1], flush=True)
    growth = rows[-1]["peak_mb"] / rows[0]["peak_mb"] - 1
    data = f"samples of {', '.join(options.sentences)}"
    figures = {
        "teacher": options.teacher,
        "student": options.student,
        "steps": options.steps,
        "rows": rows,
        "growth": round(growth, 4),
    }
    print(write("memory", data, figures))


if __name__ == "__main__":
    main()
