"""Many threads on one encoder: whether a vector is ever wrong, and whether memory grows.

    python benchmarks/hammer.py --model MODEL --sentences FILE...

Each thread encodes random handfuls of texts whose vectors were computed before, alone. float32
vectors must agree to 1e-5. An int8 graph rounds activations by the range of a whole batch, so a
text's vector depends a little on its company: cosine at least 0.98 to the one computed alone,
and a vector of another text would be nowhere near.
"""

import argparse
import random
import threading
import time
from typing import Any

import numpy as np
from _results import write

from hpdistill.corpus import read_source
from hpdistill.encoder import Embeddings
from hpdistill.evaluate import evenly
from hpdistill.evaluate._worker import memory
from hpdistill.runtime import Encoder, EncoderPrecision

TEXTS = 1000
WARM_SECONDS = 10
INT8_COSINE = 0.98
FLOAT32_DIFFERENCE = 1e-5


class Tally:
    """What the threads found."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.calls = self.vectors = self.wrong = 0
        self.worst_cosine = 1.0
        self.worst_difference = 0.0
        self.errors: list[str] = []

    def add(self, found: Embeddings, right: Embeddings, precision: str) -> None:
        """Compare the vectors of one call, each of shape (texts, dim)."""
        cosines = np.einsum("nd,nd->n", found, right)
        differences = np.abs(found - right).max(axis=1)
        good = cosines >= INT8_COSINE if precision == "int8" else differences <= FLOAT32_DIFFERENCE
        with self._lock:
            self.calls += 1
            self.vectors += len(found)
            self.wrong += int(np.count_nonzero(~good))
            self.worst_cosine = min(self.worst_cosine, float(cosines.min()))
            self.worst_difference = max(self.worst_difference, float(differences.max()))


def main() -> None:
    """Measure and write `results/hammer.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--sentences", nargs="+", required=True)
    parser.add_argument("--precisions", nargs="+", default=["float32", "int8"])
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--name", default="hammer", help="of the results; '' writes none")
    options = parser.parse_args()
    lines = [text for source in options.sentences for text in read_source(source) if text]
    texts = evenly(lines)[:TEXTS]
    rows = []
    for precision in options.precisions:
        rows.append(hammer(options.model, precision, texts, options.threads, options.seconds))
        print(rows[-1], flush=True)
    data = f"{len(texts):,} sentences of {', '.join(options.sentences)}"
    figures = {"model": options.model, "rows": rows}
    print(write(options.name, data, figures) if options.name else "nothing written")


def hammer(
    model: str, precision: EncoderPrecision, texts: list[str], threads: int, seconds: float
) -> dict[str, Any]:
    """One encoder, so many threads, for so long."""
    tally = Tally()
    with Encoder.load(model, precision=precision) as encoder:
        alone = [encoder.encode([text], truncation="ignore") for text in texts]
        right = np.concatenate(alone)
        end = time.monotonic() + seconds

        def work(seed: int) -> None:
            generator = random.Random(seed)  # noqa: S311 - no secret
            while time.monotonic() < end:
                # Mostly queries, now and then a batch.
                count = generator.choice((1, 1, 1, 2, 5, 32, 100))
                chosen = [generator.randrange(len(texts)) for _ in range(count)]
                try:
                    found = encoder.encode([texts[i] for i in chosen], truncation="ignore")
                except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
                    tally.errors.append(f"{type(error).__name__}: {error}")
                    return
                tally.add(found, right[chosen], encoder.precision)

        running = [threading.Thread(target=work, args=(seed,)) for seed in range(threads)]
        for thread in running:
            thread.start()
        time.sleep(min(WARM_SECONDS, seconds / 2))
        warm = memory()["rss_mb"]
        for thread in running:
            thread.join()
        after = memory()["rss_mb"]
    return {
        "precision": precision,
        "threads": threads,
        "seconds": seconds,
        "calls": tally.calls,
        "vectors": tally.vectors,
        "wrong": tally.wrong,
        "errors": tally.errors[:10],
        "worst_cosine": round(tally.worst_cosine, 6),
        "worst_difference": float(f"{tally.worst_difference:.3g}"),
        "rss_warm_mb": warm,
        "rss_end_mb": after,
        "growth": round(after / warm - 1, 4),
    }


if __name__ == "__main__":
    main()
