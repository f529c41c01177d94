"""What a row of `hpd reproduce` costs: time, processors, disk.

    python benchmarks/reproduce_rows.py --scale tiny --out OUT --nli FILE --sentences FILE ... \
        --data SENTEVAL --retrieval BEIR

Row after row in one process, so that the import of PyTorch is not in them; what a row rests on is
made before it, as a row of its own. Weights are unpacked and verified before the first.
"""

import argparse
import os
import time
from pathlib import Path

from _results import command_without_paths, write

from hpdistill.reproduce import load_catalogue, load_stand_ins, reproduce
from hpdistill.weights import resolve


def main() -> None:
    """Measure and write `results/reproduce-SCALE.json`, after each row."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", nargs="*", help="names, patterns or tables; none: both tables")
    parser.add_argument("--scale", default="tiny")
    parser.add_argument("--out", type=Path, required=True, help="empty, or what is there is kept")
    parser.add_argument("--nli", nargs="+", default=[])
    parser.add_argument("--sentences", nargs="+", default=[])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--retrieval", type=Path)
    options = parser.parse_args()
    import torch

    import hpdistill.baselines  # noqa: F401 - so that its import is not in the first row

    for needed in {stand_in.needs for stand_in in load_stand_ins().values()}:
        resolve(needed)
    catalogue = load_catalogue()
    rows = []
    for name in catalogue.with_foundations(catalogue.select(options.rows)):
        started, used, held = time.perf_counter(), processors(), size(options.out)
        result = reproduce(
            [name],
            options.out,
            scale=options.scale,
            sentences=options.sentences,
            nli=options.nli,
            data=options.data,
            retrieval=str(options.retrieval) if options.retrieval else None,
        )
        (row,) = [row for row in result.rows if row["row"] == name]
        if row["missing"] is not None:
            print(f"{name}: {row['missing']}")
            continue
        spent = {
            "seconds": round(time.perf_counter() - started, 1),
            "cpu_seconds": round(processors() - used, 1),
            "disk_mb": round((size(options.out) - held) / 1e6, 1),
            "model_mb": round(size(Path(row["model"])) / 1e6, 1),
            "load": round(os.getloadavg()[0], 1),
        }
        kept = ("title", "weights", "tables", "made_s", "average_present", "sts_pairs", "mrr10")
        rows.append({"row": name, **spent, **{key: row[key] for key in kept}})
        rows[-1] |= {key: row[key] for key in ("documents", "queries")}
        print(name, spent, flush=True)
        write(
            f"reproduce-{options.scale}",
            describe(options),
            {"threads": torch.get_num_threads(), "notes": result.notes[:3], "rows": rows},
            command=command_without_paths(options),
        )


def describe(options: argparse.Namespace) -> str:
    """What is read, by the names of files and folders."""
    names = [*options.nli, *options.sentences, options.data, options.retrieval]
    return ", ".join(Path(name).name for name in names if name is not None)


def processors() -> float:
    """Seconds of all processors, by this process and those that it has ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def size(place: Path) -> int:
    """Bytes of all files under a directory."""
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
