"""`Encoder`: a model directory in, vectors out, on any machine with NumPy and ONNX Runtime."""

import os
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import numpy as np
from numpy.typing import NDArray

from hpdistill.encoder import Embeddings, Role, unit
from hpdistill.errors import UsageError, WeightsError
from hpdistill.machine import available_cores
from hpdistill.notices import Notices
from hpdistill.progress import Report, silent
from hpdistill.runtime import vectors as compact
from hpdistill.runtime._directory import (
    DEFAULT_NAME,
    ComputePrecision,
    ModelDirectory,
    find_model,
)
from hpdistill.runtime._options import (
    EmbeddingPrecision,
    Options,
    Truncation,
    TruncationWarning,
)
from hpdistill.runtime._space import space_of
from hpdistill.runtime._static import StaticTable, read_table
from hpdistill.runtime._tokens import TextTokenizer, Tokens

__all__ = ["Encoder", "EncoderPrecision"]

if TYPE_CHECKING:
    from hpdistill.runtime._graph import Graph

    _Model = Graph | StaticTable

EncoderPrecision = Literal["auto", "float32", "int8"]

_BLOCK = 8192
_TEXTS_AT_ONCE = 256
_CUT_NAMED = 5
_CHARACTERS_A_BLOCK = 2**22
"""Long texts make smaller blocks: what is in memory at once is bounded."""


