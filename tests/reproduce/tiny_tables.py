"""Small data of every kind that a reproduction reads, and the tiny models that it is made from."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hpdistill.reproduce import Reproduced, reproduce


@dataclass(frozen=True)
class Lab:
    """Where everything lies."""

    teacher: Path
    student: Path
    sentences: Path
    nli: Path
    sts: Path
    """The STS benchmark's parts and STS12; its first sentences are in the other files, too."""
    retrieval: Path

    @property
    def models(self) -> list[str]:
        """Tiny weights for what the rows of the poster start from."""
        return [
            f"microsoft/mpnet-base={self.teacher}",
            f"nreimers/MiniLM-L6-H384-uncased={self.student}",
            f"tinybert={self.student}",
        ]

    @property
    def run(self) -> Callable[..., Reproduced]:
        """`reproduce` at the scale of tests, by STS."""
        return partial(
            reproduce,
            scale="tiny",
            sentences=[str(self.sentences)],
            nli=[str(self.nli)],
            data=self.sts,
            models=self.models,
        )


def make_lab(
    place: Path, teacher: Path, student: Path, texts: Sequence[str], *, evaluated: int = 90
) -> Lab:
    """Write it all; needs 330 texts, those to evaluate on, and some more to search."""
    sentences = place / "sentences.txt"
    sentences.write_text("\n".join(texts[:300]) + "\n", "utf-8")
    nli = place / "AllNLI.tsv"
    nli.write_text(_nli(texts[200:320]), "utf-8")
    # Two sentences of the corpus, and one premise.
    first = 330 + evaluated
    _write_sts(place / "senteval", [*texts[:2], texts[200], *texts[330:first]])
    write_beir(place / "beir", texts[first:])
    return Lab(teacher, student, sentences, nli, place / "senteval", place / "beir")


def row_of(result: Reproduced, name: str) -> dict[str, Any]:
    (found,) = [row for row in result.rows if row["row"] == name]
    return found


def files(place: Path) -> dict[str, int]:
    """Every file under a directory but locks, and when it was written."""
    return {
        path.relative_to(place).as_posix(): path.stat().st_mtime_ns
        for path in sorted(place.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def _nli(texts: Sequence[str]) -> str:
    """What follows from a sentence is a part of it; what contradicts it is another."""
    half = len(texts) // 2
    rows = ["split\tdataset\tfilename\tsentence1\tsentence2\tlabel"]
    for one, other in zip(texts[:half], texts[half:], strict=True):
        rows.append(f"train\tSNLI\tf\t{one}\t{' '.join(one.split()[1:])}\tentailment")
        rows.append(f"train\tSNLI\tf\t{one}\t{other}\tcontradiction")
    return "\n".join(rows) + "\n"


def _write_sts(folder: Path, texts: Sequence[str]) -> None:
    """Gold scores are the share of words in common: any encoder of words agrees a little."""
    draw = random.Random(0)
    pairs = []
    for first in texts:
        words = first.split()
        kept = [word for word in words if draw.random() < 0.6] or words[:1]
        pairs.append((first, " ".join([*kept, "and", "so"]), f"{5 * len(kept) / len(words):.3f}"))
    benchmark = folder / "STS" / "STSBenchmark"
    benchmark.mkdir(parents=True)
    for part, own in (("dev", pairs[1::2]), ("test", pairs[::2])):
        lines = [f"a\tb\tc\td\t{gold}\t{one}\t{other}" for one, other, gold in own]
        (benchmark / f"sts-{part}.csv").write_text("\n".join(lines) + "\n", "utf-8")
    year = folder / "STS" / "STS12-en-test"
    year.mkdir()
    for subset in ("MSRpar", "MSRvid", "SMTeuroparl", "surprise.OnWN", "surprise.SMTnews"):
        own = draw.sample(pairs, 12)
        both = "".join(f"{one}\t{other}\n" for one, other, _ in own)
        (year / f"STS.input.{subset}.txt").write_text(both, "utf-8")
        golds = "".join(f"{gold}\n" for _, _, gold in own)
        (year / f"STS.gs.{subset}.txt").write_text(golds, "utf-8")


def write_beir(folder: Path, texts: Sequence[str]) -> None:
    """A query is most of its document."""
    (folder / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{n}", "text": text} for n, text in enumerate(texts)]
    queries = [
        {"_id": f"q{n}", "text": " ".join(text.split()[1:])} for n, text in enumerate(texts[:10])
    ]
    for name, rows in (("corpus", documents), ("queries", queries)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, "utf-8")
    judged = "".join(f"q{n}\td{n}\t1\n" for n in range(10))
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}", "utf-8")
