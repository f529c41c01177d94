"""Both augmenters on a file of sentences: yield, what is dropped why, sentences/s, examples.

python benchmarks/augment.py SENTENCES [--count 20000] [--teacher minilm --judged 2000]

`programs_cpu_ms_per_sentence` is processor time of Apertium's programs, both directions: with the
number of cores it bounds the speed, whatever else the machine does.
"""

import argparse
import os
import random
import resource
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

from _results import write

from hpdistill.corpus import clean, read_source
from hpdistill.corpus.augment import (
    Judge,
    installed_pairs,
    open_augmenter,
    read_copies,
    write_copies,
)
from hpdistill.pytorch import TorchEncoder
from hpdistill.recipe import AugmentRecipe

SHOWN = 10


def main() -> None:
    """Write `results/augment.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sentences")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--teacher", default="minilm")
    parser.add_argument("--judged", type=int, default=2000)
    options = parser.parse_args()
    texts = list(islice(filter(None, map(clean, read_source(options.sentences))), options.count))
    judged = [texts[i * len(texts) // options.judged] for i in range(options.judged)]
    rows: list[dict[str, Any]] = []
    for method, language in [("wordnet", None), ("backtranslate", "spa"), ("backtranslate", "cat")]:
        if language and f"eng-{language}" not in installed_pairs():
            continue
        recipe = AugmentRecipe(methods=(method,), language=language)
        row: dict[str, Any] = {"augmenter": method, "language": language}
        children = _children_cpu()
        # Loading WordNet and starting programs is not what is measured.
        with open_augmenter(method, recipe, seed=0) as augmenter:
            augmenter.copies(texts[:20])
            # The slower pair on fewer.
            chosen = judged if language == "cat" else texts
            started, cpu = time.perf_counter(), time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "copies.jsonl"
                summary = write_copies(chosen, augmenter, out)
                shown = random.Random(0).sample(list(read_copies(out)), SHOWN)  # noqa: S311
            seconds = time.perf_counter() - started
            cpu = time.process_time() - cpu
        row |= {
            "sentences": summary.sentences,
            "kept": summary.kept,
            "yield": round(summary.kept / summary.sentences, 4),
            "dropped": summary.dropped,
            "seconds": round(seconds, 1),
            "sentences_per_second": round(summary.sentences / seconds, 1),
            "python_cpu_ms_per_sentence": round(1e3 * cpu / summary.sentences, 3),
            "programs_cpu_ms_per_sentence": round(
                1e3 * (_children_cpu() - children) / summary.sentences, 3
            ),
            "examples": [{"original": s["original"], "copy": s["text"]} for s in shown],
        }
        with (
            open_augmenter(method, recipe, seed=0) as augmenter,
            tempfile.TemporaryDirectory() as folder,
        ):
            judge = Judge(TorchEncoder.load(options.teacher), 1e-9)
            out = Path(folder) / "copies.jsonl"
            write_copies(judged, augmenter, out, judge=judge)
            cosines = sorted(line["similarity"] for line in read_copies(out))
        row["judged"] = {
            "by": options.teacher,
            "sentences": len(judged),
            "copies": len(cosines),
            "similarity_mean": round(sum(cosines) / len(cosines), 4),
            "similarity_quantiles": {
                str(q): cosines[int(q * (len(cosines) - 1))] for q in (0.05, 0.25, 0.5, 0.75)
            },
            "kept_at": {
                str(t): sum(cosine >= t for cosine in cosines) for t in (0.6, 0.7, 0.8, 0.9)
            },
        }
        rows.append(row)
        data = f"{len(texts):,} sentences of {Path(options.sentences).name}"
        about = {"load_average_15_min": round(os.getloadavg()[2], 2), "rows": rows}
        print(write("augment", data, about), flush=True)
        print({key: row[key] for key in ("augmenter", "yield", "sentences_per_second", "judged")})


def _children_cpu() -> float:
    """Processor seconds of all programs that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
