"""Pairs of sentences, and writers of files laid out as SentEval's."""

from collections.abc import Sequence
from pathlib import Path

Pair = tuple[str, str, str]
"""Two sentences and the gold score as written; "" where the annotators left the pair out."""


FIRST = [
    ("a man plays a guitar", "a man plays a guitar on stage", "4.2"),
    ("the cat sat on the mat", "a dog ran in the park", "0.6"),
    ("rain is expected today", "it will rain today", "3.8"),
    ("two women talk", "a horse eats grass", "0.0"),
]
SECOND = [
    ("stocks fell sharply", "shares dropped sharply on monday", "3.0"),
    ("she reads a book", "she reads a long book", "4.0"),
    ("prices rose again", "the river is deep", "1.0"),
]


def write_subset(folder: Path, name: str, pairs: Sequence[Pair]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    inputs = "".join(f"{first}\t{second}\n" for first, second, _ in pairs)
    (folder / f"STS.input.{name}.txt").write_text(inputs, "utf-8")
    golds = "".join(f"{gold}\n" for _, _, gold in pairs)
    (folder / f"STS.gs.{name}.txt").write_text(golds, "utf-8")


def write_benchmark(folder: Path, part: str, pairs: Sequence[Pair], *, extra: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = (
        f"main-captions\tMSRvid\t2012test\t{number:04}\t{gold}\t{first}\t{second}{extra}\n"
        for number, (first, second, gold) in enumerate(pairs)
    )
    (folder / f"sts-{part}.csv").write_text("".join(rows), "utf-8")


def write_sick(folder: Path, part: str, pairs: Sequence[Pair]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    head = "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\n"
    rows = (
        f"{n}\t{first}\t{second}\t{gold}\tNEUTRAL\n"
        for n, (first, second, gold) in enumerate(pairs)
    )
    (folder / f"SICK_{part}.txt").write_text(head + "".join(rows), "utf-8")
