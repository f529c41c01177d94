"""Folders in the layout of BEIR (Thakur et al. 2021), and judgements in TREC's four columns.

    corpus.jsonl      {"_id": "d1", "title": "", "text": "A dog runs."}
    queries.jsonl     {"_id": "q1", "text": "running dog"}
    qrels/test.tsv    query-id <tab> corpus-id <tab> score

Each may be gzipped. The header of the judgements names their columns, in any order; where it is
missing they are query, document and grade, or TREC's four (query, iteration, document, grade).
Tabs or spaces divide them, commas or semicolons in a `.csv`; `.jsonl` and `.parquet` do as well.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpdistill.errors import EvaluationError
from hpdistill.evaluate._files import kind, lines, row_unit, table
from hpdistill.evaluate.retrieval._assemble import Judgement, Part, Text, assemble, grade
from hpdistill.evaluate.retrieval.task import RetrievalTask
from hpdistill.progress import Report, silent

__all__ = ["load_beir", "text_of"]

_LAYOUT = (
    "Expected BEIR's layout: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv, each also with .gz."
)
_COLUMNS = {
    "query": {"query-id", "queryid", "query", "qid", "topic", "topic-id"},
    "document": {
        *("corpus-id", "corpusid", "document-id", "document", "doc-id", "doc", "docid", "docno"),
        *("did", "passage-id", "pid"),
    },
    "grade": {"score", "grade", "relevance", "relevancy", "rel", "label", "judgement", "judgment"},
}
"""What the columns of judgements are called, in lower case, a hyphen between words."""
_UNNAMED = {3: (0, 1, 2), 4: (0, 2, 3)}
"""Where query, document and grade are in so many columns without names."""
_HEADERS = (
    "Allowed: columns named query-id, corpus-id and score, in any order; without names query, "
    "document, grade, or TREC's query, iteration, document, grade."
)
_NAMED = (".jsonl", ".parquet")


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
    rows = _named(judgements) if kind(judgements) in _NAMED else _judgements(judgements)
    return assemble(
        folder.resolve().name,
        (Part(str(corpus)), _texts(corpus)),
        (Part(str(queries)), _texts(queries)),
        (Part(str(judgements), row_unit(judgements)), rows),
        report=report,
    )


def text_of(row: Mapping[str, Any], where: str, line: int) -> Text:
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
    for number, row in table(path):
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
    """Of a file whose columns may have no names."""
    places: Sequence[int] = ()
    width = 0
    for number, line in enumerate(lines(path), start=1):
        if not line.strip():
            continue
        fields, where = _divided(line, path), f"{path}, line {number}"
        if not width:
            width = len(fields)
            places = _UNNAMED.get(width, ())
            # A grade is a number, and the name of a column is none.
            if not places or not _is_number(fields[places[2]]):
                places = _places(fields, where)
                continue
        if len(fields) != width:
            raise EvaluationError(
                f"{where}: {len(fields)} columns, the first line has {width}", hint=_HEADERS
            )
        query, document, score = (fields[place].strip() for place in places)
        yield Judgement(number, query, document, grade(score, where))


def _named(path: Path) -> Iterator[Judgement]:
    """Of a file whose columns have names."""
    names: list[str] = []
    places: Sequence[int] = ()
    for number, row in table(path):
        where = f"{path}, {row_unit(path)} {number}"
        if list(row) != names:
            names = list(row)
            places = _places(names, where)
        query, document, score = (row[names[place]] for place in places)
        yield Judgement(number, str(query), str(document), grade(score, where))


def _places(names: Sequence[str], where: str) -> list[int]:
    """Where query, document and grade are.

    Raises:
        EvaluationError: The names do not tell.
    """
    plain = ["-".join(name.lower().replace("_", " ").split()) for name in names]
    places = []
    for what, known in _COLUMNS.items():
        found = [place for place, name in enumerate(plain) if name in known]
        if len(found) != 1:
            which = "none of them is" if not found else "more than one of them may be"
            raise EvaluationError(
                f"{where}: the columns are {', '.join(names)}, and {which} the {what}",
                hint=_HEADERS,
            )
        places += found
    return places


def _divided(line: str, path: Path) -> list[str]:
    text = line.rstrip("\r\n")
    if "\t" in text:
        return text.split("\t")
    if kind(path) == ".csv":
        return next(csv.reader([text], delimiter=";" if ";" in text else ","))
    return text.split()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