class Encoder:
    """A sentence-embedding model that needs neither PyTorch nor a GPU.

    Made by `Encoder.load`. Thread-safe: any number of threads may call `encode` at once and share
    `threads` cores. It satisfies `hpdistill.encoder.Encoder`, so evaluations take it.

    A float32 vector does not depend on the texts it is computed with, to 1e-5. In an int8 graph
    it does, slightly: activations are rounded by the range that they have in the whole batch.
    Equal calls give equal vectors in both.

    Attributes:
        name: As given to `load`.
        path: The model directory.
        backend: `onnx`, or `static` for a table of token vectors.
        precision: In which it computes: `float32` or `int8`; of a static model, in which it is
            stored.
        dim: Width of the vectors.
        parameters: Number of weights.
        max_tokens: Longer texts are cut to so many tokens; None where there is no limit.
        notices: How many texts it was given, which of them it cut, and which it could not read:
            more than half of their tokens are none of its vocabulary.
        prefixes: Smaller widths that were measured, and the fidelity to the teacher at each; empty
            for a model that was not distilled by hpdistill.
    """

    def __init__(
        self,
        name: str,
        directory: ModelDirectory,
        *,
        precision: EncoderPrecision = "auto",
        threads: int,
    ) -> None:
        self.name = name
        self.path = directory.path
        self.backend: Literal["onnx", "static"] = "static" if directory.is_static else "onnx"
        self.precision: ComputePrecision
        self.precision, file = directory.choose(precision)
        self.prefixes = dict(directory.prefixes)
        self._directory = directory
        self._threads = threads
        self._tokenizer, model = _open(directory, file, self.precision, threads)
        self.dim: int = min(model.dim, directory.truncate_dim or model.dim)
        self.parameters: int = directory.export.get("parameters") or model.parameters
        self._model: _Model | None = model
        self.max_tokens = self._tokenizer.max_tokens
        self._ranges: dict[int, NDArray[np.float32]] = {}
        self._lock = threading.Lock()
        self._truncated = 0
        self.notices = Notices()
        self._pool: ThreadPoolExecutor | None = None
        self._maker = os.getpid()
        """Of the pool: its threads are not in a forked child."""

    @classmethod
    def load(
        cls,
        model: str | Path | None = None,
        *,
        precision: EncoderPrecision = "auto",
        threads: int | None = None,
        report: Report = silent,
    ) -> Self:
        """Load a model that has ONNX graphs (`hpd export` writes them), or a static model.

        Args:
            model: A directory, a short name or a hub id; None and "default" are the small
                static model that comes with the package.
            precision: Of the computation; `auto` is what the export found best, else float32.
            threads: Cores to use; None uses those that this process may use.
            report: Progress of fetching and verifying.

        Raises:
            WeightsError: The model cannot be found, or its files are missing or damaged or do not
                fit each other.
            UsageError: It does not have this precision, or `threads` is below 1.
        """
        if threads is not None and threads < 1:
            raise UsageError(f"threads is {threads}; allowed: 1 or more")
        name = DEFAULT_NAME if model is None else str(model)
        _, path = find_model(name, report)
        return cls(
            name,
            ModelDirectory.read(path),
            precision=precision,
            threads=threads or available_cores(),
        )

    @cached_property
    def space(self) -> str:
        """Identity of the space of its vectors, from `space_of`."""
        return space_of(self.path)

    @property
    def truncated(self) -> int:
        """How many texts this encoder has cut so far."""
        return self._truncated

    @overload
    def encode(
        self,
        texts: Iterator[str],
        *,
        batch_size: int = 32,
        normalize: bool = True,
        dim: int | None = None,
        role: Role | None = None,
        precision: EmbeddingPrecision = "float32",
        allow_unvalidated: bool = False,
        truncation: Truncation = "warn",
    ) -> Iterator[NDArray[Any]]: ...

    @overload
    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        normalize: bool = True,
        dim: int | None = None,
        role: Role | None = None,
        precision: EmbeddingPrecision = "float32",
        allow_unvalidated: bool = False,
        truncation: Truncation = "warn",
    ) -> NDArray[Any]: ...

    def encode(
        self,
        texts: Sequence[str] | Iterator[str],
        *,
        batch_size: int = 32,
        normalize: bool = True,
        dim: int | None = None,
        role: Role | None = None,
        precision: EmbeddingPrecision = "float32",
        allow_unvalidated: bool = False,
        truncation: Truncation = "warn",
    ) -> NDArray[Any] | Iterator[NDArray[Any]]:
        """Embed texts.

        Args:
            texts: Any strings, empty ones and control characters included. An iterator is read
                as vectors are taken, a few thousand texts ahead.
            batch_size: Texts of typical length that are computed at once; a hint.
            normalize: Scale each vector to length 1 (after cutting it to `dim`).
            dim: Keep only the first `dim` numbers of each vector; one of `prefixes`.
            role: What the texts are to a search, which decides the prompt put before each; None:
                neither, as in `SentenceTransformer.encode`.
            precision: Of the vectors. `int8` cuts each dimension's usual range into 256 steps
                (`runtime.vectors.dequantize` undoes it), `binary` keeps one bit a dimension.
            allow_unvalidated: Allow every `dim` up to the model's.
            truncation: What to do about texts longer than `max_tokens`: cut them and `warn` once a
                call (TruncationWarning), cut them and say nothing, or raise an error.

        Returns:
            For a sequence of n texts an array of shape (n, dim), float32 or int8, or of shape
            (n, ceil(dim / 8)), uint8, if binary. For an iterator of texts an iterator of its rows.

        Raises:
            UsageError: An option or a text that cannot be used; the encoder is closed.
        """
        options = self._options(
            batch_size, normalize, dim, role, precision, allow_unvalidated, truncation
        )
        _refuse_single(texts)
        if isinstance(texts, Iterator):
            blocks = self._blocks(texts, options, _BLOCK, level=3)
            return (row for block in blocks for row in block)
        texts = texts if isinstance(texts, list | tuple) else list(texts)
        none = self._finish(np.empty((0, self.dim), np.float32), options)
        found = np.empty((len(texts), none.shape[1]), none.dtype)
        done = 0
        for block in self._blocks(texts, options, _BLOCK, level=3):
            found[done : done + len(block)] = block
            done += len(block)
        return found

    def encode_blocks(
        self,
        texts: Iterable[str],
        *,
        block: int = _BLOCK,
        batch_size: int = 32,
        normalize: bool = True,
        dim: int | None = None,
        role: Role | None = None,
        precision: EmbeddingPrecision = "float32",
        allow_unvalidated: bool = False,
        truncation: Truncation = "warn",
    ) -> Iterator[NDArray[Any]]:
        """Embed a stream of texts in bounded memory; the next block is tokenised meanwhile.

        Args:
            texts: As many as there are.
            block: Texts in a block; fewer where texts are very long.
            batch_size: See `encode`, as all that follow.
            normalize: See there.
            dim: See there.
            role: See there.
            precision: See there.
            allow_unvalidated: See there.
            truncation: See there; the warning comes after the last block.

        Returns:
            Iterator of what `encode` gives for a block, in the order of the texts.

        Raises:
            UsageError: An option or a text that cannot be used; the encoder is closed.
        """
        options = self._options(
            batch_size, normalize, dim, role, precision, allow_unvalidated, truncation
        )
        if block < 1:
            raise UsageError(f"block is {block}; allowed: 1 or more")
        _refuse_single(texts)
        return self._blocks(texts, options, block, level=2)

    def encode_query(self, texts: Sequence[str], **options: Any) -> NDArray[Any]:  # noqa: ANN401
        """Embed texts that are searched with: `encode` with the role `query`, and its options."""
        found: NDArray[Any] = self.encode(texts, role="query", **options)
        return found

    def encode_document(self, texts: Sequence[str], **options: Any) -> NDArray[Any]:  # noqa: ANN401
        """Embed texts that are searched for: `encode` with the role `document`, and its options."""
        found: NDArray[Any] = self.encode(texts, role="document", **options)
        return found

    def prompt(self, role: Role | None = None) -> str:
        """What is put before each text of a role."""
        return self._tokenizer.prompt(role)

    def close(self) -> None:
        """Free the model and end its threads; calls in progress on other threads fail."""
        with self._lock:
            self._model = None
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Encoder({self.name!r}, {self.backend}, {self.precision}, dim={self.dim})"

    def _options(
        self,
        batch_size: int,
        normalize: bool,
        dim: int | None,
        role: Role | None,
        precision: EmbeddingPrecision,
        allow_unvalidated: bool,
        truncation: Truncation,
    ) -> Options:
        """Check the options of a call, before it reads a text."""
        self._opened()
        options = Options(
            batch_size=batch_size,
            normalize=normalize,
            dim=self.dim if dim is None else dim,
            role=role,
            precision=precision,
            truncation=truncation,
        )
        if not 1 <= options.dim <= self.dim:
            raise UsageError(f"dim is {dim}; {self.name} has 1 to {self.dim}")
        if options.dim not in (self.dim, *self.prefixes) and not allow_unvalidated:
            measured = ", ".join(map(str, sorted({self.dim, *self.prefixes})))
            raise UsageError(
                f"dim is {dim}; {self.name} was measured at {measured}",
                hint="`allow_unvalidated=True` cuts its vectors elsewhere.",
            )
        if precision == "int8" and options.dim not in self._ranges:
            self._ranges[options.dim] = self._directory.ranges(options.dim)
        return options

    def _blocks(
        self, texts: Iterable[str], options: Options, block: int, *, level: int
    ) -> Iterator[NDArray[Any]]:
        """Vectors block by block."""
        done = count = 0
        cut: list[int] = []
        try:
            for tokens in self._tokenized(texts, block, options.role):
                if len(tokens.cut):
                    self._note_cut(tokens, options, first=done)
                    count += len(tokens.cut)
                    cut = [*cut, *(done + tokens.cut[:_CUT_NAMED]).tolist()][:_CUT_NAMED]
                unknown = self._tokenizer.mostly_unknown(tokens, options.role)
                limit = self._tokenizer.limit(options.role)
                with self._lock:
                    self.notices.add(len(tokens.lengths), tokens.cut, unknown, limit=limit)
                yield self._finish(self._embed(tokens, options), options)
                done += len(tokens.lengths)
        except (CancelledError, RuntimeError) as error:
            if self._model is None:
                raise _closed(self.name) from error
            raise
        if cut and options.truncation == "warn":
            limit = self._tokenizer.limit(options.role)
            assert limit is not None
            warning = TruncationWarning.of(self.name, cut, total=done, limit=limit, count=count)
            warnings.warn(warning, stacklevel=level)

    def _tokenized(self, texts: Iterable[str], block: int, role: Role | None) -> Iterator[Tokens]:
        """Tokens of each block; the next one's are made while the caller works on these."""
        blocks = _split(texts, block)
        if self._threads == 1 or self.backend == "static":
            # A static model is so fast that two threads mostly wait for each other's turn to run
            # Python: on 2 cores 128,000 sentences/s with one, 101,000 with two.
            yield from (self._tokenizer.encode(texts_now, role) for texts_now in blocks)
            return
        tokens = None
        for texts_ahead in blocks:
            if tokens is None:
                # A call of one block, such as a query, needs no other thread.
                tokens = self._tokenizer.encode(texts_ahead, role)
                continue
            ahead = self._workers().submit(self._tokenizer.encode, texts_ahead, role)
            yield tokens
            tokens = ahead.result()
        if tokens is not None:
            yield tokens

    def _embed(self, tokens: Tokens, options: Options) -> Embeddings:
        model = self._opened()
        if isinstance(model, StaticTable):
            return model.embed(tokens)
        left_out = self._directory.leaves_prompt_out
        return model.embed(
            tokens,
            batch_size=options.batch_size,
            pool=self._workers,
            prompt_length=self._tokenizer.prompt_length(options.role) if left_out else 0,
        )

    def _finish(self, vectors: Embeddings, options: Options) -> NDArray[Any]:
        """Cut, normalise, and put into the precision asked for."""
        if options.normalize:
            vectors = unit(vectors, dim=options.dim)
        elif self.backend == "static" and self._directory.normalizes:
            # As the model's own module does; a graph has done it.
            vectors = unit(vectors)[:, : options.dim]
        else:
            vectors = vectors[:, : options.dim]
        if options.precision == "int8":
            return compact.quantize(vectors, self._ranges[options.dim])
        if options.precision == "binary":
            return compact.pack(vectors)
        return vectors

    def _note_cut(self, tokens: Tokens, options: Options, *, first: int) -> None:
        if options.truncation == "error":
            raise UsageError(
                f"text {first + int(tokens.cut[0])} is longer than the "
                f"{self._tokenizer.limit(options.role)} tokens "
                f"that {self.name} reads",
                hint='Split it, or pass truncation="warn" or "ignore" to have it cut.',
            )
        with self._lock:
            self._truncated += len(tokens.cut)

    def _opened(self) -> "_Model":
        model = self._model
        if model is None:
            raise _closed(self.name)
        return model

    def _workers(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._model is None:
                raise _closed(self.name)
            if self._pool is None or self._maker != os.getpid():
                self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="hpdistill")
                self._maker = os.getpid()
            return self._pool


