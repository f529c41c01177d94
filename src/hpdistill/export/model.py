"""Exporting a model directory: graphs, their agreement with the model, and their speed."""

import json
import shutil
import stat
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from hpdistill.encoder import Embeddings, Encoder, Role, unit
from hpdistill.errors import CorpusError, ExportError, RunError, UsageError, WeightsError
from hpdistill.evaluate import StsData, evaluate_sts, sentences_per_second
from hpdistill.export.graph import OPSET, check_exportable, write_graph
from hpdistill.export.int8 import METHODS, int8_file_name
from hpdistill.export.static import write_static_int8
from hpdistill.files import (
    atomic_directory,
    atomic_path,
    check_writable,
    clear_os_errors,
    read_json,
    sha256_file,
    write_json,
)
from hpdistill.machine import machine, versions
from hpdistill.progress import Report, silent
from hpdistill.pytorch import TorchEncoder, load_model, pad, reference_vectors
from hpdistill.runtime import MADE_TOKENIZER, NO_LIMIT, RANGES, STATIC_INT8, ModelDirectory
from hpdistill.runtime import Encoder as Runtime
from hpdistill.runtime.vectors import fit_ranges
from hpdistill.student import is_static
from hpdistill.weights import module_folders

__all__ = ["PARITY_SENTENCES", "Exported", "export_model"]

Precision = Literal["float32", "int8"]

FORMAT = 1
PARITY_SENTENCES = 1000
"""On which a graph is compared with its model, at most."""
TIMED_SENTENCES = 256
TIMED_ROUNDS = 3
PROBED_TOKENS = 1024
"""Up to which the limit of a model is tried out, by a text of twice as many words."""
CALIBRATION_BATCHES = 16
CALIBRATION_BATCH = 32

TOLERANCE = {"float32": (0.9999, 0.999), "int8": (0.99, 0.95)}
"""Least mean and least single cosine to the PyTorch model on the parity sentences."""

CLEARLY_BETTER = 0.002
"""Of two int8 graphs the one with the higher mean cosine is kept, unless they are this close:
then the faster one."""


@dataclass(frozen=True)
class Exported:
    """What an export left."""

    directory: Path
    default: Precision
    """What `Encoder.load` takes unless told otherwise: the fastest one here."""
    rows: list[dict[str, Any]]
    """PyTorch, then each graph: agreement, STS-B dev if it was given, speed. Flat."""
    refused: Mapping[str, str]
    """Precisions that were tried and not kept, and why."""


def export_model(
    directory: Path,
    sentences: Sequence[str],
    *,
    precisions: Sequence[str] = ("float32", "int8"),
    out: Path | None = None,
    sts: StsData | None = None,
    report: Report = silent,
) -> Exported:
    """Write the graphs of a model, and compare them with the model on sentences.

    Leaves `onnx/` with the graphs and `export.json` (files, checksums, parity, speed), and
    `embedding_ranges.safetensors`, from which embeddings are cut to int8. A static model has no
    graph; it gets its table in int8 instead.

    Args:
        directory: A sentence-transformers model, safe to load (from `weights.resolve`).
        sentences: For parity, for calibration and for the ranges of int8 embeddings; a few
            thousand of the kind that will be embedded, that the model was not trained on.
        precisions: Which graphs. int8 is derived from float32, which is always kept beside it.
        out: Copy the model here and export the copy; None exports in place.
        sts: The STS benchmark's development set: its score is reported for each graph.
        report: Progress.

    Raises:
        UsageError: An unknown precision, or an `out` that exists.
        CorpusError: No sentences.
        ExportError: The model gives NaN or cannot become a graph, or the float32 graph disagrees
            with it.
        RunError: The disk is full, or nothing can be written to `out`; what was there is untouched.
    """
    unknown = [name for name in precisions if name not in get_args(Precision)]
    if unknown or not precisions:
        raise UsageError(f"precision is {', '.join(unknown) or 'empty'}; allowed: float32, int8")
    if not sentences:
        raise CorpusError("no sentences to compare the graph with its model on")
    check_writable(out or directory / "onnx")
    if out is not None and out.exists():
        raise UsageError(f"{out} exists; `out` must name a new directory")
    home = out or directory
    model = TorchEncoder(load_model(directory, device="cpu"), name=str(directory))
    if is_static(model.model):
        ModelDirectory.read(directory).check_static()
    else:
        check_exportable(model.model)
    with tempfile.TemporaryDirectory(prefix="hpdistill-export-") as scratch:
        # Built beside what the runtime needs of the model, so that what is compared and timed
        # is what users will load; put in place only when it has passed.
        stage = Path(scratch) / "model"
        trial = _Trial(stage, model, sentences, sts, report)
        try:
            with clear_os_errors(tempfile.gettempdir(), "Set TMPDIR to a folder with more room."):
                _copy(directory, stage, weights=is_static(model.model))
                trial.all("int8" in precisions)
                ranges = _ranges(trial.best(), directory, sentences, report)
        except WeightsError as error:
            # Of the copy in the scratch directory the user knows nothing.
            error.args = (str(error).replace(str(stage), str(directory)),)
            raise
        if out is not None:
            with atomic_directory(out) as temporary:
                _copy(directory, temporary, weights=True)
                _install(stage, temporary, ranges)
        else:
            _install(stage, directory, ranges)
    return Exported(home, trial.default, trial.rows, trial.refused)


