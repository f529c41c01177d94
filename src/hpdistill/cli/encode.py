"""`hpd encode`: texts in, one vector for every row out."""

import sys
import time
from collections import deque
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpdistill.cli._command import DelimiterOption

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hpdistill.cli._models import OpenModel, TorchBlocks
    from hpdistill.progress import Report
    from hpdistill.runtime import Encoder
    from hpdistill.vectorfile import Vectors

__all__ = ["register"]

_STANDARD = "-"
_FILE_ROWS = 8192
# A reader at the other end of a pipe should not wait for thousands of rows.
_STREAM_ROWS = 1024
_COUNTED_ROWS = 65_536
# By --errors: what stands in for a NUL byte; nothing does when it is an error.
_SUBSTITUTES = {"strict": None, "replace": "\N{REPLACEMENT CHARACTER}", "ignore": ""}


class Precision(StrEnum):
    """Of the embeddings."""

    float32 = "float32"
    int8 = "int8"
    binary = "binary"


class ModelPrecision(StrEnum):
    """In which the model computes."""

    auto = "auto"
    float32 = "float32"
    int8 = "int8"


class Role(StrEnum):
    """What texts are to a search."""

    query = "query"
    document = "document"


class Format(StrEnum):
    """Of standard output."""

    jsonl = "jsonl"
    raw = "raw"


def register(app: typer.Typer) -> None:
    """Add the command `encode`."""
    app.command()(encode)


def encode(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Path, short name or hub id; `default` is the small model that comes with hpd.",
        ),
    ],
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN",
            help="File of texts: .txt, .jsonl, .csv, .tsv (each also .gz), .parquet; "
            "hf:DATASET, allnli or pydoc, as for distilling; - reads lines from standard input.",
        ),
    ],
    out: Annotated[
        str, typer.Argument(metavar="OUT", help="File: .npy or .parquet; - for standard output.")
    ],
    *,
    precision: Annotated[
        Precision, typer.Option(help="Of the embeddings; binary packs 8 dimensions a byte.")
    ] = Precision.float32,
    model_precision: Annotated[
        ModelPrecision, typer.Option(help="In which the model computes.")
    ] = ModelPrecision.auto,
    dim: Annotated[
        int | None, typer.Option(help="Keep only so many dimensions. [default: all]")
    ] = None,
    allow_unvalidated: Annotated[
        bool,
        typer.Option("--allow-unvalidated", help="Allow a --dim that the model was not tested at."),
    ] = False,
    normalize: Annotated[
        bool, typer.Option("--normalize/--no-normalize", help="Scale vectors to length 1.")
    ] = True,
    role: Annotated[
        Role | None,
        typer.Option(help="Put the model's prompt for queries or documents before each text."),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Sentences of typical length that are computed at once.")
    ] = 32,
    threads: Annotated[
        int | None, typer.Option(min=1, help="[default: the cores there are]")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            "--text-column",
            help="Column of the texts in a table; repeat it to join several.",
        ),
    ] = None,
    delimiter: DelimiterOption = None,
    encoding: Annotated[str, typer.Option(help="Of text files.")] = "utf-8",
    errors: Annotated[
        str, typer.Option(help="Undecodable bytes: strict, replace or ignore.")
    ] = "strict",
    stdout_format: Annotated[
        Format,
        typer.Option(
            "--format",
            help="Of standard output: a JSON array a line, or the rows' bytes, little-endian.",
        ),
    ] = Format.jsonl,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT if it is there.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a summary as one JSON object.")
    ] = False,
) -> None:
    """Embed texts: row i of OUT belongs to row i of IN, empty rows included.

    Interrupted, the same command goes on where it stopped.
    """
    from hpdistill.cli._models import open_model, run_by
    from hpdistill.cli._shared import err, print_json, progress, say
    from hpdistill.cli._shared import out as console
    from hpdistill.corpus.readers import tell_delimiter
    from hpdistill.encoder import prompt_of
    from hpdistill.errors import UsageError
    from hpdistill.progress import caution

    if errors not in _SUBSTITUTES:
        raise UsageError(f"errors is {errors!r}; allowed: {', '.join(_SUBSTITUTES)}")
    reading: dict[str, Any] = {
        "column": column,
        "delimiter": delimiter,
        "encoding": encoding,
        "errors": errors,
    }
    _check_places(source, out, reading, overwrite=overwrite, as_json=as_json)
    options: dict[str, Any] = {
        "batch_size": batch_size,
        "normalize": normalize,
        "dim": dim,
        "role": role.value if role else None,
        "precision": precision.value,
        "allow_unvalidated": allow_unvalidated,
        "truncation": "ignore",  # told once, at the end
    }
    with progress() as report:
        if source != _STANDARD:
            tell_delimiter(source, **reading)
        total = _count(source, reading, report)
        opened = open_model(model, report, precision=model_precision.value, threads=threads)
        if note := run_by(opened):
            say(err, note)
        if prompt := prompt_of(opened.encoder, options["role"]):
            say(err, f"each text is put behind the prompt {prompt!r} of {opened.encoder.name}")
        with closing(_encoder(opened)) as encoder:
            work = _Work(encoder, options, _texts(source, reading), total, report)
            if out == _STANDARD:
                work.to_stream(stdout_format)
            else:
                work.to_file(Path(out), overwrite=overwrite)
            row = work.row(model, out)
            for line in work.notices():
                caution(line)
    if as_json:
        print_json("encode", [row])
        return
    say(
        err if out == _STANDARD else console,
        f"{out}: {row['texts']:,} x {row['dim']} {row['precision']}, {row['seconds']:.1f} s, "
        f"{row['sentences_per_second']:,.0f}/s",
    )


