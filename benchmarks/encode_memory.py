"""Peak memory of encoding a stream of sentences, at two lengths of it.

    python benchmarks/encode_memory.py --model MODEL --sentences FILE...

Each size is a process of its own. Beyond the files' own sentences, the stream goes on with the
beginning of one and the end of another. Vectors are taken block by block and dropped, as a
writer would drop them once they are on disk.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from _results import write

from hpdistill.corpus import read_source
from hpdistill.evaluate._worker import memory
from hpdistill.runtime import Encoder


def main() -> None:
    """Measure and write `results/encode-memory.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "int8"))
    parser.add_argument("--sentences", nargs="+", required=True)
    parser.add_argument("--sizes", nargs="+", type=int, default=[100_000, 1_000_000])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="encode-memory", help="of the results; '' writes none")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(encode(options, options.one)))
        return
    rows: list[dict[str, Any]] = []
    for size in options.sizes:
        command = [sys.executable, *sys.argv, "--one", str(size)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        rows.append(json.loads(done.stdout))
        print(rows[-1], flush=True)
    growth = round(rows[-1]["peak_mb"] / rows[0]["peak_mb"] - 1, 4)
    print(f"growth: {growth}")
    figures = {"model": options.model, "rows": rows, "growth": growth}
    data = f"sentences of {', '.join(options.sentences)}, recombined"
    print(write(options.name, data, figures) if options.name else "nothing written")


def encode(options: argparse.Namespace, size: int) -> dict[str, Any]:
    """Encode so many sentences in this process."""
    sentences = [text for source in options.sentences for text in read_source(source) if text]
    count = 0
    with Encoder.load(
        options.model, precision=options.precision, threads=options.threads
    ) as encoder:
        encoder.encode(sentences[:64], truncation="ignore")
        before = memory()["rss_mb"]
        started = time.perf_counter()
        stream = islice(recombined(sentences), size)
        for block in encoder.encode_blocks(stream, truncation="ignore"):
            count += len(block)
        seconds = time.perf_counter() - started
        return {
            "sentences": count,
            "precision": encoder.precision,
            "loaded_mb": before,
            **memory(),
            "sentences_per_second": round(count / seconds, 1),
        }


def recombined(sentences: list[str]) -> Iterator[str]:
    """The sentences, then without end the first half of one with the second half of another."""
    yield from sentences
    step = 0
    while True:
        step += 1
        for index, sentence in enumerate(sentences):
            # Split anew each time: what is kept must not depend on how long the stream goes on.
            own, other = sentence.split(), sentences[(index + step) % len(sentences)].split()
            yield " ".join([*own[: len(own) // 2], *other[len(other) // 2 :]])


if __name__ == "__main__":
    main()
