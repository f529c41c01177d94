"""A retrieval task in the user's own domain: the documentation of installed Python packages.

    python benchmarks/pydoc_task.py OUT [--packages torch numpy...]

A query is the first sentence of what a module, class or function is documented with, its answer
the rest of that documentation. Written to OUT/task in BEIR's layout, for `hpd eval retrieval
--data` and `hpd distill --exclude`; OUT/sentences.txt holds the sentences of everything that is not
asked for, to distil on. Sources are installed packages, so that another machine has another task:
OUT/task.json counts it and names the packages with their versions.
"""

import argparse
import json
from importlib.metadata import packages_distributions, version
from pathlib import Path

from sentencex import segment

from hpdistill.corpus import pydoc_entries
from hpdistill.files import text_hash, write_json

LEAST_WORDS = 8
"""Of a query, and of an answer."""
ASKED = 2
"""One entry in so many is asked for; by a hash of its name, so that order decides nothing."""


def main() -> None:
    """Write the task."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--packages", nargs="+", help="these only")
    parser.add_argument("--documents", type=int, default=4000, help="at most so many")
    parser.add_argument("--queries", type=int, default=1000, help="at most so many")
    options = parser.parse_args()
    read = [
        (name, [s.strip() for paragraph in prose for s in segment("en", paragraph)])
        for name, prose in pydoc_entries(packages=options.packages)
    ]
    entries: dict[str, tuple[str, str, str]] = {}  # by the first sentence: two would be unfair
    for name, told in read:
        first, rest = "".join(told[:1]), " ".join(told[1:])
        if min(len(first.split()), len(rest.split())) >= LEAST_WORDS and first not in rest:
            entries.setdefault(first, (name, first, rest))
    # Copies of a text say nothing about who finds it; a name may be told of in several modules.
    unique = {entry[2]: entry for entry in entries.values()}
    unique = {entry[0]: entry for entry in unique.values()}
    hashes = {name: text_hash([name]) for name, _, _ in unique.values()}
    chosen = sorted(unique.values(), key=lambda entry: hashes[entry[0]])[: options.documents]
    asked = [entry for entry in chosen if int(hashes[entry[0]][-8:], 16) % ASKED == 0]
    asked = asked[: options.queries]
    held = {name for name, _, _ in asked}
    task = options.out / "task"
    (task / "qrels").mkdir(parents=True, exist_ok=True)
    write_lines(task / "corpus.jsonl", [{"_id": n, "text": t} for n, _, t in chosen])
    write_lines(task / "queries.jsonl", [{"_id": n, "text": q} for n, q, _ in asked])
    rows = "".join(f"{name}\t{name}\t1\n" for name, _, _ in asked)
    (task / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows, "utf-8")
    sentences = dict.fromkeys(
        s for name, told in read if name not in held for s in told if len(s.split()) > 2
    )
    (options.out / "sentences.txt").write_text("\n".join(sentences) + "\n", "utf-8")
    modules = {name.split(".")[0] for name, _, _ in chosen}
    about = {
        "documents": len(chosen),
        "queries": len(asked),
        "sentences": len(sentences),
        "packages": versions_of(modules),
    }
    write_json(options.out / "task.json", about)
    print(about)


def write_lines(path: Path, rows: list[dict[str, str]]) -> None:
    """JSON lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def versions_of(modules: set[str]) -> dict[str, str]:
    """Of the packages that the modules belong to; the standard library's are left out."""
    owners = packages_distributions()
    names = sorted({owner for module in modules for owner in owners.get(module, [])})
    return {name: version(name) for name in names}


if __name__ == "__main__":
    main()
