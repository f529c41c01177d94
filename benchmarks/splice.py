"""Sentences that were never written, of those that were: the start of one, the end of another.

    python benchmarks/splice.py sentences.txt --count 120000 > spliced.txt

Two sentences that have the same pair of neighbouring words in them are joined there.
"""

import argparse
import random
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

LENGTHS = range(5, 26)
"""Words of a new sentence."""
SHORTEST = 6
"""Words of a sentence that gives the start."""
PATIENCE = 10_000
"""So many attempts without a new sentence end it."""


def spliced(sentences: Sequence[str], seed: int) -> Iterator[str]:
    """New sentences, none twice, until hardly any is left to be found."""
    draw = random.Random(seed)  # noqa: S311 - for no secret
    words = [sentence.split() for sentence in sentences]
    places = defaultdict(list)
    for number, row in enumerate(words):
        for at in range(1, len(row) - 2):
            places[row[at].lower(), row[at + 1].lower()].append((number, at))
    known = {sentence.lower() for sentence in sentences}
    misses = 0
    while misses < PATIENCE:
        misses += 1
        number = draw.randrange(len(words))
        row = words[number]
        if len(row) < SHORTEST:
            continue
        at = draw.randrange(1, len(row) - 2)
        other, there = draw.choice(places[row[at].lower(), row[at + 1].lower()])
        new = row[: at + 2] + words[other][there + 2 :]
        text = " ".join(new)
        if len(new) in LENGTHS and text.lower() not in known:
            known.add(text.lower())
            misses = 0
            yield text


def main() -> None:
    """Write them to standard output."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("sentences", type=Path, help="one a line")
    parser.add_argument("--count", type=int, default=120_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sentences = arguments.sentences.read_text("utf-8").splitlines()
    for _, text in zip(range(arguments.count), spliced(sentences, arguments.seed), strict=False):
        sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
