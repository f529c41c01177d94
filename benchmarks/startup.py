"""How long a fresh process waits: for the import, for the command, for a model.

    python benchmarks/startup.py --model MODEL --precision int8

Whole processes, the interpreter's own start included (it is the first row); medians of ten,
taking turns. The files are in the system's cache. `Encoder.load` is timed inside its process,
too, without the interpreter and the import of hpdistill.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from _results import write

from hpdistill.runtime import DEFAULT

TIMED = """
import time
import hpdistill
started = time.perf_counter()
encoder = hpdistill.Encoder.load({arguments})
print(time.perf_counter() - started)
"""


def main() -> None:
    """Measure and write `results/startup.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="an exported one, beside the default")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--name", default="startup", help="of the results; '' writes none")
    options = parser.parse_args()
    hpd = str(Path(sys.executable).with_name("hpd"))
    contenders = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import hpdistill": [sys.executable, "-c", "import hpdistill"],
        "hpd --help": [hpd, "--help"],
    }
    if DEFAULT.is_dir():
        contenders["Encoder.load()"] = [sys.executable, "-c", TIMED.format(arguments="")]
    if options.model:
        arguments = f"{options.model!r}, precision={options.precision!r}"
        load = [sys.executable, "-c", TIMED.format(arguments=arguments)]
        contenders[f"Encoder.load({options.precision})"] = load
    outer: dict[str, list[float]] = {name: [] for name in contenders}
    inner: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(options.rounds + 1):
        for name, command in contenders.items():
            started = time.perf_counter()
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            outer[name].append(time.perf_counter() - started)
            if name.startswith("Encoder.load"):
                inner[name].append(float(done.stdout))
    rows = []
    for name in contenders:
        # The first round reads files from the disk.
        row = {"what": name, "process_s": round(statistics.median(outer[name][1:]), 4)}
        if inner[name]:
            row["load_s"] = round(statistics.median(inner[name][1:]), 4)
        rows.append(row)
        print(row)
    figures = {"model": options.model, "rounds": options.rounds, "rows": rows}
    print(write(options.name, "no data", figures) if options.name else "nothing written")


if __name__ == "__main__":
    main()
