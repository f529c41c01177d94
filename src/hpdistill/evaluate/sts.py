"""Semantic textual similarity in the setting of SimCSE's table.

The seven tasks are SemEval's STS 2012 to 2016 (Agirre et al. 2012, 2013, 2014, 2015, 2016), the
STS benchmark's test set (Cer et al. 2017) and SICK relatedness (Marelli et al. 2014), in the
files that SentEval distributes (Conneau and Kiela 2018). A task's score is Spearman's rank
correlation of gold score and cosine similarity, times 100. The subsets of a year are
**concatenated** before correlating: "all" in Gao et al. 2021 (SimCSE), appendix B, which shows
how much the mean over subsets differs from it. Figures in the other setting do not compare.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpdistill.encoder import Embeddings, Encoder, check_prefix, unit
from hpdistill.errors import EvaluationError
from hpdistill.evaluate._encode import encode_sentences
from hpdistill.evaluate._files import (
    TABLES,
    divided_note,
    kind,
    pair_columns,
    row_unit,
    sentence_of,
    table,
)
from hpdistill.evaluate._spearman import spearman
from hpdistill.files import text_hash
from hpdistill.progress import Report, silent, tell

__all__ = [
    "DEV_TASK",
    "TASKS",
    "StsData",
    "StsScores",
    "StsSubset",
    "StsTask",
    "check_prefixes",
    "evaluate_sts",
    "evaluate_sts_prefixes",
    "load_scored_pairs",
    "load_tasks",
]

TASKS = ("STS12", "STS13", "STS14", "STS15", "STS16", "STSBenchmark", "SICKRelatedness")
"""The seven tasks, by their names in mteb."""
DEV_TASK = "STSBenchmark-dev"

# What the public copies hold of each year. STS13's fourth subset, SMT, may not be
# redistributed: copies have its gold file without its sentences, and SimCSE's figures omit it.
_SUBSETS = {
    "STS12": ("MSRpar", "MSRvid", "SMTeuroparl", "surprise.OnWN", "surprise.SMTnews"),
    "STS13": ("FNWN", "OnWN", "headlines"),
    "STS14": ("OnWN", "deft-forum", "deft-news", "headlines", "images", "tweet-news"),
    "STS15": ("answers-forums", "answers-students", "belief", "headlines", "images"),
    "STS16": ("answer-answer", "headlines", "plagiarism", "postediting", "question-question"),
}
_LAYOUT = (
    "Expected SentEval's layout: STS/STS12-en-test/STS.input.*.txt with STS.gs.*.txt (to STS16), "
    "STS/STSBenchmark/sts-test.csv, SICK/SICK_test_annotated.txt; any of them."
)


@dataclass(frozen=True)
class StsSubset:
    """Scored sentence pairs of one source."""

    name: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    gold: NDArray[np.float64]
    """Shape (pairs,): the annotators' mean, 0 (or 1 in SICK) to 5."""

    def _only(self, kept: NDArray[np.bool_]) -> "StsSubset":
        first, second = (tuple(compress(side, kept)) for side in (self.first, self.second))
        return StsSubset(self.name, first, second, self.gold[kept])


@dataclass(frozen=True)
class StsTask:
    """One task; its score is taken over all its subsets at once."""

    name: str
    subsets: tuple[StsSubset, ...]

    @property
    def pairs(self) -> int:
        """Number of scored pairs."""
        return sum(len(subset.gold) for subset in self.subsets)

    def at_most(self, pairs: int) -> "StsTask":
        """At most so many pairs, 2 or more; see `StsData.at_most`."""
        if self.pairs <= pairs:
            return self
        by_gold = np.argsort(
            np.concatenate([subset.gold for subset in self.subsets]), kind="stable"
        )
        kept = np.zeros(self.pairs, np.bool_)
        # From the lowest to the highest, so that there is something to rank.
        kept[by_gold[np.linspace(0, self.pairs - 1, pairs).astype(np.int64)]] = True
        ends = np.cumsum([len(subset.gold) for subset in self.subsets])
        masks = np.split(kept, ends[:-1])
        subsets = (one._only(mask) for one, mask in zip(self.subsets, masks, strict=True))
        return replace(self, subsets=tuple(one for one in subsets if len(one.gold)))


