"""ONNX graphs on ONNX Runtime, checked before they are opened."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from hpdistill.encoder import Embeddings
from hpdistill.errors import WeightsError
from hpdistill.runtime._batches import Batches
from hpdistill.runtime._directory import PROMPT_LENGTH
from hpdistill.runtime._protobuf import DamagedError, GraphFile, read_graph_file
from hpdistill.runtime._ragged import Ints
from hpdistill.runtime._tokens import TextTokenizer, Tokens

__all__ = ["Graph"]

_OUTPUT = "sentence_embedding"
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_ERRORS_ONLY = 3
_EXPORT = "Export the model again: `hpd export MODEL`."


class Graph:
    """A graph from token ids to sentence embeddings.

    It computes each batch on the thread that asks, and at most `threads` batches at a time:
    as many batches as cores are faster than one batch on all cores (int8 MiniLM: 1505 against
    1298 sentences/s on 2). The price is one short text alone, 2.0 ms against 1.4; a second
    session for that case would hold the weights twice and its threads would spin between calls.
    """

    def __init__(self, file: Path, root: Path, tokenizer: TextTokenizer, *, threads: int) -> None:
        """Check and open a graph.

        Args:
            file: The graph.
            root: The model directory: tensors outside the file must be in it.
            tokenizer: Makes the ids.
            threads: Batches to be computed at a time.

        Raises:
            WeightsError: The graph is damaged, reaches outside, or is no sentence encoder.
        """
        self.parameters = _checked(file, root).parameters
        self._tokenizer = tokenizer
        self._session = _session(file)
        self._inputs = [value.name for value in self._session.get_inputs()]
        outputs = [value.name for value in self._session.get_outputs()]
        if _OUTPUT not in outputs:
            raise WeightsError(
                f"{file} has no output {_OUTPUT}; it has {', '.join(outputs)}",
                hint="Its pooling is outside the graph. `hpd export MODEL` puts it inside.",
            )
        if strange := [name for name in self._inputs if name not in _INPUTS]:
            raise WeightsError(
                f"{file} takes {', '.join(strange)}; allowed inputs: {', '.join(_INPUTS)}"
            )
        self.takes_prompt_length = PROMPT_LENGTH in [
            value.name for value in self._session.get_overridable_initializers()
        ]
        self._slots = threading.BoundedSemaphore(threads)
        self.dim = self._try_out(file)

    def embed(
        self,
        tokens: Tokens,
        *,
        batch_size: int,
        pool: Callable[[], Executor],
        prompt_length: int = 0,
    ) -> Embeddings:
        """Compute the output `sentence_embedding` of every text.

        Args:
            tokens: Of n texts.
            batch_size: Texts of typical length in a batch.
            pool: Where batches are computed if there are several.
            prompt_length: Of how many first tokens the pooling takes no notice.

        Returns:
            Shape (n, dim), float32, as the graph gives them.
        """
        vectors = np.empty((len(tokens.lengths), self.dim), np.float32)
        batches = Batches(tokens, self._tokenizer, batch_size=batch_size)

        def compute(rows: NDArray[np.intp]) -> None:
            vectors[rows] = self._run(*batches.fill(rows), prompt_length)

        todo = list(batches.rows())
        if len(todo) == 1:
            # No hand-over to another thread: a query's time is what its user waits.
            compute(todo[0])
        elif todo:
            _all_of([partial(compute, rows) for rows in todo], pool())
        return vectors

    def _run(self, ids: Ints, mask: Ints, prompt_length: int = 0) -> Embeddings:
        feeds = {"input_ids": ids, "attention_mask": mask}
        if "token_type_ids" in self._inputs:
            feeds["token_type_ids"] = np.zeros_like(ids)
        given = {name: feeds[name] for name in self._inputs}
        if prompt_length:
            given[PROMPT_LENGTH] = np.array(prompt_length, np.int64)
        with self._slots:
            found: Embeddings = self._session.run([_OUTPUT], given)[0]
        return found

    def _try_out(self, file: Path) -> int:
        """Run it once, with the highest token id there is: what fails shall fail at load."""
        highest = self._tokenizer.highest_id
        ids = np.array([[highest, self._tokenizer.pad_id]], np.int64)
        try:
            found = self._run(ids, np.array([[1, 0]], np.int64))
        except Exception as error:
            # ONNX Runtime's exceptions have no base class of their own.
            raise WeightsError(
                f"{file} fails at token {highest:,}, the last of the tokenizer's: {_line(error)}",
                hint="Is it the graph of another model or tokenizer?",
            ) from error
        if found.ndim != 2 or found.dtype != np.float32:
            raise WeightsError(
                f"{file} gives {_OUTPUT} as {found.dtype} of {found.ndim} dimensions; "
                "float32 (batch, dim) was expected",
                hint=_EXPORT,
            )
        return int(found.shape[1])


def _all_of(tasks: list[Callable[[], None]], pool: Executor) -> None:
    """Run tasks in a pool; after a failure, begin none of those left."""
    futures: list[Future[None]] = [pool.submit(task) for task in tasks]
    try:
        for future in futures:
            future.result()
    finally:
        for future in futures:
            future.cancel()


def _checked(file: Path, root: Path) -> GraphFile:
    try:
        found = read_graph_file(file)
    except DamagedError as error:
        raise WeightsError(f"{file} is damaged: {error}", hint=_EXPORT) from error
    except OSError as error:
        raise WeightsError(f"{file} cannot be read: {error.strerror}", hint=_EXPORT) from error
    for place in found.external:
        _check_external(file, root, place)
    return found


def _check_external(file: Path, root: Path, place: str) -> None:
    """Refuse a graph that would read tensors from anywhere but its own model directory."""
    path = PurePosixPath(place)
    data = file.parent / place
    # The hub's cache links each file of a model to one folder that holds them all: beside where
    # the graph itself really lies is inside, too.
    homes = (root.resolve(), file.resolve().parent)
    try:
        inside = any(data.resolve().is_relative_to(home) for home in homes)
    except (OSError, RuntimeError, ValueError):
        inside = False
    if path.is_absolute() or ".." in path.parts or "\\" in place or not inside:
        raise WeightsError(
            f"{file} keeps tensors outside its directory, in {place!r}",
            hint="Not opened: a graph could read any file so. Keep the tensors beside the graph.",
        )
    if not data.is_file():
        raise WeightsError(f"{file} keeps tensors in {data}, which is missing", hint=_EXPORT)


def _session(file: Path) -> Any:  # noqa: ANN401 - untyped library
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # Plans memory for every pair of batch and length anew, and keeps all plans.
    options.enable_mem_pattern = False
    options.log_severity_level = _ERRORS_ONLY
    try:
        return ort.InferenceSession(os.fspath(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # ONNX Runtime's exceptions have no base class of their own.
        raise WeightsError(f"{file} cannot be opened: {_line(error)}", hint=_EXPORT) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
