"""Vectors of each way to use a model, against sentence-transformers' own: `results/parity.json`.

One row a model of the matrix that the tests make (`tests/parity`): tiny, with random weights, each
another way in which models differ. A path's figure is the least cosine to `SentenceTransformer`'s
vectors over all texts, from an empty one to ten times the limit, and over `encode`, `encode_query`
and `encode_document`; or the line with which it refuses the model.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _results import ROOT, write

sys.path.insert(0, str(ROOT / "tests" / "parity"))
from parity_cases import CASES
from parity_models import Case, build
from parity_paths import (
    ROLES,
    Ended,
    by_runtime,
    by_torch,
    cosines_of_written,
    distil,
    exported,
    hpd,
    least_cosine,
    load_reference,
    load_runtime,
    load_torch,
    reduce,
    reference,
    write_texts,
)
from parity_texts import PLAIN, TEXTS

from hpdistill.encoder import unit
from hpdistill.errors import HpdError

Figure = float | str


def main() -> None:
    """Measure every case, or those named."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("cases", nargs="*", help="Names; without any, all, and the file is written")
    named = parser.parse_args().cases
    chosen = [case for case in CASES if not named or case.name in named]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        texts, corpus, _ = write_texts(Path(scratch))
        for number, case in enumerate(chosen, start=1):
            row = measure(case, Path(scratch) / case.name, texts, corpus)
            rows.append(row)
            figures = {key: value for key, value in row.items() if key in PATHS}
            print(f"{number} of {len(chosen)}, {case.name}: {figures}", flush=True)
    if named:
        return
    results = [row[path] for row in rows for path in PATHS]
    cosines = [result for result in results if isinstance(result, float)]
    summary = {
        "models": len(rows),
        "texts": len(TEXTS),
        "compared": len(cosines),
        "refused": len(results) - len(cosines),
        "least_cosine": min(cosines),
        "rows": rows,
    }
    print(write("parity", "tiny models with random weights, made by tests/parity", summary))


PATHS = ("torch", "runtime", "encode", "pca", "whiten", "student")
"""Our PyTorch path; the exported graph; `hpd encode` with it; what sentence-transformers and our
two paths say of the model that `hpd pca`, `hpd whiten` and `hpd distill` write."""


def measure(case: Case, place: Path, texts: Path, corpus: Path) -> dict[str, Any]:
    """The row of one model."""
    directory = build(case, place / "model")
    model = load_reference(directory, limit=case.reference_limit)
    expected = {role: reference(model, TEXTS, role, alone=case.alone) for role in ROLES}

    def torch() -> float:
        encoder = load_torch(directory)
        return least(lambda role: by_torch(encoder, TEXTS, role))

    def runtime() -> float:
        with load_runtime(exported(directory, place / "exported", PLAIN)) as encoder:
            return least(lambda role: by_runtime(encoder, TEXTS, role))

    def encode() -> Figure:
        source = place / "exported" if (place / "exported").exists() else directory
        ended = hpd("encode", source, texts, place / "vectors.npy")
        return ended.line if ended.code else vectors_of(place / "vectors.npy")

    def vectors_of(file: Path) -> float:
        return least_cosine(np.load(file), unit(expected[""]))

    def written(ended: Ended, at: Path) -> Figure:
        if ended.code:
            return ended.line
        return min(
            cosines_of_written(case, at, at.with_name(f"{at.parent.name}-{at.name}-graph")).values()
        )

    def least(vectors: Callable[[str], Any]) -> float:
        return min(least_cosine(vectors(role), expected[role]) for role in ROLES)

    measures: dict[str, Callable[[], Figure]] = {
        "torch": torch,
        "runtime": runtime,
        "encode": encode,
        "pca": lambda: written(reduce("pca", directory, corpus, place / "pca"), place / "pca"),
        "whiten": lambda: written(
            reduce("whiten", directory, corpus, place / "whitened"), place / "whitened"
        ),
        "student": lambda: written(
            distil(case, directory, corpus, place / "run"), place / "run" / "model"
        ),
    }
    return {
        "model": case.name,
        "architecture": case.architecture,
        "pooling": case.pooled,
        "modules": list(case.tail),
        "tokenizer": case.kind_of_tokenizer,
        **{path: _figure(measures[path], place) for path in PATHS},
    }


def _figure(path: Callable[[], Figure], place: Path) -> Figure:
    try:
        found = path()
    except HpdError as refusal:
        found = f"error: {refusal}"
    if isinstance(found, str):
        return found.removeprefix("error: ").replace(f"{place}/", "").splitlines()[0]
    return round(found, 6)


if __name__ == "__main__":
    main()