@dataclass(frozen=True)
class StsData:
    """The tasks that a folder holds."""

    tasks: tuple[StsTask, ...]
    missing: tuple[str, ...] = ()
    """Tasks looked for and not found."""
    incomplete: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Official subsets that a present task lacks: its score compares with no published one."""

    def at_most(self, pairs: int) -> "StsData":
        """Some pairs of each task, spread evenly over its gold scores: to try something out.

        Scores of some pairs compare with no published ones, nor with those of all.

        Args:
            pairs: The most that a task keeps, 2 or more; one that has no more stays as it is.
        """
        return replace(self, tasks=tuple(task.at_most(pairs) for task in self.tasks))

    @property
    def pairs(self) -> int:
        """Number of scored pairs, of all tasks."""
        return sum(task.pairs for task in self.tasks)

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """The distinct sentences of all tasks."""
        both = (
            sentence
            for task in self.tasks
            for subset in task.subsets
            for side in (subset.first, subset.second)
            for sentence in side
        )
        return tuple(dict.fromkeys(both))

    @cached_property
    def hash(self) -> str:
        """Sha256 over all pairs and their scores, in hexadecimal."""
        return text_hash(
            f"{task.name}\t{subset.name}\t{first}\t{second}\t{gold}"
            for task in self.tasks
            for subset in task.subsets
            for first, second, gold in zip(subset.first, subset.second, subset.gold, strict=True)
        )


@dataclass(frozen=True, kw_only=True)
class StsScores:
    """Scores of one encoder at one width, in points (0 to 100)."""

    model: str
    dim: int
    precision: str
    tasks: Mapping[str, float | None]
    """Score of every task that was looked for; None where it is missing."""
    subsets: Mapping[str, Mapping[str, float]]
    """Per task and subset, for reading; they do not average to the task's score."""

    @property
    def tasks_present(self) -> int:
        """Number of tasks that have a score."""
        return len(self._present)

    @property
    def average(self) -> float | None:
        """Mean of the seven tasks; None unless all seven are there."""
        return self.average_present if all(name in self._present for name in TASKS) else None

    @property
    def average_present(self) -> float:
        """Mean of the tasks that are there."""
        return math.fsum(self._present.values()) / self.tasks_present

    def retention(self, reference: "StsScores") -> float | None:
        """The average as a percentage of the reference's, over the tasks that both have.

        None when they share no task or the reference's average is not positive.
        """
        common = [name for name in self._present if name in reference._present]
        own = math.fsum(self._present[name] for name in common)
        theirs = math.fsum(reference._present[name] for name in common)
        return 100 * own / theirs if theirs > 0 else None

    def row(self, *, reference: "StsScores | None" = None) -> dict[str, Any]:
        """One flat row.

        Keys: `model, dim, precision`, the tasks, `average, average_present, tasks_present,
        retention`; None where there is no figure, and for retention without a reference.
        """
        return {
            "model": self.model,
            "dim": self.dim,
            "precision": self.precision,
            **self.tasks,
            "average": self.average,
            "average_present": self.average_present,
            "tasks_present": self.tasks_present,
            "retention": self.retention(reference) if reference is not None else None,
        }

    @cached_property
    def _present(self) -> dict[str, float]:
        return {name: score for name, score in self.tasks.items() if score is not None}


def load_tasks(data: Path, *, dev: bool = False) -> StsData:
    """Read the STS tasks under a folder laid out like SentEval's `data/downstream`.

    Sentences are split at white space and joined by single spaces, as SentEval does. A blank
    line in a gold file means that the annotators left the pair out.

    Args:
        data: The folder that holds `STS` and `SICK`, or the `STS` folder itself.
        dev: Read only the STS benchmark's development set, as task `STSBenchmark-dev`: choosing
            a model by the test sets would be cheating.

    Returns:
        The tasks present, and the names of those missing.

    Raises:
        EvaluationError: The folder is missing or holds no task, or a file is malformed; the
            message names the file, and the line or byte.
    """
    if not data.is_dir():
        raise EvaluationError(f"evaluation folder {data} does not exist", hint=_LAYOUT)
    names = (DEV_TASK,) if dev else TASKS
    found = {name: _load_task(name, data) for name in names}
    tasks = tuple(task for task in found.values() if task is not None)
    if not tasks:
        wanted = "STSBenchmark/sts-dev.csv" if dev else "STS task"
        raise EvaluationError(f"no {wanted} found in {data}", hint=_LAYOUT)
    for task in tasks:
        if len(np.unique(np.concatenate([subset.gold for subset in task.subsets]))) < 2:
            raise EvaluationError(f"{task.name} in {data} needs pairs of at least two gold scores")
    return StsData(
        tasks,
        missing=tuple(name for name, task in found.items() if task is None),
        incomplete={task.name: lacking for task in tasks if (lacking := _lacking(task))},
    )


_SCORES = (
    "score",
    "similarity",
    "similarity_score",
    "relatedness_score",
    "gold",
    "label",
)


