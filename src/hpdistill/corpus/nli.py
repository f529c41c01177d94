"""Pairs of natural language inference: their sentences, and triplets to contrast.

SNLI (Bowman et al. 2015) and MNLI (Williams et al. 2018) label what a hypothesis is to its
premise. AllNLI is both in one file; the hub has it, too, as Parquet.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from hpdistill.corpus import _hub
from hpdistill.corpus._columns import text_value
from hpdistill.corpus._lines import json_rows, lines
from hpdistill.corpus._parquet import columns, parquet_rows
from hpdistill.corpus._tables import file_format, table_rows
from hpdistill.corpus.cleaning import clean, exclusion_key
from hpdistill.errors import CorpusError
from hpdistill.files import sha256_file
from hpdistill.progress import Report, silent

__all__ = [
    "LABELS",
    "NliPair",
    "Triplet",
    "TripletSummary",
    "files_of",
    "is_allnli",
    "read_nli",
    "read_nli_sentences",
    "read_triplets",
]

ALLNLI = "allnli"

LABELS = ("entailment", "neutral", "contradiction")
"""In the order of their numbers in the hub's datasets."""
NO_LABEL = ("-", -1)
"""Of pairs that the annotators did not agree on, in the archives and on the hub."""

SPLITS = ("train", "dev", "test")

_COLUMNS = (
    ("sentence1", "sentence2", "label"),  # AllNLI
    ("sentence1", "sentence2", "gold_label"),  # the archives of SNLI and MNLI
    ("premise", "hypothesis", "label"),  # the hub
)

_REPOSITORY = "sentence-transformers/all-nli"
# One commit for good. No checksum of its files is known but the hub's own, which is compared.
_REVISION = "6de3c20ba0e589d3b5bb9b74bb4c2769fae9864f"

_REPORT_EVERY = 5_000


class NliPair(NamedTuple):
    """One row, not cleaned."""

    premise: str
    hypothesis: str
    label: str | None
    """One of `LABELS`; None where the annotators did not agree."""


class Triplet(NamedTuple):
    """A premise, and a hypothesis that follows from it and one that contradicts it; cleaned."""

    premise: str
    entailed: str
    contradicting: str


@dataclass(kw_only=True)
class TripletSummary:
    """What became of the pairs."""

    read: int = 0
    dropped: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("unlabelled", "empty", "excluded"), 0)
    )
    """Pairs that were not used, by reason; it counts under the first that holds."""
    premises: int = 0
    """Distinct premises of the rest."""
    triplets: int = 0
    """Premises with an entailed and a contradicting hypothesis."""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def is_allnli(source: str) -> bool:
    """Whether a source is of the form `allnli[:PATH][:train|dev|test]`."""
    return source == ALLNLI or source.startswith(f"{ALLNLI}:")


def files_of(source: str) -> list[Path]:
    """The files of an `allnli` source, fetched if need be.

    Raises:
        CorpusError: They cannot be fetched, or are not what the hub says they are.
    """
    path, splits = _parse(source)
    return [path] if path else [_fetch(split) for split in splits or ("train", "dev")]


def read_nli_sentences(
    source: str, *, encoding: str = "utf-8", errors: str = "strict"
) -> Iterator[str]:
    """Both sentences of every pair of an `allnli` source, of train and dev unless it says which.

    A sentence is one whether the annotators agreed on its pair or not.

    Raises:
        CorpusError: As `read_nli`.
    """
    pairs = read_nli(source, splits=("train", "dev"), encoding=encoding, errors=errors)
    for pair in pairs:
        yield pair.premise
        yield pair.hypothesis


