"""Folders in the layout of BEIR (Thakur et al. 2021), and judgements in TREC's four columns.

    corpus.jsonl      {"_id": "d1", "title": "", "text": "A dog runs."}
    queries.jsonl     {"_id": "q1", "text": "running dog"}
    qrels/test.tsv    query-id <tab> corpus-id <tab> score

Each may be gzipped. The header of the judgements may be missing; four columns are TREC's
(query, iteration, document, grade), divided by tabs or spaces.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpdistill.errors import EvaluationError
from hpdistill.evaluate.retrieval._assemble import Judgement, Part, Text, assemble, grade
from hpdistill.evaluate.retrieval._files import json_objects, lines
from hpdistill.evaluate.retrieval.task import RetrievalTask
from hpdistill.progress import Report, silent

__all__ = ["load_beir", "text_of"]

_LAYOUT = (
    "Expected BEIR's layout: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv, each also with .gz."
)
_HEADER = ("query-id", "corpus-id", "score")


def load_beir(folder: Path, *, split: str = "test", report: Report = silent) -> RetrievalTask:
    """Read a folder in BEIR's layout.

    Args:
        folder: Holds `corpus.jsonl`, `queries.jsonl` and `qrels`.
        split: Name of the file in `qrels`, without its suffix.
        report: Called with the number of rows read.

    Raises:
        EvaluationError: A file is missing or malformed (names the file and the line), or nothing
            is left to measure on.
    """
    corpus, queries = _find(folder / "corpus.jsonl"), _find(folder / "queries.jsonl")
    judgements = _qrels(folder / "qrels", split)
    return assemble(
        folder.resolve().name,
        (Part(str(corpus)), _texts(corpus)),
        (Part(str(queries)), _texts(queries)),
        (Part(str(judgements)), _judgements(judgements)),
        report=report,
    )


def text_of(row: dict[str, Any], where: str, line: int) -> Text:
    """A document or query of a row with `_id` (or `id`), `text` and perhaps `title`.

    Raises:
        EvaluationError: It has no id or no text, or they are of another type.
    """
    name = row.get("_id", row.get("id"))
    if not isinstance(name, str | int) or isinstance(name, bool) or name == "":
        raise EvaluationError(f"{where}: no _id; every row needs one, a string")
    if "text" not in row:
        raise EvaluationError(f"{where}: no text; fields: {', '.join(row)}")
    title, text = row.get("title") or "", row["text"] or ""
    for field, value in (("title", title), ("text", text)):
        if not isinstance(value, str):
            raise EvaluationError(f"{where}: {field} is {str(value)[:40]}, expected a string")
    return Text(line, str(name), title.strip(), text.strip())


def _texts(path: Path) -> Iterator[Text]:
    for number, row in json_objects(path):
        yield text_of(row, f"{path}, line {number}", number)


def _find(path: Path) -> Path:
    for candidate in (path, path.with_name(f"{path.name}.gz")):
        if candidate.is_file():
            return candidate
    raise EvaluationError(f"{path} does not exist", hint=_LAYOUT)


def _qrels(folder: Path, split: str) -> Path:
    there = sorted(path for path in folder.glob("*") if path.is_file())
    names = {path.name.removesuffix(".gz").rpartition(".")[0]: path for path in there}
    if split in names:
        return names[split]
    if not names:
        raise EvaluationError(f"{folder} holds no judgements", hint=_LAYOUT)
    raise EvaluationError(
        f"{folder} has no split {split!r}; there are: {', '.join(names)}",
        hint="Choose one of them, by `split`.",
    )


def _judgements(path: Path) -> Iterator[Judgement]:
    places: tuple[int, int, int] | None = None
    for number, line in enumerate(lines(path), start=1):
        if not line.strip():
            continue
        fields = line.rstrip("\r\n").split("\t") if "\t" in line else line.split()
        if places is None:
            if tuple(name.strip().lower() for name in fields) == _HEADER:
                places = (0, 1, 2)
                continue
            places = (0, 2, 3) if len(fields) == 4 else (0, 1, 2)
            if len(fields) == 3 and not _is_number(fields[2]):
                continue  # a header of other names
        if len(fields) != places[2] + 1:
            raise EvaluationError(
                f"{path}, line {number}: {len(fields)} columns, expected query-id, corpus-id and "
                "score (or query, iteration, document and grade)"
            )
        query, document, score = (fields[place].strip() for place in places)
        yield Judgement(number, query, document, grade(score, f"{path}, line {number}"))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