def load_scored_pairs(
    path: Path,
    *,
    first: str | None = None,
    second: str | None = None,
    score: str | None = None,
    delimiter: str | None = None,
) -> StsData:
    """Read a file of sentence pairs with scores as one task, named as the file is.

    White space within sentences becomes single blanks, as in the tasks of `load_tasks`. Pairs with
    an empty sentence are left out, and their number is logged.

    Args:
        path: A `.csv`, `.tsv` or `.jsonl` (also with `.gz`) or `.parquet`; its columns have names.
        first: Column of the one sentence. None finds the usual names, such as sentence1 and
            sentence2.
        second: Column of the other.
        score: Column of how similar they are, on any scale. None finds the usual names.
        delimiter: What divides the columns of `.csv` and `.tsv`: one character, or `tab`. None
            looks for it, and logs what it found if that is not what the name says.

    Raises:
        EvaluationError: The file cannot be read, lacks a column or names one twice, holds no number
            where a score should be (names the line), or fewer than two different scores.
        UsageError: There is no such delimiter.
        PackageError: pyarrow, for Parquet, is not installed.
    """
    if kind(path) not in TABLES:
        raise EvaluationError(
            f"{path} is of no format that holds scored pairs",
            hint=f"Allowed: {', '.join(TABLES)} (text formats also .gz), or a folder of tasks.",
        )
    if note := divided_note(path, delimiter):
        tell(note)
    columns: tuple[str, str, str] | None = None
    pairs = []
    empty = 0
    for number, row in table(path, delimiter):
        where = f"{path}, {row_unit(path)} {number}"
        if columns is None or not row.keys() >= {*columns}:
            found = pair_columns(list(row), first, second, score, usual=_SCORES, where=str(path))
            if found[2] is None:
                raise EvaluationError(
                    f"{path}: which column holds the scores? columns: {', '.join(row)}",
                    hint="Name it, by `score`.",
                )
            if columns is not None:
                missing = next(name for name in columns if name not in row)
                raise EvaluationError(f"{where}: no column {missing!r}; columns: {', '.join(row)}")
            columns = (found[0], found[1], found[2])
        one, other = (sentence_of(row, name, where) for name in columns[:2])
        scored = (one, other, _number(row[columns[2]], f"{where}, {columns[2]}"))
        if one.strip() and other.strip():
            pairs.append(scored)
        else:
            empty += 1
    if empty:
        tell(f"{path}: {empty:,} pairs have an empty sentence and are left out")
    subset = _subset(path.name, pairs)
    if len(np.unique(subset.gold)) < 2:
        raise EvaluationError(
            f"{path} needs pairs of at least two scores; it has {len(pairs):,} pairs"
        )
    return StsData((StsTask(path.name, (subset,)),))


def evaluate_sts(
    encoder: Encoder,
    tasks: StsData,
    *,
    dim: int | None = None,
    precision: str = "float32",
    report: Report = silent,
) -> StsScores:
    """Score an encoder on STS tasks; every distinct sentence is encoded once.

    Args:
        encoder: Anything that turns texts into vectors.
        tasks: What `load_tasks` read.
        dim: Score only the first `dim` numbers of each vector.
        precision: What the row says the vectors were computed in; it changes nothing.
        report: Called with the number of sentences encoded.

    Returns:
        Scores of every task; a zero vector has cosine 0, and equal cosines everywhere score 0.

    Raises:
        UsageError: `dim` is not between 1 and the encoder's width.
        EvaluationError: The encoder gives a vector that is not finite; names the sentence.
    """
    return evaluate_sts_prefixes(encoder, tasks, [dim], precision=precision, report=report)[0]


def evaluate_sts_prefixes(
    encoder: Encoder,
    tasks: StsData,
    dims: Sequence[int | None],
    *,
    precision: str = "float32",
    report: Report = silent,
) -> list[StsScores]:
    """`evaluate_sts` at several widths, encoding only once; None is the full width."""
    check_prefixes(encoder, dims)
    vectors = encode_sentences(encoder, tasks.sentences, report=report)
    rows = {sentence: row for row, sentence in enumerate(tasks.sentences)}
    scores = []
    for dim in dims:
        prefix = unit(vectors, dim=dim)
        by_task: dict[str, float | None] = dict.fromkeys(tasks.missing)
        by_subset = {}
        for task in tasks.tasks:
            cosines = [_cosines(prefix, rows, subset) for subset in task.subsets]
            gold = [subset.gold for subset in task.subsets]
            by_task[task.name] = 100 * spearman(np.concatenate(cosines), np.concatenate(gold))
            by_subset[task.name] = {
                subset.name: 100 * spearman(own, subset.gold)
                for subset, own in zip(task.subsets, cosines, strict=True)
            }
        scores.append(
            StsScores(
                model=encoder.name,
                dim=prefix.shape[1],
                precision=precision,
                tasks={name: by_task[name] for name in _in_order(by_task)},
                subsets=by_subset,
            )
        )
    return scores


def _in_order(names: Iterable[str]) -> list[str]:
    """Names of tasks as a table has them; those that are not known last."""
    known = (*TASKS, DEV_TASK)
    return sorted(names, key=lambda name: known.index(name) if name in known else len(known))