def _encoder(opened: "OpenModel") -> "Encoder | TorchBlocks":
    """What makes vectors of texts in any precision."""
    from hpdistill.cli._models import TorchBlocks
    from hpdistill.runtime import Encoder

    return opened.encoder if isinstance(opened.encoder, Encoder) else TorchBlocks(opened)


class _Work:
    """Texts through a model, counted."""

    def __init__(
        self,
        encoder: "Encoder | TorchBlocks",
        options: dict[str, Any],
        texts: "Iterator[str]",
        total: int,
        report: "Report",
    ) -> None:
        from hpdistill.notices import Notices

        self.done = 0
        self.resumed = 0
        self.truncated = 0
        self._encoder = encoder
        self._options = options
        self._texts = texts
        self._total = total
        self._report = report
        self._cut = encoder.truncated
        self._started = time.perf_counter()
        encoder.notices = Notices(named=self._row_name)
        # Refuses options that do not fit the model before the first text is read.
        self._none: Vectors = encoder.encode([], **options)

    def to_file(self, path: Path, *, overwrite: bool) -> None:
        """Write a file, going on with what is there of it."""
        from hpdistill.vectorfile import open_vectors

        with open_vectors(
            path,
            self._key(),
            width=self._none.shape[1],
            dtype=self._none.dtype,
            overwrite=overwrite,
        ) as file:
            rest = file.resume(self._texts)
            self.resumed = file.resumed
            self._count(file.resumed)
            ahead: deque[str] = deque()  # read by the encoder, not yet embedded
            for vectors in self._blocks(_noted(rest, ahead), _FILE_ROWS):
                texts = [ahead.popleft() for _ in vectors]
                file.append(texts, vectors, truncated=self._newly_cut())
                self._count(file.rows)
            file.finish(self._report)
            self.truncated = file.truncated

    def to_stream(self, form: Format) -> None:
        """Write to standard output, as the texts come."""
        from hpdistill.files import clear_os_errors
        from hpdistill.vectorfile import json_lines, raw_bytes

        as_bytes = json_lines if form == Format.jsonl else raw_bytes
        for vectors in self._blocks(self._texts, _STREAM_ROWS):
            with clear_os_errors("standard output", hint=""):
                sys.stdout.buffer.write(as_bytes(vectors))
                sys.stdout.buffer.flush()
            self._count(self.done + len(vectors))
            self.truncated += self._newly_cut()

    def notices(self) -> list[str]:
        """Of the texts that the model did not read whole, in words."""
        notices = self._encoder.notices
        # An interrupted call has cut some, too.
        notices.cut.count, notices.texts = self.truncated, self.done
        return notices.lines(self._encoder.name, self._encoder.max_tokens)

    def _row_name(self, place: int) -> str:
        return f"row {self.resumed + place + 1:,}"

    def row(self, model: str, out: str) -> dict[str, Any]:
        """The row of `--json`."""
        seconds = time.perf_counter() - self._started
        return {
            "model": model,
            "texts": self.done,
            "resumed": self.resumed,
            "dim": self._options["dim"] or self._encoder.dim,
            "precision": self._options["precision"],
            "model_precision": self._encoder.precision,
            "seconds": round(seconds, 3),
            "sentences_per_second": round((self.done - self.resumed) / seconds, 1),
            "truncated": self.truncated,
            "unknown": self._encoder.notices.unknown.count,
            "out": out,
        }

    def _blocks(self, texts: "Iterator[str]", rows: int) -> "Iterator[Vectors]":
        return self._encoder.encode_blocks(texts, block=rows, **self._options)

    def _newly_cut(self) -> int:
        """Texts cut since the last call."""
        before, self._cut = self._cut, self._encoder.truncated
        return self._cut - before

    def _count(self, done: int) -> None:
        self.done = done
        self._report("encoding", done, self._total)

    def _key(self) -> dict[str, object]:
        """What decides the vectors; batch size and threads do not, but for the last bits."""
        return {
            "format": 1,
            "model": _identity(self._encoder),
            "model precision": self._encoder.precision,
            "precision": self._options["precision"],
            "dim": self._none.shape[1],
            "normalization": self._options["normalize"],
            **({"role": self._options["role"]} if self._options["role"] else {}),
        }