class _Trial:
    """The graphs of one model in a scratch directory, and what was measured of them."""

    def __init__(
        self,
        stage: Path,
        model: TorchEncoder,
        sentences: Sequence[str],
        sts: StsData | None,
        report: Report,
    ) -> None:
        self.stage = stage
        self.model = model
        self.sentences = _evenly(sentences, PARITY_SENTENCES)
        self.sts = sts
        self.report = report
        self.rows: list[dict[str, Any]] = []
        self.tried: list[dict[str, Any]] = []
        self.refused: dict[str, str] = {}
        self.files: dict[str, str] = {}
        self.default: Precision = "float32"

    def all(self, int8: bool) -> None:
        """Write, compare, choose; leaves `export.json` as it will stay."""
        (self.stage / "onnx").mkdir(exist_ok=True)
        self._progress("exporting", 0)
        if not is_static(self.model.model):
            # First, because the graph's attention is written out in the model itself.
            self.reference = self._reference(self.sentences)
            write_graph(self.model.model, self.stage / "onnx" / "model.onnx")
            self.files["float32"] = "model.onnx"
            self._keep_tokenizer()
        else:
            self.reference = self._reference(self.sentences)
        self._describe()
        self._progress("exporting", 1)
        if bad := int((~np.isfinite(self.reference).all(axis=1)).sum()):
            raise ExportError(
                f"{self.model.name} gives NaN for {bad:,} of {len(self.sentences):,} sentences",
                hint="Its weights are damaged, or its training diverged; nothing was written.",
            )
        mean, least = _agreement(self.model.encode(self.sentences), self.reference)
        torch_row = {"precision": "float32", "backend": "torch", "method": None}
        scores = {"cosine_mean": mean, "cosine_min": least, "sts_dev": self._dev(self.model)}
        self.rows = [{**torch_row, **scores, "file_mb": None}]
        if failure := _outside(self.rows[0]):
            raise ExportError(
                f"the model run by hpdistill disagrees with SentenceTransformer.encode: {failure}",
                hint="This model cannot be read faithfully; nothing was written.",
            )
        row = self._compare("float32", None)
        if failure := _outside(row) or self._strays():
            raise ExportError(
                f"the float32 graph disagrees with SentenceTransformer.encode: {failure}",
                hint="This architecture cannot be exported faithfully; nothing was written.",
            )
        self.rows.append(row)
        if int8:
            self._choose_int8()
            self._describe()
        self._progress("exporting", 4)
        self._time()
        if not is_static(self.model.model):  # whose tables are equally fast once they are loaded
            fastest = max(self.rows[1:], key=lambda row: row["sentences_per_second"])
            self.default = fastest["precision"]
        self._describe()

    def _reference(self, texts: Sequence[str], role: Role | None = None) -> Embeddings:
        return unit(reference_vectors(self.model.model, texts, role))

    def _strays(self) -> str:
        """How the float32 graph strays on short and long texts, and in a role; empty: it does not.

        Where it would, most do it for a reason that no sentence of middle length shows: a limit,
        an empty text, a prompt.
        """
        texts = _probes(self.sentences, self.model.max_tokens)
        plain = self.model.prompt()
        every: tuple[Role, ...] = ("query", "document")
        roles = [None, *(role for role in every if self.model.prompt(role) != plain)]
        with self._load("float32") as encoder:
            both: tuple[Runtime | TorchEncoder, ...] = (encoder, self.model)
            for role, ours in product(roles, both):
                found = ours.encode(texts, role=role, truncation="ignore")
                mean, least = _agreement(found, self._reference(texts, role))
                row = {"precision": "float32", "cosine_mean": mean, "cosine_min": least}
                if failure := _outside(row):
                    kind = f" with the prompt of a {role}" * (role is not None)
                    return f"on short and long texts{kind}, {failure}"
        return ""

    def _keep_tokenizer(self) -> None:
        """Write the tokenizer that transformers made of the model's files, if it is another."""
        made = Tokenizer.from_str(self.model.model.tokenizer.backend_tokenizer.to_str())
        file = module_folders(self.stage)[0] / "tokenizer.json"
        kept = Tokenizer.from_file(str(file)) if file.is_file() else None
        for tokenizer in (made, *([kept] if kept else [])):
            tokenizer.no_truncation()
            tokenizer.no_padding()
        if kept is None or kept.to_str() != made.to_str():
            made.save(str(self.stage / "onnx" / MADE_TOKENIZER))

    def best(self) -> Runtime:
        """The float32 encoder, for what is computed once and kept."""
        return Runtime.load(self.stage, precision="float32")

    def _choose_int8(self) -> None:
        """Try each way of quantising, keep one, or none if both are outside tolerance."""
        folder, name = self.stage / "onnx", int8_file_name()
        if is_static(self.model.model):
            write_static_int8(self.stage)
            row = self._compare("int8", None)
            if failure := _outside(row):
                self.refused["int8"] = failure
                for table in self.stage.rglob(STATIC_INT8):
                    table.unlink()
            else:
                self.rows.append(row)
            return
        candidates: list[tuple[dict[str, Any], Path]] = []
        for number, (method, quantise) in enumerate(METHODS.items()):
            quantise(folder / "model.onnx", folder / name, self._feeds())
            self.files["int8"] = name
            self._describe()
            row = self._compare("int8", method)
            with self._load("int8") as encoder:
                row["sentences_per_second"] = round(_speed(encoder, self.sentences), 1)
            self.tried.append(dict(row))
            kept = (folder / name).rename(self.stage / f"{method}.onnx")
            candidates.append((row, kept))
            self._progress("exporting", 2 + number)
        del self.files["int8"]
        good = [(row, path) for row, path in candidates if not _outside(row)]
        if not good:
            row, _ = max(candidates, key=lambda pair: pair[0]["cosine_mean"])
            self.refused["int8"] = _outside(row)
        else:
            most = max(row["cosine_mean"] for row, _ in good)
            close = [pair for pair in good if pair[0]["cosine_mean"] >= most - CLEARLY_BETTER]
            row, path = max(close, key=lambda pair: pair[0]["sentences_per_second"])
            path.rename(folder / name)
            self.files["int8"] = name
            self.rows.append(row)
        for _, path in candidates:
            path.unlink(missing_ok=True)

    def _compare(self, precision: Precision, method: str | None) -> dict[str, Any]:
        with self._load(precision) as encoder:
            mean, least = _agreement(_encode(encoder, self.sentences), self.reference)
            row = {
                "precision": precision,
                "backend": encoder.backend,
                "method": method,
                "cosine_mean": mean,
                "cosine_min": least,
                "sts_dev": self._dev(encoder),
                "file_mb": None,
            }
        if precision in self.files:
            size = (self.stage / "onnx" / self.files[precision]).stat().st_size
            row["file_mb"] = round(size / 1e6, 1)
        return row

    def _time(self) -> None:
        """Sentences/s of every row, in turns, so that another process hits all alike."""
        with ExitStack() as opened:
            encoders: list[TorchEncoder | Runtime] = [self.model]
            encoders += [
                opened.enter_context(self._load(row["precision"])) for row in self.rows[1:]
            ]
            rounds = [[_speed(e, self.sentences) for e in encoders] for _ in range(TIMED_ROUNDS)]
        for row, speeds in zip(self.rows, zip(*rounds, strict=True), strict=True):
            ratios = [speed / base[0] for speed, base in zip(speeds, rounds, strict=True)]
            row["sentences_per_second"] = round(statistics.median(speeds), 1)
            row["ratio"] = round(statistics.median(ratios), 2)

    def _dev(self, encoder: Encoder) -> float | None:
        return None if self.sts is None else evaluate_sts(encoder, self.sts).average_present

    def _load(self, precision: Precision) -> Runtime:
        return Runtime.load(self.stage, precision=precision)

    def _feeds(self) -> Iterator[Mapping[str, NDArray[np.int64]]]:
        texts = _evenly(self.sentences, CALIBRATION_BATCHES * CALIBRATION_BATCH)
        rows = sorted(self.model.tokenize(texts), key=len)
        inputs = _input_names(self.stage / "onnx" / "model.onnx")
        for start in range(0, len(rows), CALIBRATION_BATCH):
            batch = rows[start : start + CALIBRATION_BATCH]
            feed = {k: v.numpy() for k, v in pad(batch, self.model.pad_id).items()}
            feed["token_type_ids"] = np.zeros_like(feed["input_ids"])
            yield {name: feed[name] for name in inputs}

    def _describe(self) -> None:
        """Write what the runtime reads: before a comparison too, which loads as users do."""
        files = {}
        for precision, name in self.files.items():
            path = self.stage / "onnx" / name
            files[precision] = {
                "file": name,
                "sha256": sha256_file(path),
                "bytes": path.stat().st_size,
            }
        made = self.stage / "onnx" / MADE_TOKENIZER
        limit = self.model.max_tokens
        description = {
            "format": FORMAT,
            "max_tokens": limit if limit < NO_LIMIT else None,
            "tokenizer": {"sha256": sha256_file(made)} if made.is_file() else None,
            "opset": None if is_static(self.model.model) else OPSET,
            "default": self.default,
            "dim": self.model.dim,
            "parameters": self.model.parameters,
            "files": files,
            "sentences": len(self.sentences),
            "parity": self.rows,
            "tried": self.tried,
            "refused": self.refused,
            "machine": machine(),
            "versions": versions(),
        }
        write_json(self.stage / "onnx" / "export.json", description)

    def _progress(self, task: str, done: int) -> None:
        self.report(task, done, 4)


