"""Teacher, students, and other people's libraries, side by side in one run.

    python benchmarks/speed.py --data SENTEVAL --long FILE... --student MODEL
        [--teacher-graph DIR] [--static MODEL]
        [--peers-python PYTHON --fastembed DIR --model2vec DIR]

On the distinct sentences of the STS tasks, and on texts of 256 tokens. Every contender is a
process of its own on the same cores; they take turns, and ratios are formed within a round.
`sentence-transformers` is its `encode` in float32, batch 32. `--fastembed` is a directory of
all-MiniLM-L6-v2 with its float32 graph, `--model2vec` one that model2vec saved; both run in the
interpreter `--peers-python`. What is not given is left out.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _results import RESULTS, write

from hpdistill.corpus import read_source
from hpdistill.errors import WeightsError
from hpdistill.evaluate import (
    Backend,
    Contender,
    Speeds,
    Workload,
    evenly,
    load_tasks,
    measure_speed,
    missing,
    texts_of_tokens,
    tokenizer_file,
)
from hpdistill.weights import resolve

LONG = 256
BATCH = 32
SOURCE = Path(__file__).parent.parent / "src"


@dataclass(frozen=True)
class Claim:
    """What is promised of a contender against others: the least of these ratios."""

    name: str
    own: str
    others: tuple[str, ...]
    least: float
    latency: bool = False


TEACHERS = ("teacher torch-bfloat16", "teacher onnx-float32")
FASTEMBED = ("MiniLM fastembed", "MiniLM fastembed-default")
CLAIMS = (
    Claim(
        "int8 student / teacher, sentence-transformers",
        "student onnx-int8",
        ("teacher sentence-transformers",),
        20,
    ),
    Claim("int8 student / teacher at its best", "student onnx-int8", TEACHERS, 7),
    Claim(
        "int8 student / student, sentence-transformers",
        "student onnx-int8",
        ("student sentence-transformers",),
        3,
    ),
    Claim(
        "p50 of student in sentence-transformers / int8 student",
        "student onnx-int8",
        ("student sentence-transformers",),
        2,
        latency=True,
    ),
    Claim("int8 student / MiniLM in fastembed", "student onnx-int8", FASTEMBED, 1.5),
    Claim(
        "static student / teacher, sentence-transformers",
        "static runtime",
        ("teacher sentence-transformers",),
        200,
    ),
    Claim("static student / model2vec", "static runtime", ("model2vec model2vec",), 1),
)


def main() -> None:
    """Measure and write `results/speed.json`."""
    options = parse()
    contenders = local_contenders(options) + peer_contenders(options)
    workloads = workloads_of(options, contenders)
    print(*(contender.label for contender in contenders), sep="\n", flush=True)
    speeds = measure_speed(
        contenders,
        workloads,
        rounds=options.rounds,
        seconds=options.seconds,
        queries=options.queries,
        threads=options.threads,
        report=report,
    )
    labels = [f"{contender.model} {contender.backend}" for contender in contenders]
    claims = [
        row
        for claim in CLAIMS
        for workload in workloads
        if (row := judge(claim, workload.key, speeds, labels))
    ]
    for row in [*speeds.rows, *claims]:
        print(row, flush=True)
    # Ratios on long texts compare nothing where one side reads less of them.
    cut = {
        label: row["max_tokens"]
        for label, row in zip(labels, speeds.rows, strict=True)
        if (row["max_tokens"] or LONG) < LONG
    }
    print(f"texts of {LONG} tokens were cut by: {cut}" if cut else "no text was cut")
    figures = {"seconds": options.seconds, "rows": speeds.rows, "claims": claims, "cut": cut}
    data = (
        f"{len(workloads[0].texts):,} distinct sentences of the STS tasks, batches of {BATCH}; "
        f"tokens{LONG}: texts of {LONG} tokens joined from {', '.join(map(str, options.long))}"
    )
    print(write(options.name, data, figures) if options.name else "nothing written")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="SentEval's layout")
    parser.add_argument("--long", type=Path, nargs="+", required=True, help="files of sentences")
    parser.add_argument("--teacher", default="mpnet")
    parser.add_argument("--teacher-graph", help="the teacher, exported to float32")
    parser.add_argument("--student", required=True, help="exported to float32 and int8")
    parser.add_argument("--static", help="the static student")
    parser.add_argument("--peers-python", type=Path, help="has fastembed and model2vec")
    parser.add_argument("--fastembed", type=Path, metavar="DIR")
    parser.add_argument("--model2vec", type=Path, metavar="DIR")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of work in one turn")
    parser.add_argument("--queries", type=int, default=100, help="in one turn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="speed", help=f"file in {RESULTS.name}; '' writes none")
    options = parser.parse_args()
    if (options.fastembed or options.model2vec) and not options.peers_python:
        parser.error("--fastembed and --model2vec need --peers-python")
    return options


def local_contenders(options: argparse.Namespace) -> list[Contender]:
    """The teacher first: what ratios refer to."""
    wanted = [
        ("teacher", options.teacher, Backend.sentence_transformers),
        ("teacher", options.teacher, Backend.torch_bfloat16),
        ("teacher", options.teacher_graph, Backend.onnx_float32),
        ("student", options.student, Backend.sentence_transformers),
        ("student", options.student, Backend.onnx_float32),
        ("student", options.student, Backend.onnx_int8),
        ("static", options.static, Backend.runtime),
    ]
    contenders = []
    for role, name, backend in wanted:
        if name is not None:
            path = resolve(name).path
            if why := missing(path, backend):
                raise WeightsError(f"{name} cannot run on {backend}: {why}")
            contenders.append(Contender(model=role, backend=backend.value, path=path))
    return contenders


def peer_contenders(options: argparse.Namespace) -> list[Contender]:
    """Libraries that need an interpreter of their own."""
    peers = [
        ("MiniLM", options.fastembed, "fastembed"),
        ("MiniLM", options.fastembed, "fastembed-default"),
        ("model2vec", options.model2vec, "model2vec"),
    ]
    return [
        Contender(
            model=role,
            backend=backend,
            path=path.absolute(),
            command=(str(options.peers_python), str(Path(__file__).with_name("_peers.py"))),
            environment={"PYTHONPATH": str(SOURCE)},
        )
        for role, path, backend in peers
        if path is not None
    ]


def workloads_of(options: argparse.Namespace, contenders: list[Contender]) -> list[Workload]:
    """STS sentences, and long texts counted by the student's tokenizer."""
    sentences = evenly(load_tasks(options.data).sentences)
    lines = [text for file in options.long for text in read_source(str(file)) if text.strip()]
    student = next(c for c in contenders if c.model == "student")
    tokenizer = tokenizer_file(student.path)
    if tokenizer is None:
        sys.exit(f"{student.path} has no tokenizer.json")
    texts = texts_of_tokens(tokenizer, evenly(lines), LONG, 512)
    return [
        Workload(key="", texts=sentences, batch_size=BATCH),
        Workload(key=f"tokens{LONG}", texts=texts, batch_size=BATCH),
    ]


def judge(claim: Claim, key: str, speeds: Speeds, labels: list[str]) -> dict[str, Any] | None:
    """The claim's lowest ratio over those it names that ran; None if it says nothing here."""
    if claim.own not in labels or (claim.latency and key):
        return None
    own = labels.index(claim.own)
    found: list[tuple[float, dict[str, Any]]] = []
    for other in claim.others:
        if other in labels:
            place = labels.index(other)
            figures = (
                speeds.compare_latency(own, place)
                if claim.latency
                else speeds.compare(own, place, key)
            )
            found.append((figures["ratio"], {"against": other, **figures}))
    if not found:
        return None
    ratio, hardest = min(found, key=lambda pair: pair[0])
    return {
        "claim": claim.name,
        "texts": key or "sts",
        "wanted": claim.least,
        **hardest,
        "met": ratio >= claim.least,
    }


def report(task: str, done: int, total: int) -> None:
    """Progress, a line a turn."""
    print(f"{task}: {done} of {total}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
