"""Keep what a run or an evaluation reported as a results file.

python benchmarks/keep.py NAME RUN/report.json --data WORDS --command WORDS [--note WORDS]
"""

import argparse
from pathlib import Path

from _results import RESULTS, write

from hpdistill.files import read_json


def main() -> None:
    """Write `results/NAME.json`; the machine and versions of the report itself are kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("report", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--command", required=True)
    parser.add_argument("--note", default="")
    options = parser.parse_args()
    report = read_json(options.report)
    report.pop("command", None)
    note = {"note": options.note} if options.note else {}
    RESULTS.mkdir(exist_ok=True)
    print(write(options.name, options.data, {**report, **note}, command=options.command))


if __name__ == "__main__":
    main()