def _agreement(vectors: Embeddings, reference: Embeddings) -> tuple[float, float]:
    """Mean and least cosine of vectors to unit vectors of the same texts."""
    found = unit(vectors)
    cosines = np.einsum("nd,nd->n", found, reference)
    # A text without tokens is zero in both: equal, although without an angle.
    cosines[~reference.any(axis=1) & ~found.any(axis=1)] = 1.0
    return round(float(cosines.mean()), 6), round(float(cosines.min()), 6)


def _probes(sentences: Sequence[str], limit: int) -> list[str]:
    """Texts from one letter to beyond a limit, as far as that is worth computing."""
    words = " ".join(sentences).split() or ["a"]
    if limit <= PROBED_TOKENS:
        lengths = [1, 3, limit // 2, limit - 2, limit, 2 * limit]
    else:
        # Beyond such a limit no text goes here; thousands of tokens take gigabytes of attention.
        lengths = [1, 3, PROBED_TOKENS // 4]
    long = words * (-(-max(lengths) // len(words)))
    return ["a", *(" ".join(long[:length]) for length in lengths if length > 0)]


def _outside(row: Mapping[str, Any]) -> str:
    """Why a graph is refused; empty if it is not."""
    least_mean, least = TOLERANCE[row["precision"]]
    # Written so that a cosine that is no number is refused too.
    if row["cosine_mean"] >= least_mean and row["cosine_min"] >= least:
        return ""
    return (
        f"cosine {row['cosine_mean']:.4f} on average and {row['cosine_min']:.4f} at least; "
        f"allowed: {least_mean} and {least}"
    )


def _ranges(
    encoder: Runtime, directory: Path, sentences: Sequence[str], report: Report
) -> dict[str, NDArray[np.float32]]:
    """Lowest and highest value of each dimension, for each prefix that a model promises."""
    parts = []
    done = 0
    with encoder:
        for block in encoder.encode_blocks(sentences, normalize=False, truncation="ignore"):
            parts.append(block)
            done += len(block)
            report("ranges of embeddings", done, len(sentences))
        dim = encoder.dim
    vectors: Embeddings = np.concatenate(parts)
    path = directory / "hpd.json"
    promised = read_json(path).get("prefixes", {}) if path.is_file() else {}
    prefixes = sorted({dim, *map(int, promised)})
    return {str(d): fit_ranges(unit(vectors, dim=d)) for d in prefixes}


def _install(stage: Path, home: Path, ranges: dict[str, NDArray[np.float32]]) -> None:
    with atomic_directory(home / "onnx") as temporary:
        shutil.copytree(stage / "onnx", temporary, dirs_exist_ok=True)
        for file in _foreign(home / "onnx"):
            if not (temporary / file.name).exists():
                _copy_file(str(file), str(temporary / file.name))
    for table in stage.rglob(STATIC_INT8):
        with atomic_path(home / table.relative_to(stage)) as temporary:
            shutil.copyfile(table, temporary)
    for folder in module_folders(home):
        table = folder / STATIC_INT8
        if table.is_file() and not (stage / table.relative_to(home)).exists():
            table.unlink()  # of an export before this one
    with atomic_path(home / RANGES) as temporary:
        save_file(ranges, temporary)


def _foreign(folder: Path) -> list[Path]:
    """Files among a model's graphs that no export of ours has written."""
    described = folder / "export.json"
    ours = {described.name, "model.onnx", int8_file_name(), MADE_TOKENIZER}
    # One that cannot be read is replaced like any other.
    with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
        known = json.loads(described.read_text("utf-8"))
        ours |= {file["file"] for file in known["files"].values()}
    return [file for file in sorted(folder.glob("*")) if file.is_file() and file.name not in ours]


def _copy(directory: Path, target: Path, *, weights: bool) -> None:
    """A model's files without what an earlier export added, and if wanted without weights.

    Raises:
        RunError: A file cannot be read or written.
    """
    patterns = ["onnx", RANGES, STATIC_INT8, *([] if weights else ["*.safetensors"])]
    unwanted = shutil.ignore_patterns(*patterns)

    def passed_over(folder: str, names: list[str]) -> set[str]:
        # The copy may be made inside of what is copied.
        here = {name for name in names if Path(folder, name).resolve() == target.resolve()}
        return unwanted(folder, names) | here

    shutil.copytree(
        directory,
        target,
        ignore=passed_over,
        copy_function=_copy_file,
        dirs_exist_ok=True,
    )
    # Folders are copied with their modes, and nothing could be added to a read-only one.
    for folder in (target, *target.rglob("*/")):
        folder.chmod(folder.stat().st_mode | stat.S_IRWXU)


def _copy_file(source: str, target: str) -> None:
    """Without its mode."""
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise RunError(f"cannot copy {source}: {error.strerror}") from error


def _speed(encoder: TorchEncoder | Runtime, sentences: Sequence[str]) -> float:
    """Sentences/s."""
    return sentences_per_second(partial(_encode, encoder), _evenly(sentences, TIMED_SENTENCES))


def _encode(encoder: TorchEncoder | Runtime, texts: Sequence[str]) -> Embeddings:
    """Both cut long texts at the same token, which is not what is measured here."""
    if isinstance(encoder, Runtime):
        return encoder.encode(texts, truncation="ignore")
    return encoder.encode(texts)


def _evenly(items: Sequence[str], limit: int) -> list[str]:
    count = min(limit, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def _input_names(graph: Path) -> list[str]:
    import onnx

    return [item.name for item in onnx.load(str(graph), load_external_data=False).graph.input]
