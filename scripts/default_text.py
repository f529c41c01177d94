"""The text that the shipped static student is distilled from; licences that permit it, only.

    python scripts/default_text.py WORDNET_DIR OUT_DIR

Writes `wordnet.txt`, the definitions and examples of WordNet 3.0 (its `data.*` files, Debian's
package `wordnet-base`; WordNet licence), `words.txt`, its words before what they mean,
`documentation.txt`, the sentences of the docstrings
of the packages below and of Python's standard library, and `sources.json`, which says what was
read: versions, licences, counts.
"""

import argparse
import importlib.metadata
import json
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hpdistill.corpus import pydoc_sentences
from hpdistill.corpus.augment._wndb import synset_words

# Distribution and the package it installs; each BSD, MIT or Apache-2.0.
PACKAGES = {
    "datasets": "datasets",
    "huggingface_hub": "huggingface_hub",
    "networkx": "networkx",
    "numpy": "numpy",
    "pandas": "pandas",
    "pyarrow": "pyarrow",
    "pydantic": "pydantic",
    "rich": "rich",
    "scikit-learn": "sklearn",
    "scipy": "scipy",
    "sentence-transformers": "sentence_transformers",
    "sympy": "sympy",
    "torch": "torch",
    "transformers": "transformers",
    "typer": "typer",
}
PERMISSIVE = re.compile(r"Apache|BSD|MIT", re.IGNORECASE)


def main() -> None:
    """Write the three files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wordnet", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--documentation", type=int, default=25_000, help="keep so many, evenly")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    licences = {name: licence(name) for name in PACKAGES}
    counts = {
        "wordnet": write(options.out / "wordnet.txt", glosses(options.wordnet)),
        "words": write(options.out / "words.txt", entries(options.wordnet)),
        "documentation": write(
            options.out / "documentation.txt",
            pydoc_sentences(packages={*PACKAGES.values(), *sys.stdlib_module_names}),
            options.documentation,
        ),
    }
    sources = {
        "wordnet": "WordNet 3.0, WordNet licence",
        "python": f"standard library {platform.python_version()}, PSF-2.0",
        "packages": licences,
        "sentences": counts,
    }
    (options.out / "sources.json").write_text(json.dumps(sources, indent=2) + "\n", "utf-8")
    print(json.dumps(counts))


class Synset(NamedTuple):
    """Words that mean the same."""

    words: list[str]
    definition: str
    examples: list[str]


def synsets(folder: Path) -> Iterator[Synset]:
    """Every synset: `offset file type count word id ... | definition; "example"`."""
    for part in ("noun", "verb", "adj", "adv"):
        for line in (folder / f"data.{part}").read_text("utf-8").splitlines():
            if line.startswith("  "):  # the licence
                continue
            head, _, gloss = line.partition("|")
            # Quotes alternate: example, what is between two of them, example...
            definition, *rest = re.split(r';?\s*"', gloss.strip())
            yield Synset(
                [word.replace("_", " ") for word in synset_words(head.split())],
                definition.strip(" ;"),
                [example.strip(" ;") for example in rest[::2]],
            )


def glosses(folder: Path) -> Iterator[str]:
    """Definitions, then examples, of every synset."""
    for synset in synsets(folder):
        yield from filter(None, (synset.definition, *synset.examples))


def entries(folder: Path) -> Iterator[str]:
    """The words of every synset before its definition, as in a dictionary."""
    for synset in synsets(folder):
        if synset.definition:
            yield f"{', '.join(synset.words)}: {synset.definition}"


def licence(distribution: str) -> str:
    """Version and licence as the installed package declares them, if it is a permissive one."""
    facts = importlib.metadata.metadata(distribution)
    fields = facts.json
    declared = [c for c in facts.get_all("Classifier") or [] if c.startswith("License")]
    named = fields.get("license_expression") or "; ".join(c.split(" :: ")[-1] for c in declared)
    text = str(named or fields.get("license") or "").split("\n")[0]
    if not PERMISSIVE.search(text):
        sys.exit(f"{distribution}: licence {text!r} is not known to be permissive")
    return f"{facts['Version']}, {text}"


def write(path: Path, sentences: Iterator[str], limit: int | None = None) -> int:
    """Write distinct sentences, one a line; at most `limit`, spread evenly."""
    distinct = list(dict.fromkeys(" ".join(sentence.split()) for sentence in sentences))
    if limit is not None and limit < len(distinct):
        distinct = [distinct[i * len(distinct) // limit] for i in range(limit)]
    path.write_text("\n".join(distinct) + "\n", "utf-8")
    return len(distinct)


if __name__ == "__main__":
    main()