def _open(
    directory: ModelDirectory, file: Path, precision: ComputePrecision, threads: int
) -> "tuple[TextTokenizer, _Model]":
    root, folder = directory.path, directory.folder
    if directory.is_static:
        table = StaticTable(read_table(file, compact=precision == "int8"))
        return TextTokenizer.for_static(root, folder, rows=table.rows), table
    # Only here: a static model is ready before ONNX Runtime would be imported.
    from hpdistill.runtime._graph import Graph

    tokenizer = TextTokenizer.for_transformer(
        root, folder, made=directory.made_tokenizer, limit=directory.exported_limit
    )
    graph = Graph(file, root, tokenizer, threads=threads)
    if directory.leaves_prompt_out and tokenizer.has_prompts and not graph.takes_prompt_length:
        raise WeightsError(
            f"{root} leaves its prompts out when it pools (include_prompt is false), and {file} "
            "cannot do that",
            hint=f"Export it again: `hpd export {root}`.",
        )
    return tokenizer, graph


def _split(texts: Iterable[str], block: int) -> Iterator[list[str]]:
    """Texts in blocks, bounded in number and in characters.

    Raises:
        UsageError: One is no string; names its index and type.
    """
    source = iter(texts)
    found: list[str] = []
    first = characters = 0
    while taken := list(islice(source, min(_TEXTS_AT_ONCE, block - len(found)))):
        for index, text in enumerate(taken, start=first + len(found)):
            if not isinstance(text, str):
                raise UsageError(f"text {index} is of type {type(text).__name__}, not str")
        found += taken
        characters += sum(map(len, taken))
        if len(found) == block or characters > _CHARACTERS_A_BLOCK:
            yield found
            first += len(found)
            found, characters = [], 0
    if found:
        yield found


def _refuse_single(texts: object) -> None:
    if isinstance(texts, str | bytes):
        raise UsageError("texts is a single string", hint="Wrap it in a list: [text].")
    if not isinstance(texts, Iterable):
        raise UsageError(f"texts is of type {type(texts).__name__}, not a list of strings")


def _closed(name: str) -> UsageError:
    return UsageError(f"the encoder {name} is closed", hint="Load it again.")