def read_nli(
    source: str,
    *,
    splits: Sequence[str] = ("train",),
    encoding: str = "utf-8",
    errors: str = "strict",
) -> Iterator[NliPair]:
    """Stream labelled pairs, in their own order.

    Args:
        source: `allnli[:PATH][:train|dev|test]`, without PATH fetched from the hub; a `.tsv`,
            `.jsonl` or `.parquet` file (text also with `.gz`) with the columns of AllNLI, of the
            archives of SNLI and MNLI, or of the hub's datasets; or `hf:DATASET[:config][:split]`.
        splits: Of AllNLI, where the source names none: `train`, `dev`, `test`.
        encoding: Of text files.
        errors: What to do with bytes that are not in `encoding`: `strict`, `replace`, `ignore`.

    Raises:
        CorpusError: The source cannot be read, a column is missing, or a label or split is none
            of those allowed; names the file, the line and the value.
    """
    if _hub.is_hub(source):
        return _pairs(source, "row", enumerate(_hub.hub_rows(source), start=1), ())
    if not is_allnli(source):
        return _file_pairs(Path(source), splits, encoding, errors)
    path, own = _parse(source)
    wanted = own or splits
    if path:
        return _file_pairs(path, wanted, encoding, errors)
    files = map(_fetch, wanted)  # each only when the one before has been read
    return (pair for file in files for pair in _file_pairs(file, (), encoding, errors))


def read_triplets(
    sources: Sequence[str],
    *,
    excluded: AbstractSet[bytes] = frozenset(),
    encoding: str = "utf-8",
    errors: str = "strict",
    report: Report = silent,
) -> tuple[list[Triplet], TripletSummary]:
    """One triplet for each premise that has a hypothesis of either kind: its first ones.

    So the supervised SimCSE (Gao et al. 2021, section 4.2) takes them; no premise comes twice, and
    none meets its own hypotheses as another's negatives.

    Args:
        sources: As `read_nli` takes them; of AllNLI the split `train` unless they name another.
        excluded: Keys of sentences (`exclusion_key`) that must not be trained on: pairs that
            hold one are dropped.
        encoding: Of text files.
        errors: What to do with bytes that are not in `encoding`.
        report: Called with the number of pairs read.

    Raises:
        CorpusError: As `read_nli`; or there is no triplet.
    """
    summary = TripletSummary()
    firsts: dict[str, dict[str, str]] = {}
    for source in sources:
        for pair in read_nli(source, encoding=encoding, errors=errors):
            summary.read += 1
            if not summary.read % _REPORT_EVERY:
                report("reading pairs", summary.read, 0)
            premise, hypothesis = clean(pair.premise), clean(pair.hypothesis)
            if pair.label is None:
                summary.dropped["unlabelled"] += 1
            elif not premise or not hypothesis:
                summary.dropped["empty"] += 1
            elif excluded and not excluded.isdisjoint(map(exclusion_key, (premise, hypothesis))):
                summary.dropped["excluded"] += 1
            else:
                firsts.setdefault(premise, {}).setdefault(pair.label, hypothesis)
    report("reading pairs", summary.read, summary.read)
    summary.premises = len(firsts)
    found = [
        Triplet(premise, own["entailment"], own["contradiction"])
        for premise, own in firsts.items()
        if "entailment" in own
        and "contradiction" in own
        # Annotated twice, and differently.
        and own["entailment"] != own["contradiction"]
    ]
    summary.triplets = len(found)
    if not found:
        raise CorpusError(
            f"no triplet in {', '.join(sources)}: of {summary.premises:,} premises in "
            f"{summary.read:,} pairs none has both an entailed and a contradicting hypothesis",
            hint="Of AllNLI the split train is read; allnli:PATH:dev reads another.",
        )
    return found, summary


def is_original(row: Mapping[str, Any]) -> bool:
    """Whether a row of JSON is one of the archives of SNLI and MNLI."""
    return all(name in row for name in _COLUMNS[1])


def sentences_of(row: Mapping[str, Any], where: str) -> Iterator[str]:
    """Both sentences of a row of any of these.

    Raises:
        CorpusError: As `read_nli`.
    """
    pair = _pair(row, _columns_of(list(row), where), where)
    yield pair.premise
    yield pair.hypothesis


def _parse(source: str) -> tuple[Path | None, tuple[str, ...]]:
    """Path and splits of an `allnli` source; None and nothing where it does not say."""
    rest = source.removeprefix(ALLNLI).removeprefix(":")
    if source != ALLNLI and not rest:
        raise CorpusError(f"{source!r} is not of the form allnli[:PATH][:train|dev|test]")
    path, _, split = rest.rpartition(":")
    if split in SPLITS:
        return Path(path) if path else None, (split,)
    return Path(rest) if rest else None, ()