def check_prefixes(encoder: Encoder, dims: Sequence[int | None]) -> None:
    """Refuse widths that an encoder does not have.

    Raises:
        UsageError: Names the encoder and the widths allowed.
    """
    for dim in dims:
        check_prefix(encoder, dim)


def _cosines(
    vectors: Embeddings, rows: Mapping[str, int], subset: StsSubset
) -> NDArray[np.float64]:
    first = vectors[[rows[sentence] for sentence in subset.first]]  # (pairs, dim)
    second = vectors[[rows[sentence] for sentence in subset.second]]
    return np.asarray(np.einsum("pd,pd->p", first, second, dtype=np.float64))


def _load_task(name: str, data: Path) -> StsTask | None:
    if name in _SUBSETS:
        subsets = _load_year(_find(data, f"{name}-en-test"))
        return StsTask(name, subsets) if subsets else None
    relative = {
        "STSBenchmark": "STSBenchmark/sts-test.csv",
        DEV_TASK: "STSBenchmark/sts-dev.csv",
        # SICK's train and trial parts are never a stand-in: students may have seen them.
        "SICKRelatedness": "SICK/SICK_test_annotated.txt",
    }[name]
    path = _find(data, relative)
    if not path.is_file():
        return None
    subset = (
        _load_columns(path, sentences=(1, 2), score=3, header=True)
        if name == "SICKRelatedness"
        else _load_columns(path, sentences=(5, 6), score=4, header=False)
    )
    return StsTask(name, (subset,))


def _find(data: Path, relative: str) -> Path:
    inside = data / "STS" / relative
    return inside if inside.exists() else data / relative


def _lacking(task: StsTask) -> tuple[str, ...]:
    present = {subset.name for subset in task.subsets}
    return tuple(name for name in _SUBSETS.get(task.name, ()) if name not in present)


def _load_year(folder: Path) -> tuple[StsSubset, ...]:
    """Read every `STS.input.X.txt`; a gold file without an input, ALL or SMT, is no subset."""
    subsets = []
    for source in sorted(folder.glob("STS.input.*.txt")):
        name = source.name.removeprefix("STS.input.").removesuffix(".txt")
        if name == "ALL":  # the concatenation of the others: would count every pair twice
            continue
        gold_path = source.with_name(f"STS.gs.{name}.txt")
        inputs, golds = _lines(source), _lines(gold_path)
        if len(inputs) != len(golds):
            raise EvaluationError(
                f"{gold_path} has {len(golds)} lines, and {source.name} has {len(inputs)}: "
                "they pair line by line"
            )
        scored = [
            (_fields(source, number, line, 2), _score(gold_path, number, gold))
            for number, (line, gold) in enumerate(zip(inputs, golds, strict=True), start=1)
            if gold.strip()
        ]
        subsets.append(_subset(name, [(fields[0], fields[1], score) for fields, score in scored]))
    return tuple(subset for subset in subsets if len(subset.gold))


def _load_columns(path: Path, *, sentences: tuple[int, int], score: int, header: bool) -> StsSubset:
    """Read a tab-separated file. Quotes are text here, so the csv module stays out of it."""
    first, second = sentences
    pairs = []
    for number, line in enumerate(_lines(path), start=1):
        if (header and number == 1) or not line.strip():
            continue
        fields = _fields(path, number, line, max(first, second, score) + 1)
        pairs.append((fields[first], fields[second], _score(path, number, fields[score])))
    return _subset(path.stem, pairs)


def _subset(name: str, pairs: Sequence[tuple[str, str, float]]) -> StsSubset:
    return StsSubset(
        name,
        tuple(" ".join(first.split()) for first, _, _ in pairs),
        tuple(" ".join(second.split()) for _, second, _ in pairs),
        np.array([score for _, _, score in pairs], np.float64),
    )


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise EvaluationError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise EvaluationError(
            f"{path} is not UTF-8: byte {error.start}", hint="SentEval's copies are UTF-8."
        ) from error
    # Not splitlines(): it also breaks at characters that occur inside sentences, U+0085 and such.
    return text.removesuffix("\n").replace("\r\n", "\n").split("\n") if text else []


def _fields(path: Path, number: int, line: str, least: int) -> list[str]:
    fields = line.split("\t")
    if len(fields) < least:
        raise EvaluationError(
            f"{path}, line {number}: {len(fields)} tab-separated fields, expected at least {least}"
        )
    return fields


def _score(path: Path, number: int, text: str) -> float:
    return _number(text, f"{path}, line {number}")


def _number(value: object, where: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        shown = value.strip() if isinstance(value, str) else value
        raise EvaluationError(f"{where}: {str(shown)[:40]!r} is not a score")
    return number