def _noted(texts: "Iterator[str]", notes: "deque[str]") -> "Iterator[str]":
    """Texts as they are, each noted when it is read."""
    for text in texts:
        notes.append(text)
        yield text


def _check_places(
    source: str, out: str, reading: dict[str, Any], *, overwrite: bool, as_json: bool
) -> None:
    """Refuse, before a model is loaded, what cannot be read or written."""
    from hpdistill.corpus.readers import check_column, check_divided, check_source, refuse_columns
    from hpdistill.errors import UsageError
    from hpdistill.vectorfile import check_output

    if source != _STANDARD:
        check_source(source, **reading)
        check_column(source, reading["column"])
        check_divided(source, reading["delimiter"])
    else:
        refuse_columns("standard input", reading["column"] or ())
        if reading["delimiter"] is not None:
            raise UsageError("standard input is no table, so it has no use for `delimiter`")
    if out != _STANDARD:
        check_output(Path(out), overwrite=overwrite)
        if Path(out).exists() and Path(source).exists() and Path(out).samefile(source):
            raise UsageError(f"{out} is both the texts and the vectors", hint="Name another OUT.")
    elif as_json:
        raise UsageError(
            "--json prints to standard output, where the vectors go",
            hint="Leave it out, or name a file.",
        )


def _count(source: str, reading: dict[str, Any], report: "Report") -> int:
    """How many texts there are, 0 if that cannot be known; what is no text is told at once."""
    if not Path(source).is_file():
        return 0
    number = 0
    for number, _ in enumerate(_texts(source, reading), start=1):
        if number % _COUNTED_ROWS == 0:
            report("reading", number, 0)
    return number


def _texts(source: str, reading: dict[str, Any]) -> "Iterator[str]":
    """The texts of every row, as they are, without line ends.

    Raises:
        CorpusError: The source is missing or damaged, in another encoding, or holds a NUL byte.
    """
    from hpdistill.corpus.readers import format_of_source, read_source
    from hpdistill.errors import CorpusError

    if source == _STANDARD:
        where, kind = "standard input", ".txt"
        texts = _standard_lines(reading["encoding"], reading["errors"])
    else:
        where, kind = source, format_of_source(source)
        texts = read_source(source, **reading)
    if kind == ".txt":
        texts = (line.removesuffix("\n") for line in texts)
    if kind not in (".txt", ".csv", ".tsv"):
        # JSON and Parquet spell out a NUL that is part of a text.
        yield from texts
        return
    unit = "line" if kind == ".txt" else "row"
    substitute = _SUBSTITUTES[reading["errors"]]
    for number, text in enumerate(texts, start=1):
        if "\0" not in text:
            yield text
        elif substitute is not None:
            yield text.replace("\0", substitute)
        else:
            raise CorpusError(
                f"{where}, {unit} {number}: a NUL byte, which is no text",
                hint="Name its encoding with --encoding (utf-16?), or pass --errors replace.",
            )


def _standard_lines(encoding: str, errors: str) -> "Iterator[str]":
    """Lines of standard input, each with its line end."""
    import codecs
    import io

    from hpdistill.errors import CorpusError, UsageError

    if sys.stdin is None:
        raise CorpusError("standard input is closed", hint="Name a file of texts.")
    number = 0
    try:
        codec = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
        text = io.TextIOWrapper(sys.stdin.buffer, encoding=codec, errors=errors)
    except LookupError as error:
        raise UsageError(f"encoding is {encoding!r}, which Python does not know") from error
    try:
        for number, line in enumerate(text, start=1):  # noqa: B007 - told if one cannot be read
            yield line
    except UnicodeDecodeError as error:
        bad = number + 1 + error.object[: error.start].count(b"\n")
        raise CorpusError(
            f"standard input is not {encoding}: {error.reason} in line {bad}",
            hint="Name its encoding with --encoding, or pass --errors replace (or ignore).",
        ) from error
    finally:
        text.detach()


def _identity(encoder: "Encoder | TorchBlocks") -> str:
    """Hash of the files of a model that decide its vectors, wherever it lies."""
    from hpdistill.cli._models import weights_of
    from hpdistill.files import json_hash, sha256_file

    if encoder.backend == "torch":
        return json_hash(weights_of(encoder.path))
    if encoder.backend == "static":
        weights = "*.safetensors"
    else:
        weights = "model.onnx*" if encoder.precision == "float32" else "model_q*.onnx*"
    patterns = ("*.json", "embedding_ranges.safetensors", weights)
    files = {path for pattern in patterns for path in encoder.path.rglob(pattern)}
    # Rewritten by measurements and by exports that change no weight.
    files -= {path for path in files if path.name in ("hpd.json", "export.json", "report.json")}
    return json_hash({str(f.relative_to(encoder.path)): sha256_file(f) for f in sorted(files)})