def _file_pairs(path: Path, splits: Sequence[str], encoding: str, errors: str) -> Iterator[NliPair]:
    kind = file_format(path)
    if kind == ".tsv":
        rows = table_rows(path, encoding, errors)
        _, header = next(rows, (0, list[str]()))
        _columns_of(header, f"{path}, line 1")
        named = ((number, dict(zip(header, row, strict=True))) for number, row in rows)
        return _pairs(str(path), "line", named, splits)
    if kind == ".jsonl":
        text = lines(path, encoding=encoding, errors=errors)
        return _pairs(str(path), "line", json_rows(path, text), splits)
    if kind == ".parquet":
        names = [name for name, _ in columns(path)]
        _columns_of(names, str(path))
        return _pairs(str(path), "row", enumerate(parquet_rows(path, names), start=1), splits)
    raise CorpusError(
        f"{path} is of no format that holds pairs",
        hint="Allowed: .tsv and .jsonl (also with .gz), .parquet, hf:DATASET, allnli.",
    )


def _pairs(
    source: str, unit: str, rows: Iterator[tuple[int, Any]], splits: Sequence[str]
) -> Iterator[NliPair]:
    names: tuple[str, str, str] | None = None
    for number, row in rows:
        where = f"{source}, {unit} {number}"
        if not isinstance(row, dict):
            raise CorpusError(f"{where}: expected an object, not {str(row)[:40]}")
        if splits and "split" in row:
            if row["split"] not in SPLITS:
                raise CorpusError(
                    f"{where}: the split is {row['split']!r}; allowed: {', '.join(SPLITS)}"
                )
            if row["split"] not in splits:
                continue
        if names is None or not row.keys() >= {*names}:
            names = _columns_of(list(row), where)
        yield _pair(row, names, where)


def _pair(row: Mapping[str, Any], names: tuple[str, str, str], where: str) -> NliPair:
    first, second = (text_value(row.get(name), f"{where}, {name}") for name in names[:2])
    return NliPair(first, second, _label(row[names[2]], where))


def _label(value: object, where: str) -> str | None:
    if value in NO_LABEL:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(LABELS):
        return LABELS[value]
    if isinstance(value, str) and value in LABELS:
        return value
    raise CorpusError(
        f"{where}: the label is {value!r}; allowed: {', '.join(LABELS)}, and - for none"
    )


def _columns_of(names: Sequence[str], where: str) -> tuple[str, str, str]:
    """Those of premise, hypothesis and label.

    Raises:
        CorpusError: One is missing.
    """
    for known in _COLUMNS:
        if set(known) <= set(names):
            return known
    nearest = max(_COLUMNS, key=lambda known: len(set(known) & set(names)))
    missing = [name for name in nearest if name not in names]
    raise CorpusError(
        f"{where}: no column {', '.join(missing)}; columns: {', '.join(names) or 'none'}",
        hint="Pairs need sentence1, sentence2 and label (or gold_label), or premise, hypothesis "
        "and label.",
    )


def _fetch(split: str) -> Path:
    """One split of AllNLI, from the hub's cache or the hub."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    quiet = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        path = Path(
            hf_hub_download(
                _REPOSITORY,
                f"pair-class/{split}-00000-of-00001.parquet",
                repo_type="dataset",
                revision=_REVISION,
            )
        )
    # Errors of the library's HTTP client differ by version.
    except Exception as error:
        lines_of = str(error).strip().splitlines() or [type(error).__name__]
        raise CorpusError(
            f"AllNLI is not in the hub's cache and cannot be fetched: {lines_of[0]}",
            hint="Check the network, or give a copy: allnli:PATH.",
        ) from error
    finally:
        if not quiet:
            enable_progress_bars()
    # The hub names what it keeps of large files by their sha256.
    stored = path.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", stored.name) and sha256_file(stored) != stored.name:
        raise CorpusError(
            f"{stored} is not what the hub has: its sha256 differs from its name",
            hint="Delete it, and run again to have it fetched.",
        )
    return path
